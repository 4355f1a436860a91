//! HAProxy's own output, line by line into the log, with the level that HAProxy gave it.

use proxymgr_actors::limits::{PROXY_OUTPUT_LINE_BYTES_MAX, PROXY_OUTPUT_LINES_PER_SECOND_MAX};
use slog::{Logger, error, info, warn};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Duration, Instant};

use super::haproxy_message::{Severity, split};

const READ_BYTES: usize = 8_192;

/// Reads until the end, whatever happens: HAProxy must never wait for a full pipe. More lines than the log is to take
/// each second are only counted.
pub(super) async fn forward(mut output: impl AsyncRead + Unpin, pid: u32, log: Logger) {
    let mut lines = Lines::default();
    let mut flood = FloodGate::new();
    let mut severity = Severity::Notice;
    let mut buffer = vec![0; READ_BYTES];
    // An error means the same as the end: nothing more will come.
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        lines.feed(&buffer[..read], |line| write(line, pid, &mut severity, &mut flood, &log));
    }
    lines.finish(|line| write(line, pid, &mut severity, &mut flood, &log));
    flood.report(pid, &log);
}

fn write(line: &str, pid: u32, severity: &mut Severity, flood: &mut FloodGate, log: &Logger) {
    // Further lines of a message have its level.
    let words = match split(line) {
        Some((of_line, words)) => {
            *severity = of_line;
            words
        }
        None => line.trim_end(),
    };
    if words.is_empty() || !flood.admits(pid, log) {
        return;
    }
    match severity {
        Severity::Alert => error!(log, "HAProxy says: {words}"; "pid" => pid),
        // What follows from a change or a reload of ours stands in the log already, with its reason.
        Severity::Warning if echoes_our_doing(words) => info!(log, "HAProxy says: {words}"; "pid" => pid),
        Severity::Warning => warn!(log, "HAProxy says: {words}"; "pid" => pid),
        Severity::Notice => info!(log, "HAProxy says: {words}"; "pid" => pid),
    }
}

/// Whether HAProxy only confirms that a server was put into or out of maintenance, or that an old process lets go.
fn echoes_our_doing(words: &str) -> bool {
    let of_server = words.starts_with("Server ")
        && (words.contains(" is going DOWN for maintenance") || words.contains("(leaving forced maintenance)"));
    of_server || (words.starts_with("Proxy ") && words.contains(" stopped (cumulated conns"))
}

/// Puts lines together. What is too long is cut, so that a program without line feeds takes no memory.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.extend(&bytes[..end]);
            self.finish(&mut on_line);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    fn finish(&mut self, mut on_line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            on_line(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = PROXY_OUTPUT_LINE_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Lets so many lines through each second.
struct FloodGate {
    second_began: Instant,
    admitted: u32,
    left_out: u64,
}

impl FloodGate {
    fn new() -> Self {
        Self { second_began: Instant::now(), admitted: 0, left_out: 0 }
    }

    fn admits(&mut self, pid: u32, log: &Logger) -> bool {
        if self.second_began.elapsed() >= Duration::from_secs(1) {
            self.report(pid, log);
            *self = Self::new();
        }
        let admits = self.admitted < PROXY_OUTPUT_LINES_PER_SECOND_MAX;
        if admits {
            self.admitted += 1;
        } else {
            self.left_out += 1;
        }
        admits
    }

    fn report(&self, pid: u32, log: &Logger) {
        if self.left_out > 0 {
            warn!(log, "HAProxy says more than the log takes; lines were left out";
                "pid" => pid, "left_out" => self.left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use slog::{Drain, Level, Never, OwnedKVList, Record, o};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(Level, String)>>>);

    impl Drain for Kept {
        type Ok = ();
        type Err = Never;
        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.0.lock().unwrap().push((record.level(), record.msg().to_string()));
            Ok(())
        }
    }

    async fn forwarded(output: &[u8]) -> Vec<(Level, String)> {
        let kept = Kept::default();
        forward(output, 17, Logger::root(kept.clone(), o!())).await;
        let lines = kept.0.lock().unwrap();
        lines.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_come_with_haproxys_level() {
        let lines =
            forwarded(b"[ALERT]    (9) : bad\n  very bad\n[WARNING] 3/1 (9) : odd\nplain\n\n[NOTICE]   (9) : hi").await;
        let said = |level, words: &str| (level, format!("HAProxy says: {words}"));
        let expected = [
            said(Level::Error, "bad"),
            said(Level::Error, "  very bad"),
            said(Level::Warning, "odd"),
            said(Level::Warning, "plain"),
            said(Level::Info, "hi"),
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_a_long_line_is_cut() {
        let mut output = vec![b'x'; 100_000];
        output.extend_from_slice(&b"\ny".repeat(1_000));
        let lines = forwarded(&output).await;
        assert_eq!(lines.len(), PROXY_OUTPUT_LINES_PER_SECOND_MAX as usize + 1);
        assert_eq!(lines[0].1.len(), "HAProxy says: ".len() + PROXY_OUTPUT_LINE_BYTES_MAX);
        assert!(lines.last().unwrap().1.contains("left out"));
    }
}
