//! `/journal`: journal entries.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::message::ReadJournal;
use serde::{Deserialize, Serialize};

use crate::status::problem::Problem;
use crate::status::view::{Identity, View};

/// Entries of an answer without `limit`.
const JOURNAL_ENTRIES_DEFAULT: usize = 200;

/// Query parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalQuery {
    service: Option<String>,
    server: Option<String>,
    event: Option<String>,
    since: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

/// Journal entries.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entries {
    /// The entries, oldest first.
    pub entries: Vec<JournalEntry>,
    /// Value of `after` for the next request.
    pub next_after: u64,
}

/// `GET /journal`.
pub async fn read(
    view: Data<dyn View>,
    identity: Data<Identity>,
    query: Query<JournalQuery>,
) -> Result<HttpResponse, Problem> {
    let JournalQuery { service, server, event, since, after, limit } = query.into_inner();
    let since_unix_ms = since.map(|text| since_of(&text, identity.clock.unix_ms())).transpose()?;
    let limit = Some(limit.unwrap_or(JOURNAL_ENTRIES_DEFAULT).min(JOURNAL_ENTRIES_MAX));
    let entries = view.journal(ReadJournal { service, server, event, since_unix_ms, after, limit }).await;
    let next_after = entries.last().map_or(after.unwrap_or_default(), |entry| entry.sequence);
    Ok(HttpResponse::Ok().json(Entries { entries, next_after }))
}

/// Parses a time: milliseconds since 1970, `2026-01-31T12:00:00Z`, or an age such as `10m`.
fn since_of(text: &str, now_unix_ms: u64) -> Result<u64, Problem> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if let Ok(unix_ms) = text.parse() {
        return Ok(unix_ms);
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time.duration_since(UNIX_EPOCH).map(millis).unwrap_or_default());
    }
    humantime::parse_duration(text).map(|ago| now_unix_ms.saturating_sub(millis(ago))).map_err(|_| {
        Problem::bad_request(
            "since must be milliseconds since 1970, a time such as 2026-01-31T12:00:00Z, or an age such as 10m",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_three_formats() {
        for (text, unix_ms) in [
            ("0", 0),
            ("1234", 1_234),
            ("1970-01-01T00:00:02Z", 2_000),
            ("1970-01-01 00:00:02", 2_000),
            ("10s", 90_000),
            ("1h", 0),
        ] {
            assert_eq!(since_of(text, 100_000).unwrap(), unix_ms, "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-13-01T00:00:00Z", "99999999999999999999999"] {
            assert!(since_of(text, 0).is_err(), "{text}");
        }
    }
}
