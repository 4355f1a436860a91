//! Tests of HAProxy's state file, which carries the health of servers over to the next process.

use super::*;
use crate::decide::deployment::HealthSource;
use crate::limits::STATE_SAVE_INTERVAL;

const PATH: &str = "/run/haproxy.state";

fn with_state_file() -> ProxyPolicy {
    let mut policy = policy();
    policy.base_config.state_file = Some(PATH.into());
    policy
}

/// Creates a HAProxy with a state file that is up to date.
fn serving_with_state_file() -> Rig {
    let mut rig = Rig::serving_by(with_state_file(), "", &[1, 2]);
    // The first is written at once, the second after the process was observed.
    for _ in 0..2 {
        rig.feed(Input::ServerStatesRead((Some(1), Ok("1\n".to_owned()))));
        rig.feed(Input::StateFileWritten { result: Ok(()) });
        rig.wait(STATE_SAVE_INTERVAL);
    }
    rig.effects.clear();
    rig
}

impl Rig {
    /// Takes out the request for the states of all servers. Returns the process that is asked.
    fn states_read_from(&mut self) -> Option<Option<u32>> {
        self.take(|effect| match effect {
            Effect::ReadServerStates { pid } => Some(*pid),
            _ => None,
        })
    }

    fn health_source(&mut self) -> Option<HealthSource> {
        self.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
        self.wait(RELOAD_INTERVAL);
        self.order().expect("a reload was ordered").health_source
    }
}

#[test]
fn state_file_is_written_after_a_health_change() {
    let mut rig = serving_with_state_file();
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, READY)]);
    rig.wait(STATE_SAVE_INTERVAL);
    assert_eq!(rig.states_read_from(), Some(Some(1)));
    rig.feed(Input::ServerStatesRead((Some(1), Ok("1\n# states".to_owned()))));
    let written = rig.take(|effect| match effect {
        Effect::WriteStateFile { path, states, hosts } => {
            Some((path.clone(), states.clone(), hosts.get(&service("web")).map(|hosts| hosts.len())))
        }
        _ => None,
    });
    assert_eq!(written, Some((PATH.into(), "1\n# states".to_owned(), Some(2))));
}

#[test]
fn unchanged_health_needs_no_state_file() {
    let mut rig = serving_with_state_file();
    rig.wait(OBSERVE_INTERVAL);
    assert_eq!(rig.states_read_from(), None);
}

#[test]
fn state_file_is_not_used_unless_it_is_configured() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    assert_eq!(rig.states_read_from(), None);
    assert!(rig.health_source().is_none());
}

#[test]
fn states_of_another_process_are_not_written() {
    for (pid, states) in [(Some(9), Ok("1\n".to_owned())), (Some(1), Err(timed_out()))] {
        let mut rig = Rig::serving_by(with_state_file(), "", &[1, 2]);
        rig.feed(Input::ServerStatesRead((pid, states)));
        assert!(!rig.effects.iter().any(|effect| matches!(effect, Effect::WriteStateFile { .. })));
        rig.wait(STATE_SAVE_INTERVAL);
        assert!(rig.states_read_from().is_some(), "the change of health is still to be written");
    }
}

#[test]
fn failed_write_of_the_state_file_is_logged_once() {
    let mut rig = serving_with_state_file();
    for is_news in [true, false] {
        rig.feed(Input::StateFileWritten { result: Err("disk full".to_owned()) });
        assert_eq!(rig.warnings(), usize::from(is_news));
    }
    rig.feed(Input::StateFileWritten { result: Ok(()) });
    assert_eq!(rig.warnings(), 0);
}

#[test]
fn new_process_gets_the_health_of_the_one_that_serves() {
    let source = serving_with_state_file().health_source();
    let Some(HealthSource::Process { sections }) = source else { panic!("{source:?}") };
    assert_eq!(sections[&service("web")].hosts, hosts(&[1, 2]));
}

#[test]
fn health_comes_from_the_file_during_silence() {
    let mut rig = serving_with_state_file();
    rig.wait(OBSERVE_INTERVAL);
    rig.feed(Input::Observed(Err(timed_out())));
    let source = rig.health_source();
    let Some(HealthSource::File { path, sections }) = source else { panic!("{source:?}") };
    assert_eq!((path, sections.len()), (PATH.into(), 1));
}

#[test]
fn health_comes_from_the_file_after_a_crash() {
    let mut rig = serving_with_state_file();
    rig.feed(Input::ProcessExited { pid: 1, exit: crate::port::ProcessExit::Signal(9) });
    let order = rig.order().expect("nothing serves");
    assert!(matches!(order.health_source, Some(HealthSource::File { .. })));
    assert_eq!(order.state_file.as_deref(), Some(PATH.as_ref()));
}

#[test]
fn health_is_not_carried_over_to_another_base() {
    let mut rig = serving_with_state_file();
    let mut changed = with_state_file();
    changed.base_config.defaults.push("timeout check 1s".to_owned());
    rig.feed(Input::PolicyChanged(Arc::new(changed)));
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().expect("the base changed").health_source.is_none());
}
