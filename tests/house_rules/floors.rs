//! Who may name whom. The floors are in the README's code map; each imports only from lower ones.

use super::source::{Finding, NamedPath, Source};

/// Crates which a file on the floors of `actors/model/` and `actors/decide/` might reach for. What
/// the manifest of `actors/` does not list, Cargo refuses anyway.
const CRATES: &[&str] = &[
    "actix",
    "futures",
    "futures_util",
    "indexmap",
    "minijinja",
    "rand",
    "serde",
    "serde_json",
    "slog",
    "thiserror",
    "tokio",
];

const FLOOR_0: &[&str] = &["actors/model/", "actors/limits.rs", "actors/limits/"];
const FLOOR_1: &[&str] = &["actors/decide/"];

/// Folders of adapters and faces.
const ADAPTERS: &[&str] = &["discovery", "proxy", "status", "recording"];

/// Paths which `is_wrong` says so of, each with what to do.
fn wrong_paths(source: &Source, is_wrong: impl Fn(&NamedPath) -> Option<String>) -> Vec<Finding> {
    let paths = source.paths();
    paths.iter().filter_map(|path| Some(source.finding(path.at, is_wrong(path)?))).collect()
}

/// `modules` of the own crate and `crates` may be named in these places, and others may not.
fn only(source: &Source, places: &[&str], modules: &[&str], crates: &[&str], floor: &str) -> Vec<Finding> {
    if !source.is_in(places) {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        let segment = |index: usize| path.segments.get(index).map_or("", String::as_str);
        let is_foreign = match segment(0) {
            "crate" => !modules.contains(&segment(1)),
            name => CRATES.contains(&name) && !crates.contains(&name),
        };
        let named = path.segments.join("::");
        is_foreign.then(|| format!("`{named}` is above {floor}: pass in what is needed of it, or move this file up"))
    })
}

/// Floor 0 knows the standard library, serde (with the JSON that a definition carries) and itself.
pub fn model_stands_on_nothing(source: &Source) -> Vec<Finding> {
    only(source, FLOOR_0, &["model", "limits"], &["serde", "serde_json", "thiserror"], "the model")
}

/// Floor 1 knows floor 0, and crates that hold data.
pub fn decisions_stand_on_the_model(source: &Source) -> Vec<Finding> {
    let crates = ["serde", "serde_json", "indexmap", "thiserror"];
    only(source, FLOOR_1, &["model", "limits", "decide"], &crates, "the decisions")
}

/// The same actors run in the daemon and in simulation: only an adapter meets the outside.
pub fn the_core_does_no_io(source: &Source) -> Vec<Finding> {
    const CRATES_WITH_IO: &[&str] = &["nix", "rustix", "libc", "actix_web", "awc", "figment", "clap", "zookeeper"];
    const MODULES_WITH_IO: &[[&str; 2]] = &[
        ["std", "fs"],
        ["std", "process"],
        ["tokio", "fs"],
        ["tokio", "net"],
        ["tokio", "process"],
        ["tokio", "signal"],
    ];
    if !source.is_in(&["actors/"]) {
        return Vec::new();
    }
    wrong_paths(source, |path| {
        let root = path.segments[0].as_str();
        let module = MODULES_WITH_IO.iter().any(|module| path.segments.starts_with(&module.map(str::to_owned)));
        let sockets = ["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream"];
        let socket = root == "std" && path.segments.iter().any(|segment| sockets.contains(&segment.as_str()));
        let named = path.segments.join("::");
        (CRATES_WITH_IO.contains(&root) || module || socket)
            .then(|| format!("`{named}` does I/O: it belongs in an adapter, behind a port (actors/port.rs)"))
    })
}

/// An actor holds the `Recipient` of a message; whose it is, only the wiring knows.
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

/// Discovery, proxies, the status page and recording meet in the actors, nowhere else. (Simulation is a crate that
/// depends on none of them.)
pub fn adapters_do_not_know_each_other(source: &Source) -> Vec<Finding> {
    let own = ADAPTERS.iter().find(|folder| source.is_in(&[&format!("src/{folder}/"), &format!("src/{folder}.rs")]));
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

/// One adapter knows the ZooKeeper client, so that the client can be replaced.
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

/// A run can be replayed from its seed only if nothing is visited in another order.
pub fn the_cores_order_is_deterministic(source: &Source) -> Vec<Finding> {
    if !source.is_in(&["actors/"]) {
        return Vec::new();
    }
    let found = ["HashMap", "HashSet"].into_iter().flat_map(|name| Source::words(&source.code, name));
    found
        .map(|at| source.finding(at, "its order differs from run to run: use BTreeMap/BTreeSet or IndexMap/IndexSet"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines which a rule finds fault with.
    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn the_model_may_not_name_a_higher_floor_or_a_crate_that_acts() {
        let text = "use std::net::IpAddr;\nuse serde::Serialize;\nuse crate::{limits, model::Host};\n\
                    use crate::{decide::guard, model};\nuse indexmap::IndexMap;\nfn f() { crate::port::g() }\n";
        assert_eq!(lines(model_stands_on_nothing, "actors/model/host.rs", text), [4, 5, 6]);
        assert_eq!(lines(model_stands_on_nothing, "actors/limits.rs", text), [4, 5, 6]);
        assert_eq!(lines(model_stands_on_nothing, "actors/wiring.rs", text), []);
    }

    #[test]
    fn a_decision_may_not_name_actors_or_messages() {
        let text = "use crate::model::Host;\nuse indexmap::IndexMap;\nuse crate::message::HostsChanged;\nuse actix::Actor;\nuse slog::Logger;\n";
        assert_eq!(lines(decisions_stand_on_the_model, "actors/decide/guard.rs", text), [3, 4, 5]);
    }

    #[test]
    fn the_core_may_not_open_files_or_sockets() {
        let text = "use std::net::IpAddr;\nuse nix::unistd::Pid;\nfn f() { std::fs::read(p) }\nuse tokio::{net, time};\n\
                    use std::net::{IpAddr, TcpListener};\nuse tokio::sync::mpsc;\n";
        assert_eq!(lines(the_core_does_no_io, "actors/watcher_actor.rs", text), [2, 3, 4, 5]);
        assert_eq!(lines(the_core_does_no_io, "src/daemon.rs", text), []);
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
        assert_eq!(lines(adapters_do_not_know_each_other, "src/daemon.rs", text), []);
    }

    #[test]
    fn only_its_adapter_may_name_the_zookeeper_client() {
        let text = "use zookeeper::Client;\nuse crate::discovery::zookeeper::Source;\n";
        assert_eq!(lines(one_adapter_names_zookeeper, "src/daemon.rs", text), [1]);
        assert_eq!(lines(one_adapter_names_zookeeper, "src/discovery/zookeeper.rs", text), []);
        assert_eq!(lines(one_adapter_names_zookeeper, "src/discovery/zookeeper/session.rs", text), []);
    }

    #[test]
    fn the_core_may_not_keep_what_has_no_order() {
        let text = "use std::collections::HashMap; // HashMap\ntype A = BTreeMap<u8, u8>;\ntype B = HashSet<u8>;\n";
        assert_eq!(lines(the_cores_order_is_deterministic, "actors/port.rs", text), [1, 3]);
        assert_eq!(lines(the_cores_order_is_deterministic, "src/cli.rs", text), []);
    }
}
