//! Numbers, sizes and durations in HAProxy's notation.

/// Parses digits with an optional minus, without the plus sign and the blanks that other parsers accept.
pub fn plain_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Parses a number that may have a unit: `100`, `10k`, `1m`.
pub fn size(text: &str) -> Option<u64> {
    let unit = |suffix| text.strip_suffix(suffix);
    let (digits, shift) = match (unit('k'), unit('m'), unit('g')) {
        (Some(digits), _, _) => (digits, 10),
        (_, Some(digits), _) => (digits, 20),
        (_, _, Some(digits)) => (digits, 30),
        _ => (text, 0),
    };
    let number = u64::try_from(plain_number(digits)?).ok()?;
    number.checked_mul(1 << shift).filter(|number| *number <= u64::from(u32::MAX))
}

/// Parses HAProxy's durations: milliseconds, or with a unit; at most 2^31 ms, about 24 days.
pub fn duration_us(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 6] =
        [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
    let with_unit = UNITS.iter().find_map(|(unit, us)| Some((text.strip_suffix(unit)?, *us)));
    let (number, unit_us) = with_unit.unwrap_or((text, 1_000));
    let us = plain_number(number)?.checked_mul(unit_us)?;
    (0..=i64::from(i32::MAX) * 1_000).contains(&us).then_some(us)
}
