//! Pictures of the last hours, drawn as SVG by the server. Only shapes are SVG, stretched to the available width; text
//! stays HTML, so that it has the same size on a phone and is read by screen readers.

mod generations;
mod latency;
mod meter;
mod timeline;

use proxymgr_actors::history::History;

pub use self::generations::{Generation, generations};
pub use self::latency::{LatencyPicture, latency};
pub use self::meter::meter;
pub use self::timeline::{ReloadLine, Timeline, timeline};

const MINUTE_MS: u64 = 60_000;

/// The possible windows: length and time per bar, in minutes.
const WINDOWS: [(u64, u64); 4] = [(60, 1), (180, 2), (360, 4), (720, 8)];

/// The time that the pictures show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it ends, in milliseconds since 1970: the end of the current bar.
    pub until_unix_ms: u64,
    /// Its length in minutes.
    pub minutes: u64,
    /// Time per bar, in minutes.
    pub minutes_per_bar: u64,
}

impl Window {
    /// The shortest window that contains the whole history.
    pub fn of(history: &History, now_unix_ms: u64) -> Self {
        let bar_ms = |minutes_per_bar: u64| minutes_per_bar * MINUTE_MS;
        let oldest = [
            history.minutes.front().map(|minute| minute.at_unix_ms),
            history.processes.iter().find(|life| life.ended_unix_ms.is_none()).map(|life| life.from_unix_ms),
        ];
        let oldest = oldest.into_iter().flatten().min().unwrap_or(now_unix_ms);
        let needed = now_unix_ms.saturating_sub(oldest).div_ceil(MINUTE_MS);
        let (minutes, minutes_per_bar) =
            WINDOWS.into_iter().find(|(minutes, _)| *minutes > needed).unwrap_or(WINDOWS[WINDOWS.len() - 1]);
        let until_unix_ms = (now_unix_ms / bar_ms(minutes_per_bar) + 1) * bar_ms(minutes_per_bar);
        Self { until_unix_ms, minutes, minutes_per_bar }
    }

    /// When it begins, in milliseconds since 1970.
    pub fn from_unix_ms(self) -> u64 {
        self.until_unix_ms.saturating_sub(self.minutes * MINUTE_MS)
    }

    /// Its number of bars.
    pub fn bars(self) -> usize {
        usize::try_from(self.minutes / self.minutes_per_bar).unwrap_or(usize::MAX)
    }

    /// The bar of this time; none outside the window.
    pub fn bar(self, at_unix_ms: u64) -> Option<usize> {
        let since = at_unix_ms.checked_sub(self.from_unix_ms())?;
        let bar = usize::try_from(since / (self.minutes_per_bar * MINUTE_MS)).ok()?;
        (bar < self.bars()).then_some(bar)
    }

    /// Position of this time, from 0 at the beginning of the window to 1,000 at its end.
    pub fn place(self, at_unix_ms: u64) -> u64 {
        let length = self.minutes * MINUTE_MS;
        at_unix_ms.saturating_sub(self.from_unix_ms()).min(length) * 1_000 / length
    }

    /// Labels below the picture, from left to right.
    pub fn axis(self) -> Vec<String> {
        let quarter = self.minutes / 4;
        let label = |minutes: u64| match (minutes, minutes % 60) {
            (0, _) => "now".to_owned(),
            (_, 0) => format!("{} h ago", minutes / 60),
            (1..60, _) => format!("{minutes} min ago"),
            _ => format!("{}:{:02} h ago", minutes / 60, minutes % 60),
        };
        (0..=4).rev().map(|quarters| label(quarter * quarters)).collect()
    }
}

/// Begins a picture of this size that stretches to the available width. It is hidden from screen readers: the text next
/// to it has the same content.
fn begin(class: &str, width: usize, height: usize) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" aria-hidden=\"true\" \
         focusable=\"false\">"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxymgr_actors::journal::{Event, JournalEntry};

    #[test]
    fn window_grows_with_history() {
        let mut history = History::default();
        let now = 1_000_000 * MINUTE_MS + 30_000;
        assert_eq!(Window::of(&history, now).minutes, 60);
        let mut entry = JournalEntry::new(Event::HostsChanged { added: 1, removed: 0, changed: 0 });
        entry.at_unix_ms = now - 100 * MINUTE_MS;
        history.add(&entry);
        let window = Window::of(&history, now);
        assert_eq!((window.minutes, window.bars()), (180, 90));
        assert_eq!(window.bar(now), Some(89), "the current minute is the last bar");
        assert_eq!(window.bar(window.from_unix_ms()), Some(0));
        assert_eq!(window.bar(window.from_unix_ms() - 1), None);
        assert_eq!(window.axis(), ["3 h ago", "2:15 h ago", "1:30 h ago", "45 min ago", "now"]);
    }
}
