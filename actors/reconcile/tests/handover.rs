//! Tests of the state that a new process takes over from the previous one.

use super::*;
use crate::decide::deployment::DeployFailure;
use crate::decide::proxy_plan::DisabledBy;
use crate::limits::{PORT_WAITS_LOOK, RELOAD_PATIENCE, RELOAD_RETRY};
use crate::model::{PlanClass, ReloadCause};
use crate::port::ProcessExit;

impl Rig {
    /// Begins a deployment that only an operator asked for.
    fn reloading(mut self) -> Self {
        self.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
        assert_eq!(self.phase(), ProxyPhase::Launching);
        self
    }

    /// Completes the requested deployment with a process that reports this of `web`.
    fn deployed_as(&mut self, pid: u32, servers: Option<&[(u8, u16)]>) {
        let order = self.order().expect("a deployment was requested");
        let reported = servers.map(|servers| observation(&[("web", servers)]));
        self.serves(serving(order, pid, BTreeMap::new()), reported);
    }

    fn disabled_by(&self, name: &str) -> Option<DisabledBy> {
        let running = self.reconciler.state.running().expect("a process serves");
        running.sections[&service("web")].disabled_by()[&server(name)]
    }
}

#[test]
fn drain_on_the_socket_is_set_again() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, DRAIN)]);
    let mut rig = rig.reloading();
    rig.deployed(2);
    assert_eq!(rig.command_texts(), ["set server web/s2 state drain"]);
    rig.answer(vec![accepted()], &[(1, READY), (2, DRAIN)]);
    assert_eq!(rig.web().exceptions.drained_on_socket, [server("s2")]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(2, &[(1, READY), (2, READY)]);
    assert!(rig.commands().is_none(), "the operator ended it on the socket");
}

#[test]
fn drain_by_an_override_ends_with_it() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.order_state("s2", AdminState::Drain);
    rig.accept(&[(1, READY), (2, DRAIN)]);
    assert_eq!(rig.disabled_by("s2"), Some(DisabledBy::Operator));
    rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state ready"]);
    assert_eq!(rig.disabled_by("s2"), None);
}

#[test]
fn server_disabled_in_the_new_process_has_a_reason() {
    for (change, reason) in
        [(0, DisabledBy::Removal), (1, DisabledBy::Operator), (2, DisabledBy::Discovery), (3, DisabledBy::Move)]
    {
        let mut rig = Rig::serving(&[1, 2]).reloading();
        rig.started(2, true);
        let with = |host: Host| {
            Arc::new(HostList::from_iter([(server("s1"), Host::at(endpoint(1)).into()), (server("s2"), host.into())]))
        };
        match change {
            0 => rig.hosts("web", &[1]),
            1 => rig.order_state("s2", AdminState::Maint),
            2 => rig.list("web", with(Host { state: AdminState::Maint, ..Host::at(endpoint(2)) })),
            _ => rig.list("web", with(Host::at(endpoint(3)))),
        }
        assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
        rig.effects.retain(|effect| !matches!(effect, Effect::RunCommands(_)));
        rig.deployed_as(2, Some(&[(1, READY), (2, MAINT)]));
        assert_eq!(rig.disabled_by("s2"), Some(reason));
    }
}

#[test]
fn agent_of_a_removed_server_is_disabled_first() {
    let mut rig = Rig::serving_by(policy(), r#", "server_options": ["agent-check", "agent-port 9"]"#, &[1, 2]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.wait(RELOAD_PATIENCE);
    rig.started(2, true);
    rig.hosts("web", &[1]);
    assert_eq!(rig.successor_commands(), ["disable agent web/s2", "set server web/s2 state maint"]);
    rig.hosts("web", &[1, 2]);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    assert_eq!(rig.successor_commands(), ["set server web/s2 state ready"]);
}

#[test]
fn new_process_is_only_disabled_in_before_it_is_observed() {
    let mut rig = Rig::serving(&[1, 2]).reloading();
    rig.hosts("web", &[1, 3]);
    rig.commands();
    rig.deployed_as(2, None);
    rig.feed(Input::CommandsAnswered(Err(RuntimeError::Replaced)));
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state maint"]);
    assert!(rig.commands().is_none(), "it is not known whether it has s3");
    rig.observed(2, &[(1, READY), (2, READY)]);
    assert!(rig.commands().is_none(), "the report may be from before the command");
    rig.observed(2, &[(1, READY), (2, MAINT)]);
    assert!(rig.command_texts()[0].starts_with("add server web/s3"));
    assert_eq!(rig.snapshot().counts.drift, 0);
}

#[test]
fn host_that_leaves_before_the_new_process_is_observed_is_disabled_at_once() {
    let mut rig = Rig::serving(&[1, 2]).reloading();
    rig.deployed_as(2, None);
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state maint"]);
    rig.hosts("web", &[1]);
    assert!(rig.commands().is_none(), "it is disabled already");
    assert_eq!(rig.disabled_by("s2"), Some(DisabledBy::Removal));
}

#[test]
fn changed_definition_needs_one_reload() {
    for keys in [
        r#", "server_options": ["check"]"#,
        r#", "listen_options": ["timeout server 13s"]"#,
        r#", "bind": "127.0.0.2""#,
    ] {
        let mut rig = Rig::serving(&[1, 2]);
        rig.define("web", keys);
        assert_eq!(rig.snapshot().reload_due, Vec::<String>::new(), "it is under way");
        rig.deployed(2);
        rig.wait(RELOAD_INTERVAL);
        assert!(rig.order().is_none() && rig.commands().is_none(), "{keys}");
        assert_eq!(rig.web().problem, None);
    }
}

#[test]
fn reload_applies_its_pending_changes() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", r#", "update": "reload""#);
    rig.hosts("web", &[1, 2]);
    rig.wait(RELOAD_INTERVAL);
    rig.events();
    rig.deployed(2);
    let applied = rig.events().into_iter().filter_map(|entry| match entry.event {
        Event::Applied { class, .. } => Some((entry.change, class)),
        _ => None,
    });
    assert_eq!(applied.collect::<Vec<_>>(), [(Some(ChangeId(2)), PlanClass::Reload)]);
    assert_eq!(rig.snapshot().counts.reload_causes[&ReloadCause::Server], 1);
}

#[test]
fn restart_in_place_applies_no_change() {
    let mut rig = Rig::with(policy(), false);
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2]);
    let order = rig.order().expect("the configuration is compared with the one that runs");
    let continuing = serving(order, 1, BTreeMap::new());
    let reported = reported_by_file(&continuing);
    rig.feed(Input::Deployed(Ok(Deployed::Continuing(Box::new(continuing)))));
    rig.feed(Input::Observed(Ok(Observed { process: process(1), servers: reported, routes: None })));
    assert!(rig.commands().is_none());
    assert!(!rig.events().iter().any(|entry| matches!(entry.event, Event::Applied { .. })));
    assert_eq!(rig.snapshot().counts.reload, 0);
}

#[test]
fn reload_does_not_apply_later_changes() {
    let mut rig = Rig::serving(&[1]).reloading();
    rig.hosts("web", &[1, 2]);
    rig.commands();
    rig.deployed_as(2, Some(&[(1, READY)]));
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    assert!(!rig.events().iter().any(|entry| matches!(entry.event, Event::Applied { .. })));
    rig.observed(2, &[(1, READY)]);
    assert!(rig.commands().is_some_and(|commands| commands.len() > 1), "the host is added");
}

#[test]
fn failed_exchange_with_the_previous_process_is_no_problem() {
    let mut rig = Rig::serving(&[1, 2]).reloading();
    rig.hosts("web", &[1]);
    rig.commands();
    rig.deployed(2);
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    let state = rig.snapshot();
    assert_eq!((state.counts.unanswered, state.runtime_error), (0, None));
}

#[test]
fn silence_during_the_takeover_is_no_problem() {
    let mut rig = Rig::serving(&[1, 2]).reloading();
    rig.started(2, true);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    assert_eq!(rig.snapshot().runtime_error, None);
    assert_eq!(rig.snapshot().counts.unanswered, 1);
}

#[test]
fn answer_of_the_new_process_during_the_deployment_is_no_stranger() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    let mut rig = rig.reloading();
    rig.observed(2, &[(1, READY), (2, READY)]);
    assert_eq!(rig.snapshot().runtime_error, None);
    assert_eq!(rig.snapshot().process.map(|process| process.pid), Some(1));
}

#[test]
fn last_good_section_keeps_its_text_in_the_same_style() {
    let mut rig = Rig::serving(&[1, 2]).reloading();
    // The version, and so the style, is known since the first process answered.
    rig.deployed(2);
    rig.wait(RELOAD_INTERVAL);
    let mut rig = rig.reloading();
    let order = rig.order().expect("it is under way");
    assert!(order.last_file.is_none(), "a process serves");
    let section = { order }.services.remove(&service("web")).expect("it is desired");
    let last_good = section.last_good.expect("it serves");
    assert!(section.is_running && last_good.text.is_some());
    let descriptors: Vec<_> = last_good.descriptors.unwrap_or_default().into_values().collect();
    assert_eq!((descriptors, last_good.spec), (vec![Some(7)], section.desired));
}

#[test]
fn sockets_of_the_new_process_are_kept() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", r#", "bind": "127.0.0.2""#);
    rig.deployed(2);
    let kept = rig.take(|effect| match effect {
        Effect::ReleaseSockets { keep: kept, .. } => Some(kept.keys().cloned().collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(kept, Some(vec![service("web")]));
    assert!(rig.effects.iter().any(|effect| matches!(effect, Effect::WaitOnlyFor { wanted, .. } if wanted.len() == 1)));
}

#[test]
fn file_that_no_process_serves_is_no_fallback() {
    for file_is_ahead in [false, true] {
        let mut rig = Rig::serving(&[1]).reloading();
        rig.order();
        rig.feed(Input::Deployed(Err(DeployFailure { file_is_ahead, ..String::from("no answer").into() })));
        rig.feed(Input::ProcessExited { pid: 1, exit: ProcessExit::Signal(9) });
        rig.feed(Input::ConfigFileWritten { result: Err("disk full".to_owned()), took: Duration::ZERO });
        rig.wait(RELOAD_RETRY);
        let last_file = rig.order().expect("nothing serves").last_file;
        assert_eq!(last_file.map(|file| file.services), (!file_is_ahead).then(|| [service("web")].into()));
    }
}

#[test]
fn waits_for_ports_do_not_end_during_a_deployment() {
    let waits = |rig: &mut Rig| {
        rig.wait(PORT_WAITS_LOOK);
        rig.take(|effect| match effect {
            Effect::WaitOnlyFor { wanted, .. } => Some(wanted.keys().cloned().collect::<Vec<_>>()),
            _ => None,
        })
    };
    let mut rig = Rig::serving(&[1]);
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.feed(Input::ServiceRemoved(service("api")));
    assert_eq!(waits(&mut rig), Some(vec![service("web")]));
    let mut rig = rig.reloading();
    rig.define("web", r#", "bind": "127.0.0.3""#);
    assert_eq!(waits(&mut rig), None);
    rig.deployed(2);
    assert_eq!(waits(&mut rig), Some(vec![service("web")]));
}

#[test]
fn service_without_a_list_is_not_deployed() {
    let mut rig = Rig::serving(&[1]);
    rig.define("api", r#", "bind": "127.0.0.2""#);
    assert!(rig.order().is_none());
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    assert!(!rig.order().expect("it was ordered").services.contains_key(&service("api")));
    rig.feed(Input::Deployed(Err("disk full".to_owned().into())));
    rig.feed(Input::HostsUnknown(service("api")));
    rig.wait(RELOAD_RETRY);
    assert!(rig.order().expect("it is retried").services.contains_key(&service("api")), "no list will come");
}

#[test]
fn added_server_inherits_from_the_defaults() {
    let with = |options: &str| {
        let mut policy = policy();
        policy.base_config.defaults = vec![format!("default-server {options}")];
        policy
    };
    let mut rig = Rig::serving_by(with("inter 3s"), "", &[1]);
    rig.hosts("web", &[1, 2]);
    let commands = rig.command_texts_accepted();
    assert!(commands[0].contains("inter 3s"), "{commands:?}");
    rig.feed(Input::PolicyChanged(Arc::new(with("inter 4s"))));
    rig.hosts("web", &[1, 2, 3]);
    let commands = rig.command_texts();
    assert!(commands[0].contains("inter 4s"), "{commands:?}");
}
