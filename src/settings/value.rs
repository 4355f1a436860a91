//! Parses single values.

use std::time::Duration;

use figment::value::Value;
use proxymgr_actors::decide::nearest::nearest;

/// A value without places, so that moving it is not a change.
pub fn plain(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A value as text, close to its original spelling.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, char) => char.to_string(),
        Value::Bool(_, bool) => bool.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a map".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

/// A text of one line.
pub fn one_line(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_, text) => match text.chars().find(|c| c.is_control() && *c != '\t') {
            None => Ok(text.clone()),
            Some('\n' | '\r') => Err(format!("{text:?} must be a single line; write one entry for each line")),
            Some(control) => Err(format!("{text:?} contains the control character {control:?}")),
        },
        Value::Num(..) | Value::Bool(..) => Err(format!("{} must be text: write it in quotes", shown(value))),
        other => Err(format!("{} must be one line of text", shown(other))),
    }
}

/// The text of a number, with or without quotes.
pub fn number(value: &Value) -> Result<String, String> {
    match value {
        Value::Num(..) => Ok(shown(value)),
        Value::String(_, text) => Ok(text.trim().to_owned()),
        other => Err(format!("{} must be a number", shown(other))),
    }
}

/// A duration with a unit, within bounds.
pub fn duration(value: &Value, min: Duration, max: Duration) -> Result<Duration, String> {
    const UNITS: &str = "with a unit, such as 500ms, 2s or 1m";
    let text = match value {
        Value::Num(..) => shown(value),
        other => one_line(other).map_err(|_| format!("{} must be a duration {UNITS}", shown(other)))?,
    };
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text} has no unit: write {text}s or {text}ms"));
    }
    let duration = humantime::parse_duration(text.trim()).map_err(|_| format!("{text:?} is not a duration {UNITS}"))?;
    if duration < min || duration > max {
        let show = humantime::format_duration;
        return Err(format!("{} is out of bounds: from {} to {}", show(duration), show(min), show(max)));
    }
    Ok(duration)
}

/// One of these words, in any case.
pub fn choose(text: &str, words: &'static [&'static str]) -> Result<&'static str, String> {
    let lower = text.to_ascii_lowercase();
    // Both spellings are common.
    let lower = if lower == "warn" { "warning" } else { &lower };
    words.iter().find(|word| **word == lower).copied().ok_or_else(|| {
        let near = nearest(lower, words.iter().copied());
        let hint = near.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        format!("{text:?} must be one of {}{hint}", words.join(", "))
    })
}

/// A list, or a text with commas, as a text with commas.
pub fn joined(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Array(_, entries) => entries.iter().map(one_line).collect::<Result<Vec<_>, _>>()?.join(","),
        other => one_line(other)?,
    };
    Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// Checks `host:port,host:port`, with an optional chroot (`/chroot`) after the last.
pub fn check_servers(text: &str) -> Result<(), String> {
    let (servers, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
    if chroot.contains(',') {
        return Err(format!("{text:?}: a chroot such as /x is allowed once, after the last server"));
    }
    for server in servers.split(',') {
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') || host.ends_with("]:") => (host, Some(port)),
            _ => (server, None),
        };
        proxymgr_actors::model::Address::parse(host)
            .map_err(|error| format!("{text:?} must be host:port, separated by commas: {error}"))?;
        if port.is_some_and(|port| port.parse::<std::num::NonZeroU16>().is_err()) {
            return Err(format!("{text:?}: the port of {server:?} must be a number from 1 to 65535"));
        }
    }
    Ok(())
}
