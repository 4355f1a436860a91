//! The data types of stick tables.
//!
//! Source: `configuration.txt` 11.1, "stick-table", of HAProxy 2.2 to 3.4.

use super::numbers::{duration_us, plain_number};
use crate::limits::STICK_TABLE_ARRAY_MAX;

/// Data types without an argument.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "server_id", "server_key", "gpc0", "gpc1", "gpt0", "conn_cnt", "conn_cur", "sess_cnt", "http_req_cnt",
    "http_err_cnt", "http_fail_cnt", "bytes_in_cnt", "bytes_out_cnt", "glitch_cnt",
];

/// Data types whose argument is a period.
#[rustfmt::skip]
const RATES: &[&str] = &[
    "gpc0_rate", "gpc1_rate", "conn_rate", "sess_rate", "http_req_rate", "http_err_rate", "http_fail_rate",
    "bytes_in_rate", "bytes_out_rate", "glitch_rate",
];

/// Returns the number of values that the data types of this list store in each entry.
///
/// # Errors
/// Which data type is unknown, or what is wrong with its argument.
pub fn check(text: &str) -> Result<u64, String> {
    let mut count = 0;
    for data in parts(text) {
        let (name, argument) = match data.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')),
            None => (data, Some("")),
        };
        let argument = argument.ok_or_else(|| format!("has no closing bracket in {data:?}"))?;
        count +=
            values_of(name, argument).ok_or_else(|| format!("has {data:?}, which is not a data type of a table"))?;
    }
    Ok(count)
}

fn values_of(name: &str, argument: &str) -> Option<u64> {
    let period = |text: &str| duration_us(text).filter(|us| *us > 0);
    let length = |text: &str| {
        let length = plain_number(text).and_then(|length| u64::try_from(length).ok());
        length.filter(|length| (1..=STICK_TABLE_ARRAY_MAX).contains(length))
    };
    match name {
        name if PLAIN.contains(&name) => argument.is_empty().then_some(1),
        name if RATES.contains(&name) => period(argument).map(|_| 1),
        "gpc" | "gpt" => length(argument),
        "gpc_rate" => {
            let (count, time) = argument.split_once(',')?;
            period(time).and(length(count))
        }
        _ => None,
    }
}

/// Splits a list at the commas outside brackets.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn list_of_data_types_is_read() {
        assert_eq!(check("gpc0"), Ok(1));
        assert_eq!(check("gpc0,http_req_rate(10s),conn_cur,gpc(4),gpc_rate(2,1m)"), Ok(9));
        for text in [
            "",
            "gpc0,",
            "gpc0(1)",
            "http_req_rate",
            "http_req_rate(0)",
            "gpc(17)",
            "gpc(0)",
            "gpc_rate(1)",
            "x",
            "gpc(",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
