//! Tests of external HAProxy instances, which are only changed at run time.

use super::*;
use crate::decide::server_ids::derived;
use crate::limits::{HEALTH_POLL_MIN, RUNTIME_RETRY_MAX};

fn target() -> Rig {
    let mut rig = Rig::with(policy(), true);
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2]);
    rig
}

fn is_observing(rig: &mut Rig) -> bool {
    rig.take(|effect| matches!(effect, Effect::Observe { services: None, .. }).then_some(())).is_some()
}

#[test]
fn external_process_is_observed_and_changed_at_run_time() {
    let mut rig = target();
    assert!(is_observing(&mut rig) && rig.order().is_none());
    rig.observed(5, &[(1, READY), (3, READY)]);
    let commands = rig.command_texts();
    assert!(commands.iter().any(|command| command.starts_with("add server web/s2")), "{commands:?}");
    assert!(commands.contains(&"set server web/s3 state maint".to_owned()), "{commands:?}");
}

#[test]
fn found_servers_are_never_deleted() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY), (3, READY)]);
    rig.accept(&[(1, READY), (2, READY), (3, MAINT)]);
    for _ in 0..20 {
        rig.wait(Duration::from_secs(10));
        rig.observed(5, &[(1, READY), (2, READY), (3, MAINT)]);
    }
    assert!(rig.commands().is_none());
}

#[test]
fn absent_process_is_looked_for_again() {
    let mut rig = target();
    is_observing(&mut rig);
    rig.feed(Input::Observed(Err(timed_out())));
    assert_eq!(rig.phase(), ProxyPhase::Down);
    assert!(!is_observing(&mut rig));
    rig.wait(RUNTIME_RETRY_MAX);
    assert!(is_observing(&mut rig));
    rig.observed(5, &[(1, READY), (2, READY)]);
    assert_eq!((rig.phase(), rig.snapshot().runtime_error), (ProxyPhase::Running, None));
}

#[test]
fn missing_section_is_reported_and_never_deployed() {
    let mut rig = target();
    let observed = Observed { process: process(5), servers: Observation::default(), routes: None };
    rig.feed(Input::Observed(Ok(observed)));
    assert_eq!(rig.snapshot().reload_due, ["web: HAProxy has no section of this name"]);
    rig.wait(Duration::from_secs(60));
    assert!(rig.order().is_none());
}

#[test]
fn replaced_process_is_observed_from_scratch() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.wait(HEALTH_POLL_MIN);
    rig.observed(6, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
    assert_eq!(rig.snapshot().process.map(|process| process.pid), Some(6));
}

#[test]
fn health_is_polled_where_no_log_reports_it() {
    let mut rig = target();
    is_observing(&mut rig);
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.effects.clear();
    rig.wait(HEALTH_POLL_MIN);
    assert!(is_observing(&mut rig));
}

#[test]
fn health_change_is_recorded_from_the_observed_state() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.wait(HEALTH_POLL_MIN);
    let mut servers = (*reported(&[(1, READY), (2, READY)])).clone();
    servers.get_mut(&server("s2")).unwrap().operational_state = 0;
    let services = BTreeMap::from([(service("web"), Arc::new(servers))]);
    let observed = Observed { process: process(5), servers: Observation { services }, routes: None };
    rig.feed(Input::Observed(Ok(observed)));
    let change = rig.take(|effect| match effect {
        Effect::Record(entry) => match entry.event {
            Event::HealthChanged { up, .. } => Some((entry.server.clone(), up)),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(change, Some((Some(server("s2")), false)));
    assert!(rig.commands().is_none(), "it is no drift");
}

fn web_alone(servers: ObservedServers) -> Input {
    let services = BTreeMap::from([(service("web"), Arc::new(servers))]);
    Input::Observed(Ok(Observed { process: process(5), servers: Observation { services }, routes: None }))
}

#[test]
fn files_of_an_external_process_are_left_alone() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.wait(OBSERVE_INTERVAL);
    let touches_files = |effect: &Effect| {
        matches!(effect, Effect::WriteConfigFile(_) | Effect::ReadFiles { .. } | Effect::ReleaseSockets { .. })
    };
    assert!(!rig.effects.iter().any(touches_files));
    assert!(rig.reconciler.unwritten().1.is_none() && rig.reconciler.config().running.is_none());
    assert!(rig.reconciler.is_external() && rig.snapshot().run_by_others);
    assert!(!Rig::new().reconciler.is_external() && !Rig::new().snapshot().run_by_others);
}

#[test]
fn settings_of_an_external_process_need_no_reload() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    let mut changed = policy();
    changed.base_config.global.push("maxconn 5".to_owned());
    rig.feed(Input::PolicyChanged(Arc::new(changed)));
    assert!(rig.snapshot().reload_due.is_empty());
}

#[test]
fn section_of_a_removed_service_is_given_up_and_taken_again() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.feed(Input::ServiceRemoved(service("web")));
    assert!(rig.snapshot().services.is_empty() && rig.commands().is_none());
    rig.lists.clear();
    rig.define("web", "");
    assert!(rig.commands().is_none(), "its hosts are not known");
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn service_defined_again_ends_drain_by_discovery() {
    let mut rig = target();
    let mut drained = (*hosts(&[1, 2])).clone();
    drained.insert(server("s2"), Host { state: AdminState::Drain, ..Host::at(endpoint(2)) }.into());
    rig.list("web", Arc::new(drained));
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.accept(&[(1, READY), (2, DRAIN)]);
    rig.feed(Input::ServiceRemoved(service("web")));
    rig.lists.clear();
    rig.define("web", "");
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn drain_on_the_socket_survives_another_process() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.wait(HEALTH_POLL_MIN);
    rig.observed(5, &[(1, READY), (2, DRAIN)]);
    assert_eq!(rig.web().exceptions.drained_on_socket, [server("s2")]);
    rig.wait(HEALTH_POLL_MIN);
    rig.observed(6, &[(1, READY), (2, READY)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state drain"]);
}

#[test]
fn drain_by_an_agent_is_left_to_the_agent() {
    let mut rig = target();
    let mut servers = (*reported(&[(1, READY), (2, DRAIN)])).clone();
    servers.get_mut(&server("s2")).unwrap().agent = crate::model::AgentState::Enabled;
    rig.feed(web_alone(servers));
    assert!(rig.commands().is_none());
    assert_eq!(rig.web().exceptions.agent_weights, [(server("s2"), 1)].into());
    assert!(rig.web().exceptions.drained_on_socket.is_empty());
}

#[test]
fn found_server_is_made_ready_once_its_host_appears() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY), (3, DRAIN)]);
    rig.accept(&[(1, READY), (2, READY), (3, MAINT | DRAIN)]);
    rig.hosts("web", &[1, 2, 3]);
    let commands = rig.command_texts();
    assert!(commands.contains(&"set server web/s3 state ready".to_owned()), "{commands:?}");
}

#[test]
fn section_that_appears_is_managed() {
    let mut rig = target();
    rig.feed(Input::Observed(Ok(Observed { process: process(5), servers: Observation::default(), routes: None })));
    rig.wait(HEALTH_POLL_MIN);
    rig.observed(5, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
    assert!(rig.snapshot().reload_due.is_empty());
}

#[test]
fn section_is_managed_once_its_hosts_are_known() {
    let mut rig = Rig::with(policy(), true);
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.feed(Input::HostsUnknown(service("web")));
    rig.observed(5, &[(1, READY), (2, READY)]);
    assert!(rig.commands().is_none(), "no list is known");
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn process_that_was_away_is_observed_before_it_is_changed() {
    let mut rig = target();
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.hosts("web", &[1]);
    rig.commands();
    rig.feed(Input::CommandsAnswered(Err(timed_out())));
    for _ in 0..2 {
        rig.wait(RUNTIME_RETRY_MAX);
        rig.feed(Input::Observed(Err(timed_out())));
    }
    assert_eq!(rig.phase(), ProxyPhase::Down);
    rig.wait(RUNTIME_RETRY_MAX);
    rig.observed(5, &[(1, READY), (2, READY)]);
    assert_eq!((rig.phase(), rig.snapshot().runtime_error), (ProxyPhase::Running, None));
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
    assert_eq!(rig.snapshot().counts.drift, 0);
}

#[test]
fn added_server_gets_an_id_that_is_free() {
    let mut rig = target();
    let taken = derived(&endpoint(2)).get();
    let mut servers = (*reported(&[(1, READY), (3, MAINT)])).clone();
    servers.get_mut(&server("s3")).unwrap().id = Some(taken);
    rig.feed(web_alone(servers));
    let added = rig.commands().into_iter().flatten().find_map(|command| match command {
        RuntimeCommand::AddServer { id, .. } => id,
        _ => None,
    });
    assert!(added.is_some_and(|id| id.get() != taken), "{added:?}");
}

#[test]
fn unclaimed_section_is_managed_after_a_partial_observation() {
    let mut rig = target();
    let both = observation(&[("web", &[(1, READY), (2, READY)]), ("db", &[(7, READY), (8, READY)])]);
    rig.feed(Input::Observed(Ok(Observed { process: process(5), servers: both, routes: None })));
    rig.feed(Input::ServerHealthReported { pid: 5, service: service("web") });
    rig.observed(5, &[(1, READY), (2, READY)]);
    rig.define("db", "");
    rig.hosts("db", &[7]);
    assert_eq!(rig.command_texts(), ["set server db/s8 state maint"]);
}
