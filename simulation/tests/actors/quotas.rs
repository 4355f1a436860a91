//! Quotas: what came first stays, what exceeds a quota is left out and reported.

use proxymgr_actors::limits::{DEFINITION_BYTES_MAX, DEFINITIONS_AT_ONCE_MAX, DEFINITIONS_MAX};
use proxymgr_actors::model::Quotas;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{config_state, in_virtual_time, wait, watcher_state};

use crate::stage::serve;

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;
const MAIL: &str = r#"{"type": "static", "port": 8082}"#;

async fn services(actors: &Actors) -> Vec<String> {
    config_state(actors).await.services.iter().map(ToString::to_string).collect()
}

#[test]
fn services_that_came_first_stay() {
    in_virtual_time(async |world| {
        world.limit(Quotas { services: 2, ..Quotas::default() });
        let actors = serve(&world, &[("web", WEB, &[1]), ("mail", MAIL, &[2])]).await;
        world.define(&[("web", WEB), ("mail", MAIL), ("api", API)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["mail", "web"], "a name that comes first in the alphabet is no reason");
        assert!(config_state(&actors).await.problems["quotas.services"][0].contains("api"));
        world.define(&[("web", WEB), ("api", API)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["api", "web"]);
        assert!(config_state(&actors).await.problems.is_empty());
    });
}

#[test]
fn source_with_very_many_definitions_is_not_used() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        let names: Vec<String> = (0..=DEFINITIONS_MAX).map(|n| format!("s{n}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), r#"{"type": "static"}"#)).collect();
        world.define(&many).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["web"]);
        assert!(config_state(&actors).await.source.error.is_some_and(|error| error.contains("20001 definitions")));
    });
}

#[test]
fn long_list_is_read_in_slices_and_to_its_end() {
    in_virtual_time(async |world| {
        world.limit(Quotas { services: 3 * DEFINITIONS_AT_ONCE_MAX, ..Quotas::default() });
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        let names: Vec<String> = (0..3 * DEFINITIONS_AT_ONCE_MAX).map(|n| format!("s{n}")).collect();
        let valid = names.iter().map(|name| (name.as_str(), r#"{"type": "static"}"#));
        let many: Vec<(&str, &str)> = valid.chain([("web", WEB), ("zzz", "{")]).collect();
        world.define(&many).await;
        wait(3).await;
        let state = config_state(&actors).await;
        assert_eq!(state.services.len(), 3 * DEFINITIONS_AT_ONCE_MAX);
        assert!(state.problems.contains_key("quotas.services") && state.source.error.is_none());
        world.define(&[("web", WEB)]).await;
        wait(3).await;
        assert!(config_state(&actors).await.held.is_some(), "the guard judges the list as a whole");
    });
}

#[test]
fn list_with_too_many_hosts_is_not_used() {
    in_virtual_time(async |world| {
        world.limit(Quotas { hosts_per_service: 3, hosts: 4, ..Quotas::default() });
        let actors = serve(&world, &[("web", WEB, &[1, 2]), ("api", API, &[3])]).await;
        world.hosts("web", &[1, 2, 4, 5]).await;
        assert_eq!(world.ready("web"), [1, 2]);
        let error = watcher_state(&actors, "web").await.source.error.unwrap();
        assert!(error.contains("quotas.hosts_per_service is 3"), "{error}");
        world.hosts("web", &[1, 2, 4]).await;
        assert_eq!(world.ready("web"), [1, 2, 4]);
        assert_eq!(watcher_state(&actors, "web").await.source.error, None);
        world.hosts("api", &[3, 6]).await;
        assert_eq!(world.ready("api"), [3]);
        let error = watcher_state(&actors, "api").await.source.error.unwrap();
        assert!(error.contains("quotas.hosts is 4"), "{error}");
    });
}

#[test]
fn hosts_of_a_removed_service_are_given_back() {
    in_virtual_time(async |world| {
        world.limit(Quotas { hosts: 3, ..Quotas::default() });
        let actors = serve(&world, &[("web", WEB, &[1, 2]), ("api", API, &[3])]).await;
        world.define(&[("api", API)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["api"]);
        world.hosts("api", &[3, 4, 5]).await;
        assert_eq!(world.ready("api"), [3, 4, 5]);
    });
}

#[test]
fn slots_of_all_services_are_bounded() {
    const SLOTS: &str = r#"{"type": "static", "port": 8081, "update": "slots", "slots": 10}"#;
    const MORE: &str = r#"{"type": "static", "port": 8082, "update": "slots", "slots": 20}"#;
    const GROWING: &str =
        r#"{"type": "static", "port": 8083, "update": "slots", "slots": {"base": 1, "grow_by": 10000, "min_free": 1}}"#;
    in_virtual_time(async |world| {
        world.limit(Quotas { slots: 25, ..Quotas::default() });
        let actors = serve(&world, &[("api", SLOTS, &[1])]).await;
        world.define(&[("api", SLOTS), ("mail", MORE), ("grow", GROWING)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["api"]);
        for service in ["mail", "grow"] {
            assert!(config_state(&actors).await.problems[service][0].contains("quotas.slots: 25"), "{service}");
        }
    });
}

#[test]
fn stick_tables_of_all_services_are_bounded() {
    let table = |port: u16, table: &str| {
        format!(r#"{{"type": "static", "port": {port}, "listen_options": ["stick-table type {table}"]}}"#)
    };
    let small = table(8081, "ip size 20k");
    in_virtual_time(async |world| {
        world.limit(Quotas { stick_table_entries: 30_000, ..Quotas::default() });
        let actors = serve(&world, &[("api", &small, &[1])]).await;
        // The second one has large entries.
        let (more, wide) = (table(8082, "ip size 20k"), table(8083, "string len 1000 size 3k store gpc0"));
        world.define(&[("api", &small), ("mail", &more), ("wide", &wide)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["api"]);
        for service in ["mail", "wide"] {
            let problem = &config_state(&actors).await.problems[service][0];
            assert!(problem.contains("quotas.stick_table_entries: 30000"), "{problem}");
        }
    });
}

#[test]
fn larger_stick_table_beyond_the_quota_keeps_the_last_definition() {
    const SMALL: &str = r#"{"type": "static", "port": 8081, "listen_options": ["stick-table type ip size 20k"]}"#;
    const LARGE: &str = r#"{"type": "static", "port": 8089, "listen_options": ["stick-table type ip size 40k"]}"#;
    const NONE: &str = r#"{"type": "static", "port": 8089}"#;
    in_virtual_time(async |world| {
        world.limit(Quotas { stick_table_entries: 30_000, ..Quotas::default() });
        let actors = serve(&world, &[("api", SMALL, &[1])]).await;
        world.define(&[("api", LARGE)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["api"]);
        assert!(config_state(&actors).await.problems.contains_key("api"));
        world.define(&[("api", NONE)]).await;
        wait(3).await;
        assert!(!config_state(&actors).await.problems.contains_key("api"));
    });
}

#[test]
fn definition_that_is_too_long_is_refused() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        let long = format!(r#"{{"type": "{}"}}"#, "x".repeat(DEFINITION_BYTES_MAX));
        let long_kind = format!(r#"{{"type": "{}"}}"#, "x".repeat(65));
        world.define(&[("web", &long), ("api", &long_kind)]).await;
        wait(3).await;
        assert_eq!(services(&actors).await, ["web"], "its last good definition");
        let problems = config_state(&actors).await.problems;
        assert!(problems["web"][0].contains("bytes long"));
        assert!(problems["api"][0].contains("is not the name of a kind of source"));
        assert!(problems.values().flatten().all(|problem| problem.len() < 300));
    });
}
