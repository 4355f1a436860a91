//! Reads a haproxy.cfg as HAProxy does at its start, as far as the Runtime API shows the result. Checked are server
//! lines, `balance`, `hash-type` and keywords that only newer versions know. All other lines are accepted: a scenario
//! that needs a refused configuration writes `balance random(0)`, which passes all earlier checks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use proxymgr_actors::decide::quoting::split_line;
use proxymgr_actors::model::{Endpoint, ProxyVersion, ServerName, ServiceName, Word};
use proxymgr_actors::port::ConfigMessage;

use super::references::References;
use super::server_options::{Reading, ServerOptions};
use super::{
    CONFIGURED_MAINTENANCE, FORCED_MAINTENANCE, NameTable, RESOLUTION_MAINTENANCE, Section, Server, lowest_free,
};

/// Keywords that HAProxy knows only from this version on. `option` and `timeout` include their second word.
#[rustfmt::skip]
const YOUNG_KEYWORDS: &[(&str, (u16, u16))] = &[
    ("clitcpka-cnt", (2, 6)), ("clitcpka-idle", (2, 6)), ("clitcpka-intvl", (2, 6)), ("error-log-format", (2, 6)),
    ("srvtcpka-cnt", (2, 6)), ("srvtcpka-idle", (2, 6)), ("srvtcpka-intvl", (2, 6)), ("guid", (3, 0)),
    ("hash-preserve-affinity", (3, 2)), ("log-steps", (3, 2)),
    ("option http-restrict-req-hdr-names", (2, 6)), ("option httpslog", (2, 6)),
    ("option idle-close-on-response", (2, 6)), ("option forwarded", (3, 0)),
    ("option accept-unsafe-violations-in-http-request", (3, 2)),
    ("option accept-unsafe-violations-in-http-response", (3, 2)),
    ("option http-drop-request-trailers", (3, 2)), ("option http-drop-response-trailers", (3, 2)),
    ("timeout client-hs", (3, 0)),
];

const ALGORITHMS: [&str; 9] =
    ["roundrobin", "static-rr", "leastconn", "first", "source", "uri", "url_param", "random", "rdp-cookie"];

/// Algorithms that choose by a hash: static unless `hash-type consistent`.
const HASHES: [&str; 6] = ["source", "uri", "url_param", "rdp-cookie", "hdr", "hash"];

/// What the Runtime API shows of a file.
pub(super) struct ReadConfig {
    /// Unless the global section says `ssl-server-verify none`.
    pub(super) verify_by_default: bool,
    /// The `listen` and `backend` sections.
    pub(super) sections: BTreeMap<ServiceName, Section>,
    /// The named `defaults` sections, as backends without servers.
    pub(super) defaults: BTreeMap<String, Section>,
}

/// Reads the whole file.
///
/// # Errors
/// All messages about the file, each with its line.
pub(super) fn read_config(
    version: ProxyVersion,
    text: &str,
    names: &NameTable,
) -> Result<ReadConfig, Vec<ConfigMessage>> {
    let mut reader = Reader {
        version,
        names,
        verify_by_default: true,
        defaults: ProxyLines::default(),
        named_defaults: BTreeMap::new(),
        part: Part::Other,
        sections: BTreeMap::new(),
        messages: Vec::new(),
        unresolved: Vec::new(),
        references: References::default(),
        line: 0,
    };
    for line in text.lines() {
        reader.line += 1;
        reader.read_line(&words_of(line));
    }
    reader.finish()
}

/// Splits a line into words, without a comment at its end.
fn words_of(line: &str) -> Vec<Word> {
    split_line(line).or_else(|_| split_line(line.split('#').next().unwrap_or_default())).unwrap_or_default()
}

/// Part of the file that a line belongs to.
enum Part {
    Global,
    /// With its name, if it has one.
    Defaults(Option<String>),
    Listen(ServiceName),
    /// A section without servers that matter here.
    Other,
}

/// Lines of `defaults` or of a section that hold for its servers.
#[derive(Debug, Clone, Default)]
struct ProxyLines {
    balance: Option<String>,
    consistent: bool,
    http: bool,
    server_options: ServerOptions,
}

impl ProxyLines {
    /// Returns whether the weights and the number of servers can change at run time.
    fn is_dynamic(&self) -> bool {
        let Some(algorithm) = self.balance.as_deref() else { return true };
        algorithm != "static-rr" && (self.consistent || !HASHES.contains(&algorithm))
    }

    fn section(&self, servers: BTreeMap<ServerName, Server>) -> Section {
        Section::new(self.is_dynamic(), self.hashes(), self.http, servers)
    }

    /// Returns whether requests are distributed by a consistent hash.
    fn hashes(&self) -> bool {
        let is_hash = |algorithm: &str| algorithm.starts_with("random") || HASHES.contains(&algorithm);
        self.balance.as_deref().is_some_and(|algorithm| is_hash(algorithm) && self.is_dynamic())
    }
}

struct SectionLines {
    first_line: usize,
    is_listen: bool,
    lines: ProxyLines,
    servers: BTreeMap<ServerName, (usize, Server)>,
    /// The servers that other lines refer to.
    referenced: BTreeSet<String>,
}

struct Reader<'a> {
    version: ProxyVersion,
    names: &'a NameTable,
    verify_by_default: bool,
    /// The last `defaults` section.
    defaults: ProxyLines,
    named_defaults: BTreeMap<String, ProxyLines>,
    part: Part,
    sections: BTreeMap<ServiceName, SectionLines>,
    messages: Vec<ConfigMessage>,
    /// Reported only if every line is valid.
    unresolved: Vec<ConfigMessage>,
    references: References,
    line: usize,
}

impl Reader<'_> {
    fn read_line(&mut self, words: &[Word]) {
        let texts: Vec<&str> = words.iter().map(Word::as_str).collect();
        self.references.read_line(&texts, self.line);
        let outcome = match texts.as_slice() {
            [] => Ok(()),
            ["global"] => {
                self.part = Part::Global;
                Ok(())
            }
            ["defaults", rest @ ..] => self.begin_defaults(rest),
            [keyword @ ("listen" | "backend"), name] => self.begin_section(keyword, name, None),
            [keyword @ ("listen" | "backend"), name, "from", from] => self.begin_section(keyword, name, Some(from)),
            ["frontend" | "peers" | "resolvers" | "userlist" | "mailers" | "cache" | "ring", _, ..] => {
                self.part = Part::Other;
                Ok(())
            }
            ["ssl-server-verify", mode] if matches!(self.part, Part::Global) => {
                self.verify_by_default = *mode != "none";
                Ok(())
            }
            ["server", name, address, ..] => self.server(name, address, &words[3..]),
            ["use-server", name, ..] => {
                self.refer_to(name);
                Ok(())
            }
            texts => self.proxy_line(texts, words),
        };
        if let Err(text) = outcome {
            self.messages.push(ConfigMessage { line: Some(self.line), text });
        }
    }

    fn begin_defaults(&mut self, words: &[&str]) -> Result<(), String> {
        let (name, from) = match words {
            [name, "from", from] => (Some(*name), Some(*from)),
            [name] => (Some(*name), None),
            _ => (None, None),
        };
        self.defaults = self.lines_of_defaults(from, ProxyLines::default())?;
        self.part = Part::Defaults(name.map(str::to_owned));
        self.keep_defaults();
        Ok(())
    }

    /// Returns the lines of this `defaults` section, or `others` without one.
    fn lines_of_defaults(&self, from: Option<&str>, others: ProxyLines) -> Result<ProxyLines, String> {
        let Some(from) = from else { return Ok(others) };
        let missing = || format!("defaults section '{from}' not found");
        self.named_defaults.get(from).cloned().ok_or_else(missing)
    }

    fn keep_defaults(&mut self) {
        if let Part::Defaults(Some(name)) = &self.part {
            self.named_defaults.insert(name.clone(), self.defaults.clone());
        }
    }

    fn begin_section(&mut self, keyword: &str, name: &str, from: Option<&str>) -> Result<(), String> {
        let lines = self.lines_of_defaults(from, self.defaults.clone())?;
        let name = ServiceName::new(name).map_err(|error| error.to_string())?;
        self.part = Part::Listen(name.clone());
        if let Some(first) = self.sections.get(&name) {
            let line = first.first_line;
            return Err(format!("proxy '{name}' has the same name as proxy '{name}' declared at line {line}."));
        }
        let section = SectionLines {
            first_line: self.line,
            is_listen: keyword == "listen",
            lines,
            servers: BTreeMap::new(),
            referenced: BTreeSet::new(),
        };
        self.sections.insert(name, section);
        Ok(())
    }

    /// Reads a line of `defaults` or of a section that holds for all its servers.
    fn proxy_line(&mut self, texts: &[&str], words: &[Word]) -> Result<(), String> {
        let version = self.version;
        let lines = match &self.part {
            Part::Defaults(_) => &mut self.defaults,
            Part::Listen(name) => match self.sections.get_mut(name) {
                Some(section) => &mut section.lines,
                None => return Ok(()),
            },
            Part::Global | Part::Other => return Ok(()),
        };
        match texts {
            ["balance"] => lines.balance = None,
            ["balance", algorithm, ..] => {
                let name = algorithm.split('(').next().unwrap_or(algorithm);
                let since_3_0 = ["hash", "log-hash", "sticky"].contains(&name) && version.major >= 3;
                let hash = name == "hash" && version >= ProxyVersion { major: 2, minor: 6 };
                if !(ALGORITHMS.contains(&name) || algorithm.starts_with("hdr(") || since_3_0 || hash) {
                    return Err(unknown_algorithm(version));
                }
                if *algorithm == "random(0)" {
                    return Err("balance random : number of draws must be at least 1.".to_owned());
                }
                lines.balance = Some(name.to_owned());
            }
            ["hash-type", kind, ..] => match *kind {
                "consistent" => lines.consistent = true,
                "map-based" => lines.consistent = false,
                _ => return Err("'hash-type' only supports 'consistent' and 'map-based'.".to_owned()),
            },
            ["mode", mode] => lines.http = *mode == "http",
            ["default-server", ..] => {
                let server = "default-server";
                let reading =
                    Reading { version, at_run_time: false, http: lines.http, server, taken: &BTreeSet::new() };
                lines.server_options.read(&words[1..], reading)?;
            }
            [first, rest @ ..] => {
                let pair = format!("{first} {}", rest.first().unwrap_or(&""));
                let known_from = |name: &str, (major, minor)| {
                    (name == *first || name == pair) && version < ProxyVersion { major, minor }
                };
                if YOUNG_KEYWORDS.iter().any(|(name, since)| known_from(name, *since)) {
                    return Err(match *first {
                        "option" => format!("unknown option '{}'.", rest.first().unwrap_or(&"")),
                        "timeout" => format!("'timeout' does not support '{}'", rest.first().unwrap_or(&"")),
                        _ => format!("unknown keyword '{first}' in 'listen' section"),
                    });
                }
            }
            [] => {}
        }
        self.keep_defaults();
        Ok(())
    }

    fn server(&mut self, name: &str, address: &str, words: &[Word]) -> Result<(), String> {
        let (version, names, verify_by_default, line) = (self.version, self.names, self.verify_by_default, self.line);
        let Part::Listen(service) = &self.part else { return Ok(()) };
        let service = service.clone();
        let Some(section) = self.sections.get_mut(&service) else { return Ok(()) };
        let in_server = |text: String| match version {
            ProxyVersion { major: 2, minor: ..4 } => format!("'server {name}' : {text}"),
            _ => format!("'server {service}/{name}' : {text}"),
        };
        let server_name = ServerName::new(name).map_err(|error| in_server(error.to_string()))?;
        if let Some((first_line, _)) = section.servers.get(&server_name) {
            return Err(format!(
                "proxy '{service}', another server named '{name}' was already defined at line {first_line}, please use \
                 distinct names."
            ));
        }
        let endpoint = Endpoint::parse(address).ok_or_else(|| in_server(format!("invalid address '{address}'")))?;
        let mut options = section.lines.server_options.clone();
        let taken = section.servers.values().map(|(_, server)| server.id).filter(|id| *id != 0).collect();
        let reading = Reading { version, at_run_time: false, http: section.lines.http, server: name, taken: &taken };
        options.read(words, reading).map_err(in_server)?;
        options.finish(name, verify_by_default).map_err(in_server)?;
        let (resolved, fqdn) = match endpoint.host_name() {
            None => (Some(endpoint.ip()), None),
            Some(fqdn) => (resolve(fqdn, options.init_addr.as_deref(), names), Some(fqdn.clone())),
        };
        let server = Server::configured(resolved.flatten(), endpoint.port(), fqdn, &options);
        section.servers.insert(server_name, (line, server));
        if resolved.is_none() {
            let text = in_server(format!("could not resolve address '{}'.", endpoint.address()));
            self.unresolved.push(ConfigMessage { line: Some(line), text });
        }
        if let Some(track) = &options.track {
            self.refer_to(track);
        }
        Ok(())
    }

    /// Notes a reference to a server: `s`, or `b/s` of another section.
    fn refer_to(&mut self, reference: &str) {
        let section = match (reference.split_once('/'), &self.part) {
            (Some((service, server)), _) => {
                ServiceName::new(service).ok().and_then(|name| self.sections.get_mut(&name)).map(|s| (s, server))
            }
            (None, Part::Listen(name)) => self.sections.get_mut(name).map(|section| (section, reference)),
            (None, _) => None,
        };
        if let Some((section, server)) = section {
            section.referenced.insert(server.to_owned());
        }
    }

    fn finish(mut self) -> Result<ReadConfig, Vec<ConfigMessage>> {
        if self.messages.is_empty() {
            let has_server = |section: &str, server: &str| {
                let section = self.sections.iter().find(|(name, _)| name.as_str() == section);
                section.is_some_and(|(_, section)| section.servers.keys().any(|name| name.as_str() == server))
            };
            let has_section = |section: &str| self.sections.keys().any(|name| name.as_str() == section);
            self.messages = self.references.missing(has_section, has_server);
        }
        if self.messages.is_empty() {
            self.messages = self.unresolved;
        }
        if !self.messages.is_empty() {
            return Err(self.messages);
        }
        let sections = self.sections.into_iter().map(|(name, section)| {
            let SectionLines { lines, servers, referenced, is_listen, .. } = section;
            let mut servers: Vec<_> = servers.into_iter().map(|(name, (line, server))| (line, name, server)).collect();
            servers.sort_by_key(|(line, ..)| *line);
            let mut taken: BTreeSet<u32> = servers.iter().map(|(.., server)| server.id).collect();
            let servers = servers.into_iter().map(|(_, name, mut server)| {
                server.referenced = referenced.contains(name.as_str());
                if server.id == 0 {
                    server.id = lowest_free(&taken);
                    server.place = server.id;
                    taken.insert(server.id);
                }
                (name, server)
            });
            (name, Section { is_listen, ..lines.section(servers.collect()) })
        });
        let defaults = self.named_defaults.into_iter().map(|(name, lines)| (name, lines.section(BTreeMap::new())));
        Ok(ReadConfig {
            verify_by_default: self.verify_by_default,
            sections: sections.collect(),
            defaults: defaults.collect(),
        })
    }
}

impl Server {
    /// Creates a server as the file configures it.
    fn configured(
        address: Option<IpAddr>,
        port: Option<NonZeroU16>,
        fqdn: Option<Arc<str>>,
        options: &ServerOptions,
    ) -> Self {
        let disabled = if options.disabled == Some(true) { FORCED_MAINTENANCE | CONFIGURED_MAINTENANCE } else { 0 };
        let unresolved = if address.is_none() && fqdn.is_some() { RESOLUTION_MAINTENANCE } else { 0 };
        Self::new(address, port, fqdn, disabled | unresolved, options)
    }
}

/// Tries the methods of `init-addr` in turn: `None` if all fail, `Some(None)` if the server may start without an
/// address.
fn resolve(name: &str, methods: Option<&str>, names: &NameTable) -> Option<Option<IpAddr>> {
    methods.unwrap_or("last,libc").split(',').find_map(|method| match method {
        "libc" => names.get(name).map(|address| Some(*address)),
        "none" => Some(None),
        // The model loads no state file.
        "last" => None,
        address => address.parse().ok().map(Some),
    })
}

fn unknown_algorithm(version: ProxyVersion) -> String {
    let (hash, more) = if version.major >= 3 { (" 'hash',", ", 'log-hash' and 'sticky'") } else { ("", "") };
    let and = if more.is_empty() { " and" } else { "," };
    format!(
        "balance only supports 'roundrobin', 'static-rr', 'leastconn', 'source', 'uri', 'url_param',{hash} \
         'hdr(name)'{and} 'rdp-cookie(name)'{more} options."
    )
}
