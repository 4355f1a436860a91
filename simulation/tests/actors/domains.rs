//! Services that share a port by their domains.

use proxymgr_actors::journal::Event;
use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::snapshot::ServiceState;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::Work;
use proxymgr_simulation::scripted::{ScriptedWorld, haproxy_state, in_virtual_time, journal, policy, wait};
use tokio::time::sleep;

fn shop(domains: &[&str]) -> String {
    format!(r#"{{"type": "static", "port": 8080, "domains": {domains:?}}}"#)
}

const PLAIN: &str = r#"{"type": "static", "port": 8080}"#;

/// Returns the map of the process: `a.example=web`.
fn map(world: &ScriptedWorld) -> Vec<String> {
    world.map().iter().map(|(key, service)| format!("{key}={service}")).collect()
}

async fn service_state(actors: &Actors, service: &str) -> ServiceState {
    let state = haproxy_state(actors).await;
    let found = state.services.into_iter().find(|(name, _)| name.as_str() == service);
    found.expect("the service is known").1
}

/// Starts two services on one port, both served.
async fn two(world: &ScriptedWorld) -> Actors {
    let actors = world.start();
    world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["a.example"]))]).await;
    world.hosts("api", &[1]).await;
    world.hosts("web", &[2]).await;
    wait(3).await;
    actors
}

#[test]
fn services_with_domains_share_a_port() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        assert_eq!((world.starts(), map(&world)), (1, vec!["a.example=web".to_owned(), "b.example=api".to_owned()]));
        let file = world.file();
        assert_eq!((file.matches("frontend http:8080").count(), file.matches("bind fd@").count()), (1, 1), "{file}");
        assert_eq!((world.ready("api"), world.ready("web")), (vec![1], vec![2]));
        let problems = haproxy_state(&actors).await.services.into_values().filter_map(|service| service.problem);
        assert_eq!(problems.collect::<Vec<_>>(), Vec::<String>::new());
    });
}

#[test]
fn domain_change_needs_no_reload_and_updates_map_file() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.define(&[("api", &shop(&["a.example", "c.example"])), ("web", &shop(&["d.example"]))]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=api", "c.example=api", "d.example=web"]);
        assert_eq!(world.starts(), 1);
        assert_eq!(haproxy_state(&actors).await.counts.routes, 4);
        let commands = world.commands();
        assert!(commands.contains(&"set map MAP 0.0.0.0:8080/a.example/ api".to_owned()));
        let file = world.map_file().unwrap();
        assert!(file.contains("0.0.0.0:8080/a.example/ api\n") && !file.contains("b.example"), "{file}");
        let reported = journal(&actors, "api")
            .await
            .into_iter()
            .any(|entry| matches!(entry.event, Event::Decided { reason, .. } if reason.contains("no longer to web")));
        assert!(reported, "the journal has the reason");
    });
}

#[test]
fn contested_domain_stays_with_its_first_owner() {
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
fn restart_keeps_the_owner_of_a_domain() {
    in_virtual_time(async |world| {
        world.write_map_file("0.0.0.0:8080/a.example/ web\n");
        world.start();
        world.define(&[("api", &shop(&["a.example"])), ("web", &shop(&["a.example"]))]).await;
        world.hosts("api", &[1]).await;
        world.hosts("web", &[2]).await;
        wait(3).await;
        assert_eq!(map(&world), ["a.example=web"]);
    });
}

#[test]
fn domain_moves_to_new_service_without_gap() {
    in_virtual_time(async |world| {
        two(&world).await;
        world.takes(Work::Check, std::time::Duration::from_secs(5));
        world.define(&[("api", &shop(&[])), ("new", &shop(&["a.example"])), ("web", &shop(&["c.example"]))]).await;
        world.hosts("new", &[3]).await;
        wait(1).await;
        assert!(map(&world).contains(&"a.example=web".to_owned()), "{:?}", map(&world));
        wait(30).await;
        assert!(map(&world).contains(&"a.example=new".to_owned()), "{:?}", map(&world));
    });
}

#[test]
fn port_is_either_shared_by_domains_or_exclusive() {
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
        assert_eq!(world.map_file(), None, "an unused map file is removed");
        world.define(&[("aaa", PLAIN), ("web", &shop(&["a.example"]))]).await;
        world.hosts("web", &[2]).await;
        wait(5).await;
        assert!(service_state(&actors, "web").await.problem.unwrap().contains("service aaa"));
        assert_eq!(world.ready("aaa"), [9]);
    });
}

#[test]
fn refused_backend_leaves_shared_frontend_working() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.refuse_files_with(Some("balance leastconn"));
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
fn refused_change_to_domains_keeps_exclusive_port() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", PLAIN)]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.refuse_files_with(Some("balance leastconn"));
        let bad =
            r#"{"type": "static", "port": 8080, "domains": ["a.example"], "listen_options": ["balance leastconn"]}"#;
        world.define(&[("new", &shop(&["n.example"])), ("web", bad)]).await;
        world.hosts("new", &[3]).await;
        wait(5).await;
        let file = world.file();
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
fn map_drift_is_repaired_and_counted() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        let drift = haproxy_state(&actors).await.counts.drift;
        world.tamper_with_map("0.0.0.0:8080/a.example/ elsewhere\n");
        world.write_map_file("gone\n");
        wait(70).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api"]);
        assert_eq!(haproxy_state(&actors).await.counts.drift - drift, 3, "two lines of the map, and its file");
        assert!(world.map_file().unwrap().contains("a.example/ web"));
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn refused_map_command_causes_reload() {
    in_virtual_time(async |world| {
        let actors = two(&world).await;
        world.refuse_commands(Some("add map"));
        world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["a.example", "c.example"]))]).await;
        wait(5).await;
        assert_eq!(map(&world), ["a.example=web", "b.example=api", "c.example=web"]);
        let state = haproxy_state(&actors).await;
        assert_eq!(world.starts(), 2);
        assert!(state.last_reload[0].contains("refused a map change"), "{:?}", state.last_reload);
    });
}

#[test]
fn hanging_socket_loses_no_domain_change() {
    in_virtual_time(async |world| {
        two(&world).await;
        world.hang_socket(false);
        world.define(&[("api", &shop(&["b.example"])), ("web", &shop(&["z.example"]))]).await;
        wait(2).await;
        world.heal_socket();
        wait(30).await;
        assert_eq!(map(&world), ["b.example=api", "z.example=web"]);
    });
}

#[test]
fn unknown_map_state_plans_no_commands() {
    in_virtual_time(async |world| {
        let actors = world.start_under(policy(&[]));
        world.define(&[("web", &shop(&["a.example"]))]).await;
        world.hosts("web", &[1]).await;
        wait(3).await;
        world.hang_socket(false);
        world.define(&[("web", &shop(&["b.example"]))]).await;
        sleep(RUNTIME_ANSWER_TIMEOUT).await;
        // The result of commands without an answer is unknown: nothing is planned before the next observation.
        assert_eq!(actors.preview_plan(None).await.unwrap().routes, []);
        world.heal_socket();
        wait(30).await;
        assert_eq!(actors.preview_plan(None).await.unwrap().routes, []);
        assert_eq!(map(&world), ["b.example=web"]);
    });
}
