//! The generations of HAProxy's processes: each serves, then finishes what it has, then ends.

use std::fmt::Write;

use proxymgr_actors::history::{History, ProcessLife};
use serde::Serialize;

use super::{Window, begin};

/// The processes that are shown.
const SHOWN_MAX: usize = 10;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Its process id.
    pub pid: u32,
    /// When it began to serve, in milliseconds since 1970.
    pub from_unix_ms: u64,
    /// Since when it only finished what it had.
    pub draining_unix_ms: Option<u64>,
    /// When it had ended.
    pub ended_unix_ms: Option<u64>,
    /// How it ended, where it was unasked.
    pub crashed: Option<String>,
    /// The picture.
    pub svg: String,
}

/// The processes of the window, newest first.
pub fn generations(history: &History, window: Window) -> Vec<Generation> {
    let seen = |life: &&ProcessLife| life.ended_unix_ms.is_none_or(|ended| ended >= window.from_unix_ms());
    let newest_first = history.processes.iter().rev().filter(seen).take(SHOWN_MAX);
    newest_first.map(|life| generation(life, window)).collect()
}

fn generation(life: &ProcessLife, window: Window) -> Generation {
    let ProcessLife { pid, from_unix_ms, draining_unix_ms, ended_unix_ms, crashed } = life.clone();
    let end = ended_unix_ms.unwrap_or(window.until_unix_ms);
    let handed_over = draining_unix_ms.unwrap_or(end);
    let mut svg = begin("generation", 1_000, 10);
    for (class, from, to) in [("serves", from_unix_ms, handed_over), ("drains", handed_over, end)] {
        let (from, to) = (window.place(from), window.place(to));
        if to > from || class == "serves" {
            let width = (to - from).max(4);
            let _ = write!(svg, "<rect class=\"{class}\" x=\"{}\" width=\"{width}\" height=\"10\"/>", from.min(996));
        }
    }
    if crashed.is_some() {
        let x = window.place(end).saturating_sub(4);
        let _ = write!(svg, "<rect class=\"bad\" x=\"{x}\" width=\"4\" height=\"10\"/>");
    }
    svg.push_str("</svg>");
    Generation { pid, from_unix_ms, draining_unix_ms, ended_unix_ms, crashed, svg }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_drawn_from_its_start_to_its_end() {
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
        let shown = generations(&history, Window::of(&history, now));
        assert_eq!(shown.iter().map(|life| life.pid).collect::<Vec<_>>(), [3, 2], "the first ended long ago");
        assert!(shown[1].svg.contains("serves") && shown[1].svg.contains("drains"), "{}", shown[1].svg);
        assert!(!shown[0].svg.contains("drains"), "{}", shown[0].svg);
    }
}
