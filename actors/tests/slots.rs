//! Slots: who gets which, and that HAProxy follows without a reload while there are any.

#![allow(missing_docs)]

mod planned;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use planned::{Proxy, words};
use proptest::prelude::*;
use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::model::{
    AdminState, Host, HostList, OperatorChoice, ServerName, ServerState, ServiceName, SlotRules, UpdateStrategy, Word,
};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::snapshot::ServiceState;
use proxymgr_actors::wiring::Actors;
use world::{World, haproxy_state, in_virtual_time, journal, wait};

const RULES: SlotRules = SlotRules { base: 4, grow_by: 2, min_free: 1 };
const WEB: &str = r#"{"type": "static", "port": 8080, "update": "slots", "slots": {"base": 4, "min_free": 1}}"#;

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

fn nobody_leaves(_: &ServerName) -> bool {
    false
}

/// Hosts by number, some with an option of their own.
fn hosts() -> impl Strategy<Value = HostList> {
    proptest::collection::btree_map(0_u8..12, prop_oneof![4 => Just(false), 1 => Just(true)], 0..9).prop_map(|drawn| {
        let host =
            |(n, backup)| (name(&format!("h{n}")), Host { backup, ..planned::host(&format!("10.0.0.{n}")) }.into());
        drawn.into_iter().map(host).collect()
    })
}

/// Who has which slot.
fn seats(table: &SlotTable) -> BTreeMap<ServerName, ServerName> {
    table.taken()
}

proptest! {
    #[test]
    fn every_host_has_one_slot_and_keeps_it_and_gets_it_back(lists in proptest::collection::vec(hosts(), 1..12)) {
        let mut table = SlotTable::default();
        for (before, hosts) in std::iter::once(&HostList::new()).chain(&lists).zip(&lists) {
            let (seats_before, size_before) = (seats(&table), table.len());
            table.place(hosts, RULES, nobody_leaves);
            let seats = seats(&table);
            prop_assert_eq!(seats.keys().collect::<Vec<_>>(), hosts.keys().collect::<Vec<_>>());
            prop_assert_eq!(seats.values().collect::<BTreeSet<_>>().len(), hosts.len(), "no slot is given twice");
            for server in hosts.keys().filter(|server| before.contains_key(*server)) {
                prop_assert_eq!(&seats[server], &seats_before[server], "{} stays", server);
            }
            prop_assert!(table.free() >= RULES.min_free && table.len() >= size_before);
            prop_assert_eq!(table.free() + hosts.len(), table.len());
            let servers = table.servers(hosts);
            prop_assert_eq!(servers.len(), table.len());
            for (slot, host) in &servers {
                let stands_for = hosts.get(table.known_as(slot)).filter(|_| !table.is_free(slot));
                prop_assert_eq!(host, stands_for.unwrap_or(host));
                prop_assert!(stands_for.is_some() || host.state == AdminState::Maint);
            }
            let saved: SlotTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
            let kept = (saved.taken(), saved.servers(hosts));
            prop_assert_eq!(kept, (table.taken(), servers), "it survives being saved");
            let mut shrunk = table.clone();
            shrunk.shrink(RULES);
            prop_assert_eq!(shrunk.taken(), seats, "whoever has a slot keeps it");
            prop_assert!(shrunk.free() >= RULES.min_free && shrunk.len() >= RULES.base);
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_what_is_wanted_and_an_empty_plan(
        lists in proptest::collection::vec(hosts(), 2..8),
    ) {
        let definition = planned::definition(&[], "check");
        let mut table = SlotTable::default();
        table.place(&lists[0], RULES, nobody_leaves);
        let mut proxy = Proxy::started_with(&definition, &table.servers(&lists[0]));
        for hosts in &lists {
            table.place(hosts, RULES, nobody_leaves);
            let wanted = table.servers(hosts);
            let plan = |proxy: &Proxy, table: &SlotTable| {
                proxy.plan_by(UpdateStrategy::Slots, Some(table), &definition, &wanted, (2, 2))
            };
            // A slot that changes hands takes two plans.
            for _ in 0..2 {
                let plan = plan(&proxy, &table);
                proxy.carry_out(&plan, &wanted);
            }
            let plan = plan(&proxy, &table);
            prop_assert_eq!(&plan.steps, &[]);
            if !plan.reload.is_empty() {
                proxy = Proxy::started_with(&definition, &wanted);
            }
            prop_assert_eq!(proxy.serves(&wanted), Ok(()));
        }
    }
}

fn list(numbers: &[u8]) -> HostList {
    numbers.iter().map(|n| (name(&format!("h{n}")), planned::host(&format!("10.0.0.{n}")).into())).collect()
}

#[test]
fn the_slot_that_was_free_for_longest_is_taken_first_and_one_with_other_options_last() {
    let mut table = SlotTable::default();
    let mut hosts = list(&[1, 2, 3]);
    hosts.iter_mut().next().map(|(_, host)| Arc::make_mut(host)).unwrap().cookie = Some(Word::new("one").unwrap());
    table.place(&hosts, RULES, nobody_leaves);
    for left in [&[2, 3][..], &[3]] {
        table.place(&list(left), RULES, nobody_leaves);
    }
    let slot_of = |table: &SlotTable, server: &str| table.in_haproxy(&name(server)).to_string();
    table.place(&list(&[3, 4, 5, 6]), RULES, nobody_leaves);
    assert_eq!(slot_of(&table, "h4"), "slot4", "nobody ever had it");
    assert_eq!(slot_of(&table, "h5"), "slot2");
    assert_eq!(slot_of(&table, "h6"), "slot1", "its cookie makes that a reload");
    table.place(&list(&[3, 4, 6]), RULES, nobody_leaves);
    table.place(&list(&[3, 4, 6, 7]), RULES, |server| server.as_str() == "h5");
    assert_ne!(slot_of(&table, "h7"), "slot2", "h5 still finishes what it has there");
}

#[test]
fn a_damaged_table_gives_nobody_two_slots() {
    let twice = r#"[{"server": "a", "host": {"endpoint": {"address": "10.0.0.1", "port": 80}}}, null,
                    {"server": "a", "host": {"endpoint": {"address": "10.0.0.2", "port": 80}}}]"#;
    let table: SlotTable = serde_json::from_str(twice).unwrap();
    assert_eq!((table.len(), table.free(), table.in_haproxy(&name("a")).as_str()), (3, 2, "slot1"));
}

fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn server(n: u8) -> ServerName {
    name(&format!("10.0.0.{n}:80"))
}

async fn started(world: &World, hosts: &[u8]) -> Actors {
    world.with(|things| things.version = (2, 2));
    let actors = world.start();
    world.define(&[("web", WEB)]).await;
    world.hosts("web", hosts).await;
    wait(2).await;
    actors
}

async fn web_state(actors: &Actors) -> ServiceState {
    haproxy_state(actors).await.services[&web()].clone()
}

#[test]
fn hosts_come_and_go_without_a_reload_while_slots_are_free() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        let state = web_state(&actors).await;
        assert_eq!((state.update, state.free_slots), (UpdateStrategy::Slots, Some(2)));
        assert_eq!(world.with(|things| things.proxy[&web()].len()), 4);
        for hosts in [&[1, 2, 3][..], &[2, 3], &[2, 3, 4], &[1, 2, 4], &[4]] {
            world.hosts("web", hosts).await;
            wait(2).await;
            assert_eq!((world.ready("web"), world.starts()), (hosts.to_vec(), 1));
        }
        let state = web_state(&actors).await;
        assert_eq!(state.servers.keys().collect::<Vec<_>>(), [&server(4)], "people see hosts, not slots");
        let entries = journal(&actors, "web").await;
        let of_four = entries.iter().filter(|entry| entry.server == Some(server(4))).count();
        assert!(of_four >= 2, "{entries:?}");
        assert!(entries.iter().all(|entry| entry.server.as_ref().is_none_or(|name| !name.as_str().contains("slot"))));
        wait(120).await;
        assert_eq!(world.with(|things| things.proxy[&web()].len()), 4, "slots are never deleted");
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
    });
}

#[test]
fn a_host_that_returns_is_only_enabled_in_the_slot_it_had() {
    in_virtual_time(async |world| {
        started(&world, &[1, 2]).await;
        world.hosts("web", &[2]).await;
        world.with(|things| things.commands.clear());
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.with(|things| things.commands.clone()), ["set server web/slot1 state ready"]);
    });
}

#[test]
fn slots_grow_by_a_reload_before_they_run_out() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[1, 2, 3, 4]).await;
        let commands = world.with(|things| things.commands.clone());
        assert!(commands.contains(&"set server web/slot4 state ready".to_owned()), "the last slot serves at once");
        wait(3).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2, 3, 4], 2));
        assert_eq!(web_state(&actors).await.free_slots, Some(4));
        let reasons = haproxy_state(&actors).await.last_reload;
        assert_eq!(reasons, ["web: only 0 of 4 slots are free, it gets 4 more ahead of need"]);
        wait(120).await;
        assert_eq!(world.starts(), 2);
    });
}

#[test]
fn a_host_without_a_slot_takes_that_of_one_that_leaves() {
    in_virtual_time(async |world| {
        started(&world, &[1, 2, 3]).await;
        world.with(|things| things.commands.clear());
        world.hosts("web", &[1, 2, 4, 5]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2, 4, 5]);
        let commands = world.with(|things| things.commands.clone());
        let position = |command: &str| commands.iter().position(|sent| sent == command).expect(command);
        let moved = position("set server web/slot3 addr 10.0.0.5 port 80");
        assert!(position("set server web/slot3 state maint") < moved, "{commands:?}");
        assert!(moved < position("set server web/slot3 state ready"), "{commands:?}");
    });
}

#[test]
fn many_more_hosts_than_slots_come_with_one_reload() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1]).await;
        let many: Vec<u8> = (1..=20).collect();
        world.hosts("web", &many).await;
        wait(5).await;
        assert_eq!((world.ready("web"), world.starts()), (many, 2));
        assert_eq!(web_state(&actors).await.free_slots, Some(4));
    });
}

#[test]
fn an_operator_names_the_host_and_the_slot_obeys() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        let order = |state| {
            Order::SetServer(SetServer { service: web(), server: server(1), state, for_ms: None, reason: None })
        };
        actors.order(order(AdminState::Drain)).await.unwrap();
        wait(1).await;
        assert_eq!(world.ready("web"), [2]);
        assert_eq!(web_state(&actors).await.servers[&server(1)], ServerState::Drain);
        actors.order(order(AdminState::Ready)).await.unwrap();
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn a_drain_on_the_socket_is_left_to_its_operator_until_the_slot_changes_hands() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        world.with(|things| things.proxy.get_mut(&web()).unwrap().get_mut(&name("slot1")).unwrap().admin_state = 8);
        wait(60).await;
        assert_eq!(web_state(&actors).await.drained_on_socket, [server(1)]);
        world.hosts("web", &[2, 3, 4, 5]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [2, 3, 4, 5], "who drained host 1 did not mean the one that has its slot");
    });
}

#[test]
fn the_table_survives_a_restart_of_the_daemon() {
    let mut saved = Vec::new();
    in_virtual_time(async |world| {
        started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[2, 3]).await;
        wait(30).await;
        saved = world.with(|things| things.saved.clone());
    });
    assert!(saved[0].slots.len() == 4 && saved[0].choices == BTreeMap::<ServerName, OperatorChoice>::new());
    in_virtual_time(async |world| {
        world.with(|things| things.version = (2, 2));
        let restored = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        world.start_with(restored);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[3, 2, 1]).await;
        wait(2).await;
        let address = |slot: &str| world.with(|things| things.proxy[&web()][&name(slot)].address.to_string());
        assert_eq!(["slot1", "slot2", "slot3"].map(address), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    });
}

#[test]
fn a_service_that_gets_slots_never_loses_a_host_on_the_way() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        for (definition, servers) in [(r#"{"type": "static", "port": 8080}"#, 2), (WEB, 4)] {
            world.define(&[("web", definition)]).await;
            assert_eq!(world.ready("web"), [1, 2], "before the reload");
            wait(3).await;
            assert_eq!((world.ready("web"), world.with(|things| things.proxy[&web()].len())), (vec![1, 2], servers));
        }
        assert_eq!(web_state(&actors).await.free_slots, Some(2));
    });
}

#[test]
fn a_service_that_is_defined_again_before_it_could_be_taken_away_keeps_its_slots() {
    in_virtual_time(async |world| {
        started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[1, 3]).await;
        // No reload can be made, so that its section stays.
        world.with(|things| things.disk_full = true);
        world.define(&[]).await;
        wait(2).await;
        world.with(|things| things.commands.clear());
        world.define(&[("web", WEB)]).await;
        assert_eq!(world.ready("web"), [1, 3], "no list was seen that says otherwise");
        world.hosts("web", &[1, 3]).await;
        wait(2).await;
        assert_eq!((world.ready("web"), world.with(|things| things.commands.clone())), (vec![1, 3], vec![]));
    });
}

#[test]
fn so_does_one_that_goes_while_the_first_process_is_being_started() {
    in_virtual_time(async |world| {
        world.with(|things| {
            things.version = (2, 2);
            things.check_takes = Duration::from_secs(3);
        });
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2, 3]).await;
        world.define(&[]).await;
        while world.starts() == 0 {
            wait(1).await;
        }
        world.define(&[("web", WEB)]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2, 3], "no list was seen that says otherwise");
        world.hosts("web", &[1, 2, 3]).await;
        wait(5).await;
        assert_eq!((world.ready("web"), world.with(|things| things.commands.clone())), (vec![1, 2, 3], vec![]));
    });
}

#[test]
fn the_plan_says_what_it_lacks() {
    let definition = planned::definition(&[], "");
    let mut table = SlotTable::default();
    table.place(&list(&[1]), RULES, nobody_leaves);
    let proxy = Proxy::started_with(&definition, &table.servers(&list(&[1])));
    let hosts = list(&[1, 2, 3, 4, 5]);
    table.place(&hosts, RULES, nobody_leaves);
    let plan = proxy.plan_by(UpdateStrategy::Slots, Some(&table), &definition, &table.servers(&hosts), (2, 2));
    assert_eq!(words(&plan)[0], "server h5: no slot is free for it");
}
