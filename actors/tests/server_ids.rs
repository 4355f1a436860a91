//! Tests of persistent ids: stable, unique, evenly spread, and equal on all machines.

#![allow(missing_docs)]

mod planned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use planned::definition;
use proptest::prelude::*;
use proxymgr_actors::decide::base;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section_header, server_line};
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::server_ids::{Numbering, ServerIdRegistry, ServerIds, derived};
use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::model::{
    Address, BaseConfig, Endpoint, Host, HostList, PersistentId, ProxyManagement, ProxyVersion, ServerName, SlotRules,
    UpdateStrategy,
};

fn endpoint(text: &str) -> Endpoint {
    let (address, port) = text.rsplit_once(':').unwrap();
    Endpoint::Tcp { address: Address::parse(address).unwrap(), port: port.parse().unwrap() }
}

fn server(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

/// Creates hosts named after their endpoints.
fn list<'a>(endpoints: impl IntoIterator<Item = &'a str>) -> Arc<HostList> {
    Arc::new(endpoints.into_iter().map(|text| (server(text), Host::at(endpoint(text)).into())).collect())
}

fn named(name: &str, at: &str) -> Arc<HostList> {
    Arc::new([(server(name), Host::at(endpoint(at)).into())].into_iter().collect())
}

fn ids(registry: &ServerIdRegistry, hosts: &HostList) -> BTreeMap<ServerName, PersistentId> {
    hosts.iter().map(|(name, host)| (name.clone(), registry.ids().of(name, &host.endpoint))).collect()
}

fn assigned(hosts: &Arc<HostList>, numbering: Numbering) -> BTreeMap<ServerName, PersistentId> {
    let mut registry = ServerIdRegistry::default();
    registry.assign(hosts, numbering);
    ids(&registry, hosts)
}

/// Returns two endpoints that derive the same id, with one more host between them by name.
fn colliding() -> (String, String) {
    let mut seen = BTreeMap::new();
    for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
        let text = format!("10.0.{a}.{b}:80");
        if let Some(other) = seen.insert(derived(&endpoint(&text)), text.clone()) {
            return if other < text { (other, text) } else { (text, other) };
        }
    }
    panic!("65,536 endpoints with as many ids");
}

#[test]
fn derived_id_is_the_same_in_every_release() {
    for (text, id) in [
        ("10.0.0.1:80", 893_258),
        ("10.0.0.2:80", 718_686),
        ("10.0.0.1:81", 234_934),
        ("[2001:db8::1]:80", 389_031),
        ("a.example:80", 623_137),
    ] {
        assert_eq!(derived(&endpoint(text)).get(), id, "{text}");
    }
}

#[test]
fn derived_ids_are_spread_over_the_range() {
    let ids: Vec<u32> =
        (0..65_536).map(|n: u32| derived(&endpoint(&format!("10.1.{}.{}:8080", n >> 8, n & 255))).rank()).collect();
    let mut buckets = [0_u32; 64];
    ids.iter().for_each(|rank| buckets[usize::try_from(*rank / (PersistentId::COUNT / 64)).unwrap()] += 1);
    // 1,024 are expected in each, with a standard deviation of 32.
    assert!(buckets.iter().all(|count| (1_024 - 160..1_024 + 160).contains(count)), "{buckets:?}");
    // Of 65,536 random ids of 983,040 about 2,140 are not the first with their number.
    let collisions = ids.len() - ids.iter().collect::<BTreeSet<_>>().len();
    assert!((1_900..2_400).contains(&collisions), "{collisions}");
}

#[test]
fn earlier_server_keeps_its_id_on_collision() {
    let (first, second) = colliding();
    for (earlier, later) in [(&first, &second), (&second, &first)] {
        let (one, both) = (list([earlier.as_str()]), list([first.as_str(), second.as_str()]));
        let mut registry = ServerIdRegistry::default();
        registry.assign(&one, Numbering::ByEndpoint);
        registry.assign(&both, Numbering::ByEndpoint);
        let ids = ids(&registry, &both);
        assert_eq!(ids[&server(earlier)], derived(&endpoint(earlier)));
        assert_eq!(ids[&server(later)].get(), derived(&endpoint(earlier)).get() + 1);
    }
}

#[test]
fn collision_outlives_the_other_server_and_a_restart() {
    let (first, second) = colliding();
    let (both, one) = (list([first.as_str(), second.as_str()]), list([second.as_str()]));
    let mut registry = ServerIdRegistry::default();
    registry.assign(&both, Numbering::ByEndpoint);
    let before = ids(&registry, &both);
    registry.assign(&one, Numbering::ByEndpoint);
    registry.forget(&server(&first));
    assert_eq!(ids(&registry, &one)[&server(&second)], before[&server(&second)]);

    let definition = definition(&[], "");
    let mut restored = ServerIdRegistry::restored(&definition, &registry.remembered(), &one);
    // The first one came back while the daemon was down, and must not get its old id back from the other one.
    restored.assign(&both, Numbering::ByEndpoint);
    assert_eq!(ids(&restored, &both), before);
}

#[test]
fn restart_keeps_ids_when_a_rival_appears() {
    let (first, second) = colliding();
    let (before, after) = (list([second.as_str()]), list([first.as_str(), second.as_str()]));
    let mut restored = ServerIdRegistry::restored(&definition(&[], ""), &BTreeMap::new(), &before);
    restored.assign(&after, Numbering::ByEndpoint);
    let ids = ids(&restored, &after);
    assert_eq!(ids[&server(&second)], derived(&endpoint(&second)));
    assert_ne!(ids[&server(&first)], derived(&endpoint(&first)));
}

#[test]
fn departed_server_blocks_its_id_until_it_is_deleted() {
    let (first, second) = colliding();
    for is_deleted in [false, true] {
        let mut registry = ServerIdRegistry::default();
        registry.assign(&list([first.as_str()]), Numbering::ByEndpoint);
        registry.assign(&list([]), Numbering::ByEndpoint);
        if is_deleted {
            registry.keep(|_| false);
        }
        let hosts = list([second.as_str()]);
        registry.assign(&hosts, Numbering::ByEndpoint);
        let has_derived = ids(&registry, &hosts)[&server(&second)] == derived(&endpoint(&second));
        assert_eq!(has_derived, is_deleted);
    }
}

#[test]
fn moved_server_keeps_its_id() {
    let mut registry = ServerIdRegistry::default();
    registry.assign(&named("a", "10.0.0.1:80"), Numbering::ByEndpoint);
    let moved = named("a", "10.0.0.2:80");
    registry.assign(&moved, Numbering::ByEndpoint);
    assert_eq!(ids(&registry, &moved)[&server("a")], derived(&endpoint("10.0.0.1:80")));
    assert_eq!(registry.remembered(), [(server("a"), derived(&endpoint("10.0.0.1:80")))].into());
    let back = named("a", "10.0.0.1:80");
    registry.assign(&back, Numbering::ByEndpoint);
    assert_eq!(registry.remembered(), BTreeMap::new());
}

#[test]
fn slot_keeps_its_id_whoever_takes_it() {
    let rules = SlotRules { base: 3, grow_by: 20, min_free: 0 };
    let mut table = SlotTable::default();
    let mut registry = ServerIdRegistry::default();
    for hosts in [
        list(["10.0.0.1:80"]),
        list(["10.0.0.2:80"]),
        list(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]),
    ] {
        table.place(&hosts, rules, |_| false);
        let servers = Arc::new(table.servers(&hosts));
        registry.assign(&servers, Numbering::BySlot);
        for (slot, id) in ids(&registry, &servers) {
            let number: u32 = slot.as_str()["slot".len()..].parse().unwrap();
            assert_eq!(id.get(), PersistentId::MIN.get() + number - 1);
        }
    }
    assert_eq!(registry.remembered(), BTreeMap::new());
}

#[test]
fn numbering_follows_balance_and_strategy() {
    for (options, strategy, numbering) in [
        (vec![], UpdateStrategy::Dynamic, Numbering::ByEndpoint),
        (vec!["balance roundrobin"], UpdateStrategy::Toggle, Numbering::ByEndpoint),
        (vec!["balance first"], UpdateStrategy::Dynamic, Numbering::InOrder),
        (vec!["balance first", "balance leastconn"], UpdateStrategy::Dynamic, Numbering::ByEndpoint),
        (vec!["balance first"], UpdateStrategy::Slots, Numbering::BySlot),
    ] {
        assert_eq!(Numbering::of(&definition(&options, ""), strategy), numbering, "{options:?}");
    }
}

#[test]
fn ordered_ids_leave_gaps_for_newcomers() {
    let all: Vec<String> = (10..30).map(|n| format!("10.0.0.{n}:80")).collect();
    let every_other = list(all.iter().step_by(2).map(String::as_str));
    let all = list(all.iter().map(String::as_str));
    let mut registry = ServerIdRegistry::default();
    registry.assign(&every_other, Numbering::InOrder);
    let before = ids(&registry, &every_other);
    registry.assign(&all, Numbering::InOrder);
    let after = ids(&registry, &all);
    assert!(before.iter().all(|(server, id)| after[server] == *id));
    assert!(after.values().is_sorted_by(|one, next| one < next));
}

#[test]
fn ordered_ids_are_renumbered_when_no_gap_is_left() {
    let name = |n: u32| format!("s{n:05}");
    let hosts = |numbers: &[u32]| -> Arc<HostList> {
        Arc::new(numbers.iter().map(|n| (server(&name(*n)), Host::at(endpoint("10.0.0.1:80")).into())).collect())
    };
    let mut numbers = vec![0, 90_000];
    let mut registry = ServerIdRegistry::default();
    registry.assign(&hosts(&numbers), Numbering::InOrder);
    let first = ids(&registry, &hosts(&numbers))[&server(&name(90_000))];
    // Each comes right before the last one: the gap is halved each time.
    let mut steps = 0;
    while ids(&registry, &hosts(&numbers))[&server(&name(90_000))] == first {
        steps += 1;
        numbers.push(steps);
        registry.assign(&hosts(&numbers), Numbering::InOrder);
        let ids = ids(&registry, &hosts(&numbers));
        assert!(ids.values().is_sorted_by(|one, next| one < next), "{ids:?}");
        assert!(steps < 1_000, "the gap is not that large");
    }
    assert!(steps > 8, "{steps}");
}

/// Generates successive lists of hosts, by number.
fn lists() -> impl Strategy<Value = Vec<BTreeSet<u16>>> {
    proptest::collection::vec(proptest::collection::btree_set(0_u16..400, 0..40), 1..12)
}

fn hosts_of(numbers: &BTreeSet<u16>) -> Arc<HostList> {
    let text = |n: &u16| format!("10.0.{}.{}:80", n / 200, n % 200);
    Arc::new(numbers.iter().map(text).map(|text| (server(&text), Host::at(endpoint(&text)).into())).collect())
}

fn numbering() -> impl Strategy<Value = Numbering> {
    prop_oneof![Just(Numbering::ByEndpoint), Just(Numbering::InOrder)]
}

proptest! {
    #[test]
    fn ids_are_unique_in_range_and_stable(lists in lists(), numbering in numbering()) {
        let mut registry = ServerIdRegistry::default();
        let mut before = BTreeMap::new();
        for numbers in lists {
            let hosts = hosts_of(&numbers);
            registry.assign(&hosts, numbering);
            let now = ids(&registry, &hosts);
            let distinct: BTreeSet<_> = now.values().collect();
            prop_assert_eq!(distinct.len(), now.len());
            prop_assert!(now.values().all(|id| (PersistentId::MIN..=PersistentId::MAX).contains(id)));
            if numbering == Numbering::ByEndpoint {
                for (server, id) in &now {
                    prop_assert_eq!(before.get(server).unwrap_or(id), id, "{} keeps its id", server);
                }
            } else {
                prop_assert!(now.values().is_sorted_by(|one, next| one < next));
            }
            before = now;
        }
    }

    #[test]
    fn ids_do_not_depend_on_who_came_before(lists in lists()) {
        // Collisions are exempt; with 400 hosts they are rare.
        let last = hosts_of(lists.last().expect("there is one list at least"));
        let mut registry = ServerIdRegistry::default();
        lists.iter().for_each(|numbers| registry.assign(&hosts_of(numbers), Numbering::ByEndpoint));
        prop_assert_eq!(ids(&registry, &last), assigned(&last, Numbering::ByEndpoint));
    }

    #[test]
    fn restart_changes_no_id(lists in lists(), balance in prop_oneof![Just("balance first"), Just("balance uri")]) {
        let definition = definition(&[balance], "");
        let numbering = Numbering::of(&definition, UpdateStrategy::Dynamic);
        let mut registry = ServerIdRegistry::default();
        lists.iter().for_each(|numbers| registry.assign(&hosts_of(numbers), numbering));
        let last = hosts_of(lists.last().expect("there is one list at least"));
        let mut restored = ServerIdRegistry::restored(&definition, &registry.remembered(), &last);
        restored.assign(&last, numbering);
        prop_assert_eq!(ids(&restored, &last), ids(&registry, &last));
    }
}

#[test]
fn operator_allowed_id_replaces_ours() {
    let policy = OptionPolicy { extra: vec!["id".to_owned()], ..OptionPolicy::default() };
    let definition = definition(&[], "");
    let host = host_record::from_json_value(
        &serde_json::json!({"address": "10.0.0.1", "port": 80, "options": "id 7"}),
        &policy,
    )
    .unwrap();
    let line = server_line(
        &definition,
        &ServerName::new("a").unwrap(),
        &host.host,
        Some(&ServerIds::default()),
        SectionStyle::default(),
    );
    assert_eq!(line.trim(), "server a 10.0.0.1:80 id 7");
}

#[test]
fn hash_key_is_set_from_3_0_on_unless_chosen() {
    const V2_6: Option<ProxyVersion> = Some(ProxyVersion { major: 2, minor: 6 });
    const V3_0: Option<ProxyVersion> = Some(ProxyVersion { major: 3, minor: 0 });
    for (version, defaults, options, expected) in [
        (V3_0, vec![], vec![], true),
        (V3_0, vec![], vec!["default-server check"], true),
        (V2_6, vec![], vec![], false),
        (None, vec![], vec![], false),
        (V3_0, vec!["default-server hash-key id".to_owned()], vec![], false),
        (V3_0, vec![], vec!["default-server hash-key addr"], false),
    ] {
        let base_config = BaseConfig {
            files: Vec::new(),
            global: [].into(),
            defaults,
            socket_path: "/run/haproxy/stats.sock".into(),
            map_path: "/etc/haproxy/haproxy.cfg.domains".into(),
            state_file: None,
            management: ProxyManagement::Supervised,
        };
        let header = section_header(&definition(&options, ""), SectionStyle::of(&base::layout(&base_config), version));
        let added = header.contains("    default-server hash-key addr-port\n");
        assert_eq!(added, expected, "{version:?} {options:?}");
    }
}
