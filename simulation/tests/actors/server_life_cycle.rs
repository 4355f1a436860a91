//! Life cycle of servers: drain, removal and ramp-up.

use std::time::Duration;

use proxymgr_actors::model::{LifeCyclePolicy, ServerName, ServiceName};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{ScriptedWorld, haproxy_state, in_virtual_time, policy, wait};

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

async fn started(world: &ScriptedWorld, definition: &str, drain_timeout_s: u64, ramp_up_s: u64) -> Actors {
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

fn admin_state(world: &ScriptedWorld, n: u8) -> Option<u16> {
    world.server("web", server(n).as_str()).map(|server| server.admin_state)
}

fn weight(world: &ScriptedWorld, n: u8) -> u16 {
    world.server("web", server(n).as_str()).expect("HAProxy has it").weight
}

fn has_sessions(world: &ScriptedWorld, n: u8, count: u64) {
    world.set_sessions(server(n).as_str(), count);
}

#[test]
fn removed_host_drains_until_idle() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 60, 0).await;
        has_sessions(&world, 1, 3);
        world.hosts("web", &[2]).await;
        assert_eq!(admin_state(&world, 1), Some(8));
        wait(20).await;
        assert_eq!(admin_state(&world, 1), Some(8), "it has sessions");
        let leaving = haproxy_state(&actors).await.services[&service()].exceptions.leaving[&server(1)].clone();
        assert_eq!((leaving.sessions, leaving.until_unix_ms - leaving.since_unix_ms), (Some(3), 60_000));
        has_sessions(&world, 1, 0);
        wait(2).await;
        assert_eq!(admin_state(&world, 1), Some(1));
        assert!(haproxy_state(&actors).await.services[&service()].exceptions.leaving.is_empty());
        wait(50).await;
        assert_eq!(admin_state(&world, 1), Some(1), "it may return");
        wait(30).await;
        assert_eq!((admin_state(&world, 1), world.starts()), (None, 1));
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
    });
}

#[test]
fn busy_host_leaves_at_drain_timeout() {
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
fn removal_is_saved_when_drain_begins() {
    in_virtual_time(async |world| {
        started(&world, WEB, 60, 0).await;
        wait(5).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        let saved = world.saved().services[0].hosts.clone().expect("its hosts are known");
        assert_eq!((admin_state(&world, 1), saved.keys().collect::<Vec<_>>()), (Some(8), vec![&server(2)]));
    });
}

#[test]
fn returning_host_ends_its_drain() {
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
        assert!(state.services[&service()].exceptions.leaving.is_empty() && state.counts.drift == 0);
    });
}

#[test]
fn host_removed_during_start_drains() {
    in_virtual_time(async |world| {
        let life_cycle = LifeCyclePolicy { drain_timeout: Duration::from_secs(60), ramp_up: Duration::ZERO };
        world.start_under(proxymgr_actors::model::ProxyPolicy { life_cycle, ..policy(&[]) });
        world.takes(Work::Check, Duration::from_secs(5));
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
fn zero_drain_timeout_means_maintenance() {
    in_virtual_time(async |world| {
        started(&world, AT_ONCE, 60, 0).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        assert_eq!(admin_state(&world, 1), Some(1), "the service sets it itself");
    });
}

#[test]
fn reload_ends_drain() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 60, 0).await;
        has_sessions(&world, 1, 1);
        world.hosts("web", &[2]).await;
        world.define(&[("web", WEB_CHANGED)]).await;
        wait(3).await;
        assert_eq!((world.starts(), admin_state(&world, 1)), (2, None));
        assert!(haproxy_state(&actors).await.services[&service()].exceptions.leaving.is_empty());
    });
}

#[test]
fn new_host_ramps_up_in_steps() {
    in_virtual_time(async |world| {
        let actors = started(&world, WEB, 0, 100).await;
        assert_eq!(weight(&world, 1), 100, "the hosts of the first list are not new");
        world.hosts("web", &[1, 2, 3]).await;
        let mut weights = Vec::new();
        for _ in 0..11 {
            weights.push(weight(&world, 3));
            wait(10).await;
        }
        assert_eq!(weights, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]);
        assert_eq!((weight(&world, 1), world.starts()), (100, 1));
        assert!(haproxy_state(&actors).await.services[&service()].exceptions.rising.is_empty());
        let file = world.file();
        let line = file.lines().find(|line| line.contains("server 10.0.0.3:80 ")).expect("it is in the file");
        assert!(line.ends_with("weight 100"), "{line}");
    });
}

#[test]
fn reload_keeps_ramp_up() {
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
