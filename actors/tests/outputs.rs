//! An output besides HAProxy is kept in step, in virtual time.

#![allow(missing_docs)]

mod world;

use std::collections::BTreeMap;

use proxymgr_actors::operator::Order;
use proxymgr_actors::snapshot::{ActorState, OutputState};
use proxymgr_actors::wiring::Actors;
use world::{World, in_virtual_time, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

fn published(world: &World) -> Vec<BTreeMap<String, Option<usize>>> {
    world.with(|things| things.published.clone())
}

fn shown<const N: usize>(services: [(&str, Option<usize>); N]) -> BTreeMap<String, Option<usize>> {
    services.into_iter().map(|(name, hosts)| (name.to_owned(), hosts)).collect()
}

async fn output_state(actors: &Actors) -> OutputState {
    let states = actors.states().await.expect("every actor answers");
    let mut outputs = states.into_iter().filter_map(|state| match state {
        ActorState::Output(state) => Some(state),
        _ => None,
    });
    outputs.next().expect("there is an output")
}

#[test]
fn an_output_begins_with_all_services_and_follows_their_hosts() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(published(&world), [], "the other service is still waited for");
        world.hosts("api", &[3]).await;
        assert_eq!(published(&world), [shown([("api", Some(1)), ("web", Some(2))])]);
        world.hosts("web", &[1]).await;
        world.hosts("api", &[3, 4, 5]).await;
        wait(2).await;
        let changes = published(&world);
        assert_eq!(changes[1..], [shown([("api", Some(3)), ("web", Some(1))])], "what comes together goes together");
        let state = output_state(&actors).await;
        assert_eq!((state.changes, state.services, state.error), (2, 2, None));
    });
}

#[test]
fn hosts_that_were_never_seen_are_unknown_and_not_none() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts_seen("api", Err("away".to_owned())).await;
        assert_eq!(published(&world), [shown([("api", None), ("web", Some(1))])]);
    });
}

#[test]
fn an_output_that_fails_is_tried_again_with_the_newest() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.with(|things| things.output_fails = true);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(10).await;
        assert_eq!(output_state(&actors).await.error.as_deref(), Some("it is told to fail"));
        world.hosts("web", &[1, 2]).await;
        world.with(|things| things.output_fails = false);
        wait(60).await;
        assert_eq!(published(&world), [shown([("web", Some(2))])]);
        assert_eq!(output_state(&actors).await.error, None);
    });
}

#[test]
fn a_service_that_is_gone_leaves_the_output_and_a_refresh_gives_it_all_again() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[1]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(published(&world).last(), Some(&shown([("web", Some(1))])));
        let before = published(&world).len();
        actors.order(Order::Refresh { service: None }).await.expect("everything is read again");
        wait(1).await;
        assert_eq!(published(&world).len(), before + 1);
        assert_eq!(output_state(&actors).await.changes, 2, "nothing was changed by it");
    });
}
