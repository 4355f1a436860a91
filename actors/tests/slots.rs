//! Tests of slots: their assignment, and that changes need no reload while slots are free.

#![allow(missing_docs)]

mod planned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use planned::{Proxy, words};
use proptest::prelude::*;
use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::model::{AdminState, Host, HostList, ServerName, SlotRules, UpdateStrategy, Word};

const RULES: SlotRules = SlotRules { base: 4, grow_by: 2, min_free: 1 };

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

fn nobody_leaves(_: &ServerName) -> bool {
    false
}

/// Generates hosts by number, some with their own option.
fn hosts() -> impl Strategy<Value = HostList> {
    proptest::collection::btree_map(0_u8..12, prop_oneof![4 => Just(false), 1 => Just(true)], 0..9).prop_map(|drawn| {
        let host =
            |(n, backup)| (name(&format!("h{n}")), Host { backup, ..planned::host(&format!("10.0.0.{n}")) }.into());
        drawn.into_iter().map(host).collect()
    })
}

/// Returns the slot of each server.
fn seats(table: &SlotTable) -> BTreeMap<ServerName, ServerName> {
    table.taken()
}

proptest! {
    #[test]
    fn every_host_keeps_its_slot_or_gets_it_back(lists in proptest::collection::vec(hosts(), 1..12)) {
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
            prop_assert_eq!(shrunk.taken(), seats, "used slots are kept");
            prop_assert!(shrunk.free() >= RULES.min_free && shrunk.len() >= RULES.base);
        }
    }

    #[test]
    fn executed_plan_reaches_the_desired_state(
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
            // A slot with a new host needs two plans.
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
fn longest_free_slot_with_same_options_is_used_first() {
    let mut table = SlotTable::default();
    let mut hosts = list(&[1, 2, 3]);
    hosts.iter_mut().next().map(|(_, host)| Arc::make_mut(host)).unwrap().cookie = Some(Word::new("one").unwrap());
    table.place(&hosts, RULES, nobody_leaves);
    for left in [&[2, 3][..], &[3]] {
        table.place(&list(left), RULES, nobody_leaves);
    }
    let slot_of = |table: &SlotTable, server: &str| table.in_haproxy(&name(server)).to_string();
    table.place(&list(&[3, 4, 5, 6]), RULES, nobody_leaves);
    assert_eq!(slot_of(&table, "h4"), "slot4", "a slot that was never used");
    assert_eq!(slot_of(&table, "h5"), "slot2");
    assert_eq!(slot_of(&table, "h6"), "slot1", "its cookie makes that a reload");
    table.place(&list(&[3, 4, 6]), RULES, nobody_leaves);
    table.place(&list(&[3, 4, 6, 7]), RULES, |server| server.as_str() == "h5");
    assert_ne!(slot_of(&table, "h7"), "slot2", "h5 is still draining there");
}

#[test]
fn host_that_returns_keeps_its_old_slot_in_service_until_the_reload() {
    let definition = planned::definition(&[], "check");
    let rules = SlotRules { base: 2, grow_by: 1, min_free: 0 };
    let mut table = SlotTable::default();
    table.place(&list(&[1, 2]), rules, nobody_leaves);
    let proxy = Proxy::started_with(&definition, &table.servers(&list(&[1, 2])));
    // HAProxy does not answer: h3 takes the slot of h1, which returns and gets a slot that HAProxy lacks.
    for hosts in [&[2, 3][..], &[1, 2, 3]] {
        table.place(&list(hosts), rules, nobody_leaves);
    }
    let wanted = table.servers(&list(&[1, 2, 3]));
    let plan = proxy.plan_by(UpdateStrategy::Slots, Some(&table), &definition, &wanted, (2, 2));
    assert_eq!(plan.steps, []);
    let reasons: Vec<_> = plan.reload.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("server h3: it still serves 10.0.0.1:80"), "{reasons:?}");
}

#[test]
fn damaged_table_assigns_no_server_twice() {
    let twice = r#"[{"server": "a", "host": {"endpoint": {"address": "10.0.0.1", "port": 80}}}, null,
                    {"server": "a", "host": {"endpoint": {"address": "10.0.0.2", "port": 80}}}]"#;
    let table: SlotTable = serde_json::from_str(twice).unwrap();
    assert_eq!((table.len(), table.free(), table.in_haproxy(&name("a")).as_str()), (3, 2, "slot1"));
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

#[test]
fn table_grows_by_steps_and_shrinks_before_a_start() {
    let rules = SlotRules { base: 3, grow_by: 2, min_free: 2 };
    let mut table = SlotTable::default();
    assert!(table.is_empty());
    for (hosts, slots) in [(1, 3), (2, 5), (4, 7), (5, 7), (6, 9)] {
        table.place(&list(&Vec::from_iter(1..=hosts)), rules, nobody_leaves);
        assert_eq!((table.len(), table.free()), (slots, slots - usize::from(hosts)), "{hosts} hosts");
    }
    assert!(!table.is_empty());
    table.place(&list(&[1, 2]), rules, nobody_leaves);
    assert_eq!(table.len(), 9, "a running process keeps its slots");
    table.shrink(rules);
    assert_eq!((table.len(), table.free()), (7, 5), "twice as many as may be free");
    assert_eq!(table.in_haproxy(&name("h6")).as_str(), "slot6");
    table.place(&list(&[]), rules, nobody_leaves);
    table.shrink(SlotRules { min_free: 0, ..rules });
    assert_eq!((table.len(), table.in_haproxy(&name("h6")).as_str()), (3, "h6"), "its slot is gone");
}

#[test]
fn host_keeps_its_slot_while_it_changes() {
    let mut table = SlotTable::default();
    table.place(&list(&[1, 2]), RULES, nobody_leaves);
    let mut moved = list(&[1, 2]);
    moved.insert(name("h1"), planned::host("10.0.0.9").into());
    table.place(&moved, RULES, nobody_leaves);
    let slot = name("slot1");
    assert_eq!(table.servers(&moved)[&slot].endpoint.to_string(), "10.0.0.9:80");
    table.place(&list(&[2]), RULES, nobody_leaves);
    assert!(table.is_free(&slot) && table.taken().len() == 1);
    let free = table.servers(&list(&[2]))[&slot].clone();
    assert_eq!((free.endpoint.to_string(), free.state), ("10.0.0.9:80".to_owned(), AdminState::Maint));
}

#[test]
fn slot_with_other_options_needs_a_reload() {
    let definition = planned::definition(&[], "");
    let mut table = SlotTable::default();
    let mut hosts = list(&[1]);
    table.place(&hosts, RULES, nobody_leaves);
    let mut proxy = Proxy::started_with(&definition, &table.servers(&hosts));
    proxy.servers.iter_mut().for_each(|(_, server)| server.admin_state = planned::FORCED_MAINTENANCE);
    hosts.iter_mut().for_each(|(_, host)| Arc::make_mut(host).cookie = Some(Word::new("one").unwrap()));
    table.place(&hosts, RULES, nobody_leaves);
    let servers = table.servers(&hosts);
    let plan = proxy.plan_by(UpdateStrategy::Slots, Some(&table), &definition, &servers, (3, 0));
    assert_eq!((plan.steps.len(), plan.reload.len()), (0, 1), "a slot is not deleted: {plan:?}");
}
