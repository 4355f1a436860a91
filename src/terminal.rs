//! Output for people: printing, colours, progress, the width of the terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use proxymgr_actors::decide::visible::visible_lines;

/// Moves to the beginning of the line and erases it.
const ERASE_LINE: &str = "\r\x1b[K";

/// Prints to standard output. A closed pipe (`| head`) is not an error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a text that contains untrusted text: hidden characters, such as escapes of the terminal, are escaped. Another
/// program gets them as they are, unless it is a terminal.
pub fn print_lines(text: &str) {
    if io::stdout().is_terminal() { print(&visible_lines(text)) } else { print(text) }
}

/// Prints a line to standard error, with hidden characters escaped.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible_lines(text));
}

/// Progress of a long operation: one line on standard error if that is a terminal, nothing otherwise.
#[derive(Debug)]
pub struct Progress {
    is_visible: bool,
    unit: &'static str,
    total: u64,
    started: Instant,
}

impl Progress {
    /// Progress of `total` units (`machines`), none of which is done yet.
    pub fn on_terminal(unit: &'static str, total: u64) -> Self {
        Self { is_visible: io::stderr().is_terminal(), unit, total, started: Instant::now() }
    }

    /// Shows that so many units are done.
    pub fn show(&self, done: u64) {
        if self.is_visible {
            let _ = write!(io::stderr(), "{ERASE_LINE}{}", self.text(done, self.started.elapsed()));
        }
    }

    /// Erases the line.
    pub fn end(&self) {
        if self.is_visible {
            let _ = write!(io::stderr(), "{ERASE_LINE}");
        }
    }

    fn text(&self, done: u64, took: Duration) -> String {
        let left = took.as_secs_f64() / done.max(1) as f64 * self.total.saturating_sub(done) as f64;
        let left = humantime::format_duration(Duration::from_secs(left as u64));
        format!("{done} of {} {}, about {left} left", self.total, self.unit)
    }
}

/// Colours for standard output: on if it is a terminal and `NO_COLOR` is not set.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colours for the current standard output.
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { on: wanted && io::stdout().is_terminal() }
    }

    /// Whether colours are on.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// Without colours.
    pub fn none() -> Self {
        Self { on: false }
    }

    /// Good news.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad news.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Secondary text.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Width of the terminal on standard output, in columns; none if it is not a terminal.
pub fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (columns, _) = ratatui::crossterm::terminal::size().ok()?;
    // A terminal that does not know its size reports 0.
    (columns > 0).then_some(usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_estimates_remaining_time() {
        let progress = Progress { is_visible: true, unit: "machines", total: 1_000, started: Instant::now() };
        let text = progress.text(10, Duration::from_secs(20));
        assert_eq!(text, "10 of 1000 machines, about 33m left");
    }
}
