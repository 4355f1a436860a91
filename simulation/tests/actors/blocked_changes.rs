//! Changes that the guard blocks, and decisions about them.

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::message::{ReadJournal, SeenHost};
use proxymgr_actors::model::{AdminState, Host, ServiceName};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{
    ScriptedWorld, config_state, haproxy_state, host, in_virtual_time, journal, wait, watcher_state,
};
use tokio::time::{Duration, sleep};

use crate::stage::serve;

const WEB: &str = r#"{"type": "static", "port": 8080, "max_removal": 0.5}"#;
const PLAIN_WEB: &str = r#"{"type": "static", "port": 8080}"#;
const STRICT_WEB: &str = r#"{"type": "static", "port": 8080, "max_removal": 0.2}"#;
const NEW: &str = r#"{"type": "static", "port": 8082}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

fn web() -> Option<ServiceName> {
    Some(ServiceName::new("web").unwrap())
}

fn has(story: &[JournalEntry], event: impl Fn(&Event) -> bool) -> bool {
    story.iter().any(|entry| event(&entry.event))
}

/// Starts with four hosts, of which the source then shows only the first.
async fn three_of_four_go(world: &ScriptedWorld) -> Actors {
    let actors = serve(world, &[("web", WEB, &[1, 2, 3, 4])]).await;
    world.hosts("web", &[1]).await;
    assert_eq!(world.ready("web"), [1, 2, 3, 4]);
    actors
}

#[test]
fn refresh_orders_are_recorded() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        let orders = [Order::Refresh { service: web() }, Order::Refresh { service: None }];
        for order in &orders {
            actors.order(order.clone()).await.unwrap();
        }
        let unknown = Some(ServiceName::new("mail").unwrap());
        actors.order(Order::Refresh { service: unknown }).await.unwrap_err();
        let reported = actors.journal(ReadJournal::default()).await.into_iter().filter_map(|entry| match entry.event {
            Event::Ordered { order, what } => Some((entry.service, order, what)),
            _ => None,
        });
        let [first, second] = orders;
        let expected = [
            (web(), first, "refresh of the source of web".to_owned()),
            (None, second, "refresh of every source".to_owned()),
        ];
        assert_eq!(reported.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn blocked_change_shows_what_it_adds_and_removes() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        world.hosts("web", &[5]).await;
        let pending = watcher_state(&actors, "web").await.held.unwrap();
        assert_eq!((pending.entries, pending.adds.count, pending.removes.count), (1, 1, 4));
        assert_eq!(pending.adds.first, ["10.0.0.5:80"]);
        assert_eq!(pending.removes.first, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
    });
}

#[test]
fn accepted_change_is_applied() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Accept { service: web() }).await.unwrap();
        wait(1).await;
        assert_eq!(world.ready("web"), [1]);
        assert_eq!(watcher_state(&actors, "web").await.held, None);
        assert!(has(&journal(&actors, "web").await, |event| matches!(event, Event::HeldAccepted { .. })));
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.ready("web"), [1, 2], "later reports of the source are applied");
    });
}

#[test]
fn rejected_change_is_pending_again_once_it_differs() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Reject { service: web() }).await.unwrap();
        world.hosts("web", &[1]).await;
        let state = watcher_state(&actors, "web").await;
        assert_eq!((state.held, state.rejected.map(|rejected| rejected.entries)), (None, Some(1)));
        assert_eq!(world.ready("web"), [1, 2, 3, 4]);
        world.hosts("web", &[2]).await;
        let state = watcher_state(&actors, "web").await;
        assert!(state.held.is_some() && state.rejected.is_none(), "a different list needs a new decision");
        let story = journal(&actors, "web").await;
        assert_eq!(story.iter().filter(|entry| matches!(entry.event, Event::ChangeHeld { .. })).count(), 2);
        assert!(has(&story, |event| matches!(event, Event::HeldRejected { .. })));
    });
}

#[test]
fn restart_keeps_rejected_hosts() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Reject { service: web() }).await.unwrap();
        wait(10).await;
        let mut saved = world.saved().services;
        for show in [&[1][..], &[2]] {
            let after = world.another();
            let actors = after.start_with(saved);
            after.define(&[("web", WEB)]).await;
            // Before its source reports, the rejection is known and saved again.
            wait(10).await;
            let rejected = watcher_state(&actors, "web").await.rejected.unwrap();
            assert_eq!((rejected.entries, rejected.removes.count), (1, 3));
            after.hosts("web", show).await;
            let state = watcher_state(&actors, "web").await;
            let same = show == [1];
            assert_eq!((state.held.is_some(), state.rejected.is_some()), (!same, same));
            assert_eq!(after.ready("web"), [1, 2, 3, 4]);
            wait(10).await;
            saved = after.saved().services;
            assert_eq!(saved[0].guard.rejected.is_some(), same);
        }
    });
}

#[test]
fn restart_keeps_rejected_definitions() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.define(&[]).await;
        wait(2).await;
        actors.order(Order::Reject { service: None }).await.unwrap();
        wait(10).await;
        let mut saved = world.saved();
        for (shows, stays) in [(&[][..], true), (&[("new", NEW)], false)] {
            let after = world.another();
            let actors = after.start_from(saved);
            // Before their source reports, the rejection is saved again.
            wait(10).await;
            assert!(after.saved().definitions_guard.rejected.is_some());
            after.define(shows).await;
            let state = config_state(&actors).await;
            assert_eq!(state.rejected.is_some(), stays, "the same list has no grace period");
            wait(2).await;
            let state = config_state(&actors).await;
            assert_eq!((state.held.is_some(), state.rejected.is_some()), (!stays, stays));
            // A new service does not wait for the end of the grace period, after which the guard decides.
            let services = if stays { &["api", "web"][..] } else { &["api", "new", "web"] };
            assert_eq!(Vec::from_iter(state.services.iter().map(ServiceName::as_str)), services);
            wait(10).await;
            saved = after.saved();
            assert_eq!(saved.definitions_guard.rejected.is_some(), stays);
        }
    });
}

#[test]
fn pending_change_ends_when_the_source_recovers() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        world.hosts("web", &[1, 2, 3]).await;
        assert_eq!(world.ready("web"), [1, 2, 3]);
        assert!(has(&journal(&actors, "web").await, |event| *event == Event::HoldEnded));
        let refused = actors.order(Order::Accept { service: web() }).await;
        assert_eq!(refused, Err(OrderRefused::NothingBlocked("web".to_owned())));
    });
}

#[test]
fn blocked_definitions_are_accepted_or_rejected() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.define(&[]).await;
        wait(2).await;
        let held = config_state(&actors).await.held.unwrap();
        assert_eq!(held.removes.first, ["api", "web"]);
        actors.order(Order::Reject { service: None }).await.unwrap();
        world.define(&[]).await;
        wait(5).await;
        let state = config_state(&actors).await;
        assert!(state.held.is_none() && state.rejected.is_some() && state.services.len() == 2);
        world.define(&[("web", WEB), ("api", API)]).await;
        assert!(config_state(&actors).await.rejected.is_none(), "the source has recovered");
        world.define(&[]).await;
        wait(2).await;
        actors.order(Order::Accept { service: None }).await.unwrap();
        wait(5).await;
        assert!(config_state(&actors).await.services.is_empty() && haproxy_state(&actors).await.services.is_empty());
        let story = actors.journal(ReadJournal::default()).await;
        assert!(has(&story, |event| matches!(event, Event::HeldAccepted { .. })));
    });
}

#[test]
fn order_about_an_unknown_service_is_refused() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        let unknown = || ServiceName::new("nothing").unwrap();
        for order in [Order::Accept { service: Some(unknown()) }, Order::Refresh { service: Some(unknown()) }] {
            assert_eq!(actors.order(order).await, Err(OrderRefused::UnknownService(unknown())));
        }
    });
}

#[test]
fn ordered_reload_has_its_reason() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        wait(5).await;
        let reason = Some("a new certificate".to_owned());
        actors.order(Order::Reload { reason }).await.unwrap();
        wait(2).await;
        assert_eq!(world.starts(), 2);
        assert_eq!(haproxy_state(&actors).await.last_reload, ["an operator asked: a new certificate"]);
        let order = Order::Reload { reason: Some("two\nlines".to_owned()) };
        assert!(matches!(actors.order(order).await, Err(OrderRefused::Invalid(_))));
    });
}

#[test]
fn hosts_vanishing_one_by_one_are_blocked_at_limit() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", STRICT_WEB, &Vec::from_iter(1..=20))]).await;
        for gone in 1..=16 {
            sleep(Duration::from_millis(30)).await;
            world.hosts("web", &Vec::from_iter(gone + 1..=20)).await;
        }
        wait(60).await;
        assert_eq!(world.ready("web"), Vec::from_iter(5..=20));
        assert_eq!(watcher_state(&actors, "web").await.held.map(|pending| pending.entries), Some(4));
        let story = journal(&actors, "web").await;
        assert_eq!(story.iter().filter(|entry| matches!(entry.event, Event::ChangeHeld { .. })).count(), 1);
    });
}

#[test]
fn definitions_vanishing_one_by_one_are_blocked_at_limit() {
    in_virtual_time(async |world| {
        let actors = world.start();
        let names = Vec::from_iter((0..8).map(|number| format!("service-{number}")));
        let defined = |from: usize| Vec::from_iter(names[from..].iter().map(|name| (name.as_str(), API)));
        world.define(&defined(0)).await;
        for gone in 1..=8 {
            sleep(Duration::from_millis(4)).await;
            world.define(&defined(gone)).await;
        }
        let state = config_state(&actors).await;
        assert_eq!((state.services.len(), state.held.map(|pending| pending.entries)), (8, Some(0)), "none is lost");
    });
}

#[test]
fn services_removed_one_by_one_are_blocked_at_limit() {
    in_virtual_time(async |world| {
        let actors = world.start();
        let names = Vec::from_iter((0..8).map(|number| format!("service-{number}")));
        let defined = |from: usize| Vec::from_iter(names[from..].iter().map(|name| (name.as_str(), API)));
        world.define(&defined(0)).await;
        for gone in 1..=8 {
            sleep(Duration::from_secs(3)).await;
            world.define(&defined(gone)).await;
        }
        wait(2).await;
        let state = config_state(&actors).await;
        assert_eq!((state.services.len(), state.held.map(|pending| pending.entries)), (4, Some(0)));
    });
}

#[test]
fn blocked_removals_stop_no_other_definition() {
    const CHANGED: &str = r#"{"type": "static", "port": 8090}"#;
    const NEW: &str = r#"{"type": "static", "port": 8091}"#;
    in_virtual_time(async |world| {
        let actors = world.start();
        let names = Vec::from_iter((0..8).map(|number| format!("service-{number}")));
        let mut all = Vec::from_iter(names.iter().map(|name| (name.as_str(), API)));
        all.push(("web", WEB));
        world.define(&all).await;
        wait(60).await;
        world.define(&[("web", CHANGED), ("new", NEW)]).await;
        wait(60).await;
        let state = config_state(&actors).await;
        assert_eq!(state.services.len(), 10, "all stay, and one is new");
        let held = state.held.unwrap();
        assert_eq!((held.removes.count, held.adds.count), (8, 0));
        assert!(world.open_ports().contains(&8090) && world.open_ports().contains(&8091), "{:?}", world.open_ports());
        actors.order(Order::Accept { service: None }).await.unwrap();
        wait(2).await;
        assert_eq!(config_state(&actors).await.services.len(), 2);
    });
}

#[test]
fn last_service_is_removed_only_by_an_operator() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.define(&[("web", WEB)]).await;
        wait(60).await;
        assert_eq!(world.open_ports(), [8080], "one of several may always go");
        world.define(&[]).await;
        wait(60).await;
        let held = config_state(&actors).await.held.unwrap();
        assert!(held.reason.starts_with("0 of 1 services would remain"), "{}", held.reason);
        assert_eq!(world.open_ports(), [8080]);
        actors.order(Order::Accept { service: None }).await.unwrap();
        wait(2).await;
        assert!(world.open_ports().is_empty());
    });
}

#[test]
fn hosts_that_join_in_maintenance_do_not_replace_old_ones() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", PLAIN_WEB, &[1, 2, 3])]).await;
        let maint =
            |number: u8| SeenHost::new(number.to_string(), Ok(Host { state: AdminState::Maint, ..host(number) }));
        let ready = |number: u8| SeenHost::new(number.to_string(), Ok(host(number)));
        let both = (1..=3).map(ready).chain((4..=6).map(maint)).collect();
        world.hosts_seen("web", Ok(both)).await;
        world.hosts_seen("web", Ok((4..=6).map(maint).collect())).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 2, 3]);
        let held = watcher_state(&actors, "web").await.held.unwrap();
        assert!(held.reason.starts_with("0 of 3 serving hosts would remain"), "{}", held.reason);
        world.hosts("web", &[4, 5, 6]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [4, 5, 6]);
    });
}

#[test]
fn rejected_change_can_be_accepted_after_a_restart() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Reject { service: web() }).await.unwrap();
        actors.order(Order::Reject { service: web() }).await.unwrap();
        wait(10).await;
        let after = world.another();
        let actors = after.start_with(world.saved().services);
        after.define(&[("web", WEB)]).await;
        wait(10).await;
        assert_eq!(after.ready("web"), [1, 2, 3, 4]);
        actors.order(Order::Accept { service: web() }).await.unwrap();
        wait(1).await;
        assert_eq!(after.ready("web"), [1]);
        assert_eq!(watcher_state(&actors, "web").await.rejected, None);
    });
}

#[test]
fn restart_keeps_the_baseline_of_a_pending_change() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", STRICT_WEB, &Vec::from_iter(1..=20))]).await;
        world.hosts("web", &Vec::from_iter(1..=16)).await;
        world.hosts("web", &Vec::from_iter(1..=13)).await;
        wait(60).await;
        let after = world.another();
        let actors = after.start_with(world.saved().services);
        wait(1).await;
        after.hosts("web", &Vec::from_iter(1..=13)).await;
        let state = watcher_state(&actors, "web").await;
        assert_eq!(state.hosts.map(|hosts| hosts.len()), Some(16));
        assert_eq!(state.held.map(|pending| pending.entries), Some(13));
    });
}
