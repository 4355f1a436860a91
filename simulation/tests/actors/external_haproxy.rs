//! An external HAProxy, as a restarted daemon finds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::service_definition::parse;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{
    AdminState, Host, HostList, LifeCyclePolicy, ProxyPolicy, RawDefinition, RuntimeCommand, ServerId, ServerName,
    ServiceName, SlotRules,
};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::port::{SavedService, SavedState};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{
    ScriptedWorld, external_policy, haproxy_state, host, in_virtual_time, settle, wait,
};

use crate::stage::{remove_all, report};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const DRAIN: u16 = 8;

fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn server(n: u8) -> ServerName {
    ServerName::new(&format!("10.0.0.{n}:80")).unwrap()
}

/// Returns the saved state of the previous daemon: these hosts, in these states.
fn saved(hosts: &[(u8, AdminState)]) -> SavedState {
    let definition = parse("web", &RawDefinition::new(WEB, "a test"), &OptionPolicy::default()).unwrap().definition;
    let host = |(n, state): &(u8, AdminState)| (server(*n), Host { state: *state, ..host(*n) }.into());
    let hosts: HostList = hosts.iter().map(host).collect();
    let service = SavedService {
        definition: Arc::new(definition),
        hosts: Some(Arc::new(hosts)),
        seen_at_unix_ms: 0,
        choices: BTreeMap::new(),
        guard: Default::default(),
        slots: Default::default(),
        ids: BTreeMap::new(),
        down: BTreeMap::new(),
    };
    SavedState { services: vec![service], definitions_guard: Default::default() }
}

/// Starts an external HAProxy with these servers, ready or in drain.
fn has(world: &ScriptedWorld, servers: &[(u8, u16)]) {
    let line = |n: &u8| format!("    server 10.0.0.{n}:80 10.0.0.{n}:80\n");
    let lines: String = servers.iter().map(|(n, _)| line(n)).collect();
    world.run_external_haproxy(&format!("listen web\n    balance roundrobin\n{lines}"));
    for (n, _) in servers.iter().filter(|(_, state)| *state == DRAIN) {
        world.tamper(&RuntimeCommand::SetDrain(ServerId { service: service(), server: server(*n) }));
    }
}

/// Starts an external HAProxy with servers 1 and 2, and a daemon without saved state for the same hosts.
async fn two_hosts(world: &ScriptedWorld) -> Actors {
    has(world, &[(1, 0), (2, 0)]);
    let actors = world.start_as(external_policy(), SavedState::default());
    report(world, &[("web", WEB, &[1, 2])]).await;
    wait(1).await;
    actors
}

async fn order(actors: &Actors, n: u8, state: AdminState, for_ms: Option<u64>) {
    let order = SetServer { service: service(), server: server(n), state, for_ms, reason: None, by: None };
    actors.order(Order::SetServer(order)).await.expect("the order can be carried out");
}

fn admin_state(world: &ScriptedWorld, n: u8) -> u16 {
    world.server("web", server(n).as_str()).expect("HAProxy has it").admin_state
}

#[test]
fn earlier_drain_of_removed_host_ends_on_return() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let actors = world.start_as(external_policy(), saved(&[(2, AdminState::Ready)]));
        settle().await;
        // The saved list is applied until the source reports, which happens before the search for HAProxy.
        world.hosts("web", &[1, 2]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(haproxy_state(&actors).await.services[&service()].exceptions.drained_on_socket.is_empty());
    });
}

#[test]
fn restart_keeps_manual_drain() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let actors = world.start_as(external_policy(), saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]));
        report(&world, &[("web", WEB, &[1, 2])]).await;
        wait(65).await;
        assert_eq!((admin_state(&world, 1), world.ready("web")), (DRAIN, vec![2]));
        assert_eq!(haproxy_state(&actors).await.services[&service()].exceptions.drained_on_socket, [server(1)]);
    });
}

#[test]
fn earlier_drain_by_discovery_ends_with_it() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        world.start_as(external_policy(), saved(&[(1, AdminState::Drain), (2, AdminState::Ready)]));
        settle().await;
        world.hosts("web", &[1, 2]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn drain_found_on_new_host_belongs_to_discovery() {
    in_virtual_time(async |world| {
        has(&world, &[(2, 0)]);
        world.start_as(external_policy(), SavedState::default());
        report(&world, &[("web", WEB, &[2])]).await;
        wait(1).await;
        // The operator of that HAProxy adds the server in drain.
        has(&world, &[(1, DRAIN), (2, 0)]);
        let seen = |n: u8, state| SeenHost::new(n.to_string(), Ok(Host { state, ..host(n) }));
        world.hosts_seen("web", Ok(vec![seen(1, AdminState::Drain), seen(2, AdminState::Ready)])).await;
        wait(65).await;
        assert_eq!(admin_state(&world, 1), DRAIN);
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn refused_command_is_retried_on_next_process() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        world.refuse_commands(Some("set server web/10.0.0.2:80 state maint"));
        order(&actors, 2, AdminState::Maint, Some(20_000)).await;
        wait(1).await;
        world.refuse_commands(None);
        has(&world, &[(1, 0)]);
        wait(120).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn override_drain_ends_with_its_service() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        order(&actors, 1, AdminState::Drain, None).await;
        wait(1).await;
        assert_eq!(admin_state(&world, 1), DRAIN);
        remove_all(&world, &actors).await;
        report(&world, &[("web", WEB, &[1, 2])]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2], "the override ended with its service");
    });
}

#[test]
fn drain_before_unseen_restart_is_not_manual() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        has(&world, &[(1, 0), (2, 0)]);
        order(&actors, 1, AdminState::Drain, None).await;
        wait(1).await;
        remove_all(&world, &actors).await;
        wait(65).await;
        report(&world, &[("web", WEB, &[1, 2])]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn manual_drain_stays_although_primary_uses_slots() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let mut before = saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]);
        let web = &mut before.services[0];
        let rules = SlotRules { base: 2, grow_by: 2, min_free: 0 };
        web.slots.place(web.hosts.as_ref().unwrap(), rules, |_| false);
        world.start_as(external_policy(), before);
        report(&world, &[("web", WEB, &[1, 2])]).await;
        wait(65).await;
        assert_eq!((admin_state(&world, 1), world.ready("web")), (DRAIN, vec![2]));
    });
}

#[test]
fn drain_begun_at_start_ends_on_return() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let life_cycle = LifeCyclePolicy { drain_timeout: Duration::from_secs(60), ..LifeCyclePolicy::default() };
        let before = saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]);
        world.set_sessions(server(1).as_str(), 1);
        world.start_as(ProxyPolicy { life_cycle, ..external_policy() }, before);
        settle().await;
        world.hosts("web", &[2]).await;
        world.define(&[("web", WEB)]).await;
        wait(1).await;
        assert_eq!(admin_state(&world, 1), DRAIN);
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn unanswered_drain_ends_with_its_service() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        world.hang_socket(true);
        order(&actors, 1, AdminState::Drain, None).await;
        remove_all(&world, &actors).await;
        wait(1).await;
        world.heal_socket();
        report(&world, &[("web", WEB, &[1, 2])]).await;
        wait(60).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}
