//! Numbers, durations and times for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A duration in microseconds: `0.4 ms`, `12 ms`, `3.1 s`.
pub fn duration(micros: u64) -> String {
    match micros {
        0..10_000 => tenths(micros, 1_000, "ms"),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..100_000_000 => tenths(micros, 1_000_000, "s"),
        _ => format!("{} s", micros / 1_000_000),
    }
}

fn tenths(value: u64, unit: u64, name: &str) -> String {
    let tenths = (value * 10 + unit / 2) / unit;
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A number of things: `1 host`, `2,000 hosts`.
pub fn counted(count: usize, singular: &str) -> String {
    if count == 1 { format!("1 {singular}") } else { format!("{} {singular}s", grouped(count as u64)) }
}

/// A number with separators between thousands: `12,345`.
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

/// A number of bytes: `999 B`, `1.5 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000, "kB"), (1_000_000, "MB"), (1_000_000_000, "GB"), (1_000_000_000_000, "TB")];
    if count < 1_000 {
        return format!("{count} B");
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| count / unit < 1_000).unwrap_or(UNITS[UNITS.len() - 1]);
    // Divided first, as a tenth of a large number is needed only to one digit.
    tenths(count / (unit / 100), 100, name)
}

/// A duration in milliseconds, in its two largest units: `1h 2m`.
pub fn span(millis: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(millis / 1_000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A time in RFC 3339: `2026-11-21T07:22:05Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    let unix_ms = unix_ms.min(253_402_300_799_000);
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A time for people: `2026-11-21 07:22:05 UTC`.
pub fn utc_time(unix_ms: u64) -> String {
    rfc3339(unix_ms).replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_digits() {
        for (micros, text) in [
            (40, "0 ms"),
            (430, "0.4 ms"),
            (2_500, "2.5 ms"),
            (12_345, "12 ms"),
            (1_000_000, "1 s"),
            (3_140_000, "3.1 s"),
            (300_000_000, "300 s"),
        ] {
            assert_eq!(duration(micros), text);
        }
    }

    #[test]
    fn bytes_have_decimal_units() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 kB"),
            (1_549, "1.5 kB"),
            (2_000_000, "2 MB"),
            (12_300_000_000, "12.3 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(utc_time(1_000), "1970-01-01 00:00:01 UTC");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
