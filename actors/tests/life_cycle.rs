//! How servers leave and how they begin.

mod world;

use std::time::Duration;

use proxymgr_actors::model::{LifeCyclePolicy, ServerName, ServiceName};
use proxymgr_actors::wiring::Actors;
use world::{World, haproxy_state, in_virtual_time, policy, wait};

const WEB: &str = r#"{"type": "static", "port": 8080, "server_options": ["weight 100"]}"#;
const WEB_CHANGED: &str =
    r#"{"type": "static", "port": 8080, "server_options": ["weight 100"], "listen_options": ["balance leastconn"]}"#;
const AT_ONCE: &str = r#"{"type": "static", "port": 8080, "drain_timeout": "0s"}"#;

fn server(n: u8) -> ServerName {
    ServerName::new(&format!("10.0.0.{n}:80")).unwrap()
}

fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

async fn started(world: &World, definition: &str, drain_timeout_s: u64, ramp_up_s: u64) -> Actors {
    let life_cycle = LifeCyclePolicy {
        drain_timeout: Duration::from_secs(drain_timeout_s),
        ramp_up: Duration::from_secs(ramp_up_s),
    };
    let actors = world.start_under(proxymgr_actors::model::ProxyPolicy { life_cycle, ..policy(&[]) });
    world.define(&[("web", definition)]).await;
    world.hosts("web", &[1, 2]).await;
    wait(2).await;
    actors
}

fn admin_state(world: &World, n: u8) -> Option<u16> {
    world.with(|things| things.proxy[&service()].get(&server(n)).map(|server| server.admin_state))
}

fn weight(world: &World, n: u8) -> u16 {
    world.with(|things| things.proxy[&service()][&server(n)].weight)
}

fn has_sessions(world: &World, n: u8, count: u64) {
    world.with(|things| things.sessions.insert(server(n).to_string(), count));
}

#[test]
fn a_host_that_leaves_drains_until_it_is_idle_and_is_deleted_later() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 60, 0).await;
        has_sessions(&world, 1, 3);
        world.hosts("web", &[2]).await;
        assert_eq!(admin_state(&world, 1), Some(8));
        wait(20).await;
        assert_eq!(admin_state(&world, 1), Some(8), "it has sessions");
        let leaving = haproxy_state(&actors).await.services[&service()].leaving[&server(1)].clone();
        assert_eq!((leaving.sessions, leaving.until_unix_ms - leaving.since_unix_ms), (Some(3), 60_000));
        has_sessions(&world, 1, 0);
        wait(2).await;
        assert_eq!(admin_state(&world, 1), Some(1));
        assert!(haproxy_state(&actors).await.services[&service()].leaving.is_empty());
        wait(50).await;
        assert_eq!(admin_state(&world, 1), Some(1), "it may come back");
        wait(30).await;
        assert_eq!((admin_state(&world, 1), world.starts()), (None, 1));
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
    });
}

#[test]
fn a_host_that_never_becomes_idle_goes_when_its_time_is_over() {
    in_virtual_time(async |world| {
        started(&world, WEB, 10, 0).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        wait(9).await;
        assert_eq!(admin_state(&world, 1), Some(8));
        wait(2).await;
        assert_eq!(admin_state(&world, 1), Some(1));
    });
}

#[test]
fn a_departure_is_saved_as_it_begins_so_that_the_next_daemon_knows_whose_drain_it_is() {
    in_virtual_time(async |world| {
        started(&world, WEB, 60, 0).await;
        wait(5).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        let saved = world.with(|things| things.saved[0].hosts.clone()).expect("its hosts are known");
        assert_eq!((admin_state(&world, 1), saved.keys().collect::<Vec<_>>()), (Some(8), vec![&server(2)]));
    });
}

#[test]
fn a_host_that_returns_while_it_drains_is_ready_again() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 60, 60).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        wait(5).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!((world.ready("web"), weight(&world, 1)), (vec![1, 2], 100));
        wait(120).await;
        assert_eq!(world.ready("web"), [1, 2]);
        let state = haproxy_state(&actors).await;
        assert!(state.services[&service()].leaving.is_empty() && state.counts.drift == 0);
    });
}

#[test]
fn a_host_that_leaves_while_haproxy_is_started_drains_as_well() {
    in_virtual_time(async |world| {
        let life_cycle = LifeCyclePolicy { drain_timeout: Duration::from_secs(60), ramp_up: Duration::ZERO };
        world.start_under(proxymgr_actors::model::ProxyPolicy { life_cycle, ..policy(&[]) });
        world.with(|things| things.check_takes = Duration::from_secs(5));
        has_sessions(&world, 1, 1);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.hosts("web", &[2]).await;
        assert_eq!(world.starts(), 0, "it is being checked");
        wait(10).await;
        assert_eq!((world.starts(), admin_state(&world, 1)), (1, Some(8)));
    });
}

#[test]
fn without_a_time_out_a_host_goes_into_maintenance_at_once() {
    in_virtual_time(async |world| {
        started(&world, AT_ONCE, 60, 0).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        assert_eq!(admin_state(&world, 1), Some(1), "the service says so itself");
    });
}

#[test]
fn a_reload_ends_a_departure_since_the_old_process_finishes_what_it_has() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 60, 0).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        world.define(&[("web", WEB_CHANGED)]).await;
        wait(3).await;
        assert_eq!((world.starts(), admin_state(&world, 1)), (2, None));
        assert!(haproxy_state(&actors).await.services[&service()].leaving.is_empty());
    });
}

#[test]
fn a_newcomer_rises_to_its_weight_in_steps() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 0, 100).await;
        assert_eq!(weight(&world, 1), 100, "the hosts of the first list are no newcomers");
        world.hosts("web", &[1, 2, 3]).await;
        let mut weights = Vec::new();
        for _ in 0..11 {
            weights.push(weight(&world, 3));
            wait(10).await;
        }
        assert_eq!(weights, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]);
        assert_eq!((weight(&world, 1), world.starts()), (100, 1));
        assert!(haproxy_state(&actors).await.services[&service()].rising.is_empty());
        assert!(world.with(|things| things.live_file.contains("server 10.0.0.3:80 10.0.0.3:80 weight 100")));
    });
}

#[test]
fn a_reload_does_not_end_the_rise() {
    in_virtual_time(async |world| {
        started(&world, WEB, 0, 100).await;
        world.hosts("web", &[1, 2, 3]).await;
        wait(15).await;
        world.define(&[("web", WEB_CHANGED)]).await;
        wait(3).await;
        assert_eq!((world.starts(), weight(&world, 3)), (2, 20));
        wait(100).await;
        assert_eq!(weight(&world, 3), 100);
    });
}
