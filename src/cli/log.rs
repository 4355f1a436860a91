//! `proxymgr log`: the log levels of the running daemon, and levels for a limited time.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::daemon_args::DaemonArgs;
use super::orders::{remove, send};
use super::text::{now_unix_ms, printable, span};
use super::{block_on, output};
use crate::failure::Failure;
use crate::log_levels::{LevelName, LevelsInUse, LogScope, TimedLevel};

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// A component and its level, such as watcher=debug; without any, the levels are shown.
    #[arg(value_name = "COMPONENT=LEVEL", value_parser = component_and_level, conflicts_with = "reset")]
    levels: Vec<(String, String)>,
    /// Log everything about this service, of all components.
    #[arg(long, value_name = "SERVICE", conflicts_with = "reset")]
    service: Option<String>,
    /// How long, such as 30m; 10m by default.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// End all levels that were set for a time.
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

fn component_and_level(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(component, _)| !component.is_empty());
    let (component, level) = parts.ok_or("must be COMPONENT=LEVEL, such as watcher=debug")?;
    let known: Result<LevelName, _> = serde_json::from_value(json!(level));
    known.map_err(|_| "the level must be critical, error, warning, info, debug or trace")?;
    Ok((component.to_owned(), level.to_owned()))
}

/// Shows the levels, or sets some.
pub fn log(args: &LogArgs) -> Result<(), Failure> {
    if args.reset {
        return remove(&args.daemon, "/log");
    }
    let orders = args.orders();
    if orders.is_empty() {
        return show(&args.daemon);
    }
    orders.iter().try_for_each(|order| send(&args.daemon, "/log", order))
}

impl LogArgs {
    /// The bodies of the orders.
    fn orders(&self) -> Vec<Value> {
        let duration = self.duration.map(|duration| humantime::format_duration(duration).to_string());
        let of_components =
            self.levels.iter().map(|(component, level)| json!({"component": component, "level": level}));
        let of_service = self.service.iter().map(|service| json!({"service": service, "level": "debug"}));
        let mut orders: Vec<Value> = of_components.chain(of_service).collect();
        for order in &mut orders {
            if let Some(duration) = &duration {
                order["duration"] = json!(duration);
            }
        }
        orders
    }
}

fn show(daemon: &DaemonArgs) -> Result<(), Failure> {
    let levels: LevelsInUse = block_on(async { Ok::<_, Failure>(daemon.reader()?.get("/api/v1/log").await?) })?;
    output::print(&text(&levels, now_unix_ms()));
    Ok(())
}

fn text(levels: &LevelsInUse, now_unix_ms: u64) -> String {
    let name = |level: LevelName| level.level().as_str().to_lowercase();
    let mut text = format!("{}\n", name(levels.level));
    text.extend(levels.levels.iter().map(|(component, level)| format!("{}={}\n", printable(component), name(*level))));
    for TimedLevel { scope, level, until_unix_ms } in &levels.timed {
        let what = match scope {
            LogScope::Component(component) => format!("{}={}", printable(component), name(*level)),
            LogScope::Service(service) => format!("service {} at {}", printable(service), name(*level)),
        };
        text.push_str(&format!("{what} for {}\n", span(until_unix_ms.saturating_sub(now_unix_ms))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_checked_before_it_is_sent() {
        assert_eq!(component_and_level("watcher=debug"), Ok(("watcher".into(), "debug".into())));
        for wrong in ["watcher", "=debug", "watcher=loud", "watcher="] {
            assert!(component_and_level(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels_are_shown_with_their_time() {
        let levels = json!({
            "level": "info", "levels": {"haproxy": "warning"},
            "timed": [{"component": "watcher", "level": "debug", "until_unix_ms": 61_000},
                      {"service": "web", "level": "debug", "until_unix_ms": 31_000}],
        });
        let levels: LevelsInUse = serde_json::from_value(levels).unwrap();
        let expected = "info\nhaproxy=warning\nwatcher=debug for 1m\nservice web at debug for 30s\n";
        assert_eq!(text(&levels, 1_000), expected);
    }
}
