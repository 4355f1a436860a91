//! Tests of timers and limits: work that no input triggers, or that takes several turns.

use super::*;
use crate::limits::{
    CONFIG_WRITE_RETRY, FIRST_LISTS_WAIT, HEALTH_POLL_MIN, HEALTH_POLL_SERVERS_PER_SECOND,
    OBSERVED_SERVICES_AT_ONCE_MAX, PENDING_CHANGES_MAX, PREVIEW_SERVERS_AT_ONCE_MAX, RELOAD_PATIENCE,
    RESTART_BACKOFF_MIN, RUNTIME_BATCH_COMMANDS_MAX, RUNTIME_RETRY_MIN, RUNTIME_SILENCE_TOLD,
    SETTINGS_MISTAKES_SHOWN_MAX, STATE_SAVE_INTERVAL,
};

/// Creates `count` hosts, named so that their order is that of their numbers.
fn many(count: usize) -> Arc<HostList> {
    let host = |n: usize| {
        let address = Address::parse(&format!("10.{}.{}.1", n / 250, n % 250)).unwrap();
        (server(&format!("s{n:05}")), Arc::new(Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() })))
    };
    Arc::new((0..count).map(host).collect())
}

fn observed_services(rig: &mut Rig) -> Option<Option<Vec<ServiceName>>> {
    rig.take(|effect| match effect {
        Effect::Observe { services, .. } => Some(services.clone()),
        _ => None,
    })
}

#[test]
fn nothing_is_due_before_the_first_timer() {
    let rig = Rig::serving(&[1]);
    let due = rig.reconciler.deadline(rig.now).expect("timers are set");
    assert!(due > rig.now.instant && due <= rig.now.instant + OBSERVE_INTERVAL);
}

#[test]
fn everything_is_observed_and_compared_at_the_interval() {
    let mut rig = Rig::serving(&[1]);
    rig.wait(OBSERVE_INTERVAL - RELOAD_INTERVAL - Duration::from_millis(1));
    assert_eq!(observed_services(&mut rig), None);
    rig.wait(Duration::from_millis(1));
    assert_eq!(observed_services(&mut rig), Some(None));
    assert!(rig.effects.iter().any(|effect| matches!(effect, Effect::ReadFiles { with_map: false })));
    assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::WatchLiveness)), "it is watched already");
    rig.observed(1, &[(1, READY)]);
    rig.effects.clear();
    rig.wait(OBSERVE_INTERVAL);
    assert_eq!(observed_services(&mut rig), Some(None));
    assert!(
        !rig.effects.iter().any(|effect| matches!(effect, Effect::ReadFiles { .. })),
        "the last read has not ended"
    );
}

#[test]
fn runtime_commands_are_retried_after_a_growing_pause() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    for pause in [RUNTIME_RETRY_MIN, 2 * RUNTIME_RETRY_MIN] {
        assert_eq!(rig.reconciler.plan(None, rig.now).runtime_not_before_ms, pause.as_millis() as u64);
        rig.wait(pause - Duration::from_millis(1));
        assert_eq!(observed_services(&mut rig), None);
        rig.wait(Duration::from_millis(1));
        assert!(observed_services(&mut rig).is_some());
        rig.feed(Input::Observed(Err(timed_out())));
    }
    let since = rig.snapshot().since.runtime_error_unix_ms;
    assert_eq!(since, Some(rig.now.unix_ms - 3 * RUNTIME_RETRY_MIN.as_millis() as u64));
}

#[test]
fn overdue_reload_goes_before_runtime_changes() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1, 2]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    assert!(rig.order().is_none(), "a change is under way");
    rig.wait(RELOAD_PATIENCE - Duration::from_millis(1));
    assert!(rig.order().is_none());
    rig.wait(Duration::from_millis(1));
    assert!(rig.order().is_some());
}

#[test]
fn preview_shows_when_the_reload_may_begin() {
    let mut rig = Rig::serving(&[1]);
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.hosts("api", &[9]);
    rig.deployed(2);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.pass(Duration::from_millis(500));
    let plan = rig.reconciler.plan(None, rig.now);
    assert_eq!((plan.reload.len(), plan.reload_not_before_ms), (1, 1_500));
}

#[test]
fn exchange_that_takes_too_long_is_a_problem() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    let begun = rig.now.unix_ms;
    rig.pass(RUNTIME_SILENCE_TOLD - Duration::from_millis(1));
    assert_eq!(rig.snapshot().runtime_error, None);
    rig.pass(Duration::from_millis(1));
    let state = rig.snapshot();
    assert!(state.runtime_error.is_some());
    assert_eq!(state.since.runtime_error_unix_ms, Some(begun));
    rig.accept(&[(1, READY), (2, MAINT)]);
    assert_eq!(rig.snapshot().runtime_error, None);
}

#[test]
fn large_change_is_sent_in_batches() {
    let mut rig = Rig::serving(&[1]);
    let count = RUNTIME_BATCH_COMMANDS_MAX;
    rig.list("web", many(count));
    let mut added = 0;
    while let Some(commands) = rig.commands() {
        assert!(commands.len() <= RUNTIME_BATCH_COMMANDS_MAX);
        added += commands.iter().filter(|command| matches!(command, RuntimeCommand::AddServer { .. })).count();
        let answers = vec![accepted(); commands.len()];
        rig.feed(Input::CommandsAnswered(Ok((answers, rig.now.instant))));
    }
    assert_eq!(added, count);
}

#[test]
fn many_services_are_observed_in_parts() {
    let mut rig = Rig::serving(&[1]);
    let names: Vec<ServiceName> = (0..=OBSERVED_SERVICES_AT_ONCE_MAX).map(|n| service(&format!("s{n:03}"))).collect();
    rig.wait(OBSERVE_INTERVAL);
    for name in &names {
        rig.feed(Input::ServerHealthReported { pid: 1, service: name.clone() });
    }
    rig.effects.clear();
    rig.observed(1, &[(1, READY)]);
    assert_eq!(observed_services(&mut rig), Some(Some(names[..OBSERVED_SERVICES_AT_ONCE_MAX].to_vec())));
    rig.observed(1, &[]);
    assert_eq!(observed_services(&mut rig), Some(Some(names[OBSERVED_SERVICES_AT_ONCE_MAX..].to_vec())));
}

#[test]
fn preview_covers_large_services_in_pieces() {
    let mut rig = Rig::serving(&[1]);
    for name in ["a", "b", "c"] {
        rig.define(name, "");
        rig.list(name, many(PREVIEW_SERVERS_AT_ONCE_MAX / 2));
    }
    let first = rig.reconciler.plan(None, rig.now);
    let names = |services: &[(ServiceName, _)]| services.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&first.services), first.next.clone()), (vec![service("a"), service("b")], Some(service("b"))));
    let second = rig.reconciler.plan(first.next, rig.now);
    assert_eq!((names(&second.services), second.next), (vec![service("c")], None));
}

#[test]
fn preview_lists_services_whose_state_is_unknown() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    let plan = rig.reconciler.plan(None, rig.now);
    assert_eq!((plan.not_known, plan.services.len()), (vec![service("web")], 0));
}

#[test]
fn changes_beyond_the_limit_are_not_tracked() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    for n in 0..PENDING_CHANGES_MAX {
        rig.hosts("web", if n % 2 == 0 { &[1, 2] } else { &[1] });
    }
    let pending = &rig.reconciler.state.desired.services[&service("web")].changes.pending;
    assert_eq!(pending.len(), PENDING_CHANGES_MAX);
}

#[test]
fn health_of_many_external_servers_is_polled_less_often() {
    let mut rig = Rig::with(policy(), true);
    let hosts = many(3 * HEALTH_POLL_SERVERS_PER_SECOND);
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.list("web", hosts.clone());
    let observed = || {
        let server = |(name, host): (&ServerName, &Arc<Host>)| (name.clone(), observed_at(&host.endpoint, READY));
        let servers = Observation { services: [(service("web"), Arc::new(hosts.iter().map(server).collect()))].into() };
        Input::Observed(Ok(Observed { process: process(5), servers, routes: None }))
    };
    rig.feed(observed());
    rig.effects.clear();
    rig.wait(HEALTH_POLL_MIN);
    assert_eq!(observed_services(&mut rig), Some(None));
    rig.feed(observed());
    rig.wait(Duration::from_secs(3) - Duration::from_millis(1));
    assert_eq!(observed_services(&mut rig), None);
    rig.wait(Duration::from_millis(1));
    assert_eq!(observed_services(&mut rig), Some(None));
}

#[test]
fn refused_settings_are_shown_until_others_apply() {
    let mut rig = Rig::serving(&[1]);
    let mistakes: Vec<String> = (0..=SETTINGS_MISTAKES_SHOWN_MAX).map(|n| format!("mistake {n}")).collect();
    rig.feed(Input::SettingsRefused(mistakes.clone()));
    let refused = rig.snapshot().settings_refused.expect("they were refused");
    assert_eq!(refused.mistakes, mistakes[..SETTINGS_MISTAKES_SHOWN_MAX]);
    assert_eq!(refused.at_unix_ms, rig.now.unix_ms);
    rig.feed(Input::PolicyChanged(Arc::new(policy())));
    assert_eq!(rig.snapshot().settings_refused, None);
    assert!(rig.snapshot().reload_due.is_empty(), "the settings of HAProxy are the same");
}

#[test]
fn due_reload_has_a_deadline() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.deployed(2);
    rig.observed(2, &[(1, READY)]);
    let may_begin = rig.now.instant + RELOAD_INTERVAL;
    assert_ne!(rig.reconciler.deadline(rig.now), Some(may_begin), "none is due");
    rig.feed(Input::ReloadOrdered("an operator asked again".to_owned()));
    assert_eq!(rig.reconciler.deadline(rig.now), Some(may_begin));
}

#[test]
fn first_start_has_a_deadline_while_lists_are_missing() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    let deadline = rig.now.instant + FIRST_LISTS_WAIT;
    rig.wait(STATE_SAVE_INTERVAL);
    rig.feed(Input::StateSaved(Ok(())));
    assert_eq!(rig.reconciler.deadline(rig.now), Some(deadline));
    rig.hosts("web", &[1]);
    rig.order();
    rig.feed(Input::Deployed(Err("no binary".to_owned().into())));
    assert_eq!(rig.reconciler.deadline(rig.now), Some(rig.now.instant + RESTART_BACKOFF_MIN));
}

#[test]
fn write_of_the_file_has_a_deadline() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.feed(Input::StateSaved(Ok(())));
    rig.feed(Input::ConfigFileWritten { result: Err("disk full".to_owned()), took: Duration::ZERO });
    rig.effects.clear();
    rig.wait(CONFIG_WRITE_RETRY - Duration::from_millis(1));
    rig.feed(Input::StateSaved(Ok(())));
    assert_eq!(rig.reconciler.deadline(rig.now), Some(rig.now.instant + Duration::from_millis(1)));
}
