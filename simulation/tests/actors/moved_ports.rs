//! Services that move to other ports while other services want their old ones.

use std::collections::BTreeSet;
use std::time::Duration;

use proxymgr_actors::snapshot::ActorState;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{ScriptedWorld, haproxy_state, in_virtual_time, wait};

use crate::stage::{report, serve};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const WEB_MOVED: &str = r#"{"type": "static", "port": 8081}"#;
const WEB_MOVED_BADLY: &str = r#"{"type": "static", "port": 8081, "listen_options": ["balance leastconn"]}"#;
const API: &str = r#"{"type": "static", "port": 9090}"#;
const API_AT_WEBS: &str = WEB;

/// Returns the descriptors in the live file; each must occur only once.
fn descriptors(world: &ScriptedWorld) -> Vec<String> {
    let text = world.file();
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
fn new_service_waits_for_port_of_refused_move() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        wait(3).await;
        let before = descriptors(&world);
        world.refuse_files_with(Some("balance leastconn"));
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
        assert_eq!(world.starts(), starts, "no needless reload");

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
fn move_to_port_of_refused_move_waits() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        wait(3).await;
        let before = descriptors(&world);
        world.refuse_files_with(Some("balance leastconn"));
        world.define(&[("web", WEB_MOVED_BADLY), ("api", API_AT_WEBS)]).await;
        wait(20).await;
        assert_eq!(descriptors(&world), before);
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
    });
}

#[test]
fn port_is_kept_while_new_port_is_taken() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        world.take_port(8081);
        world.define(&[("web", WEB_MOVED), ("api", API_AT_WEBS)]).await;
        world.hosts("api", &[2]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![]));
        world.free_ports();
        wait(20).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
        assert_eq!(descriptors(&world).len(), 2);
    });
}

#[test]
fn restart_keeps_port_of_refused_move() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(10).await;
        let saved = world.saved().services;
        let after = world.another();
        after.refuse_files_with(Some("balance leastconn"));
        let actors = after.start_with(saved);
        report(&after, &[("web", WEB_MOVED_BADLY, &[1]), ("api", API_AT_WEBS, &[2])]).await;
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

/// Returns the services that wait for their ports, as the SocketHolderActor reports them.
async fn waiting(actors: &Actors) -> Vec<String> {
    let states = actors.states().await.expect("every actor answers");
    let waiting = states.into_iter().find_map(|state| match state {
        ActorState::SocketHolder(holder) => Some(holder.failed.into_keys().map(|name| name.to_string()).collect()),
        _ => None,
    });
    waiting.expect("the SocketHolderActor answers")
}

#[test]
fn removed_service_waits_for_no_port() {
    in_virtual_time(async |world| {
        world.take_port(9090);
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        wait(3).await;
        assert_eq!(waiting(&actors).await, ["api"]);
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert!(waiting(&actors).await.is_empty());
        world.free_ports();
        wait(3).await;
        assert_eq!(world.open_ports(), [8080]);
    });
}

#[test]
fn service_removed_during_launch_waits_for_no_port() {
    in_virtual_time(async |world| {
        world.take_port(9090);
        world.takes(Work::Check, Duration::from_secs(5));
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        wait(1).await;
        assert_eq!((waiting(&actors).await, world.starts()), (vec!["api".to_owned()], 0));
        world.define(&[("web", WEB)]).await;
        wait(10).await;
        assert_eq!((waiting(&actors).await, world.starts()), (vec![], 1));
    });
}

#[test]
fn port_of_undone_move_is_closed() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(3).await;
        world.set_disk_full(true);
        world.define(&[("web", WEB_MOVED)]).await;
        wait(2).await;
        assert_eq!(world.open_ports(), [8080, 8081]);
        world.define(&[("web", WEB)]).await;
        wait(20).await;
        assert_eq!((world.open_ports(), world.ready("web")), (vec![8080], vec![1]));
    });
}

#[test]
fn undone_move_waits_for_no_port() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        wait(3).await;
        world.take_port(8081);
        world.define(&[("web", WEB_MOVED)]).await;
        wait(3).await;
        assert_eq!(waiting(&actors).await, ["web"]);
        world.define(&[("web", WEB)]).await;
        wait(5).await;
        assert!(waiting(&actors).await.is_empty());
        world.free_ports();
        wait(5).await;
        assert_eq!(world.open_ports(), [8080]);
    });
}

#[test]
fn service_without_hosts_keeps_waiting_for_port() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.take_port(9090);
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        wait(15).await;
        assert_eq!((waiting(&actors).await, world.ready("web")), (vec!["api".to_owned()], vec![1]));
        world.define(&[("web", WEB_MOVED), ("api", API)]).await;
        wait(5).await;
        assert_eq!(waiting(&actors).await, ["api"]);
        world.free_ports();
        world.hosts("api", &[2]).await;
        wait(5).await;
        assert_eq!((world.ready("api"), world.open_ports()), (vec![2], vec![8081, 9090]));
    });
}

#[test]
fn saved_port_is_the_served_port() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(5).await;
        let saved = || world.saved().services[0].definition.listen.map(|address| address.port());
        world.take_port(8081);
        world.define(&[("web", WEB_MOVED)]).await;
        wait(5).await;
        assert_eq!(saved(), Some(8080), "the port is taken");
        world.free_ports();
        world.set_disk_full(true);
        wait(5).await;
        assert_eq!(saved(), Some(8080), "no reload could be made");
        world.set_disk_full(false);
        wait(30).await;
        assert_eq!(saved(), Some(8081));
    });
}
