//! What the base configuration, the operator's own haproxy.cfg, says of one service.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Descriptors, ListenAddress, ServerName, Word};

/// What the base configuration says of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InBase {
    /// The section of its name, which gets its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<SectionFrame>,
    /// The lines that apply to its section in words, those of the `defaults` section that it names first; `None` where it
    /// names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<Vec<Word>>>,
    /// The mode that its `defaults` means, HTTP or not, where the operator has no files: there is no such section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_http: Option<bool>,
    /// Whether the sections that send it requests are in HTTP mode; `None` where none refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_http: Option<bool>,
    /// The lines that refer to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub referred_at: Vec<Arc<str>>,
    /// The directory of the certificates that HAProxy reads, for a service with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_path: Option<Arc<str>>,
    /// The servers that other lines name. HAProxy refuses the file without them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub required_servers: BTreeSet<ServerName>,
}

/// A section of the base configuration that gets the servers of the service with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionFrame {
    /// The lines before the servers, from the one that begins the section.
    pub head: Vec<BaseLine>,
    /// The lines after the servers.
    pub tail: Vec<BaseLine>,
    /// The lines that apply to it in words, those of its `defaults` section first.
    pub lines: Vec<Vec<Word>>,
    /// The operator's own servers in it, which are never changed.
    pub own_servers: BTreeSet<ServerName>,
}

impl SectionFrame {
    /// Returns the file and line where it begins.
    pub fn place(&self) -> &str {
        self.head.first().map_or("", |line| &line.place)
    }

    /// Returns all its lines.
    pub fn all_lines(&self) -> impl Iterator<Item = &BaseLine> {
        self.head.iter().chain(&self.tail)
    }
}

/// A line of the base configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseLine {
    /// Its file and number, as `haproxy.cfg:12`; empty for a line that proxymgr adds.
    pub place: Arc<str>,
    /// Its content.
    pub content: LineContent,
}

/// The content of a line of the base configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineContent {
    /// A text with its line feed.
    Text(Arc<str>),
    /// A `bind` line with addresses that are held.
    Bind(BindLine),
}

/// A `bind` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindLine {
    /// The text before its addresses.
    pub before: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<BindAddress>,
    /// The text after its addresses, with the line feed.
    pub after: Arc<str>,
}

/// One of the addresses of a `bind` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindAddress {
    /// Its text.
    pub text: Arc<str>,
    /// The addresses that are held for it: several for a range of ports, none where HAProxy opens it itself.
    pub held: Vec<ListenAddress>,
}

impl BaseLine {
    /// Adds the line to the file. Held addresses become the descriptors that HAProxy inherits, in so far as there are
    /// any.
    pub fn write(&self, text: &mut String, descriptors: &Descriptors) {
        match &self.content {
            LineContent::Text(line) => text.push_str(line),
            LineContent::Bind(bind) => bind.write(text, descriptors),
        }
    }

    /// Returns how many lines [`BaseLine::write`] adds.
    pub fn count(&self, descriptors: &Descriptors) -> usize {
        match &self.content {
            LineContent::Text(_) => 1,
            LineContent::Bind(bind) => 1 + usize::from(bind.inherits(descriptors)),
        }
    }
}

impl BindLine {
    /// Returns the addresses that are held.
    pub fn held(&self) -> impl Iterator<Item = &ListenAddress> {
        self.addresses.iter().flat_map(|address| &address.held)
    }

    fn inherits(&self, descriptors: &Descriptors) -> bool {
        self.held().any(|held| descriptors.get(held).is_some_and(Option::is_some))
    }

    fn write(&self, text: &mut String, descriptors: &Descriptors) {
        if self.inherits(descriptors) {
            let shown: Vec<&str> = self.addresses.iter().map(|address| &*address.text).collect();
            let indent = self.before.len() - self.before.trim_start().len();
            let _ = writeln!(text, "{}# clients connect to {}", &self.before[..indent], shown.join(","));
        }
        text.push_str(&self.before);
        for (index, address) in self.addresses.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            let held: Option<Vec<String>> = address.held.iter().map(|held| inherited(held, descriptors)).collect();
            match held.filter(|held| !held.is_empty()) {
                Some(held) => text.push_str(&held.join(",")),
                None => text.push_str(&address.text),
            }
        }
        text.push_str(&self.after);
    }
}

fn inherited(held: &ListenAddress, descriptors: &Descriptors) -> Option<String> {
    descriptors.get(held).copied().flatten().map(|descriptor| format!("fd@{descriptor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> BindAddress {
        BindAddress { text: text.into(), held: vec![text.parse().unwrap()] }
    }

    #[test]
    fn held_addresses_become_descriptors() {
        let left = BindAddress { text: "quic4@:443".into(), held: Vec::new() };
        let bind =
            BindLine { before: "\tbind ".into(), addresses: vec![held("10.0.0.1:80"), left], after: " ssl\n".into() };
        let line = BaseLine { place: "x:1".into(), content: LineContent::Bind(bind) };
        let written = |descriptors: &Descriptors| {
            let mut text = String::new();
            line.write(&mut text, descriptors);
            assert_eq!(text.lines().count(), line.count(descriptors));
            text
        };
        let inherited = Descriptors::from([("10.0.0.1:80".parse().unwrap(), Some(7))]);
        let comment = "\t# clients connect to 10.0.0.1:80,quic4@:443\n";
        assert_eq!(written(&inherited), format!("{comment}\tbind fd@7,quic4@:443 ssl\n"));
        assert_eq!(written(&Descriptors::new()), "\tbind 10.0.0.1:80,quic4@:443 ssl\n");
    }
}
