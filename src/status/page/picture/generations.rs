//! HAProxy's processes over time: each serves, drains, exits.

use std::fmt::Write;

use proxymgr_actors::history::{History, ProcessLife};
use serde::Serialize;

use super::begin;

/// Processes shown.
const SHOWN_MAX: usize = 10;

/// Shortest time shown, in milliseconds.
const SPAN_MIN_MS: u64 = 60_000;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Its process id.
    pub pid: u32,
    /// When it began to serve, in milliseconds since 1970.
    pub from_unix_ms: u64,
    /// When it began to drain, in milliseconds since 1970.
    pub draining_unix_ms: Option<u64>,
    /// When it exited, in milliseconds since 1970.
    pub ended_unix_ms: Option<u64>,
    /// How it exited, if unexpectedly.
    pub crashed: Option<String>,
    /// The picture.
    pub svg: String,
}

/// The last processes, newest first, drawn over the time since the first of them; and the start of that time.
pub fn generations(history: &History, now_unix_ms: u64) -> (Vec<Generation>, u64) {
    let shown: Vec<_> = history.processes.iter().rev().take(SHOWN_MAX).collect();
    let begun = shown.iter().map(|life| life.from_unix_ms).min().unwrap_or(now_unix_ms);
    let span = Span { from_unix_ms: begun.min(now_unix_ms.saturating_sub(SPAN_MIN_MS)), until_unix_ms: now_unix_ms };
    (shown.into_iter().map(|life| generation(life, span)).collect(), span.from_unix_ms)
}

/// The time shown.
#[derive(Clone, Copy)]
struct Span {
    from_unix_ms: u64,
    until_unix_ms: u64,
}

impl Span {
    /// Position of this time, from 0 at the beginning to 1,000 at the end.
    fn place(self, at_unix_ms: u64) -> u64 {
        let length = (self.until_unix_ms - self.from_unix_ms).max(1);
        at_unix_ms.saturating_sub(self.from_unix_ms).min(length) * 1_000 / length
    }
}

fn generation(life: &ProcessLife, span: Span) -> Generation {
    let ProcessLife { pid, from_unix_ms, draining_unix_ms, ended_unix_ms, crashed } = life.clone();
    let end = ended_unix_ms.unwrap_or(span.until_unix_ms);
    let handed_over = draining_unix_ms.unwrap_or(end);
    let mut svg = begin("generation", 1_000, 10);
    for (class, from, to) in [("serves", from_unix_ms, handed_over), ("drains", handed_over, end)] {
        let (from, to) = (span.place(from), span.place(to));
        if to > from || class == "serves" {
            let width = to.saturating_sub(from).max(4);
            let _ = write!(svg, "<rect class=\"{class}\" x=\"{}\" width=\"{width}\" height=\"10\"/>", from.min(996));
        }
    }
    if crashed.is_some() {
        let x = span.place(end).saturating_sub(4);
        let _ = write!(svg, "<rect class=\"bad\" x=\"{x}\" width=\"4\" height=\"10\"/>");
    }
    svg.push_str("</svg>");
    Generation { pid, from_unix_ms, draining_unix_ms, ended_unix_ms, crashed, svg }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_drawn_from_start_to_exit() {
        let mut history = History::default();
        let now = 600_000_000_u64;
        let life = |pid, from: u64, draining: Option<u64>, ended: Option<u64>| ProcessLife {
            pid,
            from_unix_ms: now - from,
            draining_unix_ms: draining.map(|ago| now - ago),
            ended_unix_ms: ended.map(|ago| now - ago),
            crashed: None,
        };
        let hour = 3_600_000;
        history.processes = [
            life(1, 9 * hour, Some(8 * hour), Some(7 * hour)),
            life(2, hour / 2, Some(hour / 4), Some(hour / 8)),
            life(3, hour / 4, None, None),
        ]
        .into();
        let (shown, begun) = generations(&history, now);
        assert_eq!(shown.iter().map(|life| life.pid).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(begun, now - 9 * hour);
        assert!(shown[1].svg.contains("serves") && shown[1].svg.contains("drains"), "{}", shown[1].svg);
        assert!(!shown[0].svg.contains("drains"), "{}", shown[0].svg);
    }
}
