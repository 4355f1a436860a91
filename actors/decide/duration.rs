//! Durations in definitions: a number and a unit.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `2h`; at most a day.
///
/// # Errors
/// What is wrong, without the key.
pub fn parse(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a duration with a unit, such as 500ms, 30s or 5m");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis).filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| format!("{text} is longer than a day"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("30s", 30_000), (" 5 m ", 300_000), ("24h", 86_400_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "1 week", "25h", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
