//! Tests of agents: their reports are kept, and overrides take precedence over them.

#![allow(missing_docs)]

mod planned;

use std::sync::Arc;

use planned::{FORCED_DRAIN, FORCED_MAINTENANCE, Proxy, definition, list};
use proptest::prelude::*;
use proxymgr_actors::decide::proxy_plan::{DisabledBy, ServicePlan};
use proxymgr_actors::model::{
    AdminState, AgentState, HostList, ObservedServer, RuntimeCommand, ServerName, ServiceDefinition,
};

const VERSIONS: [(u16, u16); 4] = [(2, 2), (2, 6), (3, 0), (3, 2)];

fn with_agent() -> ServiceDefinition {
    definition(&[], "agent-check agent-port 9000")
}

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

fn in_state(state: AdminState) -> HostList {
    let mut hosts = list(&["a"]);
    Arc::make_mut(hosts.get_mut(&name("a")).unwrap()).state = state;
    hosts
}

fn weighing(weight: u16) -> HostList {
    let mut hosts = list(&["a"]);
    Arc::make_mut(hosts.get_mut(&name("a")).unwrap()).weight = Some(weight);
    hosts
}

/// Returns the commands of a plan without reload, by their first words.
fn commands(plan: &ServicePlan) -> Vec<&'static str> {
    assert_eq!(plan.reload, []);
    let verb = |command: &RuntimeCommand| match command {
        RuntimeCommand::AddServer { .. } => "add",
        RuntimeCommand::EnableHealth(_) => "enable health",
        RuntimeCommand::EnableAgent(_) => "enable agent",
        RuntimeCommand::DisableAgent(_) => "disable agent",
        RuntimeCommand::SetReady(_) => "ready",
        RuntimeCommand::SetDrain(_) => "drain",
        RuntimeCommand::SetMaintenance(_) => "maint",
        RuntimeCommand::SetWeight(..) => "weight",
        RuntimeCommand::SetAddress(..) => "address",
        RuntimeCommand::DeleteServer(_) => "delete",
    };
    plan.steps.iter().flat_map(|step| &step.commands).map(verb).collect()
}

fn planned(proxy: &Proxy, wanted: &HostList) -> Vec<&'static str> {
    commands(&proxy.plan(&with_agent(), wanted, (3, 0)))
}

fn carry_out(proxy: &mut Proxy, wanted: &HostList, version: (u16, u16)) {
    for _ in 0..4 {
        let plan = proxy.plan(&with_agent(), wanted, version);
        proxy.carry_out(&plan, wanted);
    }
    assert_eq!(proxy.plan(&with_agent(), wanted, version).steps, [], "the plan is carried out");
}

#[test]
fn state_and_weight_of_an_agent_are_left_alone() {
    for (admin_state, percent) in [(FORCED_MAINTENANCE, 100), (FORCED_DRAIN, 100), (0, 50), (FORCED_MAINTENANCE, 0)] {
        let hosts = weighing(40);
        let mut proxy = Proxy::started_with(&with_agent(), &hosts);
        proxy.agents_report(admin_state, percent);
        assert_eq!(planned(&proxy, &hosts), [""; 0]);
    }
}

#[test]
fn maintenance_without_an_agent_is_repaired() {
    let mut proxy = Proxy::started_with(&definition(&[], ""), &list(&["a"]));
    proxy.servers.iter_mut().for_each(|(_, server)| server.admin_state = FORCED_MAINTENANCE);
    let plan = proxy.plan(&definition(&[], ""), &list(&["a"]), (3, 0));
    assert_eq!(commands(&plan), ["ready"]);
}

#[test]
fn removal_disables_the_agent_first() {
    for reported in [0, FORCED_MAINTENANCE, FORCED_DRAIN] {
        let mut proxy = Proxy::started_with(&with_agent(), &list(&["a", "b"]));
        proxy.agents_report(reported, 100);
        let plan = proxy.plan(&with_agent(), &list(&["b"]), (3, 0));
        // Also in maintenance: the agent may have ended that since.
        assert_eq!(commands(&plan), ["disable agent", "maint"]);
        assert!(plan.steps.iter().all(|step| step.disabled_by == Some(DisabledBy::Removal)));
    }
}

#[test]
fn return_enables_the_agent_again() {
    let mut proxy = Proxy::started_with(&with_agent(), &list(&["a"]));
    carry_out(&mut proxy, &HostList::new(), (3, 0));
    assert_eq!(planned(&proxy, &list(&["a"])), ["ready", "enable agent"]);
}

#[test]
fn ordered_state_disables_the_agent_first() {
    for (state, last) in [(AdminState::Drain, "drain"), (AdminState::Maint, "maint")] {
        let mut proxy = Proxy::started_with(&with_agent(), &list(&["a"]));
        assert_eq!(planned(&proxy, &in_state(state)), ["disable agent", last]);
        carry_out(&mut proxy, &in_state(state), (3, 0));
        assert_eq!(planned(&proxy, &list(&["a"])), ["ready", "enable agent"]);
    }
}

#[test]
fn maintenance_of_the_file_ends_with_its_reason() {
    // The process starts with it in maintenance, while discovery reports it as ready.
    let proxy = Proxy::started_with(&with_agent(), &in_state(AdminState::Maint));
    assert_eq!(planned(&proxy, &list(&["a"])), ["ready"]);
}

#[test]
fn new_weight_is_ordered_once_under_an_agent() {
    let mut proxy = Proxy::started_with(&with_agent(), &weighing(40));
    proxy.agents_report(0, 50);
    assert_eq!(planned(&proxy, &weighing(80)), ["weight"]);
    carry_out(&mut proxy, &weighing(80), (3, 0));
    proxy.agents_report(0, 50);
    assert_eq!(planned(&proxy, &weighing(80)), [""; 0]);
}

#[test]
fn added_server_gets_its_agent_enabled() {
    for version in VERSIONS.into_iter().filter(|version| *version >= (2, 6)) {
        let plan = Proxy::default().plan(&with_agent(), &list(&["a"]), version);
        assert_eq!(commands(&plan), ["add", "ready", "enable agent"]);
        let plan = Proxy::default().plan(&with_agent(), &in_state(AdminState::Maint), version);
        assert_eq!(commands(&plan), ["add"]);
    }
}

#[derive(Debug, Clone)]
enum Event {
    Hosts(Vec<(&'static str, AdminState)>),
    Agents(u16, u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let state = prop_oneof![3 => Just(AdminState::Ready), 1 => Just(AdminState::Drain), 1 => Just(AdminState::Maint)];
    let host = (prop::sample::select(vec!["a", "b", "c"]), state);
    let report = (prop::sample::select(vec![0, FORCED_MAINTENANCE, FORCED_DRAIN]), 0_u16..=100);
    let event = prop_oneof![
        proptest::collection::vec(host, 0..4).prop_map(Event::Hosts),
        report.prop_map(|(admin_state, percent)| Event::Agents(admin_state, percent)),
    ];
    proptest::collection::vec(event, 1..20)
}

fn is_out(server: &ObservedServer) -> bool {
    server.in_maintenance() || server.in_drain()
}

proptest! {
    #[test]
    fn agents_rule_ready_servers_and_no_others(events in events(), version in prop::sample::select(&VERSIONS[1..])) {
        let mut wanted = list(&["a", "b", "c"]);
        let mut proxy = Proxy::started_with(&with_agent(), &wanted);
        for event in events {
            match event {
                Event::Hosts(hosts) => {
                    wanted = HostList::new();
                    for (host, state) in hosts {
                        let mut one = list(&[host]);
                        Arc::make_mut(one.get_mut(&name(host)).unwrap()).state = state;
                        wanted.extend(one);
                    }
                }
                Event::Agents(admin_state, percent) => proxy.agents_report(admin_state, percent),
            }
            carry_out(&mut proxy, &wanted, version);
            for (server, observed) in &proxy.servers {
                let is_ready = wanted.get(server).is_some_and(|host| host.state == AdminState::Ready);
                let agent = if is_ready { AgentState::Enabled } else { AgentState::Disabled };
                prop_assert_eq!(observed.agent, agent, "{}", server);
                prop_assert!(is_ready || is_out(observed), "{} takes traffic", server);
            }
        }
        // The final reports of the agents are in effect.
        proxy.agents_report(0, 100);
        carry_out(&mut proxy, &wanted, version);
        for (server, host) in wanted.iter().filter(|(_, host)| host.state == AdminState::Ready) {
            prop_assert!(!is_out(&proxy.servers[server]), "{} {:?}", server, host);
        }
    }
}
