//! Properties of the plan: its execution brings HAProxy into the desired state, and the next plan is empty.

#![allow(missing_docs)]

mod planned;

use std::collections::BTreeSet;
use std::sync::Arc;

use planned::{FORCED_DRAIN, FORCED_MAINTENANCE, Proxy, definition, host, list, words};
use proptest::prelude::*;
use proxymgr_actors::decide::hosts_diff::HostsDiff;
use proxymgr_actors::decide::proxy_plan::{DisabledBy, Refusal, ServicePlan, Step};
use proxymgr_actors::decide::scope::Scope;
use proxymgr_actors::limits::RUNTIME_ADDS_MAX;
use proxymgr_actors::model::{
    AdminState, Endpoint, Host, HostList, InBase, PlanClass, ReloadReason, RuntimeCommand, ServerName,
    ServiceDefinition, UpdateStrategy,
};

fn hosts() -> impl Strategy<Value = HostList> {
    let state = prop_oneof![4 => Just(AdminState::Ready), 1 => Just(AdminState::Drain), 1 => Just(AdminState::Maint)];
    let one = (0_u8..8, 0_u8..4, 1_u16..3, proptest::option::of(0_u16..=256), state);
    proptest::collection::vec(one, 0..8).prop_map(|drawn| {
        let named = |(name, last, port, weight, state)| {
            let mut host = host(&format!("10.0.0.{last}"));
            host.endpoint = Endpoint::parse(&format!("10.0.0.{last}:{port}")).unwrap();
            host.weight = weight;
            host.state = state;
            (ServerName::new(&format!("s{name}")).unwrap(), host.into())
        };
        drawn.into_iter().map(named).collect()
    })
}

proptest! {
    #[test]
    fn executed_plan_reaches_the_desired_state(
        before in hosts(), after in hosts(), checked in any::<bool>(),
    ) {
        let definition = definition(&["balance roundrobin"], if checked { "check inter 2s" } else { "" });
        let mut proxy = Proxy::started_with(&definition, &before);
        for wanted in [&before, &after, &before, &after] {
            // A server that moves, or is replaced, needs two plans.
            for _ in 0..2 {
                let plan = proxy.plan(&definition, wanted, (3, 0));
                prop_assert_eq!(words(&plan), Vec::<String>::new());
                proxy.carry_out(&plan, wanted);
            }
            prop_assert_eq!(proxy.serves(wanted), Ok(()));
            prop_assert_eq!(proxy.plan(&definition, wanted, (3, 0)), ServicePlan::default());
        }
    }

    #[test]
    fn plan_of_changed_servers_equals_plan_of_all(
        before in hosts(), after in hosts(), tampered in proptest::collection::btree_set(0_u8..8, 0..3),
    ) {
        let definition = definition(&["balance roundrobin"], "");
        let mut proxy = Proxy::started_with(&definition, &before);
        for _ in 0..2 {
            let plan = proxy.plan(&definition, &before, (3, 0));
            proxy.carry_out(&plan, &before);
        }
        let mut changed: BTreeSet<_> = HostsDiff::between(&before, &after).servers().cloned().collect();
        for name in tampered.iter().map(|number| ServerName::new(&format!("s{number}")).unwrap()) {
            proxy.servers.entry(name.clone()).and_modify(|server| server.weight += 1);
            changed.insert(name);
        }
        let part = proxy.plan_part(UpdateStrategy::Dynamic, None, &definition, &after, (3, 0), &Scope::Servers(changed));
        prop_assert_eq!(part, proxy.plan(&definition, &after, (3, 0)));
    }

    #[test]
    fn only_new_hosts_need_a_reload_on_old_haproxy(before in hosts(), after in hosts()) {
        let definition = definition(&[], "");
        let proxy = Proxy::started_with(&definition, &before);
        let plan = proxy.plan(&definition, &after, (2, 2));
        let added = after.keys().filter(|name| !before.contains_key(*name)).count();
        let keeps_another = |reason: &&ReloadReason| reason.text.contains("it still serves");
        let others = plan.reload.len() - plan.reload.iter().filter(keeps_another).count();
        prop_assert!(others == added && (added > 0 || others == plan.reload.len()), "{:?}", plan.reload);
        let only_new = |step: &&Step| {
            step.commands.iter().any(|command| matches!(command, RuntimeCommand::AddServer { .. }))
        };
        prop_assert_eq!(plan.steps.iter().find(only_new), None);
    }
}

#[test]
fn weights_that_take_too_long_are_left_to_a_reload() {
    let definition = definition(&["balance random"], "");
    let of_weight = |weight: u16, numbers: std::ops::Range<u32>| -> HostList {
        let named = |number: u32| {
            let mut host = host(&std::net::Ipv4Addr::from(0x0A00_0000 + number).to_string());
            host.weight = Some(weight);
            (ServerName::new(&format!("s{number}")).unwrap(), Arc::new(host))
        };
        numbers.map(named).collect()
    };
    let proxy = Proxy::started_with(&definition, &of_weight(1, 0..1_000));
    let heavy = of_weight(256, 1..1_000);
    for scope in [Scope::Whole, Scope::Servers(of_weight(1, 0..1_000).keys().cloned().collect())] {
        let plan = proxy.plan_part(UpdateStrategy::Dynamic, None, &definition, &heavy, (3, 0), &scope);
        assert_eq!(plan.steps.len(), 1, "only the server of the host that is gone changes");
        assert_eq!(plan.steps[0].class, PlanClass::RuntimeDisable);
        assert_eq!(plan.reload.len(), 1, "{:?}", plan.reload);
    }
}

#[test]
fn removed_and_returning_hosts_need_no_reload() {
    let definition = definition(&[], "");
    let mut proxy = Proxy::started_with(&definition, &list(&["a", "b"]));
    for (wanted, class, command) in [
        (list(&["a"]), PlanClass::RuntimeDisable, "set server web/b state maint"),
        (list(&["a", "b"]), PlanClass::RuntimeEnable, "set server web/b state ready"),
    ] {
        let plan = proxy.plan(&definition, &wanted, (2, 2));
        assert!(plan.reload.is_empty(), "{:?}", plan.reload);
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].class, class);
        assert_eq!(plan.steps[0].commands.iter().map(ToString::to_string).collect::<Vec<_>>(), [command]);
        proxy.carry_out(&plan, &wanted);
    }
}

#[test]
fn host_with_the_name_of_a_server_of_the_base_is_left_to_a_reload() {
    let definition = |required: &[&str]| ServiceDefinition {
        in_base: Some(Arc::new(InBase {
            required_servers: required.iter().map(|name| ServerName::new(name).unwrap()).collect(),
            ..InBase::default()
        })),
        ..definition(&[], "")
    };
    let plan = Proxy::default().plan(&definition(&["b"]), &list(&["a"]), (3, 0));
    assert_eq!((plan.steps.len(), words(&plan)), (1, Vec::new()));
    let plan = Proxy::default().plan(&definition(&["a"]), &list(&["a"]), (3, 0));
    assert_eq!(plan.steps, []);
    let [reason] = words(&plan).try_into().unwrap();
    assert!(reason.contains("the base configuration of the running process has a server of its name"), "{reason}");
}

#[test]
fn new_host_is_added_with_inherited_options() {
    let definition = definition(&["default-server inter 3s"], "check maxconn 10");
    let plan = Proxy::default().plan(&definition, &list(&["a"]), (3, 0));
    let commands: Vec<_> = plan.steps[0].commands.iter().map(ToString::to_string).collect();
    assert_eq!(
        commands,
        [
            "add server web/a 10.0.0.1:80 id 893258 hash-key addr-port inter 3s check maxconn 10",
            "enable health web/a",
            "set server web/a state ready"
        ]
    );
}

#[test]
fn added_server_gets_pool_options_before_3_0() {
    let plan = Proxy::default().plan(&definition(&[], ""), &list(&["a"]), (2, 6));
    let add = plan.steps[0].commands[0].to_string();
    assert_eq!(add, "add server web/a 10.0.0.1:80 id 893258 pool-max-conn -1 pool-purge-delay 5s");
}

#[test]
fn reload_reason_is_a_text() {
    let new = list(&["a"]);
    let reason = |definition: &ServiceDefinition, version| words(&Proxy::default().plan(definition, &new, version));
    for (listen_options, server_options, version, words) in [
        (vec![], "", (2, 2), "server a: HAProxy 2.2 cannot add servers at run time (2.6 can)"),
        (vec!["balance static-rr"], "", (3, 0), "server a: balance static-rr does not take servers at run time"),
        (vec!["balance source"], "", (3, 0), "server a: balance source does not take servers at run time"),
        (vec![], "cookie x", (2, 6), "server a: HAProxy 2.6 does not take the option cookie at run time"),
    ] {
        assert_eq!(reason(&definition(&listen_options, server_options), version), [words]);
    }
    let consistent = definition(&["balance source", "hash-type consistent"], "");
    assert_eq!(reason(&consistent, (3, 0)), Vec::<String>::new());
}

#[test]
fn changed_section_needs_a_reload_with_changed_lines() {
    let proxy = Proxy::started_with(&definition(&["balance roundrobin"], ""), &list(&["a"]));
    let plan = proxy.plan(&definition(&["balance leastconn"], ""), &list(&["a"]), (3, 0));
    assert_eq!(words(&plan), ["`balance roundrobin` became `balance leastconn`"]);
}

#[test]
fn drain_on_socket_is_kept() {
    let definition = definition(&[], "");
    let mut proxy = Proxy::started_with(&definition, &list(&["a"]));
    proxy.servers.iter_mut().for_each(|(_, server)| server.admin_state = FORCED_DRAIN);
    assert_eq!(proxy.plan(&definition, &list(&["a"]), (3, 0)), ServicePlan::default());
}

#[test]
fn refused_runtime_change_becomes_a_reload() {
    let mut proxy = Proxy::default();
    let refusal = Refusal { commands: Vec::new(), words: "No such thing.".to_owned() };
    proxy.refused.insert(ServerName::new("a").unwrap(), refusal);
    let plan = proxy.plan(&definition(&[], ""), &list(&["a"]), (3, 0));
    assert!(plan.steps.is_empty());
    assert_eq!(words(&plan), ["server a: HAProxy refused a change at run time: No such thing."]);
}

#[test]
fn inherited_weight_is_not_changed() {
    let definition = definition(&["default-server weight 10"], "");
    let mut proxy = Proxy::started_with(&definition, &list(&["a"]));
    proxy.servers.iter_mut().for_each(|(_, server)| server.weight = 10);
    assert_eq!(proxy.plan(&definition, &list(&["a"]), (3, 0)), ServicePlan::default());
}

#[test]
fn moved_server_is_ready_after_its_address_is_observed() {
    let definition = definition(&[], "");
    let mut proxy = Proxy::started_with(&definition, &list(&["a"]));
    let mut moved = list(&["a"]);
    moved.iter_mut().for_each(|(_, there)| *there = host("10.0.0.9").into());
    let texts = |plan: &ServicePlan| {
        plan.steps.iter().flat_map(|step| &step.commands).map(ToString::to_string).collect::<Vec<_>>()
    };
    let first = proxy.plan(&definition, &moved, (2, 2));
    assert_eq!(texts(&first), ["set server web/a state maint", "set server web/a addr 10.0.0.9 port 80"]);
    proxy.carry_out(&first, &moved);
    assert_eq!(texts(&proxy.plan(&definition, &moved, (2, 2))), ["set server web/a state ready"]);
}

#[test]
fn change_to_a_host_name_needs_a_reload() {
    let definition = definition(&[], "");
    let proxy = Proxy::started_with(&definition, &list(&["a"]));
    let mut named = list(&["a"]);
    named.iter_mut().for_each(|(_, there)| *there = host("a.example").into());
    let plan = proxy.plan(&definition, &named, (3, 0));
    assert_eq!(words(&plan), ["server a: it is now at the host name a.example, which cannot be set at run time"]);
}

/// Creates servers at unix sockets, by name.
fn at_sockets(sockets: &[(&str, &str)]) -> HostList {
    let host = |path| Host::at(Endpoint::parse(&format!("unix@{path}")).unwrap()).into();
    sockets.iter().map(|(name, path)| (ServerName::new(name).unwrap(), host(path))).collect()
}

#[test]
fn unix_socket_is_added_at_run_time() {
    let (definition, before) = (definition(&[], "check"), at_sockets(&[("a", "/run/a.sock")]));
    let mut proxy = Proxy::started_with(&definition, &before);
    assert_eq!(proxy.plan(&definition, &before, (2, 6)), ServicePlan::default());
    let both = at_sockets(&[("a", "/run/a.sock"), ("b", "/run/b.sock")]);
    let plan = proxy.plan(&definition, &both, (2, 6));
    assert!(
        plan.reload.is_empty()
            && plan.steps[0].commands[0].to_string().starts_with("add server web/b unix@/run/b.sock id ")
    );
    proxy.carry_out(&plan, &both);
    assert_eq!(proxy.plan(&definition, &both, (2, 6)), ServicePlan::default());
    assert_eq!(proxy.plan(&definition, &both, (2, 2)), ServicePlan::default());
}

#[test]
fn change_of_a_unix_socket_needs_a_reload() {
    let definition = definition(&[], "");
    let (socket, address) = (at_sockets(&[("a", "/run/a.sock")]), list(&["a"]));
    for (before, after, reason) in [
        (
            &socket,
            &at_sockets(&[("a", "/run/b.sock")]),
            "server a: it is now at unix@/run/b.sock, which cannot be set at run time",
        ),
        (&address, &socket, "server a: it is now at unix@/run/a.sock, which cannot be set at run time"),
        (&socket, &address, "server a: it was at unix@/run/a.sock, which cannot be changed at run time"),
    ] {
        let plan = Proxy::started_with(&definition, before).plan(&definition, after, (3, 0));
        assert_eq!((words(&plan), plan.steps), (vec![reason.to_owned()], Vec::new()));
    }
    let renamed = at_sockets(&[("b", "/run/a.sock")]);
    let plan = Proxy::started_with(&definition, &socket).plan(&definition, &renamed, (2, 2));
    assert_eq!((plan.steps.len(), plan.reload.len()), (0, 1), "a serves the socket of b until the reload");
}

#[test]
fn reload_strategy_changes_only_states_at_run_time() {
    let definition = definition(&[], "");
    let proxy = Proxy::started_with(&definition, &list(&["a", "b"]));
    let plan = |wanted: &HostList| proxy.plan_by(UpdateStrategy::Reload, None, &definition, wanted, (3, 0));
    assert_eq!(plan(&list(&["a", "b"])), ServicePlan::default());
    assert_eq!(words(&plan(&list(&["a"]))), ["server b: the host is gone from discovery"]);
    let mut other = list(&["a", "b", "c"]);
    other.retain(|name, _| name.as_str() != "b");
    Arc::make_mut(other.iter_mut().next().unwrap().1).endpoint = host("10.0.0.9").endpoint;
    let (moved, plan_of_other) = ("server a: it moved from 10.0.0.1:80 to 10.0.0.9:80", plan(&other));
    assert_eq!(words(&plan_of_other)[0], moved);
    assert!(plan_of_other.steps.is_empty() && words(&plan_of_other)[1].starts_with("server c: it is new"));
    let mut drained = list(&["a", "b"]);
    Arc::make_mut(drained.iter_mut().next().unwrap().1).state = AdminState::Drain;
    let plan = plan(&drained);
    assert!(plan.reload.is_empty() && plan.steps.len() == 1, "a file cannot hold a drain: {plan:?}");
}

#[test]
fn toggle_strategy_adds_hosts_by_reload() {
    let definition = definition(&[], "");
    let proxy = Proxy::started_with(&definition, &list(&["a"]));
    let plan = proxy.plan_by(UpdateStrategy::Toggle, None, &definition, &list(&["b"]), (3, 0));
    assert_eq!(words(&plan), ["server b: it is new, and update: toggle leaves that to reloads"]);
    assert!(plan.steps.is_empty(), "a has the address of b, and serves it until the reload");
}

/// Creates backups with these priorities, by name.
fn backups(places: &[(&str, Option<u16>)]) -> HostList {
    let host = |priority| Host { backup: true, priority, ..host("10.0.0.1") };
    places.iter().map(|(name, priority)| (ServerName::new(name).unwrap(), host(*priority).into())).collect()
}

#[test]
fn new_first_backup_needs_a_reload() {
    let definition = definition(&[], "");
    let in_file = backups(&[("b", Some(1)), ("c", Some(2))]);
    let proxy = Proxy::started_with(&definition, &in_file);
    for (wanted, reloads) in [
        (backups(&[("b", Some(1)), ("c", Some(2)), ("a", Some(3))]), 0),
        (backups(&[("b", Some(1)), ("c", Some(2)), ("a", None)]), 0),
        (backups(&[("b", Some(1)), ("c", Some(2)), ("a", Some(0))]), 1),
        // It would be added last in any case.
        (backups(&[("b", Some(0)), ("c", Some(5)), ("a", Some(3))]), 1),
        (backups(&[("b", Some(7)), ("c", Some(2))]), 1),
        (backups(&[("b", Some(3)), ("c", Some(8))]), 0),
        (backups(&[("c", Some(2))]), 0),
    ] {
        let plan = proxy.plan(&definition, &wanted, (3, 0));
        assert_eq!(plan.reload.len(), reloads, "{wanted:?}: {:?}", plan.reload);
    }
}

#[test]
fn order_of_backups_can_be_irrelevant() {
    let unplaced = Proxy::started_with(&definition(&[], ""), &backups(&[("b", None), ("c", None)]));
    let wanted = backups(&[("a", None), ("b", None), ("c", None)]);
    assert_eq!(words(&unplaced.plan(&definition(&[], ""), &wanted, (3, 0))), Vec::<String>::new());
    let all = definition(&["option allbackups"], "");
    let proxy = Proxy::started_with(&all, &backups(&[("b", Some(1)), ("c", Some(2))]));
    let swapped = backups(&[("a", Some(0)), ("b", Some(2)), ("c", Some(1))]);
    assert_eq!(words(&proxy.plan(&all, &swapped, (3, 0))), Vec::<String>::new());
}

#[test]
fn runtime_change_keeps_the_order_of_servers() {
    let definition = definition(&[], "");
    let mut proxy = Proxy::started_with(&definition, &backups(&[("b", Some(1)), ("c", Some(2))]));
    let mut wanted = backups(&[("b", Some(1)), ("c", Some(2))]);
    let moved = Host { backup: true, priority: Some(9), ..host("10.0.0.7") };
    wanted.insert(ServerName::new("b").unwrap(), moved.into());
    let plan = proxy.plan(&definition, &wanted, (3, 0));
    proxy.applied.extend(plan.steps.iter().filter_map(|step| Some((step.server.clone(), step.applies.clone()?))));
    assert_eq!(proxy.plan(&definition, &wanted, (3, 0)).reload.len(), 1, "c should be first, and b still is");
}

#[test]
fn server_with_a_taken_id_needs_a_reload() {
    let definition = definition(&[], "");
    let mut proxy = Proxy::started_with(&definition, &list(&["b"]));
    proxy.servers.iter_mut().for_each(|(_, server)| server.id = Some(893_258));
    let plan = proxy.plan(&definition, &list(&["a", "b"]), (3, 0));
    assert_eq!((plan.steps.len(), plan.reload.len()), (0, 1));
}

#[test]
fn drained_server_moves_without_maintenance() {
    let definition = definition(&[], "");
    let mut moved = list(&["a"]);
    moved.iter_mut().for_each(|(_, there)| *there = host("10.0.0.9").into());
    for (state, commands) in [(0, 2), (FORCED_DRAIN, 1), (FORCED_MAINTENANCE, 1)] {
        let mut proxy = Proxy::started_with(&definition, &list(&["a"]));
        proxy.servers.iter_mut().for_each(|(_, server)| server.admin_state = state);
        let plan = proxy.plan(&definition, &moved, (3, 0));
        assert_eq!(plan.steps[0].commands.len(), commands, "{:?}", plan.steps);
        assert_eq!(plan.steps[0].disabled_by, (state != FORCED_DRAIN).then_some(DisabledBy::Move));
    }
}

#[test]
fn step_names_who_disables_the_server() {
    let definition = definition(&[], "");
    let in_state = |state| {
        let mut hosts = list(&["a"]);
        hosts.iter_mut().for_each(|(_, there)| Arc::make_mut(there).state = state);
        hosts
    };
    let proxy = Proxy::started_with(&definition, &list(&["a"]));
    for (hosts, class, reason) in [
        (list(&[]), PlanClass::RuntimeDisable, Some(DisabledBy::Removal)),
        (in_state(AdminState::Drain), PlanClass::RuntimeDisable, Some(DisabledBy::Discovery)),
        (in_state(AdminState::Maint), PlanClass::RuntimeDisable, Some(DisabledBy::Discovery)),
    ] {
        let step = &proxy.plan(&definition, &hosts, (3, 0)).steps[0];
        assert_eq!((step.class, step.disabled_by), (class, reason), "{hosts:?}");
    }
    let step = &Proxy::default().plan(&definition, &list(&["a"]), (3, 0)).steps[0];
    assert_eq!((step.class, step.disabled_by), (PlanClass::RuntimeEnable, None));
}

#[test]
fn server_in_maintenance_with_other_options_is_replaced() {
    let (before, after) = (definition(&[], ""), definition(&[], "maxconn 5"));
    let mut proxy = Proxy::started_with(&before, &list(&["a"]));
    assert_eq!(proxy.plan(&after, &list(&["a"]), (3, 0)).reload.len(), 1, "it takes traffic");
    proxy.servers.iter_mut().for_each(|(_, server)| server.admin_state = FORCED_MAINTENANCE);
    for commands in [vec!["del server web/a"], vec!["add server", "set server web/a state ready"]] {
        let plan = proxy.plan(&after, &list(&["a"]), (3, 0));
        let texts: Vec<_> = plan.steps.iter().flat_map(|step| &step.commands).map(ToString::to_string).collect();
        assert_eq!(texts.len(), commands.len(), "{texts:?}");
        assert!(texts.iter().zip(commands).all(|(text, command)| text.starts_with(command)), "{texts:?}");
        proxy.carry_out(&plan, &list(&["a"]));
    }
    assert_eq!(proxy.plan(&after, &list(&["a"]), (2, 2)), ServicePlan::default());
}

#[test]
fn very_many_new_hosts_are_left_to_a_reload() {
    let definition = definition(&[], "");
    let proxy = Proxy::started_with(&definition, &list(&["a"]));
    let new = |n: usize| {
        let name = ServerName::new(&format!("n{n}")).unwrap();
        (name, host(&format!("10.1.{}.{}", n / 256, n % 256)).into())
    };
    let plan = proxy.plan(&definition, &(0..=RUNTIME_ADDS_MAX).map(new).collect(), (3, 0));
    assert_eq!(words(&plan)[0], "2001 hosts are new, which a reload adds sooner");
    assert_eq!(plan.steps.iter().map(|step| step.server.as_str()).collect::<Vec<_>>(), ["a"]);
    let plan = proxy.plan(&definition, &(0..RUNTIME_ADDS_MAX).map(new).collect(), (3, 0));
    assert!(plan.reload.is_empty() && plan.steps.len() == RUNTIME_ADDS_MAX + 1);
}

#[test]
fn removals_precede_additions_unless_few_servers_would_be_left() {
    let definition = definition(&[], "");
    let order = |before: &[&str], after: &[&str]| {
        let plan = Proxy::started_with(&definition, &list(before)).plan(&definition, &list(after), (3, 0));
        plan.steps.iter().map(|step| step.server.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(&["a", "b", "d"], &["a", "b", "c"]), ["d", "c"]);
    assert_eq!(order(&["d"], &["c"]), ["c", "d"]);
}
