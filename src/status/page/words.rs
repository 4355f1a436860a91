//! Numbers and times as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use crate::status::telling::took;

/// A number with its thousands apart: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as machines read it: `2026-11-21T07:22:05Z`.
pub fn machine_time(unix_ms: u64) -> String {
    // Beyond the year 9999 no time can be written so; no clock of ours gets there.
    let unix_ms = unix_ms.min(253_402_300_799_000);
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A time as people read it without a script to say how long ago it was: `2026-11-21 07:22:05 UTC`.
pub fn plain_time(unix_ms: u64) -> String {
    machine_time(unix_ms).replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_readable() {
        for (micros, text) in [
            (40, "0 ms"),
            (430, "0.4 ms"),
            (2_500, "2.5 ms"),
            (12_345, "12 ms"),
            (1_000_000, "1 s"),
            (3_140_000, "3.1 s"),
            (300_000_000, "300 s"),
        ] {
            assert_eq!(took(micros), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(plain_time(1_000), "1970-01-01 00:00:01 UTC");
        assert_eq!(machine_time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
