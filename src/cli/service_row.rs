//! One service in a line, for `status` and `top`.

use std::collections::BTreeMap;

use proxymgr_actors::model::ServerState;
use proxymgr_actors::snapshot::{ActorState, ServiceState, WatcherState};

use super::wording::short_span;
use crate::status::report::StatusReport;
use crate::status::standing::SourceStanding;
use crate::status::telling::took;

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: String,
    /// Servers that discovery wants.
    pub desired: usize,
    /// Servers that take traffic.
    pub ready: usize,
    /// Servers whose checks fail.
    pub down: usize,
    /// Servers that take nothing new.
    pub drain: usize,
    /// Servers in maintenance.
    pub maint: usize,
    /// How its source is, and since when where it is not good: `away 5m`.
    pub source: String,
    /// By which strategy its changes reach the running HAProxy.
    pub update: &'static str,
    /// Its last change: by what means, and how fast.
    pub last_change: String,
    /// How much trouble it has.
    pub trouble: Trouble,
}

/// How much trouble a service has; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It has hosts, and none takes traffic; or it is not served as it should be.
    Severe,
    /// Its source is away or blocked by the guard, or the checks of some servers fail.
    Some,
    /// None.
    None,
}

/// Every service, by name.
pub fn rows(report: &StatusReport, now_unix_ms: u64) -> Vec<ServiceRow> {
    let Some(haproxy) = report.haproxy() else { return Vec::new() };
    let watchers: BTreeMap<&str, &WatcherState> = report
        .actors
        .iter()
        .filter_map(|state| match state {
            ActorState::Watcher(watcher) => Some((watcher.service.as_str(), watcher)),
            _ => None,
        })
        .collect();
    let services = haproxy.services.iter();
    services.map(|(name, state)| row(name.as_str(), state, watchers.get(name.as_str()).copied(), now_unix_ms)).collect()
}

fn row(name: &str, service: &ServiceState, watcher: Option<&WatcherState>, now_unix_ms: u64) -> ServiceRow {
    let (ready, down) = (service.count(ServerState::Ready), service.count(ServerState::Down));
    let standing = watcher.map(SourceStanding::of);
    let trouble = if service.problem.is_some() || (service.desired > 0 && ready == 0) {
        Trouble::Severe
    } else if down > 0 || standing.is_some_and(|standing| standing != SourceStanding::Good) {
        Trouble::Some
    } else {
        Trouble::None
    };
    ServiceRow {
        name: name.to_owned(),
        listen: service.listen.clone().unwrap_or_else(|| "-".to_owned()),
        desired: service.desired,
        ready,
        down,
        drain: service.count(ServerState::Drain),
        maint: service.count(ServerState::Maint),
        source: watcher.map_or_else(|| "-".to_owned(), |watcher| source(watcher, now_unix_ms)),
        update: service.update.as_str(),
        last_change: last_change(service),
        trouble,
    }
}

/// How a source is; since when, where it is not good.
fn source(watcher: &WatcherState, now_unix_ms: u64) -> String {
    let standing = SourceStanding::of(watcher);
    let since = match standing {
        SourceStanding::Away => Some(watcher.source.since_unix_ms),
        SourceStanding::Held => watcher.blocked().map(|change| change.since_unix_ms),
        SourceStanding::Saved => watcher.confirmed_unix_ms,
        SourceStanding::Waiting | SourceStanding::Good => None,
    };
    let word = standing.as_str();
    since.map_or_else(|| word.to_owned(), |since| format!("{word} {}", short_span(now_unix_ms.saturating_sub(since))))
}

fn last_change(service: &ServiceState) -> String {
    match (&service.last_class, service.last_took_us) {
        (Some(class), Some(took_us)) => format!("{class} in {}", took(took_us)),
        (Some(class), None) => class.clone(),
        _ => "-".to_owned(),
    }
}
