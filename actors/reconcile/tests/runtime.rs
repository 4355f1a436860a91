//! Tests of the runtime lane.

use super::*;
use crate::limits::{PARKED_SERVER_KEEP, RELOAD_PATIENCE, RUNTIME_RETRY_MAX, RUNTIME_TRIES_MAX};
use crate::model::PlanClass;

#[test]
fn removed_host_is_put_into_maintenance() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
    assert!(rig.order().is_none());
}

#[test]
fn returning_host_is_made_ready() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn new_host_is_added_without_reload() {
    let mut rig = Rig::serving(&[1]);
    rig.hosts("web", &[1, 2]);
    let commands = rig.command_texts();
    assert!(commands[0].starts_with("add server web/s2 10.0.0.2:80"), "{commands:?}");
    assert_eq!(commands.last().unwrap(), "set server web/s2 state ready");
    assert!(rig.order().is_none());
}

#[test]
fn one_exchange_runs_at_a_time() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1, 2]);
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s3 state maint"]);
    assert!(rig.commands().is_none(), "the first batch was not answered yet");
    rig.answer(vec![accepted()], &[(1, READY), (2, READY), (3, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn applied_change_is_recorded_with_its_latency() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.pass(Duration::from_millis(3));
    rig.accept(&[(1, READY), (2, MAINT)]);
    let applied = rig.take(|effect| match effect {
        Effect::Record(entry) => match entry.event {
            Event::Applied { class, took_us } => Some((class, took_us, entry.change)),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(applied, Some((PlanClass::RuntimeDisable, 3_000, Some(ChangeId(2)))));
    let state = rig.snapshot();
    assert_eq!(state.services[&service("web")].last.took_us, Some(3_000));
    assert_eq!((state.counts.runtime_disable, state.counts.runtime_enable), (1, 0));
}

#[test]
fn refused_change_becomes_a_reload() {
    let mut rig = Rig::serving(&[1]);
    rig.hosts("web", &[1, 2]);
    rig.commands();
    rig.answer(refused("no room"), &[(1, READY)]);
    rig.wait(Duration::ZERO);
    let order = rig.order().expect("a reload brings the host");
    assert_eq!(order.only_for, Some([service("web")].into()));
    assert!(order.services[&service("web")].desired.hosts.contains_key(&server("s2")));
    assert_eq!(rig.snapshot().counts.refused, 1);
}

#[test]
fn change_without_effect_becomes_a_reload() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    for _ in 0..RUNTIME_TRIES_MAX {
        assert!(rig.order().is_none());
        rig.accept(&[(1, READY), (2, READY)]);
    }
    assert!(rig.commands().is_none());
    assert!(rig.order().is_some());
}

#[test]
fn unanswered_batch_is_observed_before_it_is_repeated() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    assert!(rig.snapshot().runtime_error.is_some());
    rig.wait(Duration::from_secs(1));
    assert!(rig.commands().is_none(), "what HAProxy has is not known");
    rig.observed(1, &[(1, READY), (2, READY)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
    assert_eq!(rig.snapshot().counts.unanswered, 1);
}

#[test]
fn command_executed_without_answer_is_not_repeated() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    rig.wait(Duration::from_secs(1));
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    assert!(rig.commands().is_none());
    rig.feed(Input::Refresh);
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.snapshot().runtime_error, None);
}

#[test]
fn hung_runtime_api_is_replaced_by_a_reload() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    for _ in 0..2 {
        assert!(rig.order().is_none());
        rig.wait(RUNTIME_RETRY_MAX);
        rig.feed(Input::Observed(Err(timed_out())));
    }
    rig.wait(RELOAD_PATIENCE);
    assert!(rig.order().is_some_and(|order| order.only_for.is_none()));
}

#[test]
fn silence_is_reported_and_ends_with_an_answer() {
    let mut rig = Rig::serving(&[1]);
    for _ in 0..2 {
        rig.feed(Input::Silent(timed_out()));
        assert!(rig.snapshot().runtime_error.is_some());
    }
    let failures = rig.events().into_iter().filter(|entry| matches!(entry.event, Event::Failed { .. }));
    assert_eq!(failures.count(), 1);
    assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::WatchLiveness)), "it does not answer yet");
    rig.observed(1, &[(1, READY)]);
    assert_eq!(rig.snapshot().runtime_error, None);
    assert!(rig.effects.iter().any(|effect| matches!(effect, Effect::WatchLiveness)), "it is watched again");
}

#[test]
fn drift_is_repaired_and_counted() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
    assert_eq!(rig.snapshot().counts.drift, 1);
}

#[test]
fn drain_on_the_socket_is_left_alone() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, DRAIN)]);
    assert!(rig.commands().is_none());
    assert_eq!(rig.snapshot().services[&service("web")].exceptions.drained_on_socket, [server("s2")]);
}

#[test]
fn reported_health_is_observed_at_once() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ServerHealthReported { pid: 1, service: service("web") });
    let observed = rig.take(|effect| match effect {
        Effect::Observe { services, .. } => Some(services.clone()),
        _ => None,
    });
    assert_eq!(observed, Some(Some(vec![service("web")])));
}

#[test]
fn health_of_another_process_is_ignored() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ServerHealthReported { pid: 9, service: service("web") });
    assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::Observe { .. })));
}

#[test]
fn stranger_on_the_socket_is_replaced() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(99, &[(1, READY), (2, MAINT)]);
    assert!(rig.commands().is_none(), "an unknown process gets no commands");
    assert!(rig.effects.iter().any(|effect| matches!(effect, Effect::Disconnect)));
    rig.wait(RELOAD_PATIENCE);
    assert!(rig.order().is_some());
}

#[test]
fn removed_server_is_deleted_after_its_time() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.wait(PARKED_SERVER_KEEP - Duration::from_secs(20));
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    assert!(rig.commands().is_none());
    rig.wait(Duration::from_secs(40));
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    rig.wait(Duration::from_secs(20));
    assert_eq!(rig.command_texts(), ["del server web/s2"]);
}

#[test]
fn override_is_applied_and_saved_at_once() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::StateSaved(Ok(())));
    rig.order_state("s2", AdminState::Drain);
    assert_eq!(rig.command_texts(), ["set server web/s2 state drain"]);
    let saved = rig.take(|effect| match effect {
        Effect::SaveState(state) => Some(state.services[0].choices.contains_key(&server("s2"))),
        _ => None,
    });
    assert_eq!(saved, Some(true));
}

#[test]
fn looking_changes_nothing() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    let before = format!("{:?}", rig.reconciler);
    let plan = rig.reconciler.plan(None, rig.now);
    assert_eq!(plan.services.len(), 1);
    rig.snapshot();
    rig.reconciler.config();
    // Only the cache of reported states may differ.
    let after = format!("{:?}", rig.reconciler);
    assert_eq!(without_cache(&before), without_cache(&after));
}

fn without_cache(state: &str) -> String {
    let mut text = state.to_owned();
    while let Some(start) = text.find("states: OnceCell(") {
        let end = text[start..].find("unverified:").expect("the field after it") + start;
        text.replace_range(start..end, "");
    }
    text
}

#[test]
fn next_change_does_not_wait_for_an_observation() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1, 2]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Ok((vec![accepted()], rig.now.instant))));
    assert_eq!(rig.snapshot().services[&service("web")].last.class.as_deref(), Some("reload"), "not verified yet");
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn observation_from_before_a_change_does_not_undo_it() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Ok((vec![accepted()], rig.now.instant))));
    rig.observed(1, &[(1, READY), (2, READY)]);
    assert!(rig.commands().is_none(), "it was read before");
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    let state = rig.snapshot();
    assert_eq!((state.counts.drift, state.counts.runtime_disable), (0, 1));
    assert!(state.services[&service("web")].last.took_us.is_some());
}

#[test]
fn answered_command_is_recorded() {
    for accepted in [true, false] {
        let mut rig = Rig::serving(&[1, 2]);
        rig.hosts("web", &[1]);
        rig.commands();
        rig.feed(Input::CommandsAnswered(Ok((vec![Answer { accepted, text: "ok".to_owned() }], rig.now.instant))));
        let command = "set server web/s2 state maint".to_owned();
        let event = Event::Commanded { command, answer: "ok".to_owned(), accepted };
        let of_server = |entry: &JournalEntry| entry.server == Some(server("s2")) && entry.change == Some(ChangeId(2));
        assert!(rig.events().iter().any(|entry| entry.event == event && of_server(entry)));
    }
}

#[test]
fn failures_during_a_deployment_cause_no_other() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    for _ in 0..3 {
        rig.wait(RUNTIME_RETRY_MAX.max(RELOAD_PATIENCE));
        rig.feed(Input::Observed(Err(timed_out())));
    }
    rig.deployed(2);
    rig.wait(RELOAD_INTERVAL * 2);
    assert!(rig.order().is_none());
}
