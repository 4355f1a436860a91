//! The frontends of services that share their ports: each looks into the map for the service that a request is for.
//!
//! The map is asked with `map_beg`, which finds the longest key that a text begins with, on every version: with
//! `ADDRESS/DOMAIN/PATH/` for the domain itself, then with `*.` before what is left of the domain, from the longest
//! rest to the shortest, then with `*` alone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use super::config_text::{INDENT, clients_connect_to, push_bind};
use super::quoting::quoted;
use super::routing::routed_at;
use super::section_style::{IDLE_CLOSE, SectionStyle};
use crate::limits::WILDCARD_LABELS_MAX;
use crate::model::{ServiceDefinition, Word};

/// What the names of frontends begin with, and those of services do not.
pub const NAME_PREFIX: &str = "http:";

/// A frontend's name: `http:8080`, or with the address where it is not every IPv4 one.
pub fn name(listen: SocketAddr) -> String {
    let port = listen.port();
    match listen.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => format!("{NAME_PREFIX}{port}"),
        ip => format!("{NAME_PREFIX}{ip}:{port}"),
    }
}

/// The text of every frontend that these services need, each with the descriptor that it listens on.
pub fn frontends<'a>(
    services: impl IntoIterator<Item = (&'a ServiceDefinition, Option<RawFd>)>,
    style: SectionStyle,
    map: &Path,
) -> BTreeMap<SocketAddr, Arc<str>> {
    let mut listens: BTreeMap<SocketAddr, Option<RawFd>> = BTreeMap::new();
    for (listen, descriptor) in services.into_iter().filter_map(|(service, fd)| Some((routed_at(service)?, fd))) {
        let known = listens.entry(listen).or_default();
        // A service that is not in force yet does not know its own.
        *known = known.or(descriptor);
    }
    listens.into_iter().map(|(listen, descriptor)| (listen, frontend(listen, descriptor, style, map))).collect()
}

fn frontend(listen: SocketAddr, descriptor: Option<RawFd>, style: SectionStyle, map: &Path) -> Arc<str> {
    let mut text = format!("frontend {}\n{}\n", name(listen), clients_connect_to(listen));
    push_bind(&mut text, descriptor, Some(listen), style);
    let _ = writeln!(text, "{INDENT}mode http");
    if style.idle_close {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
    // Without the port and the dot that may end it; then without its first label, for the names with `*.`.
    push_comment(&mut text, "What is asked for: the domain, the path, and the domain without its first label.");
    push_variable(&mut text, "host", "req.hdr(host),lower,regsub(:[0-9]*$,),regsub([.]$,)", Always);
    push_variable(&mut text, "path", "path", Always);
    push_variable(&mut text, "below", "var(txn.proxymgr_host),regsub(^[^.]*[.]?,)", Always);
    let map = map.display();
    let found = |start: &str, variable: &str| {
        format!("str({listen}/{start}){variable},concat(,txn.proxymgr_path,/),map_beg({map})")
    };
    let shown = format!("Who serves it says a map, which changes while HAProxy runs (on its socket: show map {map}).");
    push_comment(&mut text, &shown);
    push_comment(&mut text, "First whoever has the domain itself, and of several the one with the longest path.");
    push_variable(&mut text, "service", &found("", ",concat(,txn.proxymgr_host,)"), Always);
    push_comment(&mut text, "Else whoever has a *. before the end of the domain: the longest end first.");
    for labels in (1..=WILDCARD_LABELS_MAX).rev() {
        let zone = format!("var(txn.proxymgr_below),field(-1,.,{labels})");
        push_variable(&mut text, "zone", &zone, UnlessFound);
        push_variable(&mut text, "service", &found("*.", ",concat(,txn.proxymgr_zone,)"), UnlessFound);
    }
    push_comment(&mut text, "Else whoever has every domain that nobody else has; else it is not found.");
    push_variable(&mut text, "service", &found("*", ""), UnlessFound);
    // 503 says that a service is there and cannot answer.
    let _ = writeln!(text, "{INDENT}http-request deny deny_status 404 {UNLESS_FOUND}");
    let _ = writeln!(text, "{INDENT}use_backend %[var(txn.proxymgr_service)]");
    text.push('\n');
    text.into()
}

/// Says to whoever reads the file what the lines that follow do.
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
