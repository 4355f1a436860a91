//! Readers for JSON written by people and other tools. Each mistake is reported with the wrong value.

use std::num::NonZeroU16;

use serde_json::Value;

use crate::limits::QUOTED_VALUE_CHARS_MAX;

/// Returns whether a key is reserved for other tools: it begins with `x-` or `_`, and proxymgr ignores it.
pub(super) fn is_free_key(key: &str) -> bool {
    key.starts_with("x-") || key.starts_with('_')
}

/// Reads a string.
pub(super) fn string_from(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{} is not a string", shown(value)))
}

/// Reads a port, as a number or as digits in a string.
pub(super) fn port_from(value: &Value) -> Result<NonZeroU16, String> {
    whole_number(value)
        .and_then(|port| u16::try_from(port).ok())
        .and_then(NonZeroU16::new)
        .ok_or_else(|| format!("{} is not a port, a whole number from 1 to 65535", shown(value)))
}

/// Reads a number without sign or fraction, or a string of digits.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// Reads a list of strings, or one string.
pub(super) fn strings_from(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(elements) => elements.iter().map(|element| string_from(element).map(str::to_owned)).collect(),
        other => Err(format!("{} is neither a list of strings nor a string", shown(other))),
    }
}

/// Formats a value for a message: as JSON, so that it cannot contain a line break, and truncated.
pub(super) fn shown(value: &Value) -> String {
    let text: String = value.to_string().chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    match text.char_indices().nth(QUOTED_VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// Describes a value for a message that must not repeat it: what a source contains may be a secret.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => shown(value),
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(_) => "the string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
