//! The state of the page, kept once for all readers. It is refreshed at a bounded rate, whatever the number of readers,
//! and each part carries the tick of its last change, so that a reader receives only what is new to it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use minijinja::context;
use proxymgr_actors::history::History;
use proxymgr_actors::limits::{
    STATUS_GONE_ROWS_MAX, STATUS_TRAFFIC_COST_SHARE, STATUS_TRAFFIC_INTERVAL, STATUS_TRAFFIC_PATIENCE,
    STATUS_UPDATE_ROWS_MAX,
};
use proxymgr_actors::model::{ServiceName, Traffic};
use proxymgr_actors::port::TrafficReader;
use proxymgr_actors::snapshot::{ActorState, WatcherState};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Duration, Instant, timeout};

use super::overview::{self, Concerns, KnownSince};
use super::picture::{self, Window};
use super::service_row::{Counted, ServiceRow};
use super::templates::value;
use super::{assets, certificate_row, facts, override_rows, templates};
use crate::status::concern::{Concern, ConcernKind};
use crate::status::format::grouped;
use crate::status::report::StatusReport;
use crate::status::severity::Severity;
use crate::status::view::{Identity, View};

const MINUTE_MS: u64 = 60_000;

/// The page, with the means to refresh it.
pub struct Board {
    /// Where snapshots come from.
    pub view: Arc<dyn View>,
    /// The daemon.
    pub identity: Identity,
    /// Source of traffic figures; without it none are shown.
    pub traffic: Option<Rc<dyn TrafficReader>>,
    shown: RefCell<Shown>,
    turn: tokio::sync::Mutex<()>,
    refreshed_at: Cell<Option<Instant>>,
    traffic_due_at: Cell<Option<Instant>>,
}

/// The page as of the last refresh.
#[derive(Default)]
pub struct Shown {
    /// Incremented with each change.
    pub tick: u64,
    /// Sequence number of the newest journal entry.
    pub sequence: u64,
    /// How urgently the daemon needs attention.
    pub severity: Severity,
    /// The status report; none before the first refresh.
    pub report: Option<Arc<StatusReport>>,
    parts: BTreeMap<&'static str, Part>,
    rows: BTreeMap<String, Row>,
    gone: VecDeque<(u64, String)>,
    known: KnownSince,
    traffic: BTreeMap<ServiceName, Traffic>,
}

/// A part of the page: its HTML and the tick of its last change.
#[derive(Default)]
struct Part {
    tick: u64,
    html: String,
}

/// The row of a service. The two traffic cells, which change often, are between `start` and `end`.
struct Row {
    tick: u64,
    row: ServiceRow,
    counted: Counted,
    start: String,
    end: String,
}

/// Changes since a tick.
#[derive(Debug, Default, Serialize)]
pub struct Update {
    /// The current tick.
    pub tick: u64,
    /// Sequence number of the newest journal entry.
    pub sequence: u64,
    /// How urgently the daemon needs attention.
    pub severity: Severity,
    /// Changed parts by their id.
    pub parts: BTreeMap<&'static str, String>,
    /// Changed rows by the names of their services.
    pub rows: BTreeMap<String, String>,
    /// Removed services.
    pub gone: Vec<String>,
    /// Whether too much has changed to be sent: the reader must load the page again.
    pub stale: bool,
}

impl Board {
    /// A board before its first refresh.
    pub fn new(view: Arc<dyn View>, identity: Identity, traffic: Option<Rc<dyn TrafficReader>>) -> Self {
        Self {
            view,
            identity,
            traffic,
            shown: RefCell::default(),
            turn: tokio::sync::Mutex::default(),
            refreshed_at: Cell::new(None),
            traffic_due_at: Cell::new(None),
        }
    }

    /// Identifies this run of this version of the daemon.
    pub fn run(&self) -> String {
        format!("{} {} {}", self.identity.started_at_unix_ms, self.identity.commit, assets::version())
    }

    /// Time since the last refresh; none before the first.
    pub fn age(&self) -> Option<Duration> {
        self.refreshed_at.get().map(|at| at.elapsed())
    }

    /// Reads the snapshots of all actors, unless they are younger than `max_age`. Concurrent callers share one refresh.
    pub async fn refresh(&self, max_age: Duration) {
        let _turn = self.turn.lock().await;
        if self.age().is_some_and(|age| age <= max_age) {
            return;
        }
        let states = self.view.states().await;
        let history = self.view.history().await;
        let report = StatusReport::of(self.identity.facts(), states);
        self.shown.borrow_mut().take_in(report, &history, self.identity.clock.unix_ms());
        self.refreshed_at.set(Some(Instant::now()));
    }

    /// Reads traffic figures from HAProxy if they are due; the interval grows with the time that HAProxy needs. Returns the
    /// services whose figures changed.
    pub async fn refresh_traffic(&self) -> BTreeMap<ServiceName, Traffic> {
        let is_due = self.traffic_due_at.get().is_none_or(|due| Instant::now() >= due);
        let Some(reader) = self.traffic.as_ref().filter(|_| is_due) else { return BTreeMap::new() };
        let begun = Instant::now();
        self.traffic_due_at.set(Some(begun + STATUS_TRAFFIC_INTERVAL));
        let read = timeout(STATUS_TRAFFIC_PATIENCE, reader.sections()).await;
        let pause = STATUS_TRAFFIC_INTERVAL.max(begun.elapsed() * STATUS_TRAFFIC_COST_SHARE);
        self.traffic_due_at.set(Some(Instant::now() + pause));
        // The actors report a HAProxy that does not answer; unknown figures are not shown.
        let now = read.ok().and_then(Result::ok).unwrap_or_default();
        let shown = &mut *self.shown.borrow_mut();
        let changed = now.iter().filter(|(name, traffic)| shown.traffic.get(*name) != Some(*traffic));
        let changed = changed.map(|(name, traffic)| (name.clone(), *traffic)).collect();
        shown.traffic = now;
        changed
    }

    /// Gives access to the page.
    pub fn read<T>(&self, reader: impl FnOnce(&Shown) -> T) -> T {
        reader(&self.shown.borrow())
    }
}

impl Shown {
    fn take_in(&mut self, report: StatusReport, history: &History, now_unix_ms: u64) {
        let tick = self.tick + 1;
        self.known.update(&report, now_unix_ms);
        let sequence = report.actors.iter().find_map(|state| match state {
            ActorState::Journal(state) => Some(state.newest),
            _ => None,
        });
        // If actors do not answer, their last snapshots stay on the page.
        let mut changed = report.haproxy().is_some() && self.take_in_rows(&report, tick);
        let rows: BTreeMap<String, ServiceRow> =
            self.rows.iter().map(|(name, row)| (name.clone(), row.row.clone())).collect();
        let headline = overview::headline(&report, &self.known, &rows);
        changed |= self.severity != headline.severity;
        self.severity = headline.severity;
        let window = Window::of(history, now_unix_ms);
        // Rounded to a minute, so that the picture does not change with each refresh.
        let (generations, lives_from) = picture::generations(history, now_unix_ms / MINUTE_MS * MINUTE_MS + MINUTE_MS);
        let parts = [
            ("headline", templates::render("headline.html", context! { headline => value(&headline) })),
            (
                "concerns",
                templates::render(
                    "concerns.html",
                    context! { concerns => value(overview::concerns(&report, &self.known, |name| rows.contains_key(name), |_| true)) },
                ),
            ),
            (
                "held",
                templates::render("pending.html", context! { blocked => value(overview::blocked(&report.actors)) }),
            ),
            (
                "overrides",
                templates::render(
                    "overrides.html",
                    context! { overrides => value(report.haproxy().map(override_rows::overrides).unwrap_or_default()) },
                ),
            ),
            (
                "facts",
                templates::render("facts.html", context! { facts => value(facts::facts(&report, history, &rows)) }),
            ),
            (
                "certificates",
                templates::render(
                    "certificates.html",
                    context! { certificates => value(certificate_row::rows(&report, |_| true)) },
                ),
            ),
            (
                "history",
                templates::render(
                    "history.html",
                    context! {
                        timeline => value(picture::timeline(history, window)),
                        latency => value(picture::latency(history, window)),
                        generations => value(generations),
                        lives_from,
                    },
                ),
            ),
        ];
        for (id, html) in parts {
            let html = html.unwrap_or_else(|error| error);
            let part = self.parts.entry(id).or_default();
            if part.html != html {
                *part = Part { tick, html };
                changed = true;
            }
        }
        let sequence = sequence.unwrap_or(self.sequence);
        changed |= self.sequence != sequence;
        self.sequence = sequence;
        self.report = Some(Arc::new(report));
        if changed {
            self.tick = tick;
        }
    }

    fn take_in_rows(&mut self, report: &StatusReport, tick: u64) -> bool {
        let Some(haproxy) = report.haproxy() else { return false };
        let watchers: BTreeMap<&str, &WatcherState> = report.actors.iter().filter_map(watcher_by_name).collect();
        let concerns = worst_by_service(report);
        let mut before = std::mem::take(&mut self.rows);
        let mut changed = false;
        for (name, service) in &haproxy.services {
            let watcher = watchers.get(name.as_str()).copied();
            let known = before.remove(name.as_str());
            let (counted, known) = match known {
                Some(Row { tick, row, counted, start, end }) => (Some(counted), Some((tick, row, start, end))),
                None => (None, None),
            };
            let counted = Counted::of(counted, service, watcher);
            let row =
                ServiceRow::of(name.as_str(), service, watcher, counted.counts(), concerns.get(name.as_str()).copied());
            let row = match known {
                Some((tick, same, start, end)) if same == row => Row { tick, row, counted, start, end },
                _ => {
                    changed = true;
                    Row::new(tick, row, counted)
                }
            };
            self.rows.insert(name.to_string(), row);
        }
        changed |= !before.is_empty();
        self.gone.extend(before.into_keys().map(|name| (tick, name)));
        while self.gone.len() > STATUS_GONE_ROWS_MAX {
            self.gone.pop_front();
        }
        changed
    }

    /// HTML of a part of the page.
    pub fn part(&self, id: &str) -> &str {
        self.parts.get(id).map_or("", |part| &part.html)
    }

    /// The row of a service.
    pub fn row(&self, name: &str) -> Option<&ServiceRow> {
        self.rows.get(name).map(|row| &row.row)
    }

    /// The problems of a service, without its blocked change.
    pub fn concerns_of(&self, name: &str) -> Concerns {
        let Some(report) = &self.report else { return Concerns::default() };
        let is_blocked = |kind| matches!(kind, ConcernKind::ChangeBlocked | ConcernKind::ChangeRejected);
        overview::concerns(report, &self.known, |other| other == name, |it| it.concerns(name) && !is_blocked(it.kind))
    }

    /// The services by name.
    pub fn rows(&self) -> impl Iterator<Item = &ServiceRow> {
        self.rows.values().map(|row| &row.row)
    }

    /// Writes the row of a service; a row that does not match the reader's filter is hidden.
    pub fn write_row(&self, name: &str, is_seen: bool, html: &mut String) {
        let Some(row) = self.rows.get(name) else { return };
        html.push_str(if is_seen { "<tr " } else { "<tr hidden " });
        html.push_str(&row.start);
        self.write_traffic(name, html);
        html.push_str(&row.end);
    }

    fn write_traffic(&self, name: &str, html: &mut String) {
        let traffic = ServiceName::new(name).ok().and_then(|name| self.traffic.get(&name).copied());
        let cell = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), grouped);
        let (sessions, rate) = (cell(traffic.map(|t| t.sessions)), cell(traffic.map(|t| t.rate)));
        html.push_str(&format!(
            "<td class=\"num\" data-label=\"Sessions\">{sessions}</td><td class=\"num\" data-label=\"Rate\">{rate}</td>"
        ));
    }

    /// Changes since this tick.
    pub fn since(&self, tick: u64) -> Update {
        let oldest_gone = self.gone.front().map_or(0, |(tick, _)| *tick);
        let forgot_gone = self.gone.len() == STATUS_GONE_ROWS_MAX && tick < oldest_gone;
        let newer: Vec<&str> =
            self.rows.iter().filter(|(_, row)| row.tick > tick).map(|(name, _)| name.as_str()).collect();
        let stale = newer.len() > STATUS_UPDATE_ROWS_MAX || forgot_gone;
        let rows = newer.into_iter().filter(|_| !stale).map(|name| {
            let mut html = String::new();
            self.write_row(name, true, &mut html);
            (name.to_owned(), html)
        });
        let gone = self.gone.iter().filter(|(at, name)| *at > tick && !self.rows.contains_key(name));
        Update {
            tick: self.tick,
            sequence: self.sequence,
            severity: self.severity,
            parts: self
                .parts
                .iter()
                .filter(|(_, part)| part.tick > tick)
                .map(|(id, part)| (*id, part.html.clone()))
                .collect(),
            rows: rows.collect(),
            gone: gone.map(|(_, name)| name.clone()).collect(),
            stale,
        }
    }
}

impl Row {
    fn new(tick: u64, row: ServiceRow, counted: Counted) -> Self {
        let meter = picture::meter(row.servers);
        let start =
            templates::render("row_start.html", context! { row => value(&row), meter }).unwrap_or_else(|error| error);
        let end = templates::render("row_end.html", context! { row => value(&row) }).unwrap_or_else(|error| error);
        Self { tick, row, counted, start, end }
    }
}

/// The worst problem of each service.
fn worst_by_service(report: &StatusReport) -> BTreeMap<&str, &Concern> {
    let mut worst: BTreeMap<&str, &Concern> = BTreeMap::new();
    for concern in &report.concerns {
        for service in &concern.services {
            let known = worst.entry(service).or_insert(concern);
            if known.severity < concern.severity {
                *known = concern;
            }
        }
    }
    worst
}

fn watcher_by_name(state: &ActorState) -> Option<(&str, &WatcherState)> {
    match state {
        ActorState::Watcher(watcher) => Some((watcher.service.as_str(), watcher)),
        _ => None,
    }
}

/// Changed traffic figures as JSON: `{"web": [sessions, rate]}`.
pub fn traffic_json(changed: &BTreeMap<ServiceName, Traffic>) -> String {
    let cells = changed.iter().map(|(name, traffic)| (name.as_str(), json!([traffic.sessions, traffic.rate])));
    serde_json::Value::from_iter(cells).to_string()
}
