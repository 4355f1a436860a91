//! Distribution of the time from event to effect.

use std::fmt::Write;

use proxymgr_actors::history::{History, LatencyCounts};
use proxymgr_actors::limits::APPLY_LATENCY_BOUNDS_US;
use serde::Serialize;

use super::{Window, begin};
use crate::status::format::duration;

const HEIGHT: u64 = 100;

/// Classes per label below the picture.
const CLASSES_PER_LABEL: usize = 3;

/// Latencies of the changes in the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LatencyPicture {
    /// The picture.
    pub svg: String,
    /// Labels below it.
    pub axis: Vec<String>,
    /// Runtime changes.
    pub runtime: u64,
    /// Changes by reload.
    pub reload: u64,
    /// Median of the runtime changes, at most.
    pub half_within: Option<String>,
    /// 99th percentile of the runtime changes, at most.
    pub most_within: Option<String>,
}

/// Latencies of the window.
pub fn latency(history: &History, window: Window) -> LatencyPicture {
    let mut runtime = [0_u64; APPLY_LATENCY_BOUNDS_US.len() + 1];
    let mut reload = runtime;
    let within = history.minutes.iter().filter(|minute| window.bar(minute.at_unix_ms).is_some());
    for minute in within {
        add(&mut runtime, &minute.runtime_latency);
        add(&mut reload, &minute.reload_latency);
    }
    LatencyPicture {
        svg: draw(&runtime, &reload),
        axis: APPLY_LATENCY_BOUNDS_US.iter().step_by(CLASSES_PER_LABEL).map(|bound| duration(*bound)).collect(),
        runtime: runtime.iter().sum(),
        reload: reload.iter().sum(),
        half_within: within_bound(&runtime, 50),
        most_within: within_bound(&runtime, 99),
    }
}

fn add(sums: &mut [u64], counts: &LatencyCounts) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(*count));
}

/// Upper bound of a percentile; none without changes, or beyond the last bound.
fn within_bound(counts: &[u64], percent: u64) -> Option<String> {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let class = counts.iter().position(|count| {
        below += count;
        below * 100 >= total * percent
    });
    if total == 0 { None } else { APPLY_LATENCY_BOUNDS_US.get(class?).map(|bound| duration(*bound)) }
}

fn draw(runtime: &[u64], reload: &[u64]) -> String {
    let highest = runtime.iter().zip(reload).map(|(a, b)| a + b).max().unwrap_or(0).max(1);
    let scale = |count: u64| (count * HEIGHT * HEIGHT / highest).isqrt();
    let mut svg = begin("distribution", runtime.len() * 10, HEIGHT as usize);
    for (class, (runtime, reload)) in runtime.iter().zip(reload).enumerate() {
        let x = class * 10 + 1;
        let split = scale(*runtime);
        let top = scale(runtime + reload);
        for (name, from, to) in [("commands", 0, split), ("reload", split, top)] {
            if to > from {
                let (y, height) = (HEIGHT - to, to - from);
                let _ = write!(svg, "<rect class=\"{name}\" x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{height}\"/>");
            }
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxymgr_actors::journal::{Event, JournalEntry};
    use proxymgr_actors::model::PlanClass;

    #[test]
    fn percentiles_are_upper_bounds() {
        let mut history = History::default();
        for (class, took_us, times) in
            [(PlanClass::RuntimeDisable, 400, 98), (PlanClass::RuntimeEnable, 2_000, 2), (PlanClass::Reload, 60_000, 1)]
        {
            for _ in 0..times {
                history.add(&JournalEntry::new(Event::Applied { class, took_us }));
            }
        }
        let picture = latency(&history, Window::of(&history, 0));
        assert_eq!((picture.runtime, picture.reload), (100, 1));
        assert_eq!(picture.half_within.as_deref(), Some("0.5 ms"));
        assert_eq!(picture.most_within.as_deref(), Some("2.5 ms"));
        assert_eq!(picture.axis[0], "0.1 ms");
    }

    #[test]
    fn no_changes_have_no_percentile() {
        let history = History::default();
        let picture = latency(&history, Window::of(&history, 0));
        assert_eq!((picture.half_within, picture.most_within), (None, None));
        assert!(!picture.svg.contains("<rect"));
    }
}
