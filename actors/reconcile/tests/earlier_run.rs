//! Tests of the state from an earlier run of the daemon: what it saved, and an orphaned HAProxy that it left.

use super::*;
use crate::decide::guard::{Baseline, GuardMemory};
use crate::decide::slots::SlotTable;
use crate::decide::update_strategy::slot_rules;
use crate::model::PersistentId;
use crate::port::SavedState;

/// Creates the saved state of `web` with these hosts.
fn saved(numbers: &[u8]) -> SavedService {
    SavedService {
        definition: definition("web", ""),
        hosts: Some(hosts(numbers)),
        seen_at_unix_ms: 42,
        choices: BTreeMap::new(),
        guard: GuardMemory { rejected: None, baseline: Some(Baseline { entries: 9, until_unix_ms: Some(7) }) },
        slots: Default::default(),
        ids: BTreeMap::new(),
        down: BTreeMap::new(),
    }
}

fn choice(state: AdminState) -> OperatorChoice {
    OperatorChoice { state, reason: None, since_unix_ms: 0, until_unix_ms: None, gone_unix_ms: None, by: None }
}

fn restarted(saved: SavedService) -> Rig {
    Rig::restored(policy(), false, &[saved])
}

impl Rig {
    /// Returns the state that would be saved now.
    fn to_save(&self) -> SavedState {
        self.reconciler.state.state_to_save()
    }

    /// Completes the first deployment; an orphaned HAProxy had these servers.
    fn deployed_over_orphan(&mut self, servers: &[(u8, u16)]) {
        self.feed(Input::OrphanAdopted(observation(&[("web", servers)])));
        self.deployed(1);
    }
}

#[test]
fn saved_state_stays_until_the_hosts_are_known() {
    let saved = saved(&[1, 2]);
    let mut rig = restarted(saved.clone());
    assert_eq!(rig.to_save().services, std::slice::from_ref(&saved), "the definitions are not read yet");
    rig.define("web", "");
    assert_eq!(rig.to_save().services, [saved], "the hosts are not read yet");
    rig.hosts("web", &[1]);
    let now = rig.to_save().services.remove(0);
    assert_eq!((now.hosts, now.seen_at_unix_ms), (Some(hosts(&[1])), rig.now.unix_ms));
}

#[test]
fn saved_state_of_a_removed_service_is_dropped() {
    let mut rig = restarted(saved(&[1]));
    rig.feed(Input::DefinitionsLoaded);
    assert!(rig.to_save().services.is_empty());
}

#[test]
fn service_without_a_list_is_saved_without_hosts() {
    let mut rig = Rig::new();
    rig.define("web", "");
    assert_eq!(rig.to_save().services[0].hosts, None);
}

#[test]
fn reported_guard_state_is_saved() {
    let mut rig = restarted(saved(&[1]));
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.deployed(1);
    rig.feed(Input::StateSaved(Ok(())));
    rig.effects.clear();
    let baseline = Some(Baseline { entries: 5, until_unix_ms: None });
    rig.feed(Input::GuardChanged(service("web"), GuardMemory { rejected: None, baseline }));
    rig.feed(Input::DefinitionsGuardChanged(GuardMemory { rejected: None, baseline }));
    rig.wait(crate::limits::STATE_SAVE_INTERVAL);
    let saved = rig.take(|effect| match effect {
        Effect::SaveState(state) => Some((state.services[0].guard.baseline, state.definitions_guard.baseline)),
        _ => None,
    });
    assert_eq!(saved, Some((baseline, baseline)));
}

#[test]
fn applied_definition_is_saved_until_the_new_one_applies() {
    let mut rig = Rig::serving(&[1]);
    let applied = rig.to_save().services[0].definition.clone();
    rig.define("web", r#", "listen_options": ["timeout server 13s"]"#);
    assert_eq!(rig.to_save().services[0].definition, applied);
    rig.deployed(2);
    assert_ne!(rig.to_save().services[0].definition, applied);
}

#[test]
fn earlier_definition_is_the_fallback_of_the_first_start() {
    let mut rig = Rig::new();
    rig.define("web", "");
    let earlier = rig.to_save().services[0].definition.clone();
    rig.define("web", r#", "listen_options": ["timeout server 13s"]"#);
    rig.define("web", r#", "listen_options": ["timeout server 14s"]"#);
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    let order = rig.order().expect("the first start is complete");
    let last_good = order.services[&service("web")].last_good.as_ref().expect("the earlier definition");
    assert_eq!((last_good.spec.definition.clone(), last_good.descriptors.clone()), (earlier, None));
}

#[test]
fn override_of_an_earlier_run_applies_to_the_first_start() {
    let choices = BTreeMap::from([(server("s2"), choice(AdminState::Maint))]);
    let mut rig = restarted(SavedService { choices, ..saved(&[1, 2]) });
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2]);
    let order = rig.order().expect("the first start is complete");
    assert_eq!(order.services[&service("web")].desired.hosts[&server("s2")].state, AdminState::Maint);
}

#[test]
fn override_given_before_the_definition_is_kept() {
    let mut rig = Rig::new();
    let overrides = BTreeMap::from([(server("s1"), choice(AdminState::Drain))]);
    rig.feed(Input::OverridesChanged { service: service("web"), overrides, ordered: None });
    rig.define("web", "");
    assert!(rig.web().exceptions.operator.contains_key(&server("s1")));
}

#[test]
fn drain_on_the_socket_of_an_orphan_is_set_again() {
    let mut rig = restarted(saved(&[1, 2]));
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2]);
    rig.deployed_over_orphan(&[(1, READY), (2, DRAIN)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state drain"]);
}

#[test]
fn drain_by_the_earlier_run_ends_in_the_new_process() {
    let overridden = BTreeMap::from([(server("s2"), choice(AdminState::Drain))]);
    let mut drained_by_discovery = saved(&[1, 2]);
    let drained = Host { state: AdminState::Drain, ..Host::at(endpoint(2)) };
    let list = HostList::from_iter([(server("s1"), Host::at(endpoint(1)).into()), (server("s2"), drained.into())]);
    drained_by_discovery.hosts = Some(Arc::new(list));
    for saved in [SavedService { choices: overridden, ..saved(&[1, 2]) }, drained_by_discovery, saved(&[1])] {
        let mut rig = restarted(saved);
        rig.define("web", "");
        rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
        rig.feed(Input::DefinitionsLoaded);
        rig.hosts("web", &[1, 2]);
        rig.deployed_over_orphan(&[(1, READY), (2, DRAIN)]);
        assert!(rig.commands().is_none());
    }
}

#[test]
fn found_drain_is_attributed_by_the_saved_state() {
    let overridden = BTreeMap::from([(server("s2"), choice(AdminState::Drain))]);
    for (saved, ends) in [(saved(&[1, 2]), false), (SavedService { choices: overridden, ..saved(&[1, 2]) }, true)] {
        let mut rig = Rig::restored(policy(), true, &[saved]);
        rig.define("web", "");
        rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
        rig.feed(Input::DefinitionsLoaded);
        rig.hosts("web", &[1, 2]);
        rig.observed(5, &[(1, READY), (2, DRAIN)]);
        let ended = rig.command_texts() == ["set server web/s2 state ready"];
        assert_eq!(ended, ends);
        assert_eq!(rig.web().exceptions.drained_on_socket.is_empty(), ends);
    }
}

#[test]
fn orphan_on_an_earlier_file_gets_removals() {
    let mut rig = restarted(saved(&[1, 2]));
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.order();
    let unmanaged = Some(BTreeMap::from([(service("web"), hosts(&[1, 2]))]));
    let failure = crate::decide::deployment::DeployFailure { unmanaged, ..String::from("disk full").into() };
    rig.feed(Input::Deployed(Err(failure)));
    let commands = rig.take(|effect| match effect {
        Effect::CommandUnmanaged(commands) => Some(commands.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(commands, Some(vec!["set server web/s2 state maint".to_owned()]));
}

#[test]
fn saved_ids_stay() {
    let id = PersistentId::ranked(5);
    let mut rig = restarted(SavedService { ids: [(server("s1"), id)].into(), ..saved(&[1, 2]) });
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    for _ in 0..2 {
        rig.hosts("web", &[1, 2]);
        let ids = rig.reconciler.config().next[0].ids.clone();
        assert_eq!(ids.of(&server("s1"), &endpoint(1)), id);
        assert_ne!(ids.of(&server("s2"), &endpoint(2)), id);
        // A service that is defined again before the reload gets them back.
        rig.feed(Input::ServiceRemoved(service("web")));
        rig.lists.clear();
        rig.define("web", "");
    }
}

#[test]
fn saved_slots_stay() {
    let definition = definition("web", r#", "update": "slots", "slots": 3"#);
    let mut slots = SlotTable::default();
    slots.place(&hosts(&[2, 9]), slot_rules(&definition), |_| false);
    let mut rig = restarted(SavedService { slots, ..saved(&[2, 9]) });
    rig.feed(Input::ServiceDefined(definition));
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[9]);
    assert_eq!(rig.web().slots, [(server("s9"), server("slot2"))].into());
}
