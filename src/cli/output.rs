//! Printing for people and pipes.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Moves to the beginning of a terminal's line, and empties it.
const ERASE_LINE: &str = "\r\x1b[K";

/// Prints to standard output. A reader that has had enough (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a remark to standard error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How far something is that takes its time: a line on standard error, where somebody looks at it, and nothing elsewhere.
#[derive(Debug)]
pub struct Progress {
    is_seen: bool,
    of: &'static str,
    all: u64,
    begun: Instant,
}

impl Progress {
    /// Nothing is done yet of so many of these.
    pub fn on_terminal(of: &'static str, all: u64) -> Self {
        Self { is_seen: io::stderr().is_terminal(), of, all, begun: Instant::now() }
    }

    /// So many are done.
    pub fn tell(&self, done: u64) {
        if self.is_seen {
            let _ = write!(io::stderr(), "{ERASE_LINE}{}", self.words(done, self.begun.elapsed()));
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        if self.is_seen {
            let _ = write!(io::stderr(), "{ERASE_LINE}");
        }
    }

    fn words(&self, done: u64, took: Duration) -> String {
        let left = took.as_secs_f64() / done.max(1) as f64 * self.all.saturating_sub(done) as f64;
        let left = humantime::format_duration(Duration::from_secs(left as u64));
        format!("{done} of {} {}, about {left} left", self.all, self.of)
    }
}

/// Colours, where a person looks at standard output and has not asked for none (`NO_COLOR`).
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output as it is.
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { on: wanted && io::stdout().is_terminal() }
    }

    /// Whether there are any.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// None at all.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { on: false }
    }

    /// What is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is not well.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is beside the point.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_how_long_it_will_take_as_it_took_so_far() {
        let progress = Progress { is_seen: true, of: "machines", all: 1_000, begun: Instant::now() };
        let words = progress.words(10, Duration::from_secs(20));
        assert_eq!(words, "10 of 1000 machines, about 33m left");
    }
}
