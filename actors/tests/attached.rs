//! A HAProxy that somebody else runs, as a daemon that was started again finds it.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::service_definition::parse;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{
    AdminState, Host, HostList, LifeCyclePolicy, ObservedServer, ProxyFrame, ProxyPolicy, RawDefinition, RunBy,
    ServerName, ServiceName, SlotRules,
};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::port::{SavedService, SavedState};
use world::{World, haproxy_state, host, in_virtual_time, policy, settle, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const DRAIN: u16 = 8;

fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn server(n: u8) -> ServerName {
    ServerName::new(&format!("10.0.0.{n}:80")).unwrap()
}

/// What the daemon before has saved: these hosts, in these states.
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
    };
    SavedState { services: vec![service], definitions_guard: Default::default() }
}

/// A HAProxy with these servers in these states.
fn has(world: &World, servers: &[(u8, u16)]) {
    let found = |(n, admin_state): &(u8, u16)| {
        let address = format!("10.0.0.{n}").into();
        let admin_state = *admin_state;
        (server(*n), ObservedServer { address, port: 80, fqdn: None, admin_state, operational_state: 2, weight: 1 })
    };
    world.with(|things| things.proxy = [(service(), servers.iter().map(found).collect())].into());
}

fn of_others() -> ProxyPolicy {
    let policy = policy(&[]);
    ProxyPolicy { frame: ProxyFrame { run_by: RunBy::Others, ..policy.frame }, ..policy }
}

fn admin_state(world: &World, n: u8) -> u16 {
    world.with(|things| things.proxy[&service()][&server(n)].admin_state)
}

#[test]
fn what_the_daemon_before_drained_because_its_host_was_gone_is_ready_when_the_host_is_back() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let actors = world.start_as(of_others(), saved(&[(2, AdminState::Ready)]));
        settle().await;
        // The list of before is in force until the source has told its own, and that is before HAProxy is looked for.
        world.hosts("web", &[1, 2]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(haproxy_state(&actors).await.services[&service()].drained_on_socket.is_empty());
    });
}

#[test]
fn what_somebody_drained_while_the_daemon_before_wanted_it_ready_stays_so() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let actors = world.start_as(of_others(), saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]));
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(65).await;
        assert_eq!((admin_state(&world, 1), world.ready("web")), (DRAIN, vec![2]));
        assert_eq!(haproxy_state(&actors).await.services[&service()].drained_on_socket, [server(1)]);
    });
}

#[test]
fn what_discovery_had_drained_is_ready_when_discovery_no_longer_drains_it() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        world.start_as(of_others(), saved(&[(1, AdminState::Drain), (2, AdminState::Ready)]));
        settle().await;
        world.hosts("web", &[1, 2]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn what_is_found_draining_as_its_host_comes_and_discovery_drains_it_is_discoverys_to_end() {
    in_virtual_time(async |world| {
        has(&world, &[(2, 0)]);
        world.start_as(of_others(), SavedState::default());
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[2]).await;
        wait(1).await;
        // Whoever runs it adds the server, and drains it from the beginning.
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
fn what_a_process_refused_is_tried_again_with_the_one_that_somebody_starts_in_its_place() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let actors = world.start_as(of_others(), SavedState::default());
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        world.with(|things| things.refuse = Some("set server web/10.0.0.2:80 state maint".to_owned()));
        let (state, for_ms) = (AdminState::Maint, Some(20_000));
        let order = SetServer { service: service(), server: server(2), state, for_ms, reason: None };
        actors.order(Order::SetServer(order)).await.unwrap();
        wait(1).await;
        world.with(|things| {
            things.refuse = None;
            things.pid += 1;
        });
        has(&world, &[(1, 0)]);
        wait(120).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn what_was_drained_for_an_operator_is_ready_when_its_service_is_removed_and_defined_again() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let actors = world.start_as(of_others(), SavedState::default());
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        let order =
            SetServer { service: service(), server: server(1), state: AdminState::Drain, for_ms: None, reason: None };
        actors.order(Order::SetServer(order)).await.unwrap();
        wait(1).await;
        assert_eq!(admin_state(&world, 1), DRAIN);
        world.define(&[]).await;
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2], "the choice went with its service");
    });
}

#[test]
fn what_was_drained_before_a_restart_of_haproxy_was_seen_is_not_taken_for_drained_by_hand() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let actors = world.start_as(of_others(), SavedState::default());
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        world.with(|things| things.pid += 1);
        let order =
            SetServer { service: service(), server: server(1), state: AdminState::Drain, for_ms: None, reason: None };
        actors.order(Order::SetServer(order)).await.unwrap();
        wait(1).await;
        world.define(&[]).await;
        wait(65).await;
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn what_somebody_drained_stays_so_although_the_service_is_in_slots_elsewhere() {
    in_virtual_time(async |world| {
        has(&world, &[(1, DRAIN), (2, 0)]);
        let mut before = saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]);
        let web = &mut before.services[0];
        let rules = SlotRules { base: 2, grow_by: 2, min_free: 0 };
        web.slots.place(web.hosts.as_ref().unwrap(), rules, |_| false);
        world.start_as(of_others(), before);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(65).await;
        assert_eq!((admin_state(&world, 1), world.ready("web")), (DRAIN, vec![2]));
    });
}

#[test]
fn what_drains_since_its_host_went_as_the_daemon_began_is_ready_when_the_host_is_back() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let life_cycle = LifeCyclePolicy { drain_timeout: Duration::from_secs(60), ..LifeCyclePolicy::default() };
        let before = saved(&[(1, AdminState::Ready), (2, AdminState::Ready)]);
        world.with(|things| things.sessions = [(server(1).to_string(), 1)].into());
        world.start_as(ProxyPolicy { life_cycle, ..of_others() }, before);
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
fn what_was_drained_without_an_answer_is_ready_when_its_service_is_removed_and_defined_again() {
    in_virtual_time(async |world| {
        has(&world, &[(1, 0), (2, 0)]);
        let actors = world.start_as(of_others(), SavedState::default());
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        world.with(|things| things.answers_lost = true);
        let order =
            SetServer { service: service(), server: server(1), state: AdminState::Drain, for_ms: None, reason: None };
        actors.order(Order::SetServer(order)).await.unwrap();
        world.define(&[]).await;
        wait(1).await;
        world.with(|things| things.answers_lost = false);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(60).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}
