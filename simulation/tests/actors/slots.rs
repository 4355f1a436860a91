//! Services in slots: hosts change without a reload while slots are free.

use std::collections::BTreeMap;
use std::time::Duration;

use proxymgr_actors::model::{
    AdminState, OperatorChoice, RuntimeCommand, ServerId, ServerName, ServerState, ServiceName, UpdateStrategy,
};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::snapshot::ServiceState;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{ScriptedWorld, haproxy_state, host, in_virtual_time, journal, wait};

use crate::stage::remove_all;

const WEB: &str = r#"{"type": "static", "port": 8080, "update": "slots", "slots": {"base": 4, "min_free": 1}}"#;

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

fn server(n: u8) -> ServerName {
    name(&format!("10.0.0.{n}:80"))
}

async fn started(world: &ScriptedWorld, hosts: &[u8]) -> Actors {
    world.install(2, 2);
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
fn hosts_change_without_reload_while_slots_are_free() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        let state = web_state(&actors).await;
        assert_eq!((state.update, state.free_slots), (UpdateStrategy::Slots, Some(2)));
        assert_eq!(world.servers("web").len(), 4);
        for hosts in [&[1, 2, 3][..], &[2, 3], &[2, 3, 4], &[1, 2, 4], &[4]] {
            world.hosts("web", hosts).await;
            wait(2).await;
            assert_eq!((world.ready("web"), world.starts()), (hosts.to_vec(), 1));
        }
        let state = web_state(&actors).await;
        assert_eq!(state.servers.keys().collect::<Vec<_>>(), [&server(4)], "status shows hosts, not slots");
        let entries = journal(&actors, "web").await;
        let of_four = entries.iter().filter(|entry| entry.server == Some(server(4))).count();
        assert!(of_four >= 2, "{entries:?}");
        assert!(entries.iter().all(|entry| entry.server.as_ref().is_none_or(|name| !name.as_str().contains("slot"))));
        wait(120).await;
        assert_eq!(world.servers("web").len(), 4, "slots are never deleted");
        assert_eq!(haproxy_state(&actors).await.counts.drift, 0);
    });
}

#[test]
fn returning_host_gets_its_slot_back() {
    in_virtual_time(async |world| {
        started(&world, &[1, 2]).await;
        world.hosts("web", &[2]).await;
        world.forget_commands();
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.commands(), ["set server web/slot1 state ready"]);
    });
}

#[test]
fn slots_grow_before_they_run_out() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[1, 2, 3, 4]).await;
        let commands = world.commands();
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
fn host_takes_slot_of_removed_host() {
    in_virtual_time(async |world| {
        started(&world, &[1, 2, 3]).await;
        world.forget_commands();
        world.hosts("web", &[1, 2, 4, 5]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2, 4, 5]);
        let commands = world.commands();
        let position = |command: &str| commands.iter().position(|sent| sent == command).expect(command);
        let moved = position("set server web/slot3 addr 10.0.0.5 port 80");
        assert!(position("set server web/slot3 state maint") < moved, "{commands:?}");
        assert!(moved < position("set server web/slot3 state ready"), "{commands:?}");
    });
}

#[test]
fn many_new_hosts_need_one_reload() {
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
fn override_reaches_the_slot_of_its_host() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        let order = |state| {
            Order::SetServer(SetServer {
                service: web(),
                server: server(1),
                state,
                for_ms: None,
                reason: None,
                by: None,
            })
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
fn manual_drain_ends_with_its_slots_host() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        world.tamper(&RuntimeCommand::SetDrain(ServerId { service: web(), server: name("slot1") }));
        wait(60).await;
        assert_eq!(web_state(&actors).await.exceptions.drained_on_socket, [server(1)]);
        world.hosts("web", &[2, 3, 4, 5]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [2, 3, 4, 5], "the drain was for host 1, not for the new host in its slot");
    });
}

#[test]
fn restart_keeps_slot_table() {
    let mut saved = Vec::new();
    in_virtual_time(async |world| {
        started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[2, 3]).await;
        wait(30).await;
        saved = world.saved().services;
    });
    assert!(saved[0].slots.len() == 4 && saved[0].choices == BTreeMap::<ServerName, OperatorChoice>::new());
    in_virtual_time(async |world| {
        world.install(2, 2);
        let restored = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        world.start_with(restored);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[3, 2, 1]).await;
        wait(2).await;
        let address = |slot: &str| world.server("web", slot).expect("HAProxy has it").endpoint();
        assert_eq!(["slot1", "slot2", "slot3"].map(address), [1, 2, 3].map(|n| Some(host(n).endpoint)));
    });
}

#[test]
fn switch_to_slots_loses_no_host() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2]).await;
        for (definition, servers) in [(r#"{"type": "static", "port": 8080}"#, 2), (WEB, 4)] {
            world.define(&[("web", definition)]).await;
            assert_eq!(world.ready("web"), [1, 2], "before the reload");
            wait(3).await;
            assert_eq!((world.ready("web"), world.servers("web").len()), (vec![1, 2], servers));
        }
        assert_eq!(web_state(&actors).await.free_slots, Some(2));
    });
}

#[test]
fn redefined_service_keeps_its_slots() {
    in_virtual_time(async |world| {
        let actors = started(&world, &[1, 2, 3]).await;
        world.hosts("web", &[1, 3]).await;
        // No reload is possible, so its section stays.
        world.set_disk_full(true);
        remove_all(&world, &actors).await;
        wait(2).await;
        world.forget_commands();
        world.define(&[("web", WEB)]).await;
        assert_eq!(world.ready("web"), [1, 3], "no other list was reported");
        world.hosts("web", &[1, 3]).await;
        wait(2).await;
        assert_eq!((world.ready("web"), world.commands()), (vec![1, 3], vec![]));
    });
}

#[test]
fn service_redefined_during_start_keeps_slots() {
    in_virtual_time(async |world| {
        world.install(2, 2);
        world.takes(Work::Check, Duration::from_secs(3));
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2, 3]).await;
        remove_all(&world, &actors).await;
        while world.starts() == 0 {
            wait(1).await;
        }
        world.define(&[("web", WEB)]).await;
        wait(1).await;
        assert_eq!(world.ready("web"), [1, 2, 3], "no other list was reported");
        world.hosts("web", &[1, 2, 3]).await;
        wait(5).await;
        assert_eq!((world.ready("web"), world.commands()), (vec![1, 2, 3], vec![]));
    });
}
