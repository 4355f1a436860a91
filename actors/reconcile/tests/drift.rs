//! Tests of observations: what differs from the applied state outside of proxymgr, and what that leads to.

use super::*;
use crate::decide::proxy_plan::DisabledBy;
use crate::model::{AgentState, PlanClass};

/// Has the next observation report a changed `s2`, or one without it.
fn observe_changed(rig: &mut Rig, change: impl FnOnce(&mut ObservedServer)) {
    rig.wait(OBSERVE_INTERVAL);
    let mut servers = (*reported(&[(1, READY), (2, READY)])).clone();
    change(servers.get_mut(&server("s2")).unwrap());
    report(rig, servers);
}

fn report(rig: &mut Rig, servers: ObservedServers) {
    let servers = Observation { services: [(service("web"), Arc::new(servers))].into() };
    rig.feed(Input::Observed(Ok(Observed { process: process(1), servers, routes: None })));
}

fn drifted_servers(rig: &mut Rig) -> Vec<Option<ServerName>> {
    let drift = rig.events().into_iter().filter(|entry| matches!(entry.event, Event::DriftFound { .. }));
    drift.map(|entry| entry.server).collect()
}

#[test]
fn changed_weight_is_repaired() {
    let mut rig = Rig::serving(&[1, 2]);
    observe_changed(&mut rig, |server| server.weight = 7);
    assert_eq!(rig.command_texts(), ["set server web/s2 weight 1"]);
    assert_eq!(drifted_servers(&mut rig), [Some(server("s2"))]);
}

#[test]
fn changed_address_is_repaired_out_of_traffic() {
    for change in [
        |server: &mut ObservedServer| server.port = 81.try_into().ok(),
        |server: &mut ObservedServer| server.address = "10.9.9.9".parse().ok(),
    ] {
        let mut rig = Rig::serving(&[1, 2]);
        observe_changed(&mut rig, change);
        let repair = ["set server web/s2 state maint", "set server web/s2 addr 10.0.0.2 port 80"];
        assert_eq!(rig.command_texts_accepted(), repair);
        assert!(rig.commands().is_none(), "the new address is not observed yet");
        report(&mut rig, (*reported(&[(1, READY), (2, MAINT)])).clone());
        assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state ready"]);
        report(&mut rig, (*reported(&[(1, READY), (2, READY)])).clone());
        assert!(rig.commands().is_none());
        assert_eq!(rig.snapshot().counts.drift, 1);
    }
}

#[test]
fn deleted_server_is_added_again() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY)]);
    assert!(rig.command_texts()[0].starts_with("add server web/s2 10.0.0.2:80"));
    assert_eq!(drifted_servers(&mut rig), [Some(server("s2"))]);
}

#[test]
fn foreign_server_gets_no_traffic() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, READY), (3, READY)]);
    assert_eq!(rig.command_texts(), ["set server web/s3 state maint"]);
    assert_eq!(drifted_servers(&mut rig), [Some(server("s3"))]);
}

#[test]
fn enabled_agent_is_reported() {
    let mut rig = Rig::serving_by(policy(), r#", "server_options": ["agent-check", "agent-port 9"]"#, &[1, 2]);
    observe_changed(&mut rig, |server| server.agent = AgentState::Enabled);
    assert_eq!(rig.web().exceptions.agent_weights, [(server("s2"), 1)].into());
    observe_changed(&mut rig, |server| server.agent = AgentState::Disabled);
    assert_eq!(rig.command_texts(), ["enable agent web/s2"]);
}

#[test]
fn health_change_is_no_drift() {
    let mut rig = Rig::serving(&[1, 2]);
    observe_changed(&mut rig, |server| server.operational_state = 0);
    assert!(rig.commands().is_none());
    assert_eq!(rig.web().servers[&server("s2")], crate::model::ServerState::Down);
    let recorded = rig.events().into_iter().any(|entry| matches!(entry.event, Event::HealthChanged { .. }));
    assert!(!recorded, "the log of the process reports it, with the result of the check");
}

#[test]
fn down_server_is_reported_with_its_time() {
    let mut rig = Rig::serving(&[1, 2]);
    observe_changed(&mut rig, |server| server.operational_state = 0);
    let since = rig.now.unix_ms;
    observe_changed(&mut rig, |server| server.operational_state = 0);
    assert_eq!(rig.web().exceptions.down_since_unix_ms, [(server("s2"), since)].into());
    observe_changed(&mut rig, |_| {});
    assert!(rig.web().exceptions.down_since_unix_ms.is_empty());
}

#[test]
fn order_supersedes_a_drain_on_the_socket() {
    let mut rig = Rig::serving(&[1, 2]);
    observe_changed(&mut rig, |server| server.admin_state = DRAIN);
    assert_eq!(rig.web().exceptions.drained_on_socket, [server("s2")]);
    rig.order_state("s2", AdminState::Ready);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn order_supersedes_a_maintenance_by_the_agent() {
    let mut rig = Rig::serving_by(policy(), r#", "server_options": ["agent-check", "agent-port 9"]"#, &[1, 2]);
    let by_agent = |server: &mut ObservedServer| {
        server.agent = AgentState::Enabled;
        server.admin_state = MAINT;
    };
    observe_changed(&mut rig, by_agent);
    rig.effects.clear();
    rig.feed(Input::CommandsAnswered(Ok((vec![accepted(); 2], rig.now.instant))));
    observe_changed(&mut rig, by_agent);
    assert!(rig.commands().is_none(), "it is up to the agent");
    rig.order_state("s2", AdminState::Ready);
    let disabled_by = |rig: &Rig| {
        let section = &rig.reconciler.state.running().expect("it serves").sections[&service("web")];
        section.disabled_by()[&server("s2")]
    };
    assert_eq!(disabled_by(&rig), Some(DisabledBy::Operator));
    assert_eq!(rig.command_texts_accepted(), ["disable agent web/s2", "set server web/s2 state ready"]);
    assert_eq!(disabled_by(&rig), None);
}

#[test]
fn moved_host_gets_traffic_once_its_address_is_observed() {
    let mut rig = Rig::serving(&[1, 2]);
    let mut moved = (*hosts(&[1, 2])).clone();
    moved.insert(server("s2"), Host::at(endpoint(7)).into());
    rig.list("web", Arc::new(moved.clone()));
    let commands = ["set server web/s2 state maint", "set server web/s2 addr 10.0.0.7 port 80"];
    assert_eq!(rig.command_texts_accepted(), commands);
    rig.list("web", Arc::new(moved));
    assert!(rig.commands().is_none());
    let mut servers = (*reported(&[(1, READY), (2, MAINT)])).clone();
    servers.get_mut(&server("s2")).unwrap().address = "10.0.0.7".parse().ok();
    report(&mut rig, servers);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn removal_does_not_wait_for_a_moving_server() {
    let mut rig = Rig::serving(&[1, 2]);
    let mut moved = (*hosts(&[1, 2])).clone();
    moved.insert(server("s1"), Host::at(endpoint(7)).into());
    rig.list("web", Arc::new(moved.clone()));
    rig.command_texts_accepted();
    rig.feed(Input::ServerHealthReported { pid: 1, service: service("web") });
    moved.remove(&server("s2"));
    rig.list("web", Arc::new(moved));
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn change_that_was_undone_meanwhile_is_applied_as_well() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.hosts("web", &[1, 2]);
    rig.events();
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.accept(&[(1, READY), (2, READY)]);
    rig.observed(1, &[(1, READY), (2, READY)]);
    let applied = rig.events().into_iter().filter_map(|entry| match entry.event {
        Event::Applied { class, .. } => Some((entry.change, class)),
        _ => None,
    });
    let expected = [(ChangeId(2), PlanClass::RuntimeDisable), (ChangeId(3), PlanClass::RuntimeEnable)];
    assert_eq!(applied.collect::<Vec<_>>(), expected.map(|(change, class)| (Some(change), class)));
}

#[test]
fn unanswered_drain_is_attributed_to_the_daemon() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.order_state("s2", AdminState::Drain);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    rig.wait(Duration::from_secs(1));
    rig.observed(1, &[(1, READY), (2, DRAIN)]);
    assert!(rig.commands().is_none());
    rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn drain_that_never_arrived_has_no_reason() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.order_state("s2", AdminState::Drain);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
    rig.wait(Duration::from_secs(1));
    rig.observed(1, &[(1, READY), (2, READY)]);
    observe_changed(&mut rig, |server| server.admin_state = DRAIN);
    assert!(rig.commands().is_none(), "an operator drained it on the socket");
}

#[test]
fn unresolved_name_is_looked_up_and_reloaded() {
    let mut rig = Rig::serving(&[1]);
    let named = Endpoint::Tcp { address: Address::parse("a.example").unwrap(), port: 80.try_into().unwrap() };
    let mut list = (*hosts(&[1])).clone();
    list.insert(server("s2"), Host::at(named).into());
    rig.list("web", Arc::new(list));
    rig.command_texts();
    if let Some(order) = rig.order() {
        rig.effects.push(Effect::Deploy(Box::new(order)));
        rig.deployed(2);
    }
    let mut servers = (*reported(&[(1, READY), (2, 0x20 | MAINT)])).clone();
    let unresolved = servers.get_mut(&server("s2")).unwrap();
    (unresolved.address, unresolved.fqdn) = (None, Some("a.example".into()));
    let pid = rig.snapshot().process.expect("one serves").pid;
    rig.wait(OBSERVE_INTERVAL);
    let servers = Observation { services: [(service("web"), Arc::new(servers))].into() };
    rig.feed(Input::Observed(Ok(Observed { process: process(pid), servers, routes: None })));
    let looked_up = rig.take(|effect| match effect {
        Effect::LookUpNames(names) => Some(names.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(looked_up, Some(vec!["a.example".to_owned()]));
    assert!(rig.web().problem.is_some());
    rig.feed(Input::NameResolves("other.example".into()));
    assert!(rig.snapshot().reload_due.is_empty());
    rig.feed(Input::NameResolves("a.example".into()));
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_some());
}
