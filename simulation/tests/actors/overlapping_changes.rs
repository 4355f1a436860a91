//! Concurrent changes: changes and reloads that are superseded by later ones.

use std::time::Duration;

use proxymgr_actors::journal::Event;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{AdminState, Host, PlanClass};
use proxymgr_actors::snapshot::{ActorState, ProxyPhase};
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{self, ScriptedWorld, haproxy_state, in_virtual_time, journal, wait};

use crate::stage::{remove_all, serve};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

/// Returns a list of hosts 1 and 2, both in drain.
fn drained() -> Result<Vec<SeenHost>, String> {
    let entry = |n: u8| SeenHost::new(n.to_string(), Ok(Host { state: AdminState::Drain, ..scripted::host(n) }));
    Ok(vec![entry(1), entry(2)])
}

#[test]
fn drain_undone_while_in_flight_is_not_manual() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.takes(Work::Commands, Duration::from_millis(500));
        world.hosts_seen("web", drained()).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2], "a drain by discovery does not count as an operator's");
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn unanswered_drain_is_not_manual() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hang_socket(true);
        world.hosts_seen("web", drained()).await;
        assert!(world.ready("web").is_empty(), "HAProxy obeyed");
        world.heal_socket();
        world.hosts("web", &[1, 2]).await;
        wait(30).await;
        assert_eq!(world.ready("web"), [1, 2], "a drain by discovery does not count as an operator's");
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn duration_of_unanswered_change_ends_when_observed() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hang_socket(true);
        world.hosts("web", &[2]).await;
        wait(11).await;
        world.heal_socket();
        wait(30).await;
        let story = journal(&actors, "web").await;
        let took_us = story.iter().rev().find_map(|entry| match entry.event {
            Event::Applied { class: PlanClass::RuntimeDisable, took_us } => Some(took_us),
            _ => None,
        });
        assert!(took_us.is_some_and(|took_us| took_us >= 10_000_000), "{took_us:?}");
    });
}

#[test]
fn port_freed_during_reload_is_used() {
    in_virtual_time(async |world| {
        world.take_port(8081);
        serve(&world, &[("web", WEB, &[1])]).await;
        world.takes(Work::Check, Duration::from_secs(3));
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[2]).await;
        world.free_ports();
        wait(20).await;
        assert_eq!(world.ready("api"), [2]);
    });
}

#[test]
fn quick_end_of_old_process_is_no_crash() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        for n in 1..6 {
            let options = format!(r#"{{"type": "static", "port": 8080, "listen_options": ["timeout client {n}s"]}}"#);
            world.define(&[("web", &options)]).await;
            wait(3).await;
        }
        assert_eq!(world.starts(), 6);
        let states = actors.states().await.unwrap();
        let crashes = states.into_iter().find_map(|state| match state {
            ActorState::ProcessSupervisor(state) => Some(state.crashes),
            _ => None,
        });
        assert_eq!(crashes, Some(0));
    });
}

#[test]
fn redefined_service_keeps_hosts_without_source() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.takes(Work::Check, Duration::from_secs(3));
        let changed = r#"{"type": "static", "port": 8080, "listen_options": ["balance leastconn"]}"#;
        world.define(&[("web", changed), ("api", API)]).await;
        world.define(&[("web", changed)]).await;
        world.define(&[("web", changed), ("api", API)]).await;
        world.hosts_seen("api", Err("away".to_owned())).await;
        wait(20).await;
        assert_eq!(world.ready("api"), [2]);
    });
}

#[test]
fn removed_host_in_maintenance_is_deleted() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        let maint = Host { state: AdminState::Maint, ..scripted::host(2) };
        let entry = |n: u8, host| SeenHost::new(n.to_string(), Ok(host));
        world.hosts_seen("web", Ok(vec![entry(1, scripted::host(1)), entry(2, maint)])).await;
        world.hosts("web", &[1]).await;
        wait(120).await;
        let deleted = world.commands().iter().filter(|command| command.starts_with("del")).count();
        assert_eq!(deleted, 1);
    });
}

/// A definition that HAProxy refuses in two tests.
const REFUSED: &str = r#"{"type": "static", "port": 8080, "listen_options": ["balance leastconn"]}"#;

/// Serves one host of a service with a HAProxy that cannot add servers at run time, and that refuses [`REFUSED`].
async fn served_where_leastconn_is_refused(world: &ScriptedWorld) {
    world.install(2, 2);
    serve(world, &[("web", WEB, &[1])]).await;
    world.refuse_files_with(Some("balance leastconn"));
}

#[test]
fn hosts_follow_while_definition_is_refused() {
    in_virtual_time(async |world| {
        served_where_leastconn_is_refused(&world).await;
        world.define(&[("web", REFUSED)]).await;
        wait(3).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2], "even if a new host needs a reload");
        assert_eq!(world.starts(), 2);
        world.refuse_files_with(None);
        world.define(&[("web", WEB)]).await;
        world.define(&[("web", REFUSED)]).await;
        wait(5).await;
        assert!(world.file().contains("leastconn"));
    });
}

#[test]
fn hosts_beside_refused_definition_are_served() {
    in_virtual_time(async |world| {
        served_where_leastconn_is_refused(&world).await;
        // Both changes wait for the same reload.
        world.define(&[("web", REFUSED)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert_eq!(world.starts(), 2);
    });
}

#[test]
fn settings_change_waits_for_disk() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.set_disk_full(true);
        actors.change_policy(&scripted::changed(scripted::policy(&["maxconn 77"])));
        wait(20).await;
        assert_eq!(world.starts(), 1);
        world.set_disk_full(false);
        wait(20).await;
        assert!(world.file().contains("maxconn 77"));
        assert_eq!((world.ready("web"), world.starts()), (vec![1], 2));
    });
}

#[test]
fn runtime_change_during_reload_keeps_its_class() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.takes(Work::Check, Duration::from_secs(3));
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[3]).await;
        wait(1).await;
        world.hosts("web", &[1]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1], 2));
        let class = |event: &Event| if let Event::Applied { class, .. } = event { Some(*class) } else { None };
        let of =
            async |service| journal(&actors, service).await.iter().filter_map(|entry| class(&entry.event)).next_back();
        assert_eq!(of("web").await, Some(PlanClass::RuntimeDisable));
        assert_eq!(of("api").await, Some(PlanClass::Reload));
    });
}

#[test]
fn hanging_old_process_does_not_hide_new_one() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.hang_socket(false);
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[2]).await;
        wait(2).await;
        assert_eq!((world.starts(), haproxy_state(&actors).await.phase), (2, ProxyPhase::Running));
    });
}

#[test]
fn redefined_service_keeps_host_added_at_runtime() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        wait(3).await;
        world.takes(Work::Commands, Duration::from_millis(500));
        world.hosts("web", &[1, 2]).await;
        // Its section stays, because no reload is possible; section and file lack the new host.
        world.set_disk_full(true);
        remove_all(&world, &actors).await;
        wait(2).await;
        world.forget_commands();
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        world.hosts("web", &[1, 2]).await;
        wait(2).await;
        assert_eq!((world.ready("web"), world.commands()), (vec![1, 2], vec![]));
    });
}
