//! Shared frontends: each looks up the service of a request in a map.
//!
//! The lookup uses `map_beg`, which finds the longest key that is a prefix of the text, on every version: first
//! `ADDRESS/DOMAIN/PATH/` for the exact domain, then `*.` with the parent domains, from the longest to the shortest,
//! then `*`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::config_text::{INDENT, clients_connect_to, push_bind};
use super::quoting::quoted;
use super::routing::routed_at;
use super::section_style::{IDLE_CLOSE, SectionStyle};
use crate::limits::WILDCARD_LABELS_MAX;
use crate::model::{Descriptors, ServiceDefinition, Word};

/// The prefix of frontend names, which service names must not have.
pub const NAME_PREFIX: &str = "http:";

/// Returns a frontend's name: `http:8080`, with the address where it does not listen on every IPv4 address.
pub fn name(listen: SocketAddr) -> String {
    let port = listen.port();
    match listen.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => format!("{NAME_PREFIX}{port}"),
        ip => format!("{NAME_PREFIX}{ip}:{port}"),
    }
}

/// Returns the text of every frontend that these services need, each with the descriptor that it listens on.
pub fn frontends<'a>(
    services: impl IntoIterator<Item = (&'a ServiceDefinition, &'a Descriptors)>,
    style: SectionStyle,
    map: &Path,
) -> BTreeMap<SocketAddr, Arc<str>> {
    let mut listens: BTreeMap<SocketAddr, Descriptors> = BTreeMap::new();
    for (listen, descriptors) in services.into_iter().filter_map(|(service, fds)| Some((routed_at(service)?, fds))) {
        // A service that is not applied yet has no descriptors.
        listens.entry(listen).or_default().extend(descriptors.clone());
    }
    listens.into_iter().map(|(listen, descriptors)| (listen, frontend(listen, &descriptors, style, map))).collect()
}

fn frontend(listen: SocketAddr, descriptors: &Descriptors, style: SectionStyle, map: &Path) -> Arc<str> {
    let mut text = format!("frontend {}\n{}\n", name(listen), clients_connect_to(listen));
    push_bind(&mut text, &listen.into(), descriptors, "", style);
    let _ = writeln!(text, "{INDENT}mode http");
    if style.idle_close {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
    // The host without the port and a final dot; then without its first label, for names with `*.`.
    push_comment(&mut text, "The requested domain and path, and the domain without its first label.");
    push_variable(&mut text, "host", "req.hdr(host),lower,regsub(:[0-9]*$,),regsub([.]$,)", Always);
    push_variable(&mut text, "path", "path", Always);
    push_variable(&mut text, "below", "var(txn.proxymgr_host),regsub(^[^.]*[.]?,)", Always);
    let map = map.display();
    let found = |start: &str, variable: &str| {
        format!("str({listen}/{start}){variable},concat(,txn.proxymgr_path,/),map_beg({map})")
    };
    let shown = format!("The service comes from a map, updated at run time (on the socket: show map {map}).");
    push_comment(&mut text, &shown);
    push_comment(&mut text, "1. Services with the exact domain; the longest path wins.");
    push_variable(&mut text, "service", &found("", ",concat(,txn.proxymgr_host,)"), Always);
    push_comment(&mut text, "2. Services with *. and a parent domain; the longest parent domain wins.");
    for labels in (1..=WILDCARD_LABELS_MAX).rev() {
        let zone = format!("var(txn.proxymgr_below),field(-1,.,{labels})");
        push_variable(&mut text, "zone", &zone, UnlessFound);
        push_variable(&mut text, "service", &found("*.", ",concat(,txn.proxymgr_zone,)"), UnlessFound);
    }
    push_comment(&mut text, "3. The service for all other domains; without one the request is denied with 404.");
    push_variable(&mut text, "service", &found("*", ""), UnlessFound);
    // A 503 would mean that the service exists and cannot answer.
    let _ = writeln!(text, "{INDENT}http-request deny deny_status 404 {UNLESS_FOUND}");
    let _ = writeln!(text, "{INDENT}use_backend %[var(txn.proxymgr_service)]");
    text.push('\n');
    text.into()
}

/// Adds a comment that explains the following lines of the file.
fn push_comment(text: &mut String, comment: &str) {
    let _ = writeln!(text, "{INDENT}# {comment}");
}

const UNLESS_FOUND: &str = "unless { var(txn.proxymgr_service) -m found }";

/// When a variable is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    UnlessFound,
}
use When::{Always, UnlessFound};

fn push_variable(text: &mut String, name: &str, expression: &str, when: When) {
    let expression = Word::new(expression).expect("constants, an address and a path that the settings allow");
    let condition = if when == UnlessFound { format!(" {UNLESS_FOUND}") } else { String::new() };
    let _ = writeln!(text, "{INDENT}http-request set-var(txn.proxymgr_{name}) {}{condition}", quoted(&expression));
}
