//! Operators' overrides of single servers.

use std::time::Duration;

use proxymgr_actors::journal::Event;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{
    AdminState, Host, OnStop, OperatorChoice, RuntimeCommand, ServerId, ServerName, ServiceName,
};
use proxymgr_actors::operator::{Order, OrderRefused, SetServer};
use proxymgr_actors::port::SavedService;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{self, ScriptedWorld, haproxy_state, host, in_virtual_time, journal, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const WEB_CHANGED: &str = r#"{"type": "static", "port": 8080, "listen_options": ["balance leastconn"]}"#;

fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn server(n: u8) -> ServerName {
    ServerName::new(&format!("10.0.0.{n}:80")).unwrap()
}

fn choose(n: u8, state: AdminState) -> SetServer {
    SetServer {
        service: service(),
        server: server(n),
        state,
        for_ms: None,
        reason: Some("a new disk".to_owned()),
        by: None,
    }
}

async fn order(actors: &Actors, order: SetServer) -> String {
    actors.order(Order::SetServer(order)).await.expect("the order can be carried out")
}

async fn two_hosts(world: &ScriptedWorld) -> Actors {
    let actors = world.start();
    world.define(&[("web", WEB)]).await;
    world.hosts("web", &[1, 2]).await;
    actors
}

async fn choices(actors: &Actors) -> Vec<OperatorChoice> {
    haproxy_state(actors).await.services[&service()].exceptions.operator.values().cloned().collect()
}

fn admin_state(world: &ScriptedWorld, n: u8) -> u16 {
    world.server("web", server(n).as_str()).expect("HAProxy has it").admin_state
}

fn saved(world: &ScriptedWorld) -> Vec<SavedService> {
    let saved = world.saved().services;
    serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap()
}

#[test]
fn operator_maintenance_outlasts_discovery_changes() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        let done = order(&actors, choose(1, AdminState::Maint)).await;
        assert_eq!(done, "server 10.0.0.1:80 of web is in maintenance: a new disk");
        wait(1).await;
        assert_eq!(world.ready("web"), [2]);
        world.hosts("web", &[1, 2, 3]).await;
        wait(65).await;
        assert_eq!(world.ready("web"), [2, 3]);
        assert_eq!(choices(&actors).await[0].reason.as_deref(), Some("a new disk"));
        order(&actors, choose(1, AdminState::Ready)).await;
        wait(1).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2, 3], 1));
        assert!(choices(&actors).await.is_empty());
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
    });
}

#[test]
fn override_survives_reload_and_restart() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        order(&actors, choose(1, AdminState::Drain)).await;
        order(&actors, choose(2, AdminState::Maint)).await;
        world.define(&[("web", WEB_CHANGED)]).await;
        wait(3).await;
        assert_eq!((world.starts(), admin_state(&world, 1), admin_state(&world, 2)), (2, 12, 5));
        assert_eq!(world.file().matches(" disabled").count(), 2, "it never starts as ready");

        let after = world.another();
        let actors = after.start_with(saved(&world));
        after.define(&[("web", WEB_CHANGED)]).await;
        after.hosts("web", &[1, 2, 3]).await;
        wait(3).await;
        assert_eq!((after.ready("web"), admin_state(&after, 1), admin_state(&after, 2)), (vec![3], 12, 5));
        assert_eq!(choices(&actors).await.len(), 2);
    });
}

#[test]
fn override_is_saved_at_once() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        wait(5).await;
        order(&actors, choose(1, AdminState::Maint)).await;
        scripted::settle().await;
        assert_eq!(saved(&world)[0].choices[&server(1)].state, AdminState::Maint);
    });
}

#[test]
fn slow_older_save_does_not_win() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        wait(5).await;
        world.takes(Work::Save, Duration::from_secs(1));
        order(&actors, choose(1, AdminState::Maint)).await;
        scripted::settle().await;
        world.takes(Work::Save, Duration::ZERO);
        order(&actors, choose(2, AdminState::Maint)).await;
        // The end of the daemon does not wait for a timer.
        actors.stop(OnStop::Stop).await;
        // Longer than the older save takes, and shorter than the time until the next one.
        wait(2).await;
        assert_eq!(saved(&world)[0].choices.len(), 2);
    });
}

#[test]
fn override_with_duration_ends() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        let done = order(&actors, SetServer { for_ms: Some(600_000), ..choose(1, AdminState::Drain) }).await;
        assert!(done.contains("drains, for 600 s"), "{done}");
        wait(599).await;
        assert_eq!(world.ready("web"), [2]);
        wait(2).await;
        assert_eq!(world.ready("web"), [1, 2]);
        let story = journal(&actors, "web").await;
        assert!(
            story.iter().any(|entry| matches!(&entry.event, Event::ChoiceEnded { why } if why == "it has expired"))
        );
    });
}

#[test]
fn override_waits_for_its_host_then_expires() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        order(&actors, choose(1, AdminState::Maint)).await;
        world.hosts("web", &[2]).await;
        wait(600).await;
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [2], "it returns in maintenance");
        world.hosts("web", &[2]).await;
        wait(3_700).await;
        assert!(choices(&actors).await.is_empty());
        world.hosts("web", &[1, 2]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn override_beats_drain_by_discovery() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        let seen = |state| {
            let drained = Host { state, ..host(1) };
            let seen = |(key, host): (&str, Host)| SeenHost::new(key, Ok(host));
            vec![seen(("1", drained)), seen(("2", host(2)))]
        };
        world.hosts_seen("web", Ok(seen(AdminState::Drain))).await;
        assert_eq!(world.ready("web"), [2]);
        order(&actors, choose(1, AdminState::Ready)).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2]);
        world.hosts_seen("web", Ok(seen(AdminState::Ready))).await;
        assert!(choices(&actors).await.is_empty(), "they agree");
        world.hosts_seen("web", Ok(seen(AdminState::Drain))).await;
        assert_eq!(world.ready("web"), [2], "discovery decides again");
    });
}

#[test]
fn manual_drain_is_reported_and_survives_reload() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        let drain = |world: &ScriptedWorld, state: u16| {
            let id = ServerId { service: service(), server: server(1) };
            world.tamper(&if state == 8 { RuntimeCommand::SetDrain(id) } else { RuntimeCommand::SetReady(id) });
        };
        let shown = async |actors: &Actors| {
            haproxy_state(actors).await.services[&service()].exceptions.drained_on_socket.clone()
        };
        drain(&world, 8);
        wait(65).await;
        assert_eq!((admin_state(&world, 1), shown(&actors).await), (8, vec![server(1)]));
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
        world.define(&[("web", WEB_CHANGED)]).await;
        wait(3).await;
        assert_eq!((world.starts(), admin_state(&world, 1), shown(&actors).await), (2, 8, vec![server(1)]));
        drain(&world, 0);
        wait(65).await;
        assert_eq!((world.ready("web"), shown(&actors).await), (vec![1, 2], vec![]), "and so is its end");
        drain(&world, 8);
        wait(35).await;
        order(&actors, choose(1, AdminState::Ready)).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2], "an order ends it, too");
    });
}

#[test]
fn impossible_order_is_refused() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        let refused = async |order: SetServer| actors.order(Order::SetServer(order)).await.unwrap_err();
        assert!(matches!(refused(choose(1, AdminState::Maint)).await, OrderRefused::NotNow(_)));
        world.hosts("web", &[1]).await;
        let unknown = OrderRefused::UnknownServer { service: service(), server: server(9) };
        assert_eq!(refused(choose(9, AdminState::Maint)).await, unknown);
        let nothing = SetServer { for_ms: Some(0), ..choose(1, AdminState::Maint) };
        assert!(matches!(refused(nothing).await, OrderRefused::Invalid(_)));
        let long = SetServer { reason: Some("x".repeat(201)), ..choose(1, AdminState::Maint) };
        assert!(matches!(refused(long).await, OrderRefused::Invalid(_)));
        assert!(choices(&actors).await.is_empty());
    });
}

#[test]
fn reload_clears_refusal_of_draining_server() {
    in_virtual_time(async |world| {
        let actors = two_hosts(&world).await;
        world.refuse_commands(Some("add server"));
        let drained = SeenHost::new("3", Ok(Host { state: AdminState::Drain, ..host(3) }));
        let ready = |n: u8| SeenHost::new(n.to_string(), Ok(host(n)));
        world.hosts_seen("web", Ok(vec![ready(1), ready(2), drained])).await;
        wait(10).await;
        assert_eq!((admin_state(&world, 3), world.ready("web")), (12, vec![1, 2]));
        assert_eq!(haproxy_state(&actors).await.services[&service()].problem, None);
    });
}
