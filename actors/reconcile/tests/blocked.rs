//! Tests of changes that HAProxy refuses, at run time or by a reload, and of what is tried again.

use super::*;
use crate::limits::{PARKED_SERVER_KEEP, PARKED_SERVER_SWEEP, RELOAD_PATIENCE, RELOAD_RETRY};

const CHANGED: &str = r#", "listen_options": ["timeout server 13s"]"#;

impl Rig {
    /// Has the requested deployment start no process, because HAProxy refuses the section of `web`.
    fn rejected(&mut self) {
        let order = self.order().expect("a deployment was requested");
        let desired = &order.services[&service("web")].desired;
        let (definition, hosts) = (desired.definition.clone(), desired.hosts.clone());
        self.blocked(Blocker::Rejected { message: "unknown keyword".to_owned(), definition, hosts });
    }

    fn blocked(&mut self, blocker: Blocker) {
        let blockers = BTreeMap::from([(service("web"), blocker)]);
        self.feed(Input::Deployed(Ok(Deployed::NothingToGain(blockers))));
    }
}

/// Creates a HAProxy whose server `s2` stays in maintenance, even after the reload for the refused command.
fn hopeless() -> Rig {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    rig.commands();
    rig.answer(refused("no"), &[(1, READY), (2, MAINT)]);
    rig.wait(RELOAD_PATIENCE);
    let process = serving(rig.order().expect("only a reload can apply it"), 2, BTreeMap::new());
    rig.serves(process, Some(observation(&[("web", &[(1, READY), (2, MAINT)])])));
    rig
}

#[test]
fn hopeless_change_is_a_problem() {
    let mut rig = hopeless();
    assert!(rig.commands().is_none());
    assert!(rig.web().problem.is_some_and(|problem| problem.contains("s2")));
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_none(), "another reload would not help");
    rig.hosts("web", &[1]);
    assert_eq!(rig.web().problem, None);
}

#[test]
fn refresh_and_order_retry_hopeless_changes() {
    let mut rig = hopeless();
    rig.feed(Input::Refresh);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
    let mut rig = hopeless();
    rig.order_state("s2", AdminState::Ready);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn server_that_recovers_is_no_longer_hopeless() {
    let mut rig = hopeless();
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(2, &[(1, READY), (2, READY)]);
    assert_eq!(rig.web().problem, None);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(2, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn refused_command_does_not_delay_other_servers() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1]);
    assert_eq!(rig.commands().map(|commands| commands.len()), Some(2));
    let answers = [refused("no"), vec![accepted()]].concat();
    rig.answer(answers, &[(1, READY), (2, READY), (3, MAINT)]);
    let state = rig.snapshot();
    assert_eq!((state.counts.refused, state.counts.runtime_disable), (1, 1));
}

#[test]
fn refused_deletion_is_retried_by_the_next_sweep() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.wait(PARKED_SERVER_KEEP + PARKED_SERVER_SWEEP);
    rig.observed(1, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["del server web/s2"]);
    rig.events();
    rig.answer(refused("still in use"), &[(1, READY), (2, MAINT)]);
    assert_eq!((rig.snapshot().counts.refused, rig.events().len()), (0, 0));
    assert!(rig.commands().is_none());
    rig.wait(PARKED_SERVER_SWEEP);
    assert_eq!(rig.command_texts_accepted(), ["del server web/s2"]);
    let counts = rig.snapshot().counts;
    assert_eq!((counts.runtime_delete, counts.runtime_disable, counts.drift), (1, 1, 0));
}

#[test]
fn refused_definition_is_retried_after_a_refresh() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", CHANGED);
    rig.rejected();
    assert!(rig.web().problem_since_unix_ms.is_some());
    rig.feed(Input::Refresh);
    rig.observed(1, &[(1, READY)]);
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_some());
}

#[test]
fn new_service_that_was_refused_waits_for_other_hosts() {
    let mut rig = Rig::serving(&[1]);
    rig.define("api", CHANGED);
    rig.hosts("api", &[9]);
    let order = rig.order().expect("it is new");
    let desired = &order.services[&service("api")].desired;
    let (definition, hosts) = (desired.definition.clone(), desired.hosts.clone());
    let blocker = Blocker::Rejected { message: "unknown keyword".to_owned(), definition, hosts };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain([(service("api"), blocker)].into()))));
    rig.wait(RELOAD_RETRY);
    assert!(rig.order().is_none());
    rig.hosts("api", &[9, 8]);
    assert!(rig.order().is_some(), "HAProxy may accept it with these");
}

#[test]
fn deployment_of_another_service_passes_on_the_refusal() {
    let mut rig = Rig::serving(&[1]);
    rig.define("api", CHANGED);
    rig.hosts("api", &[9]);
    let desired = rig.order().expect("it is new").services.remove(&service("api")).expect("it is desired").desired;
    let message = "unknown keyword".to_owned();
    let blocker = Blocker::Rejected { message: message.clone(), definition: desired.definition, hosts: desired.hosts };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain([(service("api"), blocker)].into()))));
    rig.define("new", r#", "bind": "127.0.0.2""#);
    rig.hosts("new", &[7]);
    rig.wait(RELOAD_INTERVAL);
    let order = rig.order().expect("another service is new");
    assert_eq!(order.only_for, Some([service("new")].into()));
    assert_eq!(order.services[&service("api")].refused, Some(message));
    assert_eq!((&order.services[&service("new")].refused, &order.services[&service("web")].refused), (&None, &None));
    rig.feed(Input::Deployed(Err("disk full".to_owned().into())));
    rig.hosts("api", &[9, 8]);
    rig.wait(RELOAD_RETRY);
    let order = rig.order().expect("it is retried");
    assert_eq!(order.services[&service("api")].refused, None, "HAProxy did not see these hosts");
}

#[test]
fn problem_keeps_its_start() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", CHANGED);
    let begun = rig.now.unix_ms;
    rig.rejected();
    rig.pass(Duration::from_secs(9));
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.wait(RELOAD_INTERVAL);
    rig.rejected();
    assert_eq!(rig.web().problem_since_unix_ms, Some(begun));
}

#[test]
fn free_port_ends_the_wait_for_another() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", r#", "bind": "127.0.0.2""#);
    rig.order();
    let taken = Blocker::PortTaken { address: "127.0.0.2:80".parse().unwrap(), error: "in use".to_owned() };
    rig.blocked(taken);
    assert!(rig.web().problem.is_some());
    rig.hosts("web", &[1, 2]);
    assert!(rig.command_texts()[0].starts_with("add server web/s2"), "its hosts follow");
    rig.define("web", r#", "bind": "127.0.0.3""#);
    assert_eq!(rig.web().problem, None);
}

#[test]
fn port_freed_during_the_deployment_does_not_block() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", r#", "bind": "127.0.0.2""#);
    rig.order();
    rig.feed(Input::SocketOpened(Some(service("web"))));
    rig.blocked(Blocker::PortTaken { address: "127.0.0.2:80".parse().unwrap(), error: "in use".to_owned() });
    assert_eq!(rig.web().problem, None);
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_some());
}

#[test]
fn reload_for_another_service_keeps_the_block() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", CHANGED);
    rig.rejected();
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.hosts("api", &[9]);
    rig.wait(RELOAD_INTERVAL);
    rig.deployed(2);
    assert!(rig.web().problem.is_some());
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_none());
    rig.define("web", r#", "listen_options": ["timeout server 14s"]"#);
    assert!(rig.order().is_some(), "it is another definition");
}
