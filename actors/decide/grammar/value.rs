//! Checks of single arguments against their type.

use std::net::IpAddr;

use super::facts::Fact;
use super::kind::{Kind, SET_CONDITIONS};
use super::numbers::{duration_us, plain_number, size};
use super::regex;
use super::section::Section;
use super::table_data;
use super::work;
use crate::limits::{CAPTURE_BYTES_MAX, CHECK_INTERVAL_MIN, STICK_TABLE_ENTRIES_MAX, STICK_TABLE_KEY_BYTES_MAX};

/// The scopes of variables. `proc.` is missing: these variables belong to all sections.
const SCOPES: [&str; 5] = ["sess", "txn", "req", "res", "check"];

/// Headers that decide where a message or a connection ends. Services with domains share the connections of clients: a
/// response that ends too early would make its rest the answer to a request for another service.
const FRAMING: [&str; 3] = ["Content-Length", "Transfer-Encoding", "Connection"];

/// Checks one argument, and records what it uses. Types that consist of several parts (formats, expressions,
/// conditions) are not for this function.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence that begins with the text.
pub fn check(kind: Kind, text: &str, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    let is_valid = match kind {
        Kind::Text => true,
        Kind::PageText => !text.contains(['<', '>', '&', '"', '\'']),
        Kind::Name | Kind::NewAcl => is_name(text),
        Kind::Token => is_token(text),
        Kind::Header => is_token(text) && !FRAMING.iter().any(|name| name.eq_ignore_ascii_case(text)),
        Kind::Number(min, max) => plain_number(text).is_some_and(|n| (min..=max).contains(&n)),
        Kind::Duration => duration_us(text).is_some(),
        Kind::Interval => {
            let min_us = i64::try_from(CHECK_INTERVAL_MIN.as_micros()).unwrap_or(i64::MAX);
            duration_us(text).is_some_and(|us| us >= min_us)
        }
        Kind::Size => size(text).is_some(),
        Kind::Status => is_status(text),
        Kind::Statuses => text.split(',').all(is_status_range),
        Kind::Ip => text.parse::<IpAddr>().is_ok(),
        Kind::CheckedIp => return checked_ip(text, section),
        Kind::CheckedPort => return checked_port(text, section),
        Kind::Network => is_network(text),
        Kind::Hex => !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit()),
        Kind::Tos => is_tos(text),
        Kind::NumberOrVariable if plain_number(text).is_some() => true,
        Kind::NumberOrVariable | Kind::Variable => return variable(text, facts),
        Kind::SetCondition => SET_CONDITIONS.contains(&text),
        Kind::Own => return own(text, section),
        Kind::OwnServer => return own_server(text, section),
        Kind::Acl => acl(text, facts),
        Kind::Regex => return regex::check(text).map(|work| facts.push(Fact::Regex(work))),
        Kind::TableEntries => bounded(text, STICK_TABLE_ENTRIES_MAX, Fact::TableEntries, facts),
        Kind::TableKeyBytes => bounded(text, STICK_TABLE_KEY_BYTES_MAX, Fact::TableKeyBytes, facts),
        Kind::TableData => return table_data::check(text).map(|count| facts.push(Fact::TableData(count))),
        Kind::CaptureBytes => bounded(text, CAPTURE_BYTES_MAX, Fact::CaptureBytes, facts),
        Kind::OneOf(words) => words.contains(&text),
        Kind::ListOf(words) => text.split(',').all(|part| words.contains(&part)),
        Kind::InitAddr => {
            let addresses = text.split(',').filter(|part| !matches!(*part, "last" | "libc" | "none"));
            let mut checked =
                addresses.map(|part| checked_ip(part, section).map_err(|reason| format!("{part} {reason}")));
            return checked
                .try_for_each(|address| address)
                .map_err(|reason| format!("is not {}: {reason}", kind.description()));
        }
        Kind::Format | Kind::LogFormat | Kind::Expression | Kind::Condition | Kind::AclTest | Kind::ServerOptions => {
            false
        }
    };
    if kind == Kind::NewAcl && is_valid {
        facts.push(Fact::AclDefined(text.to_owned()));
    }
    match (is_valid, kind) {
        (true, _) => Ok(()),
        (false, Kind::OneOf(words)) => Err(format!("is none of {}", words.join(", "))),
        (false, _) => Err(format!("is not {}", kind.description())),
    }
}

/// Checks a number that is bounded together with those of the same service.
fn bounded(text: &str, max: u64, fact: fn(u64) -> Fact, facts: &mut Vec<Fact>) -> bool {
    match size(text).filter(|number| (1..=max).contains(number)) {
        Some(number) => {
            facts.push(fact(number));
            true
        }
        None => false,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_status(text: &str) -> bool {
    plain_number(text).is_some_and(|status| (100..=599).contains(&status))
}

fn is_status_range(text: &str) -> bool {
    text.split_once('-').map_or_else(|| is_status(text), |(first, last)| is_status(first) && is_status(last))
}

fn is_tos(text: &str) -> bool {
    let number = match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => plain_number(text),
    };
    number.is_some_and(|number| (0..=255).contains(&number))
}

fn is_network(text: &str) -> bool {
    let (address, mask) = text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
    // HAProxy accepts IPv4 networks with fewer than four parts: 127/8.
    let parts = address.split('.').map(str::parse::<u8>);
    let shortened = mask.is_some() && address.split('.').count() <= 4 && parts.clone().all(|part| part.is_ok());
    let bits_max = if address.contains(':') { 128 } else { 32 };
    let is_mask = |mask: &str| {
        plain_number(mask).is_some_and(|bits| (0..=bits_max).contains(&bits))
            || (bits_max == 32 && mask.parse::<std::net::Ipv4Addr>().is_ok())
    };
    (address.parse::<IpAddr>().is_ok() || shortened) && mask.is_none_or(is_mask)
}

/// A health check connects to this address instead of the server's: it must not be HAProxy's own machine, whose
/// Runtime API or status listener it could reach, nor the metadata service of a cloud.
fn checked_ip(text: &str, section: &Section<'_>) -> Result<(), String> {
    let address: IpAddr = text.parse().map_err(|_| "is not an IP address".to_owned())?;
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if is_link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err("is an IP address of HAProxy's own machine or link, which a service may not connect to".to_owned());
    }
    if section.own.are_at(address) {
        return Err("is an address of proxymgr or of a Runtime API, which a service may not connect to".to_owned());
    }
    if !section.own.are_checked_at(address) {
        return Err(
            "is in none of the networks of hosts (discovery.host_networks, or host_networks of grants)".to_owned()
        );
    }
    Ok(())
}

/// A health check connects to this port of the server: the server may be at the same address as a Runtime API, which
/// obeys whatever the check sends.
fn checked_port(text: &str, section: &Section<'_>) -> Result<(), String> {
    let port = plain_number(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| "is not a port from 1 to 65535".to_owned())?;
    match section.own.at_port(port) {
        Some(what) => Err(format!("is the port of {what}, which a check may not connect to")),
        None => Ok(()),
    }
}

/// Checks the name of a variable.
fn variable(text: &str, facts: &mut Vec<Fact>) -> Result<(), String> {
    if text.strip_prefix("proc").is_some_and(|rest| rest.starts_with('.')) {
        return Err("is a variable of the whole process (proc.), which belongs to all services".to_owned());
    }
    let is_known = text.split_once('.').is_some_and(|(scope, name)| {
        SCOPES.contains(&scope)
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b))
    });
    if !is_known {
        return Err(format!("is not {}", Kind::Variable.description()));
    }
    facts.push(Fact::Variable(text.to_owned()));
    Ok(())
}

fn own(text: &str, section: &Section<'_>) -> Result<(), String> {
    match section.name {
        Some(name) if name == text => Ok(()),
        Some(name) => Err(format!("is another section; a service may only name its own, {name:?}")),
        None => Err("names a section, which server options may not".to_owned()),
    }
}

fn own_server(text: &str, section: &Section<'_>) -> Result<(), String> {
    let server = match text.split_once('/') {
        Some((name, server)) => {
            own(name, section).map_err(|reason| format!("names a server of {name:?}, which {reason}"))?;
            server
        }
        None => text,
    };
    if is_name(server) { Ok(()) } else { Err("is not the name of a server".to_owned()) }
}

/// Checks the use of an ACL, and records it if it is not predefined.
fn acl(text: &str, facts: &mut Vec<Fact>) -> bool {
    let name = text.trim_start_matches('!');
    if !is_name(name) {
        return false;
    }
    facts.push(match PREDEFINED_ACLS.contains(&name) {
        true => Fact::Work(work::of_predefined_acl(name)),
        false => Fact::AclUsed(name.to_owned()),
    });
    true
}

/// Source: `configuration.txt` 7.4, "Pre-defined ACLs", of HAProxy 2.2 to 3.4.
const PREDEFINED_ACLS: &[&str] = &[
    "FALSE",
    "HTTP",
    "HTTP_1.0",
    "HTTP_1.1",
    "HTTP_2.0",
    "HTTP_3.0",
    "HTTP_CONTENT",
    "HTTP_URL_ABS",
    "HTTP_URL_SLASH",
    "HTTP_URL_STAR",
    "LOCALHOST",
    "METH_CONNECT",
    "METH_DELETE",
    "METH_GET",
    "METH_HEAD",
    "METH_OPTIONS",
    "METH_POST",
    "METH_PUT",
    "METH_TRACE",
    "RDP_COOKIE",
    "REQ_CONTENT",
    "TRUE",
    "WAIT_END",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::own_places::OwnPlaces;

    fn is_good(kind: Kind, text: &str) -> bool {
        check(kind, text, &Section { name: Some("web"), granted: &[], own: &OwnPlaces::default() }, &mut Vec::new())
            .is_ok()
    }

    fn assert_values(kind: Kind, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is_good(kind, text), "{kind:?} {text:?}");
        }
        for text in bad {
            assert!(!is_good(kind, text), "{kind:?} {text:?}");
        }
    }

    #[test]
    fn samples_are_valid() {
        for (name, kind) in Kind::all_named() {
            let compound =
                [Kind::Format, Kind::LogFormat, Kind::Expression, Kind::Condition, Kind::AclTest, Kind::ServerOptions];
            let samples = kind.samples().iter().filter(|_| !compound.contains(&kind));
            assert_eq!(Vec::from_iter(samples.filter(|text| !is_good(kind, text))), Vec::<&&str>::new(), "{name}");
        }
    }

    #[test]
    fn duration_has_a_unit_and_a_bound() {
        assert_values(
            Kind::Duration,
            &["0", "2000", "1us", "5ms", "2s", "3m", "4h", "24d", "2147483647", "2147483647000us"],
            &["", "s", "-1", "+1", "1.5s", "1 s", "25d", "2147483648", "2147483647001us", "9223372036854775807d"],
        );
        assert_values(Kind::Interval, &["50", "2s", "50000us"], &["0", "1us", "49", "49ms", "x"]);
    }

    #[test]
    fn header_does_not_end_a_message() {
        assert_values(
            Kind::Header,
            &["X-A", "Content-Type", "Host"],
            &["Content-Length", "content-length", "TRANSFER-ENCODING", "Connection", "", "a b", "a:"],
        );
    }

    #[test]
    fn text_of_a_page_has_no_markup() {
        assert_values(Kind::PageText, &["the shop (new)", "100%"], &["<b>", "a&b", "\"", "'", ">"]);
    }

    #[test]
    fn number_is_plain_and_within_bounds() {
        assert_values(Kind::Number(-1, 256), &["-1", "0", "256"], &["257", "-2", "", "-", "+1", " 1", "1x", "--1"]);
        assert_values(Kind::TableEntries, &["1", "100k", "1m"], &["0", "2m", "1g", "-1", "k", "1 k"]);
    }

    #[test]
    fn address_and_network_are_not_names() {
        assert_values(Kind::Ip, &["::1", "10.0.0.1"], &["a.example", "unix@/x", "10.0.0.1:80", "0x7f000001", ""]);
        assert_values(
            Kind::Network,
            &["10.0.0.0/8", "127/8", "::1", "fd00::/8", "10.0.0.0/255.0.0.0"],
            &["a/8", "10.0.0.1/33", "x"],
        );
        assert_values(
            Kind::CheckedIp,
            &["10.0.0.1", "2001:db8::1"],
            &["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"],
        );
    }

    #[test]
    fn variable_belongs_to_the_session() {
        assert_values(
            Kind::Variable,
            &["txn.a", "sess.a.b_1", "check.x"],
            &["proc.a", "txn.", "txn", "\"proc.a\"", "PROC.a", "txn.a b", "txn.a,b", "process.a"],
        );
        assert_values(Kind::NumberOrVariable, &["7", "-7", "txn.a"], &["proc.a", "7x", ""]);
    }

    #[test]
    fn section_is_the_own_one() {
        assert_values(Kind::Own, &["web"], &["other", "WEB", "", "web/a", "\"web\""]);
        assert_values(Kind::OwnServer, &["web/a", "a"], &["other/a", "web/a/b", "web/", "/a"]);
    }
}
