//! The layout of the base configuration: its lines around the sections that get the servers of services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{local_peer, stats_file};
use crate::decide::config_lines::default_server;
use crate::decide::config_text::{END_OF_BASE, INDENT, SERVERS_BEGIN_WITHOUT, SERVERS_END, connected_to};
use crate::decide::line_sets::{self, LineSets};
use crate::model::{BaseLine, Descriptors, InBase, LineContent, ListenAddress, ServiceDefinition, ServiceName, Word};

/// The base configuration: everything in haproxy.cfg that does not come from services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseLayout {
    /// Its lines and sections in the order of the file.
    pub parts: Vec<BasePart>,
    /// What it says of services, by their names.
    pub services: BTreeMap<ServiceName, Arc<InBase>>,
    /// The lines of `defaults` that apply to sections after it, in words.
    pub defaults: Vec<Vec<Word>>,
    /// A named section with the same lines as they are written, for sets of lines; `None` where conditionals decide on them.
    pub defaults_root: Option<Arc<str>>,
    /// The lines of each named `defaults`, in words.
    pub named_defaults: BTreeMap<ServiceName, Vec<Vec<Word>>>,
    /// The state file that HAProxy reads, if it reads one.
    pub state_file: Option<PathBuf>,
    /// The file with the counters of the previous process, which HAProxy reads from version 3.0 on; `None` where the
    /// operator's lines decide on it.
    pub stats_file: Option<PathBuf>,
    /// Whether proxymgr writes the file that it is in.
    pub is_written: bool,
    /// Whether it is that of the operator's files.
    pub is_of_files: bool,
    /// Whether HAProxy opens its sockets itself, because the daemon does not start it.
    pub own_binds: bool,
    /// The section by which stick tables survive reloads, where there is one.
    pub local_peer: Option<Arc<str>>,
    /// The directory of the certificates that HAProxy reads.
    pub certificates_path: Arc<str>,
    /// The listeners that HAProxy opens itself although the daemon starts it.
    pub left_binds: Vec<LeftBind>,
    /// What prevents its use, each with file and line.
    pub mistakes: Vec<String>,
}

/// A part of the base configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BasePart {
    /// Lines that depend on sockets only.
    Lines(Vec<BaseLine>),
    /// A section that gets the servers of the service with its name.
    Section(ServiceName),
}

/// A listener that cannot be held, so that HAProxy opens it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBind {
    /// The line.
    pub place: Arc<str>,
    /// The address.
    pub address: Arc<str>,
    /// Why it cannot be held.
    pub reason: String,
}

impl BaseLayout {
    /// Returns the layout of a text that is written as it is.
    pub fn of_text(text: &str) -> Self {
        let line = |line: &str| BaseLine { place: "".into(), content: LineContent::Text(line.into()) };
        let lines = text.split_inclusive('\n').map(line).collect();
        Self { parts: vec![BasePart::Lines(lines)], ..Self::default() }
    }

    /// Returns the addresses that it listens on and that are held.
    pub fn listens(&self) -> BTreeSet<ListenAddress> {
        let lines = self.parts.iter().flat_map(|part| match part {
            BasePart::Lines(lines) => lines.iter().collect::<Vec<_>>(),
            BasePart::Section(name) => {
                let frame = self.services.get(name).and_then(|in_base| in_base.frame.as_ref());
                frame.into_iter().flat_map(|frame| frame.all_lines()).collect()
            }
        });
        let binds = lines.filter_map(|line| match &line.content {
            LineContent::Bind(bind) => Some(bind),
            LineContent::Text(_) => None,
        });
        binds.flat_map(|bind| bind.held().cloned()).collect()
    }

    /// Returns the line that listens on this address.
    pub fn place_of(&self, address: &ListenAddress) -> Option<&str> {
        let frames = self.services.values().filter_map(|in_base| in_base.frame.as_ref());
        let of_parts = self.parts.iter().filter_map(|part| match part {
            BasePart::Lines(lines) => Some(lines),
            BasePart::Section(_) => None,
        });
        let mut lines = of_parts.flatten().chain(frames.flat_map(|frame| frame.all_lines()));
        let listens = |line: &&BaseLine| matches!(&line.content, LineContent::Bind(bind) if bind.held().any(|held| held == address));
        lines.find(listens).map(|line| &*line.place)
    }

    /// Returns the options that its `default-server` lines set for every server of later sections.
    pub fn default_server_words(&self) -> Vec<Word> {
        self.defaults.iter().flat_map(|words| default_server(words).to_vec()).collect()
    }

    /// Returns whether an option occurs in the lines of `defaults` that apply to later sections.
    pub fn mentions(&self, option: &str) -> bool {
        self.defaults.iter().flatten().any(|word| word.as_str() == option)
    }

    /// Returns whether a file that proxymgr wrote has this base, whatever its sockets and its sections of services.
    pub fn is_in(&self, file: &str) -> bool {
        let written = file.lines().take_while(|line| *line != END_OF_BASE).filter(|line| connected_to(line).is_none());
        let written: Vec<&str> = written.collect();
        let mut at = 0;
        for part in &self.parts {
            match part {
                BasePart::Lines(lines) => {
                    let found = written.get(at..at + lines.len()).unwrap_or_default();
                    if found.len() != lines.len() || !lines.iter().zip(found).all(|(line, found)| is_line(line, found))
                    {
                        return false;
                    }
                    at += lines.len();
                }
                BasePart::Section(name) => {
                    let tail = self.services.get(name).and_then(|in_base| in_base.frame.as_ref());
                    let marks = [SERVERS_END, SERVERS_BEGIN_WITHOUT];
                    let end = written[at..].iter().position(|line| marks.contains(line));
                    at += end.map_or(0, |end| end + 1) + tail.map_or(0, |frame| frame.tail.len());
                }
            }
        }
        // What follows are the file with counters, the local peer, and backends in place of missing services.
        written.get(at..).unwrap_or_default().iter().all(|line| {
            line.is_empty() || ["#", "backend ", "global", "peers ", INDENT].iter().any(|start| line.starts_with(start))
        })
    }

    /// Returns whether the mode of this name is HTTP, where the operator has no files whose sections have names.
    fn mode_named(&self, name: &ServiceName) -> Option<bool> {
        match name.as_str() {
            "http" if !self.is_of_files => Some(true),
            "tcp" if !self.is_of_files => Some(false),
            _ => None,
        }
    }

    fn defaults_in_mode(&self, http: bool) -> Vec<Vec<Word>> {
        let mode = ["mode", if http { "http" } else { "tcp" }]
            .map(|word| Word::new(word).expect("a mode consists of letters"));
        self.defaults.iter().cloned().chain([mode.to_vec()]).collect()
    }

    /// Returns the definition with what the base says of the service.
    pub fn applied_to(&self, definition: &Arc<ServiceDefinition>) -> Arc<ServiceDefinition> {
        let mut in_base = self.services.get(&definition.name).cloned();
        if let Some(name) = &definition.section.defaults {
            let chosen_http = self.mode_named(name);
            let mut lines = match chosen_http {
                Some(http) => self.defaults_in_mode(http),
                None => self.named_defaults.get(name).cloned().unwrap_or_default(),
            };
            lines.extend(definition.listen_options.iter().cloned());
            let in_base = Arc::make_mut(in_base.get_or_insert_default());
            (in_base.lines, in_base.chosen_http) = (Some(lines), chosen_http);
        }
        if definition.section.tls.is_some() {
            let in_base = in_base.get_or_insert_default();
            Arc::make_mut(in_base).certificates_path = Some(self.certificates_path.clone());
        }
        if definition.in_base == in_base {
            return definition.clone();
        }
        Arc::new(ServiceDefinition { in_base, ..ServiceDefinition::clone(definition) })
    }
}

/// Returns whether a line of a file is this one, with any descriptors.
fn is_line(line: &BaseLine, written: &str) -> bool {
    match &line.content {
        LineContent::Text(text) => text.trim_end_matches('\n') == written,
        LineContent::Bind(bind) => {
            written.starts_with(&*bind.before) && written.ends_with(bind.after.trim_end_matches('\n'))
        }
    }
}

/// The texts of services that a file contains beside its base.
#[derive(Debug, Clone, Default)]
pub struct ServiceTexts<'a> {
    /// Their sections.
    pub sections: BTreeMap<&'a ServiceName, Arc<str>>,
    /// The frontends that they share.
    pub frontends: Vec<Arc<str>>,
    /// The sets of lines that sections derive from.
    pub line_sets: LineSets,
    /// Whether they have ids by which HAProxy restores their counters.
    pub have_guids: bool,
}

/// The base configuration with its sockets, rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoundBase {
    /// The base.
    pub layout: Arc<BaseLayout>,
    /// The descriptors of its sockets.
    pub descriptors: Descriptors,
}

impl BoundBase {
    /// Creates a base whose sockets have these descriptors.
    pub fn new(layout: Arc<BaseLayout>, descriptors: Descriptors) -> Self {
        Self { layout, descriptors }
    }

    /// Returns the text of a file in pieces: the base with the sections that it contains, the other sections of services
    /// in their order, and the shared frontends. The sets of lines follow with the sections that derive from them, because
    /// the last `defaults` section applies to every later section that names none.
    pub fn pieces(&self, services: &ServiceTexts<'_>) -> Vec<Arc<str>> {
        let ServiceTexts { sections, frontends, line_sets, have_guids } = services;
        let mut pieces = self.base_pieces(|name| sections.get(name).cloned());
        let has_tables = sections.values().any(|text| local_peer::is_used_in(text));
        let stats_file = self.layout.stats_file.as_deref().filter(|_| *have_guids);
        pieces.push(self.end(|name| sections.contains_key(name), has_tables, stats_file).into());
        let own = sections.iter().filter(|(name, _)| self.frame_of(name).is_none()).map(|(_, text)| text);
        let (of_sets, others): (Vec<_>, Vec<_>) = own.partition(|text| line_sets::name_in(text).is_some());
        pieces.extend(others.into_iter().cloned());
        pieces.extend(frontends.iter().cloned());
        if !line_sets.is_empty() {
            pieces.extend(self.layout.defaults_root.clone());
        }
        pieces.extend(line_sets.values().cloned());
        pieces.extend(of_sets.into_iter().cloned());
        pieces
    }

    /// Returns the text without any service.
    pub fn text(&self) -> String {
        self.pieces(&ServiceTexts::default()).concat()
    }

    /// Returns the text outside of sections that services may have.
    pub fn lines(&self) -> String {
        let lines = self.layout.parts.iter().filter_map(|part| match part {
            BasePart::Lines(lines) => Some(written(lines, &self.descriptors)),
            BasePart::Section(_) => None,
        });
        lines.collect()
    }

    /// Returns the place of each line before the end of the base, as [`BoundBase::pieces`] writes it with these sections;
    /// `None` for lines of services.
    pub fn places(&self, sections: &BTreeMap<&ServiceName, Arc<str>>) -> Vec<Option<Arc<str>>> {
        let mut places = Vec::new();
        for part in &self.layout.parts {
            match part {
                BasePart::Lines(lines) => self.push_places(&mut places, lines),
                BasePart::Section(name) => {
                    let Some(frame) = self.frame_of(name) else { continue };
                    self.push_places(&mut places, &frame.head);
                    let of_tail: usize = frame.tail.iter().map(|line| line.count(&self.descriptors)).sum();
                    let head: usize = frame.head.iter().map(|line| line.count(&self.descriptors)).sum();
                    let text = sections.get(name);
                    let count = text.map_or(1 + head + of_tail, |text| text.matches('\n').count());
                    places.extend(vec![None; count.saturating_sub(head + of_tail)]);
                    self.push_places(&mut places, &frame.tail);
                }
            }
        }
        places
    }

    fn push_places(&self, places: &mut Vec<Option<Arc<str>>>, lines: &[BaseLine]) {
        for line in lines {
            let place = (!line.place.is_empty()).then(|| line.place.clone());
            places.extend(vec![place; line.count(&self.descriptors)]);
        }
    }

    fn frame_of(&self, name: &ServiceName) -> Option<&crate::model::SectionFrame> {
        self.layout.services.get(name)?.frame.as_ref()
    }

    fn base_pieces(&self, section_of: impl Fn(&ServiceName) -> Option<Arc<str>>) -> Vec<Arc<str>> {
        let piece = |part: &BasePart| match part {
            BasePart::Lines(lines) => written(lines, &self.descriptors).into(),
            BasePart::Section(name) => section_of(name).unwrap_or_else(|| self.section_without_service(name)),
        };
        self.layout.parts.iter().map(piece).collect()
    }

    /// Returns a section that no service has: without servers of a service.
    fn section_without_service(&self, name: &ServiceName) -> Arc<str> {
        let Some(in_base) = self.layout.services.get(name) else { return Arc::default() };
        let Some(frame) = &in_base.frame else { return Arc::default() };
        let mut text = written(&frame.head, &self.descriptors);
        let _ = writeln!(text, "{SERVERS_BEGIN_WITHOUT}");
        in_base.required_servers.iter().for_each(|server| push_placeholder(&mut text, server.as_str()));
        text.push_str(&written(&frame.tail, &self.descriptors));
        text.into()
    }

    /// Returns the end of the base: the file with counters, the local peer of stick tables, and the backends that it refers
    /// to and no service has, so that HAProxy accepts it.
    fn end(&self, is_there: impl Fn(&ServiceName) -> bool, has_tables: bool, stats_file: Option<&Path>) -> String {
        let mut text = String::from("\n");
        text.extend(stats_file.map(stats_file::section));
        text.push_str(self.layout.local_peer.as_deref().filter(|_| has_tables).unwrap_or_default());
        for (name, in_base) in &self.layout.services {
            if in_base.frame.is_some() || is_there(name) {
                continue;
            }
            let places = in_base.referred_at.join(", ");
            let _ = writeln!(text, "# No service has this name, and the base configuration refers to it ({places}).");
            let _ = writeln!(text, "backend {name}");
            if let Some(is_http) = in_base.is_http {
                let _ = writeln!(text, "{INDENT}mode {}", if is_http { "http" } else { "tcp" });
            }
            in_base.required_servers.iter().for_each(|server| push_placeholder(&mut text, server.as_str()));
            text.push('\n');
        }
        let _ = write!(text, "{END_OF_BASE}\n\n");
        text
    }
}

/// Adds a server that gets no traffic, because another line names it.
pub fn push_placeholder(text: &mut String, server: &str) {
    let _ = writeln!(text, "{INDENT}server {server} 127.0.0.1:1 disabled");
}

/// Returns the text of these lines.
pub fn written(lines: &[BaseLine], descriptors: &Descriptors) -> String {
    let mut text = String::new();
    lines.iter().for_each(|line| line.write(&mut text, descriptors));
    text
}
