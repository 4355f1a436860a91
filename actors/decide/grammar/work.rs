//! The time that HAProxy needs for the parts of an expression, in units of 10 microseconds, for the worst request.
//!
//! A test of an ACL evaluates `hdr`, `cook`, `urlp` and their kin for each value: 16 KiB hold 7,000 of them. Converters and
//! patterns are then applied as often. Measured on 2.2 and 3.4 with the worst texts, and rounded up.

use super::place::Place;

/// The work of a test that looks at every value.
const EVERY_VALUE: u64 = 60;

/// The work of reading the whole message, or all of its headers.
const MESSAGE: u64 = 10;

/// The work of counting the servers of a section.
const SERVERS: u64 = 50;

/// The work of a converter that reads a whole text.
const TEXT: u64 = 10;

/// The work of a converter that is applied to every value.
const TEXT_OF_EVERY_VALUE: u64 = 30;

/// The work of a cipher or a digest that is applied to every value.
const CIPHER_OF_EVERY_VALUE: u64 = 500;

/// The work of replacing every match of a regular expression, besides that of the matching.
const REPLACEMENT: u64 = 200;

/// The work of the least regular expression that is applied to every value.
const REGEX_OF_EVERY_VALUE: u64 = 30;

/// Bytes of a pattern whose search in a text takes one more unit.
const SEARCHED_BYTES: usize = 2;

/// The beginnings of fetches, after `req.` and `res.`, that an ACL evaluates for every value.
const ITERATED: &[&str] = &["hdr", "fhdr", "shdr", "cook", "scook", "urlp", "url_param", "body_param"];

/// The beginnings of other fetches, after `req.` and `res.`, that read the whole message.
const OF_MESSAGE: &[&str] =
    &["body", "rdp_cookie", "req_rdp_cookie", "payload", "http_auth", "distcc", "ssl_", "req_ssl", "rep_ssl"];

/// Fetches that look at every server of the section.
const OF_SERVERS: &[&str] = &["connslots", "be_conn_free"];

/// Converters that only calculate with a number or an address, or look something up.
#[rustfmt::skip]
const CHEAP: &[&str] = &[
    "add", "and", "div", "mod", "mul", "or", "sub", "xor", "bool", "cpl", "even", "odd", "neg", "not", "htonl", "ipmask", "iif",
    "ltime", "utime", "http_date", "date", "in_table", "set-var", "unset-var", "length", "bytes", "x509_v_err_str",
];

/// Converters that compare each byte of a text with each byte of an argument.
const WITH_LISTS: &[&str] = &["field", "word", "language", "ltrim", "rtrim"];

/// The beginnings of converters that encrypt, decrypt or digest.
const CIPHERS: &[&str] = &["aes_", "digest", "hmac", "sha1", "sha2", "jwt_"];

/// Predefined ACLs that take longer than others.
const OF_PREDEFINED: &[(&str, u64)] =
    &[("HTTP_URL_ABS", MESSAGE), ("HTTP_CONTENT", EVERY_VALUE), ("RDP_COOKIE", MESSAGE)];

/// Returns whether HAProxy evaluates what follows this fetch for each of several values.
pub fn is_iterated(fetch: &str, place: Place) -> bool {
    let is_one_value = fetch.ends_with("_cnt") || fetch.ends_with("_names");
    place == Place::AclTest && !is_one_value && begins_with(of_message(fetch), ITERATED)
}

/// Returns the work of a fetch.
pub fn of_fetch(fetch: &str, place: Place) -> u64 {
    let name = of_message(fetch);
    if is_iterated(fetch, place) {
        EVERY_VALUE
    } else if begins_with(name, ITERATED) || begins_with(name, OF_MESSAGE) {
        MESSAGE
    } else if OF_SERVERS.contains(&fetch) {
        SERVERS
    } else {
        1
    }
}

/// Returns the work of a converter with arguments of this length.
pub fn of_converter(name: &str, argument_bytes: usize, is_iterated: bool) -> u64 {
    if CHEAP.contains(&name) || name.starts_with("table_") {
        return if is_iterated { TEXT_OF_EVERY_VALUE } else { 1 };
    }
    let of_text = match is_iterated {
        true if begins_with(name, CIPHERS) => CIPHER_OF_EVERY_VALUE,
        true => TEXT_OF_EVERY_VALUE,
        false => TEXT,
    };
    let of_arguments = match name {
        "regsub" => REPLACEMENT,
        name if WITH_LISTS.contains(&name) => u64::try_from(argument_bytes).unwrap_or(u64::MAX),
        _ => 0,
    };
    of_text.saturating_add(of_arguments)
}

/// Returns the work of a pattern of a test, besides that of a regular expression in it.
pub fn of_pattern(pattern: &str, is_searched: bool, is_regex: bool, is_iterated: bool) -> u64 {
    let of_bytes = u64::try_from(pattern.len() / SEARCHED_BYTES).unwrap_or(u64::MAX);
    let of_search = if is_searched { MESSAGE.saturating_add(of_bytes) } else { 0 };
    match is_iterated {
        true if is_regex => REGEX_OF_EVERY_VALUE,
        true => of_search.saturating_add(1),
        false => of_search,
    }
}

/// Returns the work of a predefined ACL.
pub fn of_predefined_acl(name: &str) -> u64 {
    OF_PREDEFINED.iter().find(|(known, _)| *known == name).map_or(1, |(_, work)| *work)
}

/// Returns the work of an action, besides that of its arguments.
pub fn of_action(action: &str) -> u64 {
    match action {
        "replace-value" | "replace-header" => EVERY_VALUE,
        "normalize-uri" => REPLACEMENT,
        _ => 0,
    }
}

fn of_message(fetch: &str) -> &str {
    ["req.", "res."].iter().find_map(|prefix| fetch.strip_prefix(prefix)).unwrap_or(fetch)
}

fn begins_with(name: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| name.starts_with(beginning))
}
