//! The text of haproxy.cfg: the frame, then one section per service.
//!
//! Everything that comes from discovery arrives here in types that cannot hold a line break, and every word is quoted,
//! so that the file has exactly the lines written here. [`loaded_config`](super::loaded_config) reads it back.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use memchr::memrchr_iter;

use super::common_ends::between_common_ends;
use super::quoting::{joined, quoted, split_line};
use super::routing::routed_at;
use super::state_file;
use crate::model::{AdminState, Host, HostList, ProxyFrame, ProxyVersion, RunBy, ServerName, ServiceDefinition, Word};

/// Ends the frame; all sections after it are ours.
pub(super) const END_OF_FRAME: &str = "# The services, one section each.";

/// What every line within a section begins with.
pub(super) const INDENT: &str = "    ";

const HEADER: &str = "\
# Written by proxymgr, which replaces this file with every change: edits are lost.
# The lines of `global` and `defaults` come from proxymgr's settings, the sections from discovery.
";

const INHERITED: &str = "\
# The descriptors (fd@N) are listening sockets that HAProxy inherits: only proxymgr can start it, or check this file.
";

/// The descriptor under which a HAProxy that this daemon starts inherits its Runtime API socket. It is the same at every
/// launch, so that `global` stays the same; a low number, because HAProxy refuses those above what `maxconn` asks for.
pub const STATS_DESCRIPTOR: RawFd = 3;

/// Whether proxymgr wrote this text.
pub fn is_ours(text: &str) -> bool {
    text.starts_with("# Written by proxymgr")
}

/// How long HAProxy keeps an idle connection to its socket: long enough for the kept one to be there when a change
/// comes, short enough that a forgotten one does not hold up a stopping process for ever.
const STATS_TIMEOUT: &str = "2m";

/// Time-outs that every configuration needs.
const TIMEOUTS: [(&str, &str); 3] = [("connect", "5s"), ("client", "1m"), ("server", "1m")];

const DEFAULT_LINES: [&str; 6] = [
    "mode tcp",
    "option redispatch",
    "timeout connect 5s",
    "timeout client 1m",
    "timeout server 1m",
    "timeout tunnel 1h",
];

/// What the frame and HAProxy's version mean for every section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SectionStyle {
    /// Sections are in HTTP mode unless they say otherwise.
    pub http_by_default: bool,
    /// HTTP sections get `option idle-close-on-response`, without which a reload closes idle connections that clients
    /// are about to use. HAProxy knows it from 2.4 on; the operator can decide by mentioning it.
    pub idle_close: bool,
    /// HAProxy binds its addresses itself, because it is not we who start it: it inherits nothing from us.
    pub own_binds: bool,
}

impl SectionStyle {
    /// What this frame means on this HAProxy; an unknown version is taken for an old one.
    pub fn of(frame: &ProxyFrame, version: Option<ProxyVersion>) -> Self {
        let mentioned = frame.defaults.iter().any(|line| line.contains(IDLE_CLOSE));
        let mode = operator_lines(&frame.defaults).filter_map(|words| mode_of(&words)).last();
        Self {
            http_by_default: mode == Some(true),
            idle_close: !mentioned && version >= Some(ProxyVersion { major: 2, minor: 4 }),
            own_binds: frame.run_by != RunBy::Us,
        }
    }
}

pub(super) const IDLE_CLOSE: &str = "idle-close-on-response";

/// The part of the file that does not come from services: who writes it, `global`, `defaults`.
pub fn frame(frame: &ProxyFrame) -> Arc<str> {
    let mut text = String::from(HEADER);
    if frame.run_by == RunBy::Us {
        text.push_str(INHERITED);
    }
    text.push_str("\nglobal\n");
    push_lines(&mut text, &frame.global);
    push_socket(&mut text, frame);
    if let Some(path) = state_file::in_use(frame) {
        let _ = writeln!(text, "{INDENT}server-state-file {}", path_word(path));
    }
    text.push_str("\ndefaults\n");
    // A name that does not resolve takes its server out, not the whole HAProxy.
    let _ = writeln!(text, "{INDENT}default-server init-addr last,libc,none");
    if state_file::in_use(frame).is_some() {
        let _ = writeln!(text, "{INDENT}load-server-state-from-file global");
    }
    if frame.defaults.is_empty() {
        push_lines(&mut text, &DEFAULT_LINES);
    } else {
        push_lines(&mut text, &frame.defaults);
        // HAProxy without these keeps dead connections for ever, and warns about it.
        let sets = |words: Vec<Word>, name: &str| {
            words.first().is_some_and(|word| word.as_str() == "timeout")
                && words.get(1).is_some_and(|word| word.as_str() == name)
        };
        for (name, value) in TIMEOUTS {
            if !operator_lines(&frame.defaults).any(|words| sets(words, name)) {
                let _ = writeln!(text, "{INDENT}timeout {name} {value}");
            }
        }
    }
    let _ = write!(text, "\n{END_OF_FRAME}\n\n");
    text.into()
}

/// The Runtime API socket, unless the operator has a line for it.
fn push_socket(text: &mut String, frame: &ProxyFrame) {
    let path = frame.socket_path.to_string_lossy();
    let is_ours = |words: Vec<Word>| {
        let start: Vec<_> = words.iter().take(3).map(Word::as_str).collect();
        start == ["stats", "socket", &path]
    };
    if !operator_lines(&frame.global).any(is_ours) {
        let line = match frame.run_by {
            RunBy::Us => inherited_socket_line(),
            // A process that takes over asks there for the listening sockets that it cannot inherit (`-x`).
            RunBy::OurOrder | RunBy::Others => {
                format!("stats socket {} mode 600 level admin expose-fd listeners", path_word(&frame.socket_path))
            }
        };
        let _ = writeln!(text, "{INDENT}{line}");
    }
    if !frame.global.iter().any(|line| line.trim_start().starts_with("stats timeout")) {
        let _ = writeln!(text, "{INDENT}stats timeout {STATS_TIMEOUT}");
    }
}

/// The line of a Runtime API socket that HAProxy inherits.
pub(super) fn inherited_socket_line() -> String {
    format!("stats socket fd@{STATS_DESCRIPTOR} level admin")
}

fn path_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    Word::new(&path).map_or_else(|_| path.to_string(), |word| quoted(&word).into_owned())
}

fn push_lines(text: &mut String, lines: &[impl AsRef<str>]) {
    for line in lines.iter().flat_map(|line| line.as_ref().lines()) {
        let _ = writeln!(text, "{INDENT}{}", line.trim());
    }
}

/// The section of one service. Without a descriptor it has no listening socket yet, unless HAProxy is to open its own; one
/// that shares its port has none of its own, but a [`frontend`](super::frontend) that looks for it.
pub fn section(
    definition: &ServiceDefinition,
    descriptor: Option<RawFd>,
    hosts: &HostList,
    style: SectionStyle,
) -> Arc<str> {
    let mut text = section_start(definition);
    if routed_at(definition).is_none() {
        push_bind(&mut text, descriptor, definition.listen, style);
    }
    push_options(&mut text, definition, style);
    hosts.iter().for_each(|(name, host)| push_server_line(&mut text, definition, name, host));
    text.push('\n');
    text.into()
}

/// The section once its hosts have changed: what [`section`] would write, with the lines of those that stay as they
/// were taken from the text before.
pub fn section_after(
    (text, hosts_before): (&str, &HostList),
    definition: &ServiceDefinition,
    hosts: &HostList,
) -> Arc<str> {
    let (of_before, of_hosts) = between_common_ends(hosts_before.as_slice(), hosts.as_slice(), PartialEq::eq);
    // A line for each host, and a blank one, end the section.
    let mut line_ends = memrchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
    let stays_from = line_ends.nth(1 + hosts_before.len() - of_before.end).unwrap_or(0);
    let stays_to = line_ends.take(of_before.len()).last().unwrap_or(stays_from);
    let mut after = String::with_capacity(text.len() + of_hosts.len() * SERVER_LINE_BYTES);
    after.push_str(&text[..stays_to]);
    hosts.as_slice()[of_hosts].iter().for_each(|(name, host)| push_server_line(&mut after, definition, name, host));
    after.push_str(&text[stays_from..]);
    after.into()
}

/// About the length of a server's line.
const SERVER_LINE_BYTES: usize = 128;

/// Everything of a section but its descriptor and its servers: when it differs from what HAProxy has loaded, only a
/// reload brings it there.
pub fn section_head(definition: &ServiceDefinition, style: SectionStyle) -> Arc<str> {
    let mut text = section_start(definition);
    push_options(&mut text, definition, style);
    text.into()
}

fn section_start(definition: &ServiceDefinition) -> String {
    let keyword = if routed_at(definition).is_some() { "backend" } else { "listen" };
    let mut text = format!("{keyword} {}\n", definition.name);
    if let Some(address) = definition.listen {
        let _ = writeln!(text, "{}", clients_connect_to(address));
    }
    text
}

/// Where a section listens: on a socket that HAProxy inherits, or on one that it opens itself.
pub(super) fn push_bind(text: &mut String, descriptor: Option<RawFd>, listen: Option<SocketAddr>, style: SectionStyle) {
    match (descriptor, listen) {
        (Some(descriptor), _) => drop(writeln!(text, "{INDENT}bind fd@{descriptor}")),
        (None, Some(address)) if style.own_binds => drop(writeln!(text, "{INDENT}bind {address}")),
        (None, _) => {}
    }
}

/// The comment that a section begins with.
pub(super) fn clients_connect_to(address: impl Display) -> String {
    format!("{INDENT}# clients connect to {address}")
}

fn push_options(text: &mut String, definition: &ServiceDefinition, style: SectionStyle) {
    let lines = &definition.listen_options;
    let is_routed = routed_at(definition).is_some();
    if is_routed && !style.http_by_default && !lines.iter().any(|words| mode_of(words).is_some()) {
        let _ = writeln!(text, "{INDENT}mode http");
    }
    for words in lines.iter().filter(|words| !words.is_empty()) {
        let _ = writeln!(text, "{INDENT}{}", joined(words));
    }
    let http = lines.iter().filter_map(|words| mode_of(words)).next_back().unwrap_or(style.http_by_default);
    let mentioned = lines.iter().flatten().any(|word| word.as_str() == IDLE_CLOSE);
    if style.idle_close && http && !mentioned && !is_routed {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
}

/// Whether a `mode` line chooses HTTP; none for other lines.
pub(super) fn mode_of(words: &[Word]) -> Option<bool> {
    match words {
        [keyword, mode, ..] if keyword.as_str() == "mode" => Some(mode.as_str() == "http"),
        _ => None,
    }
}

/// One server's line, without its line feed. A server that is to drain has no form here: it starts in maintenance, so
/// that it gets nothing before it is told to drain.
pub fn server_line(definition: &ServiceDefinition, name: &ServerName, host: &Host) -> String {
    let mut line = String::with_capacity(SERVER_LINE_BYTES);
    push_server_line(&mut line, definition, name, host);
    line.pop();
    line
}

/// One server's line, with its line feed.
fn push_server_line(text: &mut String, definition: &ServiceDefinition, name: &ServerName, host: &Host) {
    let _ = write!(text, "{INDENT}server {name} {}", host.endpoint);
    for word in server_words(definition, host) {
        text.push(' ');
        text.push_str(&quoted(&word));
    }
    if host.state != AdminState::Ready {
        text.push_str(" disabled");
    }
    text.push('\n');
}

/// All words of a server after its address, the same in the file and in `add server`: the service's options, then the
/// host's own, which win because HAProxy takes the last.
pub fn server_words(definition: &ServiceDefinition, host: &Host) -> Vec<Word> {
    let word = |text: &str| Word::new(text).expect("a keyword or a number is a word");
    let mut words = definition.server_options.clone();
    words.extend(host.options.iter().cloned());
    if let Some(weight) = host.weight {
        words.extend([word("weight"), word(&weight.to_string())]);
    }
    if host.backup {
        words.push(word("backup"));
    }
    if let Some(cookie) = &host.cookie {
        words.extend([word("cookie"), cookie.clone()]);
    }
    words
}

/// What the service's `default-server` lines give to every server of the file. A server added at run time inherits
/// nothing, so that it needs them put before its own.
pub fn default_server_words(definition: &ServiceDefinition) -> Vec<Word> {
    definition.listen_options.iter().flat_map(|words| default_server(words)).cloned().collect()
}

/// What the operator's own `default-server` lines in `defaults` give to every server of the file.
pub fn frame_default_server_words(frame: &ProxyFrame) -> Vec<Word> {
    operator_lines(&frame.defaults).flat_map(|words| default_server(&words).to_vec()).collect()
}

fn default_server(words: &[Word]) -> &[Word] {
    match words {
        [keyword, options @ ..] if keyword.as_str() == "default-server" => options,
        _ => &[],
    }
}

/// The operator's lines in words. One that cannot be split (a comment at its end, say) is cut where it cannot.
fn operator_lines(lines: &[String]) -> impl Iterator<Item = Vec<Word>> {
    lines.iter().flat_map(|line| line.lines()).filter_map(|line| {
        split_line(line).ok().or_else(|| split_line(line.split('#').next().unwrap_or_default()).ok())
    })
}
