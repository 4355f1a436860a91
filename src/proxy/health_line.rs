//! Parses what HAProxy logs when a health check changes a server's state. Pure.
//!
//! The lines, the same from 2.2 to 3.2, follow `[WARNING] (pid) : ` (see `haproxy_message`). With `log stderr` each
//! appears again after `<5>`, the date of the log format, or nothing; with `-q` only in that second form:
//!
//! ```text
//! Server web/a is DOWN, reason: Layer4 timeout, check duration: 2001ms. 2 active and 0 backup servers left. ...
//! Backup Server web/b is UP, reason: Layer7 check passed, code: 200, check duration: 1ms. 1 active and ...
//! Server web/c is DOWN via web/a. 0 active and ...                (track)
//! Server web/a is DOWN, changed from CLI. 1 active and ...        (set server ... health)
//! ```
//!
//! With `option log-health-checks` the reason is in an earlier line, and the line of the state has none:
//!
//! ```text
//! Health check for server web/a failed, reason: Layer4 timeout, check duration: 2001ms, status: 0/2 DOWN.
//! Server web/a is DOWN. 1 active and ...
//! ```
//!
//! Administrative changes (`is going DOWN for maintenance`, `is UP/READY (leaving forced maintenance)`, `enters drain
//! state`) are not checks. A line is only a hint: an operator's `log-format` can put client-supplied text at the
//! beginning of a line on stderr.

use std::collections::BTreeMap;
use std::time::Duration;

use proxymgr_actors::limits::{CHECK_RESULT_CHARS_MAX, CHECK_RESULTS_KEPT_MAX};
use proxymgr_actors::model::{ServerId, ServerName, ServiceName};
use tokio::time::Instant;

/// A change of a server's health by its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthChange {
    /// The server, in the backend that checks it.
    pub(super) server: ServerId,
    /// Whether it is up now.
    pub(super) up: bool,
    /// The result of the check in HAProxy's words; empty if HAProxy gives none.
    pub(super) check: String,
}

/// What a line reports about health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HealthLine {
    /// A server went up or down.
    Changed(HealthChange),
    /// The result of one check (`option log-health-checks`).
    Checked {
        /// The server.
        server: ServerId,
        /// The result.
        check: String,
    },
}

/// Parses one line, with or without the severity before it; `None` if it does not concern health.
pub(super) fn parse(line: &str) -> Option<HealthLine> {
    let words = without_log_header(line);
    let words = words.strip_prefix("CLI : ").unwrap_or(words);
    if let Some(rest) = words.strip_prefix("Health check for ") {
        let rest = rest.strip_prefix("backup ").unwrap_or(rest).strip_prefix("server ")?;
        let (server, rest) = server_id(rest)?;
        let rest = rest.strip_prefix("failed, ").or_else(|| rest.strip_prefix("succeeded, "))?;
        let result = rest.rsplit_once(", status: ").map_or(rest, |(result, _)| result);
        return Some(HealthLine::Checked { server, check: check_result(result) });
    }
    let rest = words.strip_prefix("Backup ").unwrap_or(words).strip_prefix("Server ")?;
    let (server, rest) = server_id(rest)?;
    let rest = rest.strip_prefix("is ")?;
    let (up, rest) = match (rest.strip_prefix("UP"), rest.strip_prefix("DOWN")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let is_by_check = rest == "." || [". ", ", ", " via "].iter().any(|start| rest.starts_with(start));
    let check = check_result(without_counts(rest).trim_start_matches([',', ' ', '.']));
    is_by_check.then_some(HealthLine::Changed(HealthChange { server, up, check }))
}

/// `web/a rest`
fn server_id(text: &str) -> Option<(ServerId, &str)> {
    let (name, rest) = text.split_once(' ')?;
    let (service, server) = name.split_once('/')?;
    let server = ServerId { service: ServiceName::new(service).ok()?, server: ServerName::new(server).ok()? };
    Some((server, rest))
}

/// Removes what `log ... format short|timed|iso|local|rfc3164|priority` puts before the message.
fn without_log_header(line: &str) -> &str {
    let line = match line.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((priority, rest)) if priority.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    };
    // `Nov 29 12:03:24 haproxy[17]: `, `2026-11-29T12:03:24+00:00 host haproxy[17]: `
    let header = line.split_once("]: ").filter(|(header, _)| header.len() <= LOG_HEADER_BYTES_MAX);
    match header {
        Some((header, rest)) if header.starts_with(|c: char| c.is_ascii_alphanumeric()) && !header.contains('/') => {
            rest
        }
        _ => line,
    }
}

/// The maximum length of the header of a log line.
const LOG_HEADER_BYTES_MAX: usize = 120;

/// Removes `. 2 active and 0 backup servers left. ...`. The last occurrence counts, because a server's answer to a
/// check may contain the same text earlier.
fn without_counts(text: &str) -> &str {
    let Some(active) = text.rfind(" active and ") else { return text.trim_end_matches('.') };
    let before = text[..active].trim_end_matches(|c: char| c.is_ascii_digit());
    before.strip_suffix(". ").unwrap_or(text)
}

/// Returns the result of a check shortened and without control characters, because it contains the server's answer.
fn check_result(text: &str) -> String {
    let text = text.strip_prefix("reason: ").unwrap_or(text);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(CHECK_RESULT_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// Combines lines: a result that `option log-health-checks` logs belongs to the change after it, and a line that is
/// logged twice (`log stderr`) is one change.
#[derive(Debug, Default)]
pub(super) struct HealthReader {
    /// The latest result of each server that has been logged since its last change.
    results: BTreeMap<ServerId, String>,
    /// The last change of each server.
    last: BTreeMap<ServerId, (bool, Instant)>,
}

/// How a line was classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// It does not concern health.
    Other,
    /// It contains nothing new.
    Known,
    /// A change.
    Changed(HealthChange),
}

impl HealthReader {
    /// Reads one line that was logged at about `now`.
    pub(super) fn read(&mut self, line: &str, now: Instant) -> Read {
        match parse(line) {
            None => Read::Other,
            Some(HealthLine::Checked { server, check }) => {
                bound(&mut self.results);
                self.results.insert(server, check);
                Read::Known
            }
            Some(HealthLine::Changed(change)) => self.changed(change, now),
        }
    }

    fn changed(&mut self, mut change: HealthChange, now: Instant) -> Read {
        let last = self.last.get(&change.server);
        if last.is_some_and(|(up, at)| *up == change.up && now.saturating_duration_since(*at) < WRITTEN_TWICE) {
            return Read::Known;
        }
        bound(&mut self.last);
        self.last.insert(change.server.clone(), (change.up, now));
        let result = self.results.remove(&change.server);
        if change.check.is_empty() {
            change.check = result.unwrap_or_default();
        }
        Read::Changed(change)
    }
}

/// A repeated change of a server within this time is the same line, logged twice by `log stderr`.
const WRITTEN_TWICE: Duration = Duration::from_millis(500);

/// Limits the number of servers kept. Beyond the limit a reason may be lost or a change shown twice.
fn bound<T>(kept: &mut BTreeMap<ServerId, T>) {
    if kept.len() >= CHECK_RESULTS_KEPT_MAX {
        kept.clear();
    }
}

#[cfg(test)]
mod tests;
