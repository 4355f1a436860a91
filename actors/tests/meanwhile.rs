//! What happens while something else is under way: changes that overtake each other, reloads that are overtaken.

#![allow(missing_docs)]

mod world;

use std::time::Duration;

use proxymgr_actors::journal::Event;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{AdminState, Host, PlanClass};
use proxymgr_actors::snapshot::{ActorState, ProxyPhase};
use world::{World, haproxy_state, in_virtual_time, journal, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

/// A list of two hosts that are all in this state.
fn list(state: AdminState) -> Result<Vec<SeenHost>, String> {
    let entry = |n: u8| SeenHost::new(n.to_string(), Ok(Host { state, ..world::host(n) }));
    Ok(vec![entry(1), entry(2)])
}

#[test]
fn a_change_that_comes_while_another_is_under_way_is_not_mistaken_for_it() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts_seen("web", list(AdminState::Ready)).await;
        world.with(|things| things.run_takes = Duration::from_millis(500));
        world.hosts_seen("web", list(AdminState::Drain)).await;
        world.hosts_seen("web", list(AdminState::Ready)).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2], "a drain by discovery is not taken for an operator's");
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn what_was_obeyed_without_an_answer_is_known_to_be_ours() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts_seen("web", list(AdminState::Ready)).await;
        world.with(|things| things.answers_lost = true);
        world.hosts_seen("web", list(AdminState::Drain)).await;
        assert!(world.ready("web").is_empty(), "HAProxy obeyed");
        world.with(|things| things.answers_lost = false);
        world.hosts_seen("web", list(AdminState::Ready)).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2], "a drain by discovery is not taken for an operator's");
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn a_change_that_was_obeyed_without_an_answer_took_until_it_was_seen() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.with(|things| (things.answers_lost, things.run_takes) = (true, Duration::from_secs(10)));
        world.hosts("web", &[2]).await;
        wait(11).await;
        world.with(|things| (things.answers_lost, things.run_takes) = (false, Duration::ZERO));
        wait(5).await;
        let story = world::journal(&actors, "web").await;
        let took_us = story.iter().rev().find_map(|entry| match entry.event {
            Event::Applied { class: PlanClass::RuntimeDisable, took_us } => Some(took_us),
            _ => None,
        });
        assert!(took_us.is_some_and(|took_us| took_us >= 10_000_000), "{took_us:?}");
    });
}

#[test]
fn a_port_that_comes_free_while_a_reload_is_under_way_is_used() {
    in_virtual_time(async |world| {
        world.start();
        world.with(|things| things.taken_ports.insert(8081));
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.check_takes = Duration::from_secs(3));
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[2]).await;
        world.with(|things| things.taken_ports.clear());
        wait(20).await;
        assert_eq!(world.ready("api"), [2]);
    });
}

#[test]
fn an_old_process_that_ends_at_once_is_no_crash_and_makes_no_second_reload() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
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
fn a_service_that_is_defined_again_while_its_source_is_away_keeps_its_hosts() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        world.with(|things| things.check_takes = Duration::from_secs(3));
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
fn a_server_that_was_in_maintenance_already_is_cleared_away_when_its_host_goes() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        let maint = proxymgr_actors::model::Host { state: AdminState::Maint, ..world::host(2) };
        let entry = |n: u8, host| SeenHost::new(n.to_string(), Ok(host));
        world.hosts_seen("web", Ok(vec![entry(1, world::host(1)), entry(2, maint)])).await;
        world.hosts("web", &[1]).await;
        wait(120).await;
        let deleted = world.with(|things| things.commands.iter().filter(|command| command.starts_with("del")).count());
        assert_eq!(deleted, 1);
    });
}

/// A definition that is refused in the two tests below.
const REFUSED: &str = r#"{"type": "static", "port": 8080, "listen_options": ["balance leastconn"]}"#;

/// One host of one service is served by a HAProxy that cannot add servers at run time, and that refuses [`REFUSED`].
async fn served_where_leastconn_is_refused(world: &World) {
    world.with(|things| things.version = (2, 2));
    world.start();
    world.define(&[("web", WEB)]).await;
    world.hosts("web", &[1]).await;
    world.with(|things| things.reject = Some("balance leastconn".to_owned()));
}

#[test]
fn hosts_follow_while_a_new_definition_is_refused() {
    in_virtual_time(async |world| {
        served_where_leastconn_is_refused(&world).await;
        world.define(&[("web", REFUSED)]).await;
        wait(3).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2], "even where a new host needs a reload");
        assert_eq!(world.starts(), 2);
        world.with(|things| things.reject = None);
        world.define(&[("web", WEB)]).await;
        world.define(&[("web", REFUSED)]).await;
        wait(5).await;
        assert!(world.with(|things| things.live_file.contains("leastconn")));
    });
}

#[test]
fn hosts_that_come_with_a_refused_definition_are_served_as_the_one_before_says() {
    in_virtual_time(async |world| {
        served_where_leastconn_is_refused(&world).await;
        // Both wait for the same reload.
        world.define(&[("web", REFUSED)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert_eq!(world.starts(), 2);
    });
}

#[test]
fn settings_that_change_while_the_disk_is_full_are_in_force_once_it_is_not() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.disk_full = true);
        actors.change_policy(&world::changed(world::policy(&["maxconn 77"])));
        wait(20).await;
        assert_eq!(world.starts(), 1);
        world.with(|things| things.disk_full = false);
        wait(20).await;
        assert!(world.with(|things| things.live_file.contains("maxconn 77")));
        assert_eq!((world.ready("web"), world.starts()), (vec![1], 2));
    });
}

#[test]
fn a_change_that_comes_during_a_reload_and_is_made_at_run_time_is_not_told_as_one_by_reload() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.with(|things| things.check_takes = Duration::from_secs(3));
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
fn a_process_that_hangs_on_the_old_socket_does_not_hide_the_new_one() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.looks_in_vain = 1);
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[2]).await;
        wait(2).await;
        assert_eq!((world.starts(), haproxy_state(&actors).await.phase), (2, ProxyPhase::Running));
    });
}

#[test]
fn a_host_that_came_at_run_time_stays_although_its_service_was_removed_for_a_while() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.with(|things| things.run_takes = Duration::from_millis(500));
        world.hosts("web", &[1, 2]).await;
        // Its section stays, because no reload can be made, and neither section nor file has been told of the host.
        world.with(|things| things.disk_full = true);
        world.define(&[]).await;
        wait(2).await;
        world.with(|things| things.commands.clear());
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        world.hosts("web", &[1, 2]).await;
        wait(2).await;
        assert_eq!((world.ready("web"), world.with(|things| things.commands.clone())), (vec![1, 2], vec![]));
    });
}
