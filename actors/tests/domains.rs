//! Services that share a port by their domains, in virtual time.

#![allow(missing_docs)]

mod world;

use proxymgr_actors::journal::Event;
use proxymgr_actors::snapshot::ServiceState;
use proxymgr_actors::wiring::Actors;
use world::{World, haproxy_state, in_virtual_time, journal, policy, wait};

fn shop(domains: &[&str]) -> String {
    format!(r#"{{"type": "static", "port": 8080, "domains": {domains:?}}}"#)
}

const PLAIN: &str = r#"{"type": "static", "port": 8080}"#;

/// The map that the process has: `a.example=web`.
fn map(world: &World) -> Vec<String> {
    let map = world.with(|things| things.map.clone()).unwrap_or_default();
    map.iter().map(|(key, service)| format!("{key}={service}")).collect()
}

async fn service_state(actors: &Actors, service: &str) -> ServiceState {
    let state = haproxy_state(actors).await;
    let found = state.services.into_iter().find(|(name, _)| name.as_str() == service);
    found.expect("the service is known").1
}

/// Two services on one port, both served.
async fn two(world: &World) -> Actors {
    let actors = world.start();
    world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["a.example"]))]).await;
    world.hosts("api", &[1]).await;
    world.hosts("web", &[2]).await;
    wait(3).await;
    actors
}

#[test]
fn services_with_domains_share_a_port_and_one_start_brings_both() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        assert_eq!((world.starts(), map(&world)), (1, vec!["a.example=web".to_owned(), "b.example=api".to_owned()]));
        let file = world.with(|things| things.live_file.clone());
        assert_eq!((file.matches("frontend http:8080").count(), file.matches("bind fd@").count()), (1, 1), "{file}");
        assert_eq!((world.ready("api"), world.ready("web")), (vec![1], vec![2]));
        let problems = haproxy_state(&actors).await.services.into_values().filter_map(|service| service.problem);
        assert_eq!(problems.collect::<Vec<_>>(), Vec::<String>::new());
    });
}

#[test]
fn domains_change_without_a_reload_and_the_map_on_disk_follows() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.define(&[("api", &shop(&["a.example", "c.example"])), ("web", &shop(&["d.example"]))]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=api", "c.example=api", "d.example=web"]);
        assert_eq!(world.starts(), 1);
        assert_eq!(haproxy_state(&actors).await.counts.routes, 4);
        let commands = world.with(|things| things.commands.clone());
        assert!(commands.contains(&"set map /etc/haproxy.cfg.domains 0.0.0.0:8080/a.example/ api".to_owned()));
        let file = world.with(|things| things.map_file.clone()).unwrap();
        assert!(file.contains("0.0.0.0:8080/a.example/ api\n") && !file.contains("b.example"), "{file}");
        let told = journal(&actors, "api")
            .await
            .into_iter()
            .any(|entry| matches!(entry.event, Event::Decided { reason, .. } if reason.contains("no longer to web")));
        assert!(told, "the journal says why");
    });
}

#[test]
fn who_had_a_domain_keeps_it_and_the_other_is_named_until_it_is_free() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.define(&[("api", &shop(&["a.example", "b.example"])), ("web", &shop(&["a.example"]))]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api"]);
        let problem = service_state(&actors, "api").await.problem.unwrap();
        assert!(problem.contains("belongs to the service web"), "{problem}");
        world.kill_haproxy();
        wait(5).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api"], "not even a new process changes it");
        world.define(&[("api", &shop(&["a.example", "b.example"])), ("web", &shop(&["x.example"]))]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=api", "b.example=api", "x.example=web"]);
        assert_eq!(service_state(&actors, "api").await.problem, None);
    });
}

#[test]
fn the_next_daemon_knows_who_had_a_domain() {
    in_virtual_time(async |world| {
        world.with(|things| things.map_file = Some("0.0.0.0:8080/a.example/ web\n".to_owned()));
        world.start();
        world.define(&[("api", &shop(&["a.example"])), ("web", &shop(&["a.example"]))]).await;
        world.hosts("api", &[1]).await;
        world.hosts("web", &[2]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=web"]);
    });
}

#[test]
fn a_new_service_takes_its_domain_over_without_a_gap() {
    in_virtual_time(async |world| {
        two(&world).await;
        world.with(|things| things.check_takes = std::time::Duration::from_secs(5));
        world.define(&[("api", &shop(&[])), ("new", &shop(&["a.example"])), ("web", &shop(&["c.example"]))]).await;
        world.hosts("new", &[3]).await;
        wait(1).await;
        assert!(map(&world).contains(&"a.example=web".to_owned()), "{:?}", map(&world));
        wait(30).await;
        assert!(map(&world).contains(&"a.example=new".to_owned()), "{:?}", map(&world));
    });
}

#[test]
fn a_service_without_domains_cannot_have_their_port_nor_they_its() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.define(&[("aaa", PLAIN), ("api", &shop(&["b.example"])), ("web", &shop(&["a.example"]))]).await;
        world.hosts("aaa", &[9]).await;
        wait(5).await;
        let problem = service_state(&actors, "aaa").await.problem.unwrap();
        assert!(problem.contains("already taken by the service"), "{problem}");
        assert_eq!(map(&world), ["a.example=web", "b.example=api"]);
        // Both within the window of the guard would be blocked.
        world.define(&[("aaa", PLAIN), ("web", &shop(&["a.example"]))]).await;
        wait(31).await;
        world.define(&[("aaa", PLAIN)]).await;
        wait(10).await;
        assert_eq!((world.ready("aaa"), service_state(&actors, "aaa").await.problem), (vec![9], None));
        assert_eq!(world.with(|things| things.map_file.clone()), None, "a map that is not used goes");
        world.define(&[("aaa", PLAIN), ("web", &shop(&["a.example"]))]).await;
        world.hosts("web", &[2]).await;
        wait(5).await;
        assert!(service_state(&actors, "web").await.problem.unwrap().contains("service aaa"));
        assert_eq!(world.ready("aaa"), [9]);
    });
}

#[test]
fn a_backend_that_haproxy_refuses_leaves_the_others_their_frontend() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.with(|things| things.reject = Some("balance leastconn".to_owned()));
        let bad = r#"{"type": "static", "port": 8080, "domains": ["a.example", "c.example"],
                      "listen_options": ["balance leastconn"]}"#;
        world.define(&[("api", &shop(&["b.example"])), ("new", &shop(&["n.example"])), ("web", bad)]).await;
        world.hosts("new", &[3]).await;
        wait(5).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api", "n.example=new"]);
        assert_eq!(
            service_state(&actors, "web").await.problem.as_deref(),
            Some("listen_options[0] \"balance leastconn\": unknown keyword")
        );
        assert_eq!((world.ready("web"), world.ready("new")), (vec![2], vec![3]));
    });
}

#[test]
fn a_refused_change_to_domains_keeps_the_port_for_the_last_good_section_alone() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", PLAIN)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.with(|things| things.reject = Some("balance leastconn".to_owned()));
        let bad =
            r#"{"type": "static", "port": 8080, "domains": ["a.example"], "listen_options": ["balance leastconn"]}"#;
        world.define(&[("new", &shop(&["n.example"])), ("web", bad)]).await;
        world.hosts("new", &[3]).await;
        wait(5).await;
        let file = world.with(|things| things.live_file.clone());
        assert!(file.contains("listen web") && !file.contains("frontend"), "{file}");
        let problem = service_state(&actors, "new").await.problem.unwrap();
        assert!(problem.contains("the service web"), "{problem}");
        world.define(&[("new", &shop(&["n.example"])), ("web", &shop(&["a.example"]))]).await;
        wait(10).await;
        assert_eq!(map(&world), ["a.example=web", "n.example=new"]);
        assert_eq!(service_state(&actors, "new").await.problem, None);
    });
}

#[test]
fn a_map_that_somebody_changed_is_repaired_and_counted() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        let drift = haproxy_state(&actors).await.counts.drift;
        world.with(|things| {
            let map = things.map.as_mut().unwrap();
            map.values_mut().for_each(|service| *service = "elsewhere".to_owned());
            map.pop_last();
            things.map_file = Some("gone\n".to_owned());
        });
        wait(70).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api"]);
        assert_eq!(haproxy_state(&actors).await.counts.drift - drift, 3, "two lines of the map, and its file");
        assert!(world.with(|things| things.map_file.clone()).unwrap().contains("a.example/ web"));
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn a_map_that_haproxy_does_not_let_change_is_brought_by_a_reload() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.with(|things| things.refuse = Some("add map".to_owned()));
        world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["a.example", "c.example"]))]).await;
        wait(5).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api", "c.example=web"]);
        let state = haproxy_state(&actors).await;
        assert_eq!(world.starts(), 2);
        assert!(state.last_reload[0].contains("refused a change of its map"), "{:?}", state.last_reload);
    });
}

#[test]
fn a_socket_that_hangs_does_not_lose_a_change_of_domains() {
    in_virtual_time(async |world| {
        two(&world).await;
        world.with(|things| things.socket_hangs = true);
        world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["z.example"]))]).await;
        wait(2).await;
        world.with(|things| things.socket_hangs = false);
        wait(30).await;
        assert_eq!(map(&world), ["b.example=api", "z.example=web"]);
    });
}

#[test]
fn what_would_be_told_to_the_map_is_shown_before() {
    in_virtual_time(async |world| {
        let actors = world.start_under(policy(&[]));
        world.define(&[("web", &shop(&["a.example"]))]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.with(|things| things.socket_hangs = true);
        world.define(&[("web", &shop(&["b.example"]))]).await;
        let told = actors.preview_plan(None).await.unwrap();
        // What was sent without an answer is not known, so that nothing is planned before the next look.
        assert_eq!(told.routes, []);
        world.with(|things| things.socket_hangs = false);
        wait(30).await;
        assert_eq!(actors.preview_plan(None).await.unwrap().routes, []);
        assert_eq!(map(&world), ["b.example=web"]);
    });
}
