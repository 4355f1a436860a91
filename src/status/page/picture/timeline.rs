//! Changes over time: hosts, runtime commands, reloads.

use std::fmt::Write;

use proxymgr_actors::history::{History, Minute, ReloadMark};
use serde::Serialize;

use super::{Window, begin};

/// Height of a lane, in units of its picture.
const HEIGHT: u64 = 100;

/// Changes in the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// One lane per kind of change.
    pub lanes: Vec<Lane>,
    /// Labels below the lanes.
    pub axis: Vec<String>,
    /// Length of the window: `hour`, `3 hours`.
    pub window: String,
    /// Reloads in the window, newest first.
    pub reloads: Vec<ReloadLine>,
}

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// What it counts.
    pub name: &'static str,
    /// Number in the window.
    pub count: u64,
    /// How many of them HAProxy refused.
    pub refused: u64,
    /// The picture.
    pub svg: String,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadLine {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Its causes.
    pub causes: String,
    /// Its reason.
    pub reason: String,
    /// Its duration in milliseconds.
    pub took_ms: u64,
    /// The new process.
    pub pid: u32,
}

/// Changes in the window.
pub fn timeline(history: &History, window: Window) -> Timeline {
    let mut bars = vec![Minute::default(); window.bars()];
    for minute in &history.minutes {
        if let Some(bar) = window.bar(minute.at_unix_ms).and_then(|bar| bars.get_mut(bar)) {
            bar.host_changes += minute.host_changes;
            bar.commands += minute.commands;
            bar.refused += minute.refused;
            bar.failures += minute.failures;
            bar.reloads += minute.reloads;
        }
    }
    let sum = |of: fn(&Minute) -> u32| -> u64 { bars.iter().map(|bar| u64::from(of(bar))).sum() };
    let reloads = history.reloads.iter().rev().filter(|mark| window.bar(mark.at_unix_ms).is_some());
    let reloads: Vec<_> = reloads.map(line).collect();
    let lane = |name, count, svg| Lane { name, count, refused: 0, svg };
    let hosts = columns(&bars, |bar| [("hosts", bar.host_changes), ("bad", 0)]);
    let commands = columns(&bars, |bar| [("commands", bar.commands), ("bad", bar.refused)]);
    let mut lanes = vec![
        lane("Hosts changed", sum(|bar| bar.host_changes), hosts),
        Lane { refused: sum(|bar| bar.refused), ..lane("Runtime commands", sum(|bar| bar.commands), commands) },
        lane("Reloads", sum(|bar| bar.reloads), marks(&history.reloads, window)),
    ];
    let failures = sum(|bar| bar.failures);
    if failures > 0 {
        lanes.push(lane("Failures", failures, columns(&bars, |bar| [("bad", bar.failures), ("bad", 0)])));
    }
    let window_text = if window.minutes == 60 { "hour".to_owned() } else { format!("{} hours", window.minutes / 60) };
    Timeline { lanes, axis: window.axis(), window: window_text, reloads }
}

fn line(mark: &ReloadMark) -> ReloadLine {
    let causes: Vec<_> = mark.causes.iter().map(|cause| cause.as_str().replace('_', " ")).collect();
    let ReloadMark { at_unix_ms, took_ms, pid, .. } = *mark;
    ReloadLine { at_unix_ms, causes: causes.join(", "), reason: mark.reason.clone(), took_ms, pid }
}

/// One column per bar: successes, with failures on top. The height is the square root of the number, so that one event is
/// visible next to a thousand.
fn columns(bars: &[Minute], of: impl Fn(&Minute) -> [(&'static str, u32); 2]) -> String {
    let highest = bars.iter().map(|bar| of(bar).iter().map(|(_, count)| u64::from(*count)).sum()).max().unwrap_or(0);
    let scale = |count: u64| (count * HEIGHT * HEIGHT / highest.max(16)).isqrt().min(HEIGHT);
    let mut svg = begin("lane", bars.len() * 10, HEIGHT as usize);
    for (index, bar) in bars.iter().enumerate() {
        let mut below = 0;
        for (class, count) in of(bar).into_iter().filter(|(_, count)| *count > 0) {
            let (from, to) = (scale(below), scale(below + u64::from(count)));
            let height = (to - from).max(3);
            let (x, y) = (index * 10 + 1, HEIGHT.saturating_sub(from + height));
            let _ = write!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{height}\"/>");
            below += u64::from(count);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// One line per reload, coloured by its cause.
fn marks<'a>(reloads: impl IntoIterator<Item = &'a ReloadMark>, window: Window) -> String {
    let mut svg = begin("lane", 1_000, HEIGHT as usize);
    for mark in reloads.into_iter().filter(|mark| window.bar(mark.at_unix_ms).is_some()) {
        let cause = mark.causes.iter().next_back().map_or("other", |cause| cause.as_str());
        let x = window.place(mark.at_unix_ms).min(997);
        let _ = write!(svg, "<rect class=\"reload cause-{cause}\" x=\"{x}\" width=\"3\" height=\"{HEIGHT}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxymgr_actors::journal::{Event, JournalEntry};
    use proxymgr_actors::model::ReloadCause;

    #[test]
    fn changes_are_drawn_at_their_time() {
        let mut history = History::default();
        let now = 600_000_000;
        let mut add = |ago: u64, event| {
            let mut entry = JournalEntry::new(event);
            entry.at_unix_ms = now - ago;
            history.add(&entry);
        };
        let reasons = vec!["web: <new>".to_owned()];
        let causes = [ReloadCause::ServiceNew].into();
        add(1_800_000, Event::Reloaded { reasons, causes, pid: 7, took_ms: 40 });
        add(60_000, Event::HostsChanged { added: 1, removed: 2, changed: 0 });
        add(0, Event::Commanded { command: "x".into(), answer: "no".into(), accepted: false });
        add(0, Event::SourceLost { error: "gone".into() });
        let timeline = timeline(&history, Window::of(&history, now));
        let counts: Vec<_> = timeline.lanes.iter().map(|lane| lane.count).collect();
        assert_eq!(counts, [3, 0, 1, 1]);
        assert_eq!((timeline.lanes[1].refused, timeline.lanes[3].refused), (1, 0));
        assert!(timeline.lanes[0].svg.contains(r#"<rect class="hosts" x="581""#), "{}", timeline.lanes[0].svg);
        assert!(timeline.lanes[1].svg.contains(r#"<rect class="bad" x="591""#), "{}", timeline.lanes[1].svg);
        assert!(timeline.lanes[2].svg.contains("cause-service_new"), "{}", timeline.lanes[2].svg);
        assert_eq!((timeline.reloads[0].causes.as_str(), timeline.window.as_str()), ("service new", "hour"));
    }
}
