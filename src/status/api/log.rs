//! `/log`: the levels of the log, and levels for a limited time.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Query};
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::{LOG_LEVEL_TIME, LOG_LEVEL_TIME_MAX};
use proxymgr_actors::model::ServiceName;
use serde::Deserialize;

use super::NoQuery;
use super::orders::{Answer, By, Done, millis_of, read_body};
use crate::log_levels::{LevelName, LogScope, TimedLevel};
use crate::status::format::span;
use crate::status::problem::Problem;
use crate::status::view::{Identity, View};

/// The longest name of a component, in bytes.
const COMPONENT_BYTES_MAX: usize = 64;

/// The body of an order: a component or a service, its level, and for how long.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelBody {
    component: Option<String>,
    service: Option<String>,
    level: Option<LevelName>,
    duration: Option<String>,
}

/// `GET /log`.
pub async fn read(_: Query<NoQuery>, identity: Data<Identity>) -> HttpResponse {
    HttpResponse::Ok().json(identity.log_levels.in_use(identity.clock.unix_ms()))
}

/// `POST /log`.
pub async fn set(_: Query<NoQuery>, view: Data<dyn View>, identity: Data<Identity>, by: By, body: Bytes) -> Answer {
    let LevelBody { component, service, level, duration } = read_body(&body)?;
    let scope = match (component, service) {
        (Some(component), None) => LogScope::Component(component_name(component)?),
        (None, Some(service)) => {
            let service = ServiceName::new(&service).map_err(|error| Problem::bad_request(error.to_string()))?;
            LogScope::Service(service.to_string())
        }
        _ => return Err(Problem::bad_request("the body needs either `component` or `service`")),
    };
    let level = level.unwrap_or(LevelName::Debug);
    let for_ms = duration.as_deref().map_or(Ok(millis(LOG_LEVEL_TIME)), millis_of)?;
    if for_ms > millis(LOG_LEVEL_TIME_MAX) {
        let max = span(millis(LOG_LEVEL_TIME_MAX));
        return Err(Problem::bad_request(format!(
            "the duration may be at most {max}; log.levels of the settings last"
        )));
    }
    let now_unix_ms = identity.clock.unix_ms();
    let what = match &scope {
        LogScope::Component(name) => format!("component {name} logs from {} on for {}", text_of(level), span(for_ms)),
        LogScope::Service(name) => format!("service {name} is logged from {} on for {}", text_of(level), span(for_ms)),
    };
    let timed = TimedLevel { scope, level, until_unix_ms: now_unix_ms.saturating_add(for_ms) };
    identity.log_levels.set_for_a_time(timed, now_unix_ms).map_err(Problem::bad_request)?;
    done(&view, &by, what)
}

/// `DELETE /log`.
pub async fn reset(_: Query<NoQuery>, view: Data<dyn View>, identity: Data<Identity>, by: By) -> Answer {
    identity.log_levels.end_timed();
    done(&view, &by, "the log has the levels of the settings again".to_owned())
}

fn done(view: &Data<dyn View>, by: &By, what: String) -> Answer {
    view.record(JournalEntry::new(Event::LogLevelSet { what: format!("{what}, by {} from {}", by.who, by.from) }));
    Ok(HttpResponse::Ok().json(Done { done: what }))
}

fn text_of(level: LevelName) -> String {
    level.level().as_str().to_lowercase()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn component_name(name: String) -> Result<String, Problem> {
    let is_good = (1..=COMPONENT_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let detail = "a component is named in the log before the message, such as haproxy or watcher";
    is_good.then_some(name).ok_or_else(|| Problem::bad_request(detail))
}
