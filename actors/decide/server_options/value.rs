//! The type of a server option's value.

use std::net::IpAddr;

/// The type of a server option's value.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Anything: a name, a list, an expression.
    Any,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A duration in HAProxy's notation: `2000`, `2s`, `500ms`.
    Duration,
    /// A duration that is not 0.
    Interval,
    /// A single IP address.
    Ip,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `init-addr`'s list of `last`, `libc`, `none` and IP addresses.
    InitAddr,
}

impl Value {
    /// Returns what is wrong with the value.
    pub fn mistake(self, text: &str) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Number(min, max) => {
                let in_bounds = plain_number(text).is_some_and(|n| (min..=max).contains(&n));
                (!in_bounds).then(|| format!("is not a whole number from {min} to {max}"))
            }
            Self::Duration => {
                duration_us(text).is_none().then(|| "is not a duration such as 2000, 2s or 500ms".to_owned())
            }
            Self::Interval => {
                let positive = duration_us(text).is_some_and(|us| us > 0);
                (!positive).then(|| "is not a duration above 0 such as 2000, 2s or 500ms".to_owned())
            }
            Self::Ip => text.parse::<IpAddr>().is_err().then(|| "is not an IP address".to_owned()),
            Self::OneOf(words) => (!words.contains(&text)).then(|| format!("is none of {}", words.join(", "))),
            Self::InitAddr => {
                let known = |part: &str| matches!(part, "last" | "libc" | "none") || part.parse::<IpAddr>().is_ok();
                (!text.split(',').all(known)).then(|| "is not a list of last, libc, none or IP addresses".to_owned())
            }
        }
    }
}

/// Parses digits with an optional minus, without the plus sign and the blanks that other parsers accept.
fn plain_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Parses HAProxy's durations: milliseconds, or with a unit; at most 2^31 ms, about 24 days.
fn duration_us(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 6] =
        [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
    let with_unit = UNITS.iter().find_map(|(unit, us)| Some((text.strip_suffix(unit)?, *us)));
    let (number, unit_us) = with_unit.unwrap_or((text, 1_000));
    let us = plain_number(number)?.checked_mul(unit_us)?;
    (0..=i64::from(i32::MAX) * 1_000).contains(&us).then_some(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(value: Value, text: &str) -> bool {
        value.mistake(text).is_none()
    }

    #[test]
    fn duration_has_a_unit_and_a_bound() {
        for text in ["0", "2000", "1us", "5ms", "2s", "3m", "4h", "24d", "2147483647", "2147483647000us"] {
            assert!(is_good(Value::Duration, text), "{text}");
            assert_eq!(is_good(Value::Interval, text), text != "0", "{text}");
        }
        for text in ["", "s", "-1", "+1", "1.5s", "1 s", "25d", "2147483648", "2147483647001us", "9223372036854775807d"]
        {
            assert!(!is_good(Value::Duration, text) && !is_good(Value::Interval, text), "{text}");
        }
    }

    #[test]
    fn number_is_plain_and_within_bounds() {
        for (text, expected) in [("-1", true), ("0", true), ("256", true), ("257", false), ("-2", false)] {
            assert_eq!(is_good(Value::Number(-1, 256), text), expected, "{text}");
        }
        for text in ["", "-", "+1", " 1", "1x", "--1"] {
            assert!(!is_good(Value::Number(-1, 256), text), "{text:?}");
        }
    }

    #[test]
    fn other_values_are_words_and_addresses() {
        assert!(is_good(Value::Any, "x") && is_good(Value::OneOf(&["a", "b"]), "b"));
        assert!(!is_good(Value::OneOf(&["a", "b"]), "c"));
        assert!(is_good(Value::Ip, "::1") && !is_good(Value::Ip, "a.example"));
        assert!(is_good(Value::InitAddr, "last,libc,none,10.0.0.1"));
        assert!(!is_good(Value::InitAddr, "last,dns") && !is_good(Value::InitAddr, ""));
    }
}
