//! The backends and servers that the operator's lines name: HAProxy refuses a file in which one of them is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sections::{File, Line};
use crate::model::{ServerName, ServiceName};

/// Sample fetches whose argument is a backend.
const BACKEND_FETCHES: &[&str] =
    &["avg_queue", "be_conn", "be_conn_free", "be_sess_rate", "connslots", "nbsrv", "queue"];

/// Sample fetches whose argument is a server: `BACKEND/SERVER`, or `SERVER` of the same backend.
const SERVER_FETCHES: &[&str] = &[
    "srv_conn",
    "srv_conn_free",
    "srv_is_up",
    "srv_iweight",
    "srv_queue",
    "srv_sess_rate",
    "srv_uweight",
    "srv_weight",
];

/// What lines say of one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reference {
    /// Whether a section in HTTP mode sends it requests; `None` where none sends it any.
    pub(super) is_http: Option<bool>,
    /// The lines.
    pub(super) at: Vec<Arc<str>>,
    /// The servers of it that they name.
    pub(super) servers: BTreeSet<ServerName>,
}

/// The references of all sections.
#[derive(Debug, Default)]
pub(super) struct References {
    /// What lines say of each backend.
    pub(super) backends: BTreeMap<ServiceName, Reference>,
    /// The backends in each map, by its path.
    maps: BTreeMap<Arc<str>, BTreeSet<ServiceName>>,
}

impl References {
    /// Creates an empty one, for lines that choose backends by these maps.
    pub(super) fn with_maps<'a>(maps: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)>) -> Self {
        let maps = maps.map(|(path, text)| (path.clone(), values(text)));
        Self { backends: BTreeMap::new(), maps: maps.collect() }
    }

    /// Adds the references of a line in a section of this name and mode.
    pub(super) fn read(&mut self, line: &Line, section: Option<&ServiceName>, is_http: bool) {
        let words: Vec<&str> = line.tokens().iter().map(|token| token.text.as_str()).collect();
        match words[..] {
            ["use_backend" | "default_backend", name, ..] if !name.contains('%') => self.target(name, line, is_http),
            // A name with a log format is looked up at run time.
            ["use_backend", name, ..] => {
                let (path, default) = map_of(name).unzip();
                let found = path.and_then(|path| self.maps.get(path)).cloned().unwrap_or_default();
                for name in found.iter().map(ServiceName::as_str).chain(default.flatten()) {
                    self.target(name, line, is_http);
                }
            }
            ["use-server", name, ..] if !name.contains('%') => self.server(name, section, line),
            ["server" | "default-server" | "server-template", .., "track", name] => self.server(name, section, line),
            ["server" | "default-server" | "server-template", ref options @ ..] => {
                let tracked = options.windows(2).find(|pair| pair[0] == "track");
                tracked.into_iter().for_each(|pair| self.server(pair[1], section, line));
            }
            _ => {}
        }
        for word in &words {
            for (fetch, argument) in calls(word) {
                if BACKEND_FETCHES.contains(&fetch) {
                    self.backend(argument, line);
                } else if SERVER_FETCHES.contains(&fetch) {
                    self.server(argument, section, line);
                }
            }
        }
    }

    /// Adds a backend that gets requests of a section in this mode.
    fn target(&mut self, name: &str, line: &Line, is_http: bool) {
        if let Some(reference) = self.backend(name, line) {
            reference.is_http = Some(reference.is_http.unwrap_or_default() || is_http);
        }
    }

    fn backend(&mut self, name: &str, line: &Line) -> Option<&mut Reference> {
        let reference = self.backends.entry(ServiceName::new(name).ok()?).or_default();
        let place: Arc<str> = line.place.to_string().into();
        if reference.at.last() != Some(&place) {
            reference.at.push(place);
        }
        Some(reference)
    }

    fn server(&mut self, name: &str, section: Option<&ServiceName>, line: &Line) {
        let (backend, server) = match (name.split_once('/'), section) {
            (Some((backend, server)), _) => (backend, server),
            (None, Some(section)) => (section.as_str(), name),
            (None, None) => return,
        };
        let Ok(server) = ServerName::new(server) else { return };
        if let Some(reference) = self.backend(backend, line) {
            reference.servers.insert(server);
        }
    }
}

/// Returns the paths of the maps by which `use_backend` lines of a file choose a backend.
pub fn map_paths(text: &str) -> BTreeSet<String> {
    let file = File::read("", text);
    let lines = file.sections.iter().flat_map(|section| &section.lines);
    let names = lines.filter_map(|line| match line.tokens() {
        [keyword, name, ..] if keyword.text == "use_backend" => Some(name.text.as_str()),
        _ => None,
    });
    names.filter_map(map_of).map(|(path, _)| path.to_owned()).filter(|path| path.starts_with('/')).collect()
}

/// Returns the path of the map whose value is this name of a backend, and the name where the map has none:
/// `%[req.hdr(host),map(/etc/haproxy/domains.map,web)]`.
fn map_of(name: &str) -> Option<(&str, Option<&str>)> {
    let expression = name.strip_prefix("%[")?.strip_suffix(']')?;
    let (open, _) = expression.match_indices('(').next_back()?;
    let (before, arguments) = (&expression[..open], expression[open + 1..].strip_suffix(')')?);
    let converter = before.rsplit(',').next().unwrap_or(before);
    let (path, default) = match arguments.split_once(',') {
        Some((path, default)) => (path, Some(default)),
        None => (arguments, None),
    };
    (converter == "map" || converter.starts_with("map_")).then_some((path, default))
}

/// Returns the values of a map that can be names of backends.
///
/// <https://docs.haproxy.org/3.2/configuration.html#7.3.1-map>
fn values(map: &str) -> BTreeSet<ServiceName> {
    let lines = map.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.split_once(char::is_whitespace));
    values.filter_map(|(_, value)| ServiceName::new(value.trim()).ok()).collect()
}

/// Returns the calls `name(argument` in a word: fetches, also in log formats and expressions.
fn calls(word: &str) -> impl Iterator<Item = (&str, &str)> {
    word.match_indices('(').filter_map(|(open, _)| {
        let before = &word[..open];
        let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let after = &word[open + 1..];
        let end = after.find([',', ')']).unwrap_or(after.len());
        (!before[begin..].is_empty()).then(|| (&before[begin..], after[..end].trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(lines: &str) -> Vec<(String, Option<bool>, Vec<String>)> {
        let file = File::read("x", &format!("backend own\n{lines}"));
        let own = ServiceName::new("own").unwrap();
        let maps = [("/m".into(), "# hosts\na.example  api\nb.example web\nc.example no/name\n".into())];
        let mut references = References::with_maps(maps.iter().map(|(path, text)| (path, text)));
        for line in &file.sections[0].lines {
            references.read(line, Some(&own), true);
        }
        let servers = |reference: &Reference| reference.servers.iter().map(ToString::to_string).collect();
        references.backends.iter().map(|(name, found)| (name.to_string(), found.is_http, servers(found))).collect()
    }

    #[test]
    fn backends_are_found_in_rules_and_expressions() {
        let found = |lines: &str| references(lines).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        assert_eq!(found("use_backend api if { path /api }\ndefault_backend web"), ["api", "web"]);
        assert_eq!(found("acl dead nbsrv(web) lt 1\nmonitor fail if { avg_queue(api) gt 5 }"), ["api", "web"]);
        assert_eq!(found("http-request set-header x %[be_conn(web),add(1)]"), ["web"]);
        assert_eq!(found("use_backend %[req.hdr(host),lower]\nuse_backend b.%[src]"), Vec::<String>::new());
    }

    #[test]
    fn backends_of_a_map_are_found() {
        let found = |lines: &str| references(lines).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        let by_map = "use_backend %[req.hdr(host),lower,map_dom(/m,other)] if { always_true }";
        assert_eq!(found(by_map), ["api", "other", "web"]);
        assert_eq!(references(by_map)[0].1, Some(true));
        assert_eq!(
            map_paths(&format!("frontend f\n  {by_map}\n  use_backend x%[src,map(/n)]\n")),
            ["/m".into()].into()
        );
        for other in ["%[src,map(/n)", "%[map]", "%[src,lower]", "%[path,map(/m),lower]"] {
            assert_eq!(found(&format!("use_backend {other}")), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn servers_belong_to_their_backend() {
        assert_eq!(
            references("use-server a if { srv_is_up(b) }\n"),
            [("own".into(), None, vec!["a".into(), "b".into()])]
        );
        assert_eq!(references("acl up srv_is_up(web/a)"), [("web".into(), None, vec!["a".into()])]);
        assert_eq!(references("server x 10.0.0.1:80 track web/a check"), [("web".into(), None, vec!["a".into()])]);
    }

    #[test]
    fn mode_is_that_of_the_sections_that_send_requests() {
        assert_eq!(references("default_backend web")[0].1, Some(true));
        assert_eq!(references("acl x nbsrv(web) lt 1")[0].1, None);
    }
}
