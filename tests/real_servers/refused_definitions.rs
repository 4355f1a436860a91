//! Definitions that HAProxy refuses are left out and reported with their line, and affect no other service.

use std::time::Instant;

use serde_json::json;

use crate::stage::{
    ServiceFiles, actor_state, addresses, backends, daemon, wait_for_ready, wait_for_reload_after, wait_for_state,
};
use crate::support::dir::TestDir;
use crate::support::{haproxy, http};

/// A line that the policy accepts and every HAProxy refuses.
const REFUSED: &str = "http-request track-sc9 src";

/// HAProxy names only one of several mistakes at a time, so this needs dozens of checks.
#[tokio::test]
async fn valid_definition_is_served_among_forty_refused() {
    const SERVICES: usize = 40;
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        for n in 0..SERVICES {
            files.define(&format!("old-{n:03}"), dir.port(), json!({"listen_options": ["mode http"]}));
            files.hosts(&format!("old-{n:03}"), &backends);
        }
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "old-000", &addresses(&backends)).await;
        let before = crate::stage::reloads(&daemon).await;
        for n in 0..40 {
            let name = format!("bad-{n:02}");
            files.define(&name, dir.port(), json!({"listen_options": ["mode http", REFUSED]}));
            files.hosts(&name, &backends);
        }
        files.define("good", dir.port(), json!({"listen_options": ["mode http"]}));
        files.hosts("good", &backends);
        let begun = Instant::now();
        wait_for_ready(&daemon, "good", &addresses(&backends)).await;
        println!("{version}: served after {:?}", begun.elapsed());
        wait_for_reload_after(&daemon, before).await;
        let state = wait_for_state(&daemon, "all refused services are named", "haproxy_state", |state| {
            let services = state["services"].as_object().expect("services");
            services.values().filter(|service| !service["problem"].is_null()).count() == 40
        })
        .await;
        let problem = state["services"]["bad-07"]["problem"].as_str().expect("a problem").to_owned();
        assert!(problem.starts_with(&format!("listen_options[1] \"{REFUSED}\": ")), "{version}: {problem}");
        assert!(problem.contains("track-sc"), "{version}: {problem}");
        assert!(state["services"]["old-000"]["problem"].is_null(), "{version}");
    }
}

/// 2.2 and 2.6 refuse the whole file and name a line of `defaults`; later versions accept it.
#[tokio::test]
async fn tcp_service_in_conflict_with_defaults_is_left_out() {
    let defaults =
        ["mode http", "timeout connect 5s", "timeout client 1m", "timeout server 1m", "unique-id-format %HM"];
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        for (name, mode) in [("web", "mode http"), ("raw", "mode tcp")] {
            files.define(name, dir.port(), json!({"listen_options": [mode]}));
            files.hosts(name, &backends);
        }
        let daemon =
            daemon(&dir).haproxy(&version).files(&files.services()).set("haproxy.defaults", json!(defaults)).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let state = actor_state(&daemon, "haproxy_state").await.expect("it answers");
        assert!(state["services"]["web"]["problem"].is_null(), "{version}: {state}");
        if let Some(problem) = state["services"]["raw"]["problem"].as_str() {
            assert!(problem.contains("\"unique-id-format %HM\""), "{version}: {problem}");
        } else {
            wait_for_ready(&daemon, "raw", &addresses(&backends)).await;
        }
    }
}

/// The mistake is in the base configuration, so no new file can be valid.
#[tokio::test]
async fn refused_settings_at_start_keep_the_last_good_file() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let port = dir.port();
        files.define("web", port, json!({"listen_options": ["mode http"]}));
        files.hosts("web", &backends);
        let good = daemon(&dir).haproxy(&version).files(&files.services());
        let mut first = good.clone().start();
        wait_for_ready(&first, "web", &addresses(&backends)).await;
        first.terminate().await;
        let second = good.set("haproxy.defaults", json!(["mode http", "no-such-keyword"])).start();
        wait_for_ready(&second, "web", &addresses(&backends)).await;
        assert_eq!(http::get(([127, 0, 0, 1], port).into(), "/").await.expect("served").status, 200, "{version}");
        let state = wait_for_state(&second, "the refused line is named", "haproxy_state", |state| {
            state["reload_error"].as_str().is_some_and(|error| error.contains("no-such-keyword"))
        });
        state.await;
    }
}

/// Warnings do not prevent that a service is served; they are shown with it.
#[tokio::test]
async fn warnings_of_the_check_are_shown_with_their_service() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        files.define("web", dir.port(), json!({"listen_options": ["mode tcp", "option forwardfor"]}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let state = actor_state(&daemon, "haproxy_state").await.expect("it answers");
        let warnings = state["services"]["web"]["warnings"].to_string();
        assert!(warnings.contains("forwardfor"), "{version}: {state}");
        for path in ["/services/web", "/config"] {
            let page = http::get(daemon.status_address(), path).await.expect("the page").text();
            assert!(page.contains("HAProxy warns") && page.contains("forwardfor"), "{version}: {path}: {page}");
        }
    }
}
