//! Forwards HAProxy's standard output and error: lines to the log, with HAProxy's severity, and changes of servers'
//! health to their recipient.

use std::io;
use std::os::fd::OwnedFd;

use proxymgr_actors::limits::{
    HEALTH_REPORTS_PER_SECOND_MAX, PROXY_OUTPUT_LINE_BYTES_MAX, PROXY_OUTPUT_LINES_PER_SECOND_MAX,
    PROXY_OUTPUT_PIPE_BYTES,
};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use slog::{Logger, debug, error, info, warn};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Duration, Instant};

use super::haproxy_message::{Message, Severity, split};
use super::health_line::{HealthChange, HealthReader, Read};

const READ_BYTES: usize = 8_192;

/// Opens a pipe from HAProxy to this daemon. Writes to it never block: HAProxy writes from the threads that serve
/// traffic, and must lose a line rather than wait for the reader. After the daemon's end, writes fail with EPIPE.
pub(super) fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    // The flag belongs to the open file, so it is effective in HAProxy, too.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Without the privilege for a larger pipe, lines are lost sooner.
    let _ = fcntl_setpipe_size(&writer, PROXY_OUTPUT_PIPE_BYTES);
    Ok((Receiver::from_owned_fd(reader)?, writer))
}

/// Receives the changes of servers' health that one process reports.
pub(super) type OnHealthChange = Box<dyn FnMut(HealthChange) + Send>;

/// Reads to the end. At most a fixed number of lines and changes of health are taken each second; the rest are counted.
pub(super) async fn forward(mut output: impl AsyncRead + Unpin, pid: u32, on_change: OnHealthChange, log: Logger) {
    let mut lines = Lines::default();
    let mut forwarder = Forwarder {
        pid,
        severity: Severity::Notice,
        logged: PerSecond::new(PROXY_OUTPUT_LINES_PER_SECOND_MAX),
        health: HealthReader::default(),
        reported: PerSecond::new(HEALTH_REPORTS_PER_SECOND_MAX),
        on_change,
        log,
    };
    let mut buffer = vec![0; READ_BYTES];
    // An error means the same as the end: nothing more will come.
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        lines.feed(&buffer[..read], |line| forwarder.line(line, Instant::now()));
    }
    lines.finish(|line| forwarder.line(line, Instant::now()));
    forwarder.report_left_out(forwarder.logged.left_out);
}

/// Where the lines of one process go.
struct Forwarder {
    pid: u32,
    /// The severity of the last message, which also applies to its further lines.
    severity: Severity,
    logged: PerSecond,
    health: HealthReader,
    reported: PerSecond,
    on_change: OnHealthChange,
    log: Logger,
}

impl Forwarder {
    fn line(&mut self, line: &str, now: Instant) {
        let words = match split(line) {
            Some(Message { severity, words, .. }) => {
                self.severity = severity;
                words
            }
            None => line.trim_end(),
        };
        let about_health = self.health.read(words, now);
        // A repeated line, or one whose content is logged again with the change after it.
        if words.is_empty() || about_health == Read::Known {
            return;
        }
        if reports_stop_of_proxy(words) {
            debug!(self.log, "HAProxy: {words}"; "pid" => self.pid);
            return;
        }
        let is_expected = matches!(about_health, Read::Changed(_)) || confirms_maintenance(words);
        self.write(words, is_expected, now);
        if let Read::Changed(change) = about_health
            && self.reported.admits(now).is_some()
        {
            (self.on_change)(change);
        }
    }

    fn write(&mut self, words: &str, is_expected: bool, now: Instant) {
        let Some(left_out_before) = self.logged.admits(now) else { return };
        self.report_left_out(left_out_before);
        match self.severity {
            Severity::Alert => error!(self.log, "HAProxy: {words}"; "pid" => self.pid),
            // It is in the journal or already in the log with its reason.
            Severity::Warning if is_expected => info!(self.log, "HAProxy: {words}"; "pid" => self.pid),
            Severity::Warning => warn!(self.log, "HAProxy: {words}"; "pid" => self.pid),
            Severity::Notice => info!(self.log, "HAProxy: {words}"; "pid" => self.pid),
        }
    }

    fn report_left_out(&self, lines: u64) {
        if lines > 0 {
            warn!(self.log, "HAProxy writes more lines than the log accepts; lines were dropped";
                "pid" => self.pid, "left_out" => lines);
        }
    }
}

/// Whether HAProxy only confirms our own order: a server enters or leaves maintenance.
fn confirms_maintenance(words: &str) -> bool {
    words.starts_with("Server ")
        && (words.contains(" is going DOWN for maintenance") || words.contains("(leaving forced maintenance)"))
}

/// Whether a process that is being replaced stops listening for one service. Each reload writes such a line, in HAProxy 2.2
/// two, for every service.
fn reports_stop_of_proxy(words: &str) -> bool {
    let is_of = |kind: &str, what: &str| words.starts_with(kind) && words.contains(what);
    is_of("Proxy ", " stopped (")
        || ["frontend", "backend", "proxy", "listen"].iter().any(|kind| is_of(&format!("Stopping {kind} "), " in "))
}

/// Splits output into lines. A line that is too long is cut, so that a program without line feeds does not fill memory.
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

/// Limits events to a maximum each second and counts the rest.
struct PerSecond {
    max: u32,
    second_began: Instant,
    admitted: u32,
    left_out: u64,
}

impl PerSecond {
    fn new(max: u32) -> Self {
        Self { max, second_began: Instant::now(), admitted: 0, left_out: 0 }
    }

    /// Admits one more event and returns how many were dropped in the second that just ended. `None` if this event is
    /// dropped.
    fn admits(&mut self, now: Instant) -> Option<u64> {
        let mut left_out_before = 0;
        if now.saturating_duration_since(self.second_began) >= Duration::from_secs(1) {
            left_out_before = self.left_out;
            *self = Self { max: self.max, second_began: now, admitted: 0, left_out: 0 };
        }
        if self.admitted == self.max {
            self.left_out += 1;
            return None;
        }
        self.admitted += 1;
        Some(left_out_before)
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
        forward(output, 17, Box::new(|_| {}), Logger::root(kept.clone(), o!())).await;
        let lines = kept.0.lock().unwrap();
        lines.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn health_change_is_reported_and_logged_once() {
        let (reported, reports) = std::sync::mpsc::channel();
        let on_change =
            Box::new(move |change: HealthChange| reported.send((change.server.to_string(), change.up)).unwrap());
        let words = "Server web/a is DOWN, reason: Layer4 timeout. 0 active and 0 backup servers left.";
        let output = format!("[WARNING]  (17) : {words}\n<1>{words}\n");
        let kept = Kept::default();
        forward(output.as_bytes(), 17, on_change, Logger::root(kept.clone(), o!())).await;
        assert_eq!(reports.iter().collect::<Vec<_>>(), [("web/a".to_owned(), false)]);
        assert_eq!(*kept.0.lock().unwrap(), [(Level::Info, format!("HAProxy: {words}"))]);
    }

    #[tokio::test]
    async fn writer_of_the_pipe_never_blocks() {
        let (_reader, writer) = pipe().unwrap();
        let mut writer = std::fs::File::from(writer);
        let full = loop {
            if let Err(error) = std::io::Write::write(&mut writer, &[b'x'; 4_096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_come_with_haproxys_level() {
        let lines =
            forwarded(b"[ALERT]    (9) : bad\n  very bad\n[WARNING] 3/1 (9) : odd\nplain\n\n[NOTICE]   (9) : hi").await;
        let said = |level, words: &str| (level, format!("HAProxy: {words}"));
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
    async fn stop_of_proxies_is_no_flood() {
        let stops = [
            "[WARNING]  (9) : Proxy web stopped (cumulated conns: FE: 0, BE: 0).",
            "[WARNING] 333/095544 (9) : Stopping proxy web in 0 ms.",
            "[WARNING] 333/095544 (9) : Proxy web stopped (FE: 0 conns, BE: 0 conns).",
        ];
        let output: String = (0..100).flat_map(|_| stops).map(|line| format!("{line}\n")).collect();
        let lines = forwarded(format!("{output}[WARNING]  (9) : odd\n").as_bytes()).await;
        let (last, stops) = lines.split_last().unwrap();
        assert_eq!(*last, (Level::Warning, "HAProxy: odd".to_owned()));
        assert!(stops.len() == 300 && stops.iter().all(|(level, _)| *level == Level::Debug), "{stops:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn flood_is_counted_and_long_line_cut() {
        let mut output = vec![b'x'; 100_000];
        output.extend_from_slice(&b"\ny".repeat(1_000));
        let lines = forwarded(&output).await;
        assert_eq!(lines.len(), PROXY_OUTPUT_LINES_PER_SECOND_MAX as usize + 1);
        assert_eq!(lines[0].1.len(), "HAProxy: ".len() + PROXY_OUTPUT_LINE_BYTES_MAX);
        assert!(lines.last().unwrap().1.contains("dropped"));
    }
}
