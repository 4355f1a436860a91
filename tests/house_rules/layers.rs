//! Imports between modules. docs/architecture.md lists the layers; each imports only from lower ones. Imports that
//! Cargo refuses (an actor or the simulation that names an adapter) or clippy refuses (`actors/clippy.toml`: I/O,
//! clocks, collections without an order) are not repeated here.

use super::source::{Finding, NamedPath, Source};

/// Dependencies of `actors/` that act, which `actors/model/` and `actors/decide/` must not name.
const ACTING_CRATES: &[&str] = &["actix", "slog", "tokio"];

const LAYER_0: &[&str] = &["actors/model/", "actors/limits.rs", "actors/limits/"];
const LAYER_1: &[&str] = &["actors/decide/"];

/// Modules whose data types are the reconciler's inputs, effects and reports.
const RECONCILER_NAMES: &[&str] = &["model", "limits", "decide", "journal", "message", "port", "snapshot", "reconcile"];

/// Folders of adapters and status.
const ADAPTERS: &[&str] = &["discovery", "proxy", "status", "recording", "certificates"];

/// Modules that adapters build on.
const BELOW_ADAPTERS: &[&str] = &[
    "settings",
    "secret",
    "child_environment",
    "http",
    "tls",
    "token",
    "name_server",
    "dropped_records",
    "log_levels",
];

/// Returns the paths that `is_wrong` rejects, each with advice.
fn wrong_paths(source: &Source, is_wrong: impl Fn(&NamedPath) -> Option<String>) -> Vec<Finding> {
    let paths = source.paths();
    paths.iter().filter_map(|path| Some(source.finding(path.at, is_wrong(path)?))).collect()
}

/// Checks that files in these places name only `modules` of their own crate, and no crate that acts.
fn only(source: &Source, places: &[&str], modules: &[&str], layer: &str) -> Vec<Finding> {
    if !source.is_in(places) {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        let segment = |index: usize| path.segments.get(index).map_or("", String::as_str);
        let is_foreign = match segment(0) {
            "crate" => !modules.contains(&segment(1)),
            name => ACTING_CRATES.contains(&name),
        };
        let named = path.segments.join("::");
        is_foreign.then(|| format!("`{named}` is above {layer}: pass in what is needed, or move this file up"))
    })
}

/// Layer 0 names only itself and crates that hold data.
pub fn model_imports_nothing(source: &Source) -> Vec<Finding> {
    only(source, LAYER_0, &["model", "limits"], "the model")
}

/// Layer 1 names only itself, layer 0 and crates that hold data.
pub fn decisions_import_the_model(source: &Source) -> Vec<Finding> {
    only(source, LAYER_1, &["model", "limits", "decide"], "the decisions")
}

/// The reconciler is pure: it names data of the core, but no actor, no log and no clock; the time is an argument.
pub fn reconciler_is_pure(source: &Source) -> Vec<Finding> {
    if !source.is_in(&["actors/reconcile/"]) || source.is_in(&["actors/reconcile/tests/"]) {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let is_wrong = match *segments {
            [.., "Instant", "now"] => true,
            ["crate", module, ..] => !RECONCILER_NAMES.contains(&module),
            [name, ..] => ACTING_CRATES.contains(&name) || name == "send_wrapper",
            [] => false,
        };
        let named = path.segments.join("::");
        is_wrong.then(|| format!("`{named}` in the pure reconciler: pass in a value, or return an effect"))
    })
}

/// An actor holds the `Recipient` of a message; only the wiring knows the receiver.
pub fn actors_do_not_know_each_other(source: &Source) -> Vec<Finding> {
    // actors/watcher_actor.rs, or a file in actors/watcher_actor/
    let below = source.path.strip_prefix("actors/").unwrap_or_default();
    let own = below.split(['/', '.']).next().unwrap_or_default();
    if !own.ends_with("_actor") {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        let other = path.segments.iter().find(|segment| segment.ends_with("_actor") && *segment != own)?;
        Some(format!("an actor names {other}: hold a Recipient of the message, and let actors/wiring.rs pass it in"))
    })
}

/// Discovery, proxies, status, recording and certificates are connected only by the actors, and the modules that they build on name
/// none of them. (The simulation is a crate that depends on none of them.)
pub fn adapters_do_not_know_each_other(source: &Source) -> Vec<Finding> {
    let own = ADAPTERS
        .iter()
        .chain(BELOW_ADAPTERS)
        .find(|folder| source.is_in(&[&format!("src/{folder}/"), &format!("src/{folder}.rs")]));
    let Some(own) = own else { return Vec::new() };
    wrong_paths(source, |path| {
        let is_root = |segment: &str| matches!(segment, "crate" | "super" | "proxymgr");
        let mut pairs = path.segments.windows(2);
        let names_one =
            |pair: &&[String]| is_root(&pair[0]) && ADAPTERS.contains(&pair[1].as_str()) && pair[1] != **own;
        let other = &pairs.find(names_one)?[1];
        Some(format!("src/{own} names src/{other}: let a message or a port of actors/ go between them"))
    })
}

/// Only one adapter names the ZooKeeper client, so that the client can be replaced.
pub fn one_adapter_names_zookeeper(source: &Source) -> Vec<Finding> {
    let is_adapter = source.path.starts_with("src/discovery/zookeeper");
    if is_adapter || !source.is_in(&["src/", "actors/"]) {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        matches!(path.segments[0].as_str(), "zookeeper" | "zookeeper_client").then(|| {
            "only src/discovery/zookeeper names the client's crate (a module of that name is `self::zookeeper`)"
                .to_owned()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of a rule's findings.
    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn reconciler_may_not_name_what_acts() {
        let text = "use std::time::{Duration, Instant};\nuse crate::model::Host;\nuse crate::clock::Clock;\n\
                    use actix::Addr;\nuse tokio::time::sleep;\nfn f() { Instant::now() }\nuse slog::info;\n";
        assert_eq!(lines(reconciler_is_pure, "actors/reconcile/state.rs", text), [3, 4, 5, 6, 7]);
        assert_eq!(lines(reconciler_is_pure, "actors/clock.rs", text), []);
    }

    #[test]
    fn model_may_not_name_a_higher_layer() {
        let text = "use std::net::IpAddr;\nuse serde::Serialize;\nuse crate::{limits, model::Host};\n\
                    use crate::{decide::guard, model};\nuse tokio::time::Instant;\nfn f() { crate::port::g() }\n";
        assert_eq!(lines(model_imports_nothing, "actors/model/host.rs", text), [4, 5, 6]);
        assert_eq!(lines(model_imports_nothing, "actors/limits.rs", text), [4, 5, 6]);
        assert_eq!(lines(model_imports_nothing, "actors/wiring.rs", text), []);
    }

    #[test]
    fn decisions_may_not_name_actors_or_messages() {
        let text = "use crate::model::Host;\nuse serde::Serialize;\nuse crate::message::HostsChanged;\nuse actix::Actor;\nuse slog::Logger;\n";
        assert_eq!(lines(decisions_import_the_model, "actors/decide/guard.rs", text), [3, 4, 5]);
    }

    #[test]
    fn an_actor_may_not_name_another() {
        let text = "use crate::journal_actor::JournalActor;\nuse super::watcher_actor::X;\nuse crate::message::M;\n";
        assert_eq!(lines(actors_do_not_know_each_other, "actors/watcher_actor.rs", text), [1]);
        assert_eq!(lines(actors_do_not_know_each_other, "actors/watcher_actor/state.rs", text), [1]);
        assert_eq!(lines(actors_do_not_know_each_other, "actors/wiring.rs", text), []);
    }

    #[test]
    fn an_adapter_may_not_name_another() {
        let text = "use crate::discovery::file;\nuse crate::{proxy::socket, settings};\nuse proxymgr::status;\nuse super::proxy::x;\n";
        assert_eq!(lines(adapters_do_not_know_each_other, "src/discovery/file.rs", text), [2, 3, 4]);
        assert_eq!(lines(adapters_do_not_know_each_other, "src/settings/http.rs", text), [1, 2, 3, 4]);
        assert_eq!(lines(adapters_do_not_know_each_other, "src/daemon.rs", text), []);
    }

    #[test]
    fn only_its_adapter_may_name_the_zookeeper_client() {
        let text = "use zookeeper::Client;\nuse crate::discovery::zookeeper::Source;\n";
        assert_eq!(lines(one_adapter_names_zookeeper, "src/daemon.rs", text), [1]);
        assert_eq!(lines(one_adapter_names_zookeeper, "src/discovery/zookeeper.rs", text), []);
        assert_eq!(lines(one_adapter_names_zookeeper, "src/discovery/zookeeper/session.rs", text), []);
    }
}
