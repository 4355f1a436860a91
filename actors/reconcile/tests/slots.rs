//! Tests of services in slots: a host in a slot is a server with the slot's name.

use super::*;
use crate::limits::DRAIN_LOOK_INTERVAL;
use crate::model::{ServerState, UpdateStrategy};

const KEYS: &str = r#", "update": "slots", "slots": {"base": 3, "min_free": 1}"#;
/// The address of a slot that was never used.
const UNUSED: &str = "127.0.0.1:1";

/// Creates a HAProxy with hosts 1 and 2 in the first two of three slots.
fn in_slots(policy: ProxyPolicy) -> Rig {
    Rig::serving_by(policy, KEYS, &[1, 2])
}

impl Rig {
    /// Reports slots with these addresses and states.
    fn slots_observed(&mut self, slots: &[(&str, u16)]) {
        let slot = |(index, (at, state)): (usize, &(&str, u16))| {
            let (address, port) = at.split_once(':').expect("an address with a port");
            let at = Endpoint::Tcp { address: Address::parse(address).unwrap(), port: port.parse().unwrap() };
            (server(&format!("slot{}", index + 1)), observed_at(&at, *state))
        };
        let servers = Arc::new(slots.iter().enumerate().map(slot).collect());
        let servers = Observation { services: [(service("web"), servers)].into() };
        self.feed(Input::Observed(Ok(Observed { process: process(1), servers, routes: None })));
    }
}

#[test]
fn slots_are_reported_by_the_names_of_their_hosts() {
    let rig = in_slots(policy());
    let web = rig.web();
    assert_eq!((web.update, web.free_slots, web.desired), (UpdateStrategy::Slots, Some(1), 2));
    assert_eq!(web.slots, [(server("s1"), server("slot1")), (server("s2"), server("slot2"))].into());
    assert_eq!(web.servers.keys().collect::<Vec<_>>(), [&server("s1"), &server("s2")], "without the free slot");
}

#[test]
fn new_host_takes_a_free_slot() {
    let mut rig = in_slots(policy());
    rig.hosts("web", &[1, 2, 3]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/slot3 addr 10.0.0.3 port 80"]);
    assert!(rig.commands().is_none(), "it gets no traffic before its address is observed");
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", READY), ("10.0.0.3:80", MAINT)]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/slot3 state ready"]);
    assert_eq!(rig.web().slots[&server("s3")], server("slot3"));
    let decided = rig.events().into_iter().filter(|entry| matches!(entry.event, Event::Decided { .. }));
    assert!(decided.map(|entry| entry.server).all(|name| name == Some(server("s3"))));
}

#[test]
fn removed_host_frees_its_slot() {
    let mut rig = in_slots(policy());
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/slot2 state maint"]);
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", MAINT), (UNUSED, MAINT)]);
    assert_eq!((rig.web().free_slots, rig.web().slots.len()), (Some(2), 1));
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.command_texts(), ["set server web/slot2 state ready"], "its address is still there");
}

#[test]
fn draining_slot_is_not_reused() {
    let mut draining = policy();
    draining.life_cycle.drain_timeout = Duration::from_secs(60);
    let mut rig = in_slots(draining);
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts_accepted(), ["set server web/slot2 state drain"]);
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", DRAIN), (UNUSED, MAINT)]);
    rig.wait(DRAIN_LOOK_INTERVAL);
    let sessions = BTreeMap::from([(server("slot2"), 4)]);
    rig.feed(Input::SessionsRead(Ok(BTreeMap::from([(service("web"), sessions)]))));
    assert_eq!(rig.web().exceptions.leaving[&server("s2")].sessions, Some(4));
    rig.hosts("web", &[1, 3]);
    assert_eq!(rig.web().slots[&server("s3")], server("slot3"));
}

#[test]
fn drain_of_a_slot_ends_with_another_host() {
    let mut rig = in_slots(policy());
    rig.wait(OBSERVE_INTERVAL);
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", DRAIN), (UNUSED, MAINT)]);
    assert_eq!(rig.web().exceptions.drained_on_socket, [server("s2")]);
    rig.hosts("web", &[1, 3, 4]);
    let commands = rig.command_texts_accepted();
    assert_eq!(rig.web().slots[&server("s4")], server("slot2"));
    assert!(commands.contains(&"set server web/slot2 state maint".to_owned()), "{commands:?}");
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.4:80", MAINT), ("10.0.0.3:80", MAINT)]);
    let commands = rig.command_texts();
    assert!(commands.contains(&"set server web/slot2 state ready".to_owned()), "{commands:?}");
    assert!(rig.web().exceptions.drained_on_socket.is_empty());
}

#[test]
fn override_applies_to_the_slot_of_its_server() {
    let mut rig = in_slots(policy());
    rig.order_state("s2", AdminState::Maint);
    assert_eq!(rig.command_texts_accepted(), ["set server web/slot2 state maint"]);
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", MAINT), (UNUSED, MAINT)]);
    assert_eq!(rig.web().servers[&server("s2")], ServerState::Maint, "unlike a free slot it is reported");
}

#[test]
fn service_without_a_free_slot_grows_by_a_reload() {
    let mut rig = in_slots(policy());
    rig.hosts("web", &[1, 2, 3, 4]);
    rig.command_texts_accepted();
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", READY), ("10.0.0.3:80", MAINT)]);
    rig.command_texts_accepted();
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", READY), ("10.0.0.3:80", READY)]);
    let order = rig.order().expect("there is no slot for the fourth host");
    assert!(order.services[&service("web")].desired.hosts.len() > 4, "one of them is free again");
}

#[test]
fn definition_without_slots_goes_back_to_server_names() {
    let mut rig = in_slots(policy());
    rig.define("web", "");
    assert!(rig.web().slots.is_empty() && rig.web().free_slots.is_none());
    let commands = rig.command_texts();
    assert!(commands.iter().any(|command| command.starts_with("add server web/s1 10.0.0.1:80")), "{commands:?}");
    assert!(commands.contains(&"set server web/slot1 state maint".to_owned()), "{commands:?}");
}

#[test]
fn drain_of_a_slot_survives_a_reload_with_its_host() {
    let mut rig = in_slots(policy());
    rig.wait(OBSERVE_INTERVAL);
    rig.slots_observed(&[("10.0.0.1:80", READY), ("10.0.0.2:80", DRAIN), (UNUSED, MAINT)]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.deployed(2);
    assert_eq!(rig.command_texts(), ["set server web/slot2 state drain"]);
}
