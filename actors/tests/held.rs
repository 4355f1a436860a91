//! Lists that the guard holds back, and what becomes of them.

mod world;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::ServiceName;
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::port::SavedState;
use proxymgr_actors::snapshot::{ActorState, ServiceConfigState};
use proxymgr_actors::wiring::Actors;
use world::{World, haproxy_state, in_virtual_time, journal, wait, watcher_state};

const WEB: &str = r#"{"type": "static", "port": 8080, "max_removal": 0.5}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

fn web() -> Option<ServiceName> {
    Some(ServiceName::new("web").unwrap())
}

async fn definitions(actors: &Actors) -> ServiceConfigState {
    let states = actors.states().await.unwrap();
    let found = states.into_iter().find_map(|state| match state {
        ActorState::ServiceConfig(state) => Some(state),
        _ => None,
    });
    found.unwrap()
}

fn has(story: &[JournalEntry], event: impl Fn(&Event) -> bool) -> bool {
    story.iter().any(|entry| event(&entry.event))
}

/// Four hosts, of which the source then shows only the first.
async fn three_of_four_go(world: &World) -> Actors {
    let actors = world.start();
    world.define(&[("web", WEB)]).await;
    world.hosts("web", &[1, 2, 3, 4]).await;
    world.hosts("web", &[1]).await;
    assert_eq!(world.ready("web"), [1, 2, 3, 4]);
    actors
}

#[test]
fn what_is_to_be_read_again_is_told_as_every_order_is() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        let orders = [Order::Refresh { service: web() }, Order::Refresh { service: None }];
        for order in &orders {
            actors.order(order.clone()).await.unwrap();
        }
        let unknown = Some(ServiceName::new("mail").unwrap());
        actors.order(Order::Refresh { service: unknown }).await.unwrap_err();
        let told = actors.journal(ReadJournal::default()).await.into_iter().filter_map(|entry| match entry.event {
            Event::Ordered { order, what } => Some((entry.service, order, what)),
            _ => None,
        });
        let [first, second] = orders;
        let expected = [
            (web(), first, "refresh of the source of web".to_owned()),
            (None, second, "refresh of every source".to_owned()),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_held_list_tells_what_it_would_change() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        world.hosts("web", &[1, 5]).await;
        let held = watcher_state(&actors, "web").await.held.unwrap();
        assert_eq!((held.entries, held.adds.count, held.removes.count), (2, 1, 3));
        assert_eq!(held.adds.first, ["10.0.0.5:80"]);
        assert_eq!(held.removes.first, ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"]);
    });
}

#[test]
fn an_accepted_list_is_put_in_force() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        let done = actors.order(Order::Accept { service: web() }).await.unwrap();
        assert!(done.contains("3 to take away"), "{done}");
        wait(1).await;
        assert_eq!(world.ready("web"), [1]);
        assert_eq!(watcher_state(&actors, "web").await.held, None);
        assert!(has(&journal(&actors, "web").await, |event| matches!(event, Event::HeldAccepted { .. })));
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.ready("web"), [1, 2], "what the source shows next is followed");
    });
}

#[test]
fn a_rejected_list_is_not_offered_again_until_it_changes() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Reject { service: web() }).await.unwrap();
        world.hosts("web", &[1]).await;
        let state = watcher_state(&actors, "web").await;
        assert_eq!((state.held, state.rejected.map(|rejected| rejected.entries)), (None, Some(1)));
        assert_eq!(world.ready("web"), [1, 2, 3, 4]);
        world.hosts("web", &[2]).await;
        let state = watcher_state(&actors, "web").await;
        assert!(state.held.is_some() && state.rejected.is_none(), "another list is another question");
        let story = journal(&actors, "web").await;
        assert_eq!(story.iter().filter(|entry| matches!(entry.event, Event::ChangeHeld { .. })).count(), 2);
        assert!(has(&story, |event| matches!(event, Event::HeldRejected { .. })));
    });
}

#[test]
fn a_rejected_list_stays_rejected_after_a_restart_of_the_daemon() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        actors.order(Order::Reject { service: web() }).await.unwrap();
        wait(10).await;
        let mut saved = world.with(|things| things.saved.clone());
        for show in [&[1][..], &[2]] {
            let after = World::default();
            after.with(|things| things.version = (3, 0));
            let actors = after.start_with(saved);
            after.define(&[("web", WEB)]).await;
            // Before its source says anything, it is saved again.
            wait(10).await;
            after.hosts("web", show).await;
            let state = watcher_state(&actors, "web").await;
            let same = show == [1];
            assert_eq!((state.held.is_some(), state.rejected.is_some()), (!same, same));
            assert_eq!(after.ready("web"), [1, 2, 3, 4]);
            wait(10).await;
            saved = after.with(|things| things.saved.clone());
            assert_eq!(saved[0].rejected.is_some(), same);
        }
    });
}

#[test]
fn rejected_definitions_stay_rejected_after_a_restart_of_the_daemon() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        world.define(&[]).await;
        actors.order(Order::Reject { service: None }).await.unwrap();
        wait(10).await;
        let kept = |world: &World| {
            world.with(|things| SavedState {
                services: things.saved.clone(),
                rejected_definitions: things.rejected_definitions.clone(),
            })
        };
        let mut saved = kept(&world);
        for (shows, stays) in [(&[][..], true), (&[("new", WEB)], false)] {
            let after = World::default();
            after.with(|things| things.version = (3, 0));
            let actors = after.start_from(saved);
            // Before their source says anything, it is saved again.
            wait(10).await;
            assert!(kept(&after).rejected_definitions.is_some());
            after.define(shows).await;
            let state = definitions(&actors).await;
            assert_eq!((state.held.is_some(), state.rejected.is_some()), (!stays, stays));
            assert_eq!(Vec::from_iter(state.services.iter().map(ServiceName::as_str)), ["api", "web"]);
            wait(10).await;
            saved = kept(&after);
            assert_eq!(saved.rejected_definitions.is_some(), stays);
        }
    });
}

#[test]
fn a_hold_ends_by_itself_when_the_source_recovers() {
    in_virtual_time(async |world| {
        let actors = three_of_four_go(&world).await;
        world.hosts("web", &[1, 2, 3]).await;
        assert_eq!(world.ready("web"), [1, 2, 3]);
        assert!(has(&journal(&actors, "web").await, |event| *event == Event::HoldEnded));
        let refused = actors.order(Order::Accept { service: web() }).await;
        assert_eq!(refused, Err(OrderRefused::NothingHeld("web".to_owned())));
    });
}

#[test]
fn held_definitions_are_accepted_or_rejected() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        world.define(&[]).await;
        let held = definitions(&actors).await.held.unwrap();
        assert_eq!(held.removes.first, ["api", "web"]);
        actors.order(Order::Reject { service: None }).await.unwrap();
        world.define(&[]).await;
        wait(5).await;
        let state = definitions(&actors).await;
        assert!(state.held.is_none() && state.rejected.is_some() && state.services.len() == 2);
        world.define(&[("web", WEB), ("api", API)]).await;
        assert!(definitions(&actors).await.rejected.is_none(), "the source has recovered");
        world.define(&[]).await;
        actors.order(Order::Accept { service: None }).await.unwrap();
        wait(5).await;
        assert!(definitions(&actors).await.services.is_empty() && haproxy_state(&actors).await.services.is_empty());
        let story = actors.journal(ReadJournal::default()).await;
        assert!(has(&story, |event| matches!(event, Event::HeldAccepted { .. })));
    });
}

#[test]
fn an_order_for_what_is_not_there_is_refused_in_words() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        let unknown = || ServiceName::new("nothing").unwrap();
        for order in [Order::Accept { service: Some(unknown()) }, Order::Refresh { service: Some(unknown()) }] {
            assert_eq!(actors.order(order).await, Err(OrderRefused::UnknownService(unknown())));
        }
    });
}

#[test]
fn a_reload_by_an_operator_has_its_reason() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
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
