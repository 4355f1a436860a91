//! Tests of the files that are written after changes.

use super::*;
use crate::limits::{CONFIG_WRITE_RETRY, RELOAD_PATIENCE, STATE_SAVE_INTERVAL};

fn config_text(rig: &mut Rig) -> Option<String> {
    rig.take(|effect| match effect {
        Effect::WriteConfigFile(text) => Some(text.joined()),
        _ => None,
    })
}

fn is_saving(rig: &mut Rig) -> bool {
    rig.take(|effect| matches!(effect, Effect::SaveState(_)).then_some(())).is_some()
}

fn written(rig: &mut Rig, result: Result<(), String>) {
    rig.feed(Input::ConfigFileWritten { result, took: Duration::from_millis(1) });
}

#[test]
fn config_file_follows_an_applied_change() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    assert!(config_text(&mut rig).is_none(), "HAProxy has not answered yet");
    rig.accept(&[(1, READY), (2, MAINT)]);
    let text = config_text(&mut rig).expect("the change is applied");
    assert!(text.contains("server s1") && !text.contains("server s2"));
}

#[test]
fn hanging_write_delays_no_runtime_change() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1, 2]);
    rig.accept(&[(1, READY), (2, READY), (3, MAINT)]);
    assert!(config_text(&mut rig).is_some());
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn reload_behind_hanging_write_delays_no_runtime_change() {
    let mut rig = Rig::serving(&[1, 2, 3]);
    rig.hosts("web", &[1, 2]);
    rig.accept(&[(1, READY), (2, READY), (3, MAINT)]);
    assert!(config_text(&mut rig).is_some());
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.wait(RELOAD_PATIENCE);
    assert!(rig.order().is_none(), "an older text must not overtake it");
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
    written(&mut rig, Ok(()));
    rig.answer(vec![accepted()], &[(1, READY), (2, MAINT), (3, MAINT)]);
    assert!(rig.order().is_some());
}

#[test]
fn config_file_is_not_written_during_a_deployment() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    assert!(config_text(&mut rig).is_none());
    rig.deployed(2);
    rig.accept(&[(1, READY), (2, MAINT)]);
    // The first reports may be from before the command.
    rig.observed(2, &[(1, READY), (2, MAINT)]);
    assert!(config_text(&mut rig).is_some());
}

#[test]
fn deployment_waits_for_a_write() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    assert!(config_text(&mut rig).is_some());
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    assert!(rig.order().is_none());
    written(&mut rig, Ok(()));
    assert!(rig.order().is_some());
}

#[test]
fn failed_write_is_a_problem_and_retried() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    config_text(&mut rig);
    rig.warnings();
    written(&mut rig, Err("disk full".to_owned()));
    assert_eq!(rig.warnings(), 1);
    assert_eq!(rig.snapshot().file_error.as_deref(), Some("disk full"));
    rig.wait(CONFIG_WRITE_RETRY);
    assert!(config_text(&mut rig).is_some());
    written(&mut rig, Ok(()));
    assert_eq!(rig.snapshot().file_error, None);
}

#[test]
fn foreign_change_of_the_file_is_repaired() {
    let mut rig = Rig::serving(&[1]);
    rig.wait(OBSERVE_INTERVAL);
    rig.feed(Input::FilesRead { config: Ok("something else".to_owned()), map: Ok(None) });
    assert!(config_text(&mut rig).is_some());
    assert_eq!(rig.snapshot().counts.drift, 1);
}

#[test]
fn unchanged_file_is_left_alone() {
    let mut rig = Rig::serving(&[1]);
    let text =
        crate::port::ConfigText { pieces: rig.reconciler.config().running.unwrap().pieces, ..Default::default() };
    rig.wait(OBSERVE_INTERVAL);
    rig.feed(Input::FilesRead { config: Ok(text.joined()), map: Ok(None) });
    assert!(config_text(&mut rig).is_none());
    assert_eq!(rig.snapshot().counts.drift, 0);
}

#[test]
fn state_is_saved_soon_and_only_once() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::StateSaved(Ok(())));
    rig.effects.clear();
    rig.hosts("web", &[1]);
    rig.hosts("web", &[1, 2]);
    assert!(!is_saving(&mut rig));
    rig.wait(STATE_SAVE_INTERVAL);
    assert!(is_saving(&mut rig) && !is_saving(&mut rig));
}

#[test]
fn drain_is_saved_at_once() {
    let mut draining = policy();
    draining.life_cycle.drain_timeout = Duration::from_secs(30);
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::StateSaved(Ok(())));
    rig.feed(Input::PolicyChanged(Arc::new(draining)));
    rig.effects.clear();
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state drain"]);
    assert!(is_saving(&mut rig));
}

#[test]
fn stop_returns_unwritten_state_to_the_caller() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::StateSaved(Ok(())));
    rig.hosts("web", &[1]);
    let (state, text) = rig.reconciler.unwritten();
    assert!(state.is_some() && text.is_none(), "the change is not applied yet");
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.feed(Input::ConfigFileWritten { result: Err("disk full".to_owned()), took: Duration::ZERO });
    let (_, text) = rig.reconciler.unwritten();
    assert!(text.is_some_and(|text| !text.joined().contains("server s2")));
    rig.effects.clear();
    assert!(!rig.reconciler.is_stopping());
    rig.feed(Input::Stop);
    assert!(rig.reconciler.is_stopping());
    rig.hosts("web", &[1, 2]);
    assert!(rig.effects.is_empty() && rig.reconciler.deadline(rig.now).is_none());
    assert_eq!(rig.phase(), ProxyPhase::Stopping);
}

#[test]
fn stop_during_a_write_returns_the_text_again() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    assert!(config_text(&mut rig).is_some(), "it is being written");
    let (_, text) = rig.reconciler.unwritten();
    assert!(text.is_some_and(|text| !text.joined().contains("server s2")));
    assert!(rig.reconciler.is_settled(), "a restart in place needs no reload");
}

#[test]
fn comparison_that_a_write_overtook_finds_no_drift() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.wait(OBSERVE_INTERVAL);
    rig.observed(1, &[(1, READY), (2, READY)]);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    assert!(config_text(&mut rig).is_some(), "it is being written");
    rig.feed(Input::FilesRead { config: Ok("the earlier text".to_owned()), map: Ok(None) });
    assert_eq!(rig.snapshot().counts.drift, 0);
}
