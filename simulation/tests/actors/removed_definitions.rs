//! The grace period of definitions that their source no longer returns.

use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{ScriptedWorld, config_state, in_virtual_time, wait, watcher_state};
use tokio::time::{Duration, sleep};

use crate::stage::{report, serve};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const WEB_LONGER: &str = r#"{"type": "static", "port": 8080, "listen_options": ["timeout server 40s"]}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;
const MAIL: &str = r#"{"type": "static", "port": 8082}"#;

async fn pass_ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// Starts with three services of four hosts each.
async fn three_services(world: &ScriptedWorld) -> Actors {
    let actors = serve(world, &[("web", WEB, &[1, 2, 3, 4]), ("api", API, &[5]), ("mail", MAIL, &[6])]).await;
    wait(2).await;
    actors
}

#[test]
fn definition_written_again_changes_nothing() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        let (starts, changes) = (world.starts(), actors.journal(ReadJournal::default()).await.len());
        world.define(&[("api", API), ("mail", MAIL)]).await;
        pass_ms(500).await;
        assert_eq!(world.open_ports(), [8080, 8081, 8082]);
        world.define(&[("web", WEB), ("api", API), ("mail", MAIL)]).await;
        wait(10).await;
        assert_eq!((world.open_ports(), world.starts()), (vec![8080, 8081, 8082], starts));
        assert_eq!(actors.journal(ReadJournal::default()).await.len(), changes);
    });
}

#[test]
fn definition_written_again_keeps_the_guard_of_its_hosts() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        world.define(&[("api", API), ("mail", MAIL)]).await;
        world.define(&[("web", WEB_LONGER), ("api", API), ("mail", MAIL)]).await;
        world.hosts("web", &[]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2, 3, 4]);
        assert!(watcher_state(&actors, "web").await.held.is_some(), "the first list is not taken unguarded");
        assert!(world.file().contains("timeout server 40s"));
    });
}

#[test]
fn removal_takes_effect_after_the_grace_period() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        // The removal was reported 100 ms before this returns.
        world.define(&[("api", API), ("mail", MAIL)]).await;
        pass_ms(890).await;
        assert_eq!(config_state(&actors).await.services.len(), 3);
        pass_ms(20).await;
        assert_eq!(config_state(&actors).await.services.len(), 2);
        wait(3).await;
        assert_eq!(world.open_ports(), [8081, 8082]);
    });
}

#[test]
fn further_lists_do_not_extend_the_grace_period() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        for _ in 0..6 {
            world.define(&[("api", API), ("mail", MAIL)]).await;
        }
        assert_eq!(config_state(&actors).await.services.len(), 2);
    });
}

#[test]
fn failing_source_removes_nothing() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        world.define(&[("api", API), ("mail", MAIL)]).await;
        world.definitions_seen(Err("away".to_owned())).await;
        wait(60).await;
        assert_eq!(config_state(&actors).await.services.len(), 3);
        world.define(&[("api", API), ("mail", MAIL)]).await;
        assert_eq!(config_state(&actors).await.services.len(), 2, "missing before and after");
    });
}

#[test]
fn new_services_do_not_wait_for_removed_ones() {
    in_virtual_time(async |world| {
        three_services(&world).await;
        let new = r#"{"type": "static", "port": 8083}"#;
        report(&world, &[("new", new, &[7]), ("api", API, &[5]), ("mail", MAIL, &[6])]).await;
        assert_eq!(world.open_ports(), [8080, 8081, 8082, 8083]);
        wait(5).await;
        assert_eq!(world.open_ports(), [8081, 8082, 8083]);
    });
}

#[test]
fn renamed_service_takes_its_port_over() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        wait(2).await;
        report(&world, &[("www", WEB, &[1])]).await;
        wait(2).await;
        let state = config_state(&actors).await;
        assert_eq!(state.services.iter().map(ToString::to_string).collect::<Vec<_>>(), ["www"]);
        assert_eq!((state.held, world.open_ports(), world.ready("www")), (None, vec![8080], vec![1]));
    });
}

#[test]
fn operator_cannot_accept_what_is_not_blocked_yet() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        world.define(&[]).await;
        let refused = actors.order(Order::Accept { service: None }).await;
        assert!(matches!(refused, Err(OrderRefused::NothingBlocked(_))));
        wait(2).await;
        actors.order(Order::Accept { service: None }).await.unwrap();
        assert_eq!(config_state(&actors).await.services.len(), 0, "at once");
    });
}

#[test]
fn accepted_list_removes_services_within_their_grace_period() {
    in_virtual_time(async |world| {
        let actors = three_services(&world).await;
        world.define(&[("mail", MAIL)]).await;
        wait(2).await;
        assert_eq!(config_state(&actors).await.held.map(|held| held.entries), Some(1));
        world.define(&[]).await;
        actors.order(Order::Accept { service: None }).await.unwrap();
        assert_eq!(config_state(&actors).await.services.len(), 0);
    });
}

#[test]
fn derived_definition_outlives_its_last_instance() {
    in_virtual_time(async |world| {
        world.derives_definitions();
        let actors = three_services(&world).await;
        world.hosts("web", &[]).await;
        world.define(&[("api", API), ("mail", MAIL)]).await;
        wait(240).await;
        assert_eq!((world.ready("web"), world.open_ports()), (vec![1, 2, 3, 4], vec![8080, 8081, 8082]));
        world.define(&[("web", WEB), ("api", API), ("mail", MAIL)]).await;
        world.hosts("web", &[7, 8, 9]).await;
        wait(600).await;
        assert_eq!(world.ready("web"), [7, 8, 9]);
        assert_eq!(watcher_state(&actors, "web").await.held, None);
    });
}

#[test]
fn derived_definition_is_removed_after_five_minutes() {
    in_virtual_time(async |world| {
        world.derives_definitions();
        let actors = three_services(&world).await;
        world.define(&[("api", API), ("mail", MAIL)]).await;
        wait(299).await;
        assert_eq!(config_state(&actors).await.services.len(), 3);
        wait(2).await;
        assert_eq!(config_state(&actors).await.services.len(), 2);
        world.define(&[]).await;
        wait(301).await;
        let state = config_state(&actors).await;
        assert_eq!(state.services.len(), 2);
        assert!(state.held.unwrap().reason.starts_with("0 of 2 services would remain"));
    });
}

#[test]
fn restarted_daemon_gives_missing_services_the_grace_period() {
    in_virtual_time(async |world| {
        three_services(&world).await;
        wait(10).await;
        let after = world.another();
        let actors = after.start_from(world.saved());
        after.define(&[("api", API), ("mail", MAIL)]).await;
        assert_eq!(config_state(&actors).await.services.len(), 3);
        after.define(&[("web", WEB), ("api", API), ("mail", MAIL)]).await;
        wait(10).await;
        assert_eq!(after.open_ports(), [8080, 8081, 8082]);
    });
}
