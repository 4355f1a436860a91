//! Shared frontends: each looks up the service of an HTTP request, or of a TLS connection by SNI, in a map.
//!
//! The lookup uses `map_beg`, which finds the longest key that is a prefix of the text, on every version: first
//! `ADDRESS/DOMAIN/PATH/` for the exact domain, then `*.` with the parent domains, from the longest to the shortest,
//! then `*`. Before each lookup stand the rules of services with further conditions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::config_text::{INDENT, clients_connect_to, push_bind};
use super::haproxy_config::push_guid;
use super::match_rules::{MatchRules, Step};
use super::quoting::quoted;
use super::routing::{FrontendKind, kind_of as kind_of_service, routed_at};
use super::section_style::{IDLE_CLOSE, SectionStyle};
use super::tls_words;
use crate::limits::WILDCARD_LABELS_MAX;
use crate::model::{Descriptors, ServiceDefinition, ServiceTls, Word};

/// The prefixes of frontend names, which service names must not have.
pub const NAME_PREFIXES: [&str; 2] = [HTTP_PREFIX, SNI_PREFIX];

const HTTP_PREFIX: &str = "http:";
const SNI_PREFIX: &str = "tls:";

/// Returns a frontend's name: `http:8080` or `tls:443`, with the address where it does not listen on every IPv4 address.
pub fn name(listen: SocketAddr, kind: FrontendKind) -> String {
    let prefix = match kind {
        FrontendKind::Http => HTTP_PREFIX,
        FrontendKind::Sni => SNI_PREFIX,
    };
    let port = listen.port();
    match listen.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => format!("{prefix}{port}"),
        ip => format!("{prefix}{ip}:{port}"),
    }
}

/// Returns the kind of the frontend with this name.
pub fn kind_of(name: &str) -> FrontendKind {
    if name.starts_with(SNI_PREFIX) { FrontendKind::Sni } else { FrontendKind::Http }
}

/// What the services of one frontend need.
struct Needs<'a> {
    kind: FrontendKind,
    descriptors: Descriptors,
    services: Vec<&'a ServiceDefinition>,
    /// The services with TLS, by the order of their names: of several choices, the first counts.
    tls: Vec<(ServiceTls, Arc<str>)>,
}

/// Returns the text of every frontend that these services need, each with the descriptor that it listens on.
pub fn frontends<'a>(
    services: impl IntoIterator<Item = (&'a ServiceDefinition, &'a Descriptors)>,
    style: SectionStyle,
    map: &Path,
) -> BTreeMap<SocketAddr, Arc<str>> {
    let mut listens: BTreeMap<SocketAddr, Needs<'_>> = BTreeMap::new();
    for (service, descriptors) in services {
        let Some(listen) = routed_at(service) else { continue };
        let with_tls = tls_words::of(service);
        for (listen, tls) in [(Some(listen), with_tls), (service.redirect_from(), None)] {
            let Some(listen) = listen else { continue };
            let needs = listens.entry(listen).or_insert_with(|| Needs::of(kind_of_service(service)));
            needs.services.push(service);
            // A service that is not applied yet has no descriptors.
            needs.descriptors.extend(descriptors.clone());
            needs.tls.extend(tls.map(|(tls, path)| (tls.clone(), path.clone())));
        }
    }
    listens.into_iter().map(|(listen, needs)| (listen, frontend(listen, &needs, style, map))).collect()
}

impl Needs<'_> {
    fn of(kind: FrontendKind) -> Self {
        Self { kind, descriptors: Descriptors::new(), services: Vec::new(), tls: Vec::new() }
    }
}

fn frontend(listen: SocketAddr, needs: &Needs<'_>, style: SectionStyle, map: &Path) -> Arc<str> {
    let kind = needs.kind;
    let mut text = format!("frontend {}\n{}\n", name(listen, kind), clients_connect_to(listen));
    let words = tls_words::of_all(name(listen, kind), &needs.tls);
    push_bind(&mut text, &listen.into(), &needs.descriptors, &words, style);
    let rules = Rules::of(kind);
    let _ = writeln!(text, "{INDENT}mode {}", rules.mode);
    push_guid(&mut text, &name(listen, kind), style);
    let matches = MatchRules::of(needs.services.iter().copied());
    for acl in matches.acls() {
        let _ = writeln!(text, "{INDENT}{acl}");
    }
    match kind {
        FrontendKind::Http => push_http(&mut text, &rules, style),
        FrontendKind::Sni => push_sni(&mut text, &rules),
    }
    let map = map.display();
    let found =
        |start: &str, variable: &str| format!("str({listen}/{start}){variable},concat({}),map_beg({map})", rules.path);
    let shown = format!("The service comes from a map, updated at run time (on the socket: show map {map}).");
    push_comment(&mut text, &shown);
    if !matches.is_empty() {
        push_comment(&mut text, "Of the same domain, services with further conditions (match) come first.");
    }
    push_comment(&mut text, "1. Services with the exact domain; the longest path wins.");
    rules.push_matches(&mut text, &matches, Step::Exact);
    let when = if matches.is_empty() { Always } else { UnlessFound };
    rules.push_variable(&mut text, "service", &found("", ",concat(,txn.proxymgr_host,)"), when);
    push_comment(&mut text, "2. Services with *. and a parent domain; the longest parent domain wins.");
    for labels in (1..=WILDCARD_LABELS_MAX).rev() {
        let zone = format!("var(txn.proxymgr_below),field(-1,.,{labels})");
        rules.push_variable(&mut text, "zone", &zone, IfLabels(labels));
        rules.push_matches(&mut text, &matches, Step::Below(labels));
        rules.push_variable(&mut text, "service", &found("*.", ",concat(,txn.proxymgr_zone,)"), UnlessFound);
    }
    push_comment(&mut text, rules.without_service);
    rules.push_matches(&mut text, &matches, Step::Rest);
    rules.push_variable(&mut text, "service", &found("*", ""), UnlessFound);
    let _ = writeln!(text, "{INDENT}{} unless {FOUND}", rules.refuse);
    let _ = writeln!(text, "{INDENT}use_backend %[var(txn.proxymgr_service)]");
    text.push('\n');
    text.into()
}

/// Adds the variables of an HTTP request: the host without the port and a final dot, and without its first label, for
/// names with `*.`.
fn push_http(text: &mut String, rules: &Rules, style: SectionStyle) {
    if style.idle_close {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
    push_comment(text, "The requested domain and path, and the domain without its first label.");
    rules.push_variable(text, "host", "req.hdr(host),lower,regsub(:[0-9]*$,),regsub([.]$,)", Always);
    rules.push_variable(text, "path", "path", Always);
    rules.push_variable(text, "below", "var(txn.proxymgr_host),regsub(^[^.]*[.]?,)", Always);
}

/// Adds the variables of a TLS connection. The first rule waits for the client's hello; a client that waits for the
/// server's greeting instead waits until the delay has passed.
fn push_sni(text: &mut String, rules: &Rules) {
    push_comment(text, "The name that the client requests, and the name without its first label.");
    let _ = writeln!(text, "{INDENT}tcp-request inspect-delay {SNI_INSPECT_DELAY}");
    rules.push_variable(text, "host", "req.ssl_sni,lower", WithHello);
    rules.push_variable(text, "below", "var(txn.proxymgr_host),regsub(^[^.]*[.]?,)", Always);
}

/// How long a frontend waits for the client's hello.
const SNI_INSPECT_DELAY: &str = "5s";

/// The rules of a kind of frontend.
struct Rules {
    mode: &'static str,
    set: &'static str,
    /// The arguments of `concat` that add the path to the looked up text.
    path: &'static str,
    refuse: &'static str,
    without_service: &'static str,
}

impl Rules {
    fn of(kind: FrontendKind) -> Self {
        match kind {
            FrontendKind::Http => Self {
                mode: "http",
                set: "http-request set-var",
                path: ",txn.proxymgr_path,/",
                // A 503 would mean that the service exists and cannot answer.
                refuse: "http-request deny deny_status 404",
                without_service: "3. The service for all other domains; without one the request is denied with 404.",
            },
            FrontendKind::Sni => Self {
                mode: "tcp",
                set: "tcp-request content set-var",
                path: "/",
                refuse: "tcp-request content reject",
                without_service: "3. The service for all others; without one the connection is closed.",
            },
        }
    }

    fn push_variable(&self, text: &mut String, name: &str, expression: &str, when: When) {
        let expression = Word::new(expression).expect("constants, an address and a path that the settings allow");
        let condition = match when {
            Always => String::new(),
            UnlessFound => format!(" unless {FOUND}"),
            IfLabels(labels) => {
                format!(" if !{FOUND} {{ var(txn.proxymgr_below),field({labels},.) -m found }}")
            }
            WithHello => " if { req.ssl_hello_type 1 }".to_owned(),
        };
        let _ = writeln!(text, "{INDENT}{}(txn.proxymgr_{name}) {}{condition}", self.set, quoted(&expression));
    }

    /// Adds the rules of services with further conditions.
    fn push_matches(&self, text: &mut String, matches: &MatchRules<'_>, step: Step) {
        for (service, acls) in matches.at(step) {
            let _ =
                writeln!(text, "{INDENT}{}(txn.proxymgr_service) str({}) if !{FOUND} {acls}", self.set, service.name);
        }
    }
}

/// Adds a comment that explains the following lines of the file.
fn push_comment(text: &mut String, comment: &str) {
    let _ = writeln!(text, "{INDENT}# {comment}");
}

const FOUND: &str = "{ var(txn.proxymgr_service) -m found }";

/// When a variable is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    UnlessFound,
    /// Also unless the requested domain has fewer labels above its first one.
    IfLabels(usize),
    /// Once the client's hello is there. Until then, HAProxy waits.
    WithHello,
}
use When::{Always, IfLabels, UnlessFound, WithHello};
