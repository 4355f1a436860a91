//! Order of names that contain numbers: `10.0.0.9:80` comes before `10.0.0.10:80`.

use std::cmp::Ordering;

/// Compares two names; digits in the same place are compared as numbers.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    loop {
        let (a_run, b_run) = (run(a_rest), run(b_rest));
        let order = match (number(a_run), number(b_run)) {
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            _ => a_run.cmp(b_run),
        };
        if order != Ordering::Equal {
            return order;
        }
        if a_run.is_empty() {
            // Names that differ in leading zeros only.
            return a.cmp(b);
        }
        (a_rest, b_rest) = (&a_rest[a_run.len()..], &b_rest[b_run.len()..]);
    }
}

/// The longest beginning that consists of digits, or of no digits.
fn run(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return "" };
    let is_digit = first.is_ascii_digit();
    let end = text.find(|character: char| character.is_ascii_digit() != is_digit).unwrap_or(text.len());
    &text[..end]
}

/// The digits of a number without leading zeros; none for other text.
fn number(run: &str) -> Option<&str> {
    run.starts_with(|first: char| first.is_ascii_digit()).then(|| run.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let mut names =
            ["10.0.0.10:80", "10.0.0.9:80", "10.0.0.9:8080", "9.0.0.1:80", "web-2", "web-10", "web-02", "ä", ""];
        names.sort_by(|a, b| compare(a, b));
        let expected =
            ["", "9.0.0.1:80", "10.0.0.9:80", "10.0.0.9:8080", "10.0.0.10:80", "web-02", "web-2", "web-10", "ä"];
        assert_eq!(names, expected);
    }
}
