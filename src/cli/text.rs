//! Times and texts for the terminal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxymgr_actors::decide::visible::visible;
use proxymgr_actors::model::OperatorChoice;

pub use crate::status::format::span;

/// Current time, in milliseconds since 1970.
pub fn now_unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in milliseconds, in its largest unit.
pub fn short_span(millis: u64) -> String {
    span(millis).split(' ').next().unwrap_or_default().to_owned()
}

/// A time in milliseconds since 1970, in the format of the log.
pub fn time(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_999));
    humantime::format_rfc3339_millis(at).to_string()
}

/// Untrusted text with control characters and invisible characters escaped.
pub fn printable(text: &str) -> String {
    visible(text).into_owned()
}

/// An override: its state, since when, for how long yet, by whom, and why.
pub fn override_text(choice: &OperatorChoice, now_unix_ms: u64) -> String {
    let (state, since) = (choice.state.as_str(), span(now_unix_ms.saturating_sub(choice.since_unix_ms)));
    let left = choice.until_unix_ms.map(|until| format!(", {} left", span(until.saturating_sub(now_unix_ms))));
    let reason = choice.reason.as_ref().map(|reason| format!(": {}", printable(reason)));
    let by = choice.by.as_ref().map(|by| format!(", by {}", printable(&by.who))).unwrap_or_default();
    format!("{state} for {since}{}{by}{}", left.unwrap_or_default(), reason.unwrap_or_default())
}

/// A text clipped to so many characters.
pub fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    if width <= 3 {
        return text.chars().take(width).collect();
    }
    text.chars().take(width - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_or_two_units() {
        assert_eq!((span(3_725_000), short_span(3_725_000)), ("1h 2m".to_owned(), "1h".to_owned()));
        assert_eq!(span(900), "0s");
    }

    #[test]
    fn text_is_clipped_to_width() {
        for (width, text) in [(9, "abcdefghi"), (8, "abcde..."), (2, "ab"), (0, "")] {
            assert_eq!(clipped("abcdefghi", width), text);
        }
    }

    #[test]
    fn time_has_the_format_of_the_log() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert!(time(u64::MAX).starts_with("9999-12-31"));
    }
}
