//! Tests of servers that drain because their host is gone, and of new ones whose weight ramps up.

use super::*;
use crate::limits::{DRAIN_LOOK_INTERVAL, RAMP_STEPS};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
const RAMP_UP: Duration = Duration::from_secs(100);

/// Creates a HAProxy with two hosts whose servers drain and ramp up.
fn in_transition() -> Rig {
    let life_cycle = LifeCyclePolicy { drain_timeout: DRAIN_TIMEOUT, ramp_up: RAMP_UP };
    let mut rig =
        Rig::serving_by(ProxyPolicy { life_cycle, ..policy() }, r#", "server_options": ["weight 100"]"#, &[1, 2]);
    assert!(rig.commands().is_none() && rig.web().exceptions.rising.is_empty(), "they are not new");
    rig
}

impl Rig {
    fn observed_weights(&mut self, servers: &[(u8, u16, u16)]) {
        let server = |&(number, state, weight): &(u8, u16, u16)| {
            (server(&format!("s{number}")), ObservedServer { weight, ..observed_at(&endpoint(number), state) })
        };
        let servers = Arc::new(servers.iter().map(server).collect());
        let servers = Observation { services: [(service("web"), servers)].into() };
        self.feed(Input::Observed(Ok(Observed { process: process(1), servers, routes: None })));
    }

    fn is_reading_sessions(&mut self) -> bool {
        let services = self.take(|effect| match effect {
            Effect::ReadSessions(services) => Some(services.clone()),
            _ => None,
        });
        services == Some(vec![service("web")])
    }

    fn sessions(&mut self, number: u8, sessions: u64) {
        let servers = BTreeMap::from([(server(&format!("s{number}")), sessions)]);
        self.feed(Input::SessionsRead(Ok(BTreeMap::from([(service("web"), servers)]))));
    }
}

#[test]
fn removed_host_drains_until_it_is_idle() {
    let mut rig = in_transition();
    let begun = rig.now.unix_ms;
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state drain"]);
    rig.observed_weights(&[(1, READY, 100), (2, DRAIN, 100)]);
    assert!(!rig.is_reading_sessions());
    rig.wait(DRAIN_LOOK_INTERVAL);
    assert!(rig.is_reading_sessions());
    rig.sessions(2, 3);
    let leaving = rig.web().exceptions.leaving[&server("s2")].clone();
    assert_eq!((leaving.sessions, leaving.since_unix_ms), (Some(3), begun));
    assert_eq!(leaving.until_unix_ms - begun, 60_000);
    assert!(rig.commands().is_none() && !rig.is_reading_sessions());
    rig.wait(DRAIN_LOOK_INTERVAL);
    assert!(rig.is_reading_sessions());
    rig.sessions(2, 0);
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state maint"]);
    rig.observed_weights(&[(1, READY, 100), (2, MAINT, 100)]);
    assert!(rig.web().exceptions.leaving.is_empty());
    rig.wait(DRAIN_TIMEOUT);
    assert!(!rig.is_reading_sessions());
}

#[test]
fn drain_timeout_does_not_wait_for_a_read_that_hangs() {
    let mut rig = in_transition();
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state drain"]);
    rig.observed_weights(&[(1, READY, 100), (2, DRAIN, 100)]);
    rig.wait(DRAIN_LOOK_INTERVAL);
    assert!(rig.is_reading_sessions(), "it is never answered");
    rig.wait(DRAIN_TIMEOUT - DRAIN_LOOK_INTERVAL);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn busy_host_leaves_at_the_drain_timeout() {
    let mut rig = in_transition();
    let begun = rig.now.instant;
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/s2 state drain"]);
    rig.observed_weights(&[(1, READY, 100), (2, DRAIN, 100)]);
    while rig.now.instant < begun + DRAIN_TIMEOUT - DRAIN_LOOK_INTERVAL {
        rig.wait(DRAIN_LOOK_INTERVAL);
        rig.sessions(2, 1);
    }
    rig.wait(DRAIN_LOOK_INTERVAL - Duration::from_millis(1));
    assert!(rig.commands().is_none());
    rig.wait(Duration::from_millis(1));
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn failed_read_of_sessions_is_repeated() {
    let mut rig = in_transition();
    rig.hosts("web", &[1]);
    rig.command_texts_accepted();
    rig.observed_weights(&[(1, READY, 100), (2, DRAIN, 100)]);
    rig.wait(DRAIN_LOOK_INTERVAL);
    assert!(rig.is_reading_sessions());
    rig.feed(Input::SessionsRead(Err(timed_out())));
    assert_eq!(rig.web().exceptions.leaving[&server("s2")].sessions, None);
    rig.wait(DRAIN_LOOK_INTERVAL);
    assert!(rig.is_reading_sessions());
}

#[test]
fn host_that_returns_while_it_drains_is_not_new() {
    let mut rig = in_transition();
    rig.hosts("web", &[1]);
    rig.command_texts_accepted();
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
    let exceptions = rig.web().exceptions;
    assert!(exceptions.leaving.is_empty() && exceptions.rising.is_empty());
}

#[test]
fn server_out_of_traffic_does_not_drain() {
    let mut rig = in_transition();
    rig.wait(OBSERVE_INTERVAL);
    rig.observed_weights(&[(1, READY, 100), (2, MAINT, 100)]);
    rig.effects.clear();
    rig.hosts("web", &[1]);
    assert!(rig.web().exceptions.leaving.is_empty());
}

#[test]
fn weight_of_a_new_host_ramps_up_in_steps() {
    let mut rig = in_transition();
    rig.hosts("web", &[1, 2, 3]);
    let commands = rig.command_texts_accepted();
    assert!(commands.contains(&"set server web/s3 weight 10".to_owned()), "{commands:?}");
    let rising = rig.web().exceptions.rising[&server("s3")].clone();
    assert_eq!((rising.percent, rising.until_unix_ms), (10, rig.now.unix_ms + 100_000));
    for step in 2..=RAMP_STEPS {
        rig.wait(RAMP_UP / RAMP_STEPS - Duration::from_millis(1));
        assert!(rig.commands().is_none(), "step {step} is not due yet");
        rig.wait(Duration::from_millis(1));
        assert_eq!(rig.command_texts_accepted(), [format!("set server web/s3 weight {}", 10 * step)]);
    }
    rig.wait(RAMP_UP);
    assert!(rig.commands().is_none() && rig.web().exceptions.rising.is_empty());
}

#[test]
fn removed_host_stops_ramping_up() {
    let mut rig = in_transition();
    rig.hosts("web", &[1, 2, 3]);
    rig.command_texts_accepted();
    rig.hosts("web", &[1, 2]);
    let exceptions = rig.web().exceptions;
    assert!(exceptions.rising.is_empty() && exceptions.leaving.contains_key(&server("s3")));
}

#[test]
fn definition_has_its_own_life_cycle() {
    let life_cycle = LifeCyclePolicy { drain_timeout: DRAIN_TIMEOUT, ramp_up: RAMP_UP };
    let keys = r#", "drain_timeout": "0s", "ramp_up": "0s""#;
    let mut rig = Rig::serving_by(ProxyPolicy { life_cycle, ..policy() }, keys, &[1, 2]);
    rig.hosts("web", &[1, 3]);
    let commands = rig.command_texts();
    assert!(commands.contains(&"set server web/s2 state maint".to_owned()), "{commands:?}");
    assert!(rig.web().exceptions.rising.is_empty() && rig.web().exceptions.leaving.is_empty());
}

#[test]
fn removed_host_drains_in_the_new_process() {
    let mut rig = in_transition();
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.hosts("web", &[1]);
    rig.command_texts_accepted();
    rig.started(2, true);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state drain"]);
}
