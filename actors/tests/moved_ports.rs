//! Services that move to other ports while others want the ones they leave.

#![allow(missing_docs)]

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use world::{World, haproxy_state, in_virtual_time, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const WEB_MOVED: &str = r#"{"type": "static", "port": 8081}"#;
const WEB_MOVED_BADLY: &str = r#"{"type": "static", "port": 8081, "listen_options": ["balance leastconn"]}"#;
const API_AT_WEBS: &str = r#"{"type": "static", "port": 8080}"#;

/// The descriptors that the live file names, each of which may stand there once.
fn descriptors(world: &World) -> Vec<String> {
    let text = world.with(|things| things.live_file.clone());
    let binds = text.lines().filter_map(|line| line.trim().strip_prefix("bind "));
    let descriptors: Vec<String> = binds.map(ToOwned::to_owned).collect();
    let distinct: BTreeSet<_> = descriptors.iter().collect();
    assert_eq!(
        distinct.len(),
        descriptors.len(),
        "one socket in two sections:
{text}"
    );
    descriptors
}

#[test]
fn a_new_service_waits_for_the_port_of_one_that_cannot_leave_it() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        let before = descriptors(&world);
        world.with(|things| things.reject = Some("balance leastconn".to_owned()));
        world.define(&[("web", WEB_MOVED_BADLY), ("api", API_AT_WEBS)]).await;
        world.hosts("api", &[2]).await;
        wait(20).await;
        assert_eq!(descriptors(&world), before, "the last good section of web stays where it was");
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![]));
        let state = haproxy_state(&actors).await;
        let problem =
            state.services.iter().find(|(name, _)| name.as_str() == "api").and_then(|(_, api)| api.problem.clone());
        assert!(
            problem
                .as_ref()
                .is_some_and(|problem| problem.contains("served by web") || problem.contains("the service web")),
            "{problem:?}"
        );
        let starts = world.starts();
        wait(60).await;
        assert_eq!(world.starts(), starts, "nothing is tried in vain");

        world.hosts("web", &[1, 3]).await;
        wait(5).await;
        assert_eq!(world.ready("web"), [1, 3], "its hosts follow");
        world.define(&[("web", WEB_MOVED), ("api", API_AT_WEBS)]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1, 3], vec![2]));
        assert_eq!(descriptors(&world).len(), 2);
    });
}

#[test]
fn one_that_would_move_there_stays_where_it_is() {
    in_virtual_time(async |world| {
        world.start();
        let api = r#"{"type": "static", "port": 9090}"#;
        world.define(&[("web", WEB), ("api", api)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        wait(3).await;
        let before = descriptors(&world);
        world.with(|things| things.reject = Some("balance leastconn".to_owned()));
        world.define(&[("web", WEB_MOVED_BADLY), ("api", API_AT_WEBS)]).await;
        wait(20).await;
        assert_eq!(descriptors(&world), before);
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
    });
}

#[test]
fn a_port_whose_owner_cannot_have_its_new_one_stays_its_own() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.taken_ports.insert(8081));
        world.define(&[("web", WEB_MOVED), ("api", API_AT_WEBS)]).await;
        world.hosts("api", &[2]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![]));
        world.with(|things| things.taken_ports.clear());
        wait(20).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
        assert_eq!(descriptors(&world).len(), 2);
    });
}

#[test]
fn at_a_first_start_too_a_refused_service_keeps_the_port_that_another_wants() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(10).await;
        let saved = world.with(|things| things.saved.clone());
        let after = World::default();
        after.with(|things| {
            things.version = (3, 0);
            things.reject = Some("balance leastconn".to_owned());
        });
        let actors = after.start_with(saved);
        after.define(&[("web", WEB_MOVED_BADLY), ("api", API_AT_WEBS)]).await;
        after.hosts("web", &[1]).await;
        after.hosts("api", &[2]).await;
        wait(20).await;
        assert_eq!((after.ready("web"), after.ready("api")), (vec![1], vec![]));
        assert_eq!(descriptors(&after).len(), 1);
        let state = haproxy_state(&actors).await;
        let problems: Vec<_> = state.services.values().filter_map(|service| service.problem.clone()).collect();
        assert!(problems[0].contains("served by web"), "{problems:?}");

        after.define(&[("web", WEB_MOVED), ("api", API_AT_WEBS)]).await;
        wait(20).await;
        assert_eq!((after.ready("web"), after.ready("api")), (vec![1], vec![2]));
        assert_eq!(descriptors(&after).len(), 2);
    });
}

/// The services that wait for their ports, as the holder of the sockets tells it.
async fn waiting(actors: &Actors) -> Vec<String> {
    let states = actors.states().await.expect("every actor answers");
    let waiting = states.into_iter().find_map(|state| match state {
        ActorState::SocketHolder(holder) => Some(holder.failed.into_keys().map(|name| name.to_string()).collect()),
        _ => None,
    });
    waiting.expect("the SocketHolderActor answers")
}

#[test]
fn nobody_waits_for_the_port_of_a_service_that_is_removed() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.with(|things| things.taken_ports.insert(9090));
        let api = r#"{"type": "static", "port": 9090}"#;
        world.define(&[("web", WEB), ("api", api)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        wait(3).await;
        assert_eq!(waiting(&actors).await, ["api"]);
        world.define(&[("web", WEB)]).await;
        assert!(waiting(&actors).await.is_empty());
        world.with(|things| things.taken_ports.clear());
        wait(3).await;
        let open: Vec<u16> = world.with(|things| things.open_sockets.iter().map(|address| address.port()).collect());
        assert_eq!(open, [8080]);
    });
}

#[test]
fn nor_where_it_is_removed_while_a_launch_asks_for_the_port() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.with(|things| {
            things.taken_ports.insert(9090);
            things.check_takes = Duration::from_secs(5);
        });
        let api = r#"{"type": "static", "port": 9090}"#;
        world.define(&[("web", WEB), ("api", api)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        wait(1).await;
        assert_eq!((waiting(&actors).await, world.starts()), (vec!["api".to_owned()], 0));
        world.define(&[("web", WEB)]).await;
        wait(10).await;
        assert_eq!((waiting(&actors).await, world.starts()), (vec![], 1));
    });
}

fn open_ports(world: &World) -> Vec<u16> {
    world.with(|things| things.open_sockets.iter().map(|address| address.port()).collect())
}

#[test]
fn a_port_that_a_service_leaves_again_before_it_could_be_served_there_is_closed() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.with(|things| things.disk_full = true);
        world.define(&[("web", WEB_MOVED)]).await;
        wait(2).await;
        assert_eq!(open_ports(&world), [8080, 8081]);
        world.define(&[("web", WEB)]).await;
        wait(20).await;
        assert_eq!((open_ports(&world), world.ready("web")), (vec![8080], vec![1]));
    });
}

#[test]
fn a_service_that_moves_back_waits_no_more_for_the_port_it_could_not_have() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.with(|things| things.taken_ports.insert(8081));
        world.define(&[("web", WEB_MOVED)]).await;
        wait(3).await;
        assert_eq!(waiting(&actors).await, ["web"]);
        world.define(&[("web", WEB)]).await;
        wait(5).await;
        assert!(waiting(&actors).await.is_empty());
        world.with(|things| things.taken_ports.clear());
        wait(5).await;
        assert_eq!(open_ports(&world), [8080]);
    });
}

#[test]
fn a_service_whose_hosts_are_not_known_yet_goes_on_waiting_for_its_port_while_others_are_brought_in() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.with(|things| things.taken_ports.insert(9090));
        let api = r#"{"type": "static", "port": 9090}"#;
        world.define(&[("web", WEB), ("api", api)]).await;
        world.hosts("web", &[1]).await;
        wait(15).await;
        assert_eq!((waiting(&actors).await, world.ready("web")), (vec!["api".to_owned()], vec![1]));
        world.define(&[("web", WEB_MOVED), ("api", api)]).await;
        wait(5).await;
        assert_eq!(waiting(&actors).await, ["api"]);
        world.with(|things| things.taken_ports.clear());
        world.hosts("api", &[2]).await;
        wait(5).await;
        assert_eq!((world.ready("api"), open_ports(&world)), (vec![2], vec![8081, 9090]));
    });
}

#[test]
fn what_is_saved_for_the_next_run_is_where_a_service_is_served_until_it_has_moved() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        let saved = || world.with(|things| things.saved[0].definition.listen.map(|address| address.port()));
        world.with(|things| things.taken_ports.insert(8081));
        world.define(&[("web", WEB_MOVED)]).await;
        wait(5).await;
        assert_eq!(saved(), Some(8080), "the port is taken");
        world.with(|things| {
            things.taken_ports.clear();
            things.disk_full = true;
        });
        wait(5).await;
        assert_eq!(saved(), Some(8080), "no reload could be made");
        world.with(|things| things.disk_full = false);
        wait(30).await;
        assert_eq!(saved(), Some(8081));
    });
}
