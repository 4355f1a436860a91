//! Tests of external HAProxy instances, which are only changed at run time.

use super::*;
use crate::journal::Event;
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
