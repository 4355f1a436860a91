//! The base configuration of the operator's own files, in HAProxy's language and without restrictions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bind_line::{self, Binds};
use super::layout::{BaseLayout, BasePart, LeftBind};
use super::local_peer;
use super::own_lines;
use super::references::References;
use super::sections::{Directive, File, Line, Section, depth_after};
use super::stats_file;
use crate::decide::config_lines::mode_of;
use crate::decide::config_text::INDENT;
use crate::model::{
    BaseConfig, BaseLine, InBase, LineContent, ListenAddress, ProxyManagement, SectionFrame, ServerName, ServiceName,
    Word,
};

/// The comment that marks the place of a service's servers.
pub const MARKER: &str = "proxymgr: servers";

/// The same in a template of ElasticPyProxy.
const EP2_MARKER: [&str; 3] = ["{{", "nodes", "}}"];

/// Returns the layout of these files.
pub(super) fn layout(config: &BaseConfig) -> BaseLayout {
    let files: Vec<File> = config.files.iter().map(|file| File::read(&file.path, &file.text)).collect();
    let mut reader = Reader::new(config, &files);
    for file in &files {
        reader.read_file(file);
    }
    reader.finish()
}

struct Reader<'a> {
    config: &'a BaseConfig,
    layout: BaseLayout,
    /// The lines that belong to no section of a service, since the last such section.
    lines: Vec<BaseLine>,
    references: References,
    /// The lines of each `defaults` section, in words, by its name.
    defaults: BTreeMap<&'a str, Vec<Vec<Word>>>,
    /// The lines that proxymgr adds to the first `global` section.
    missing_in_global: Vec<String>,
    /// Whether there was a `defaults` section outside of conditionals.
    has_defaults: bool,
    /// All `bind` lines.
    binds: Binds,
    /// The line that listens on each address.
    listens: BTreeMap<ListenAddress, Arc<str>>,
    /// How many conditionals are open.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(config: &'a BaseConfig, files: &'a [File]) -> Self {
        let sections = || files.iter().flat_map(|file| &file.sections);
        let lines = || sections().flat_map(|section| &section.lines);
        let texts = || lines().filter(|line| !line.is_blank()).map(text_of);
        let state_file = own_lines::state_file_in_use(config, texts());
        let global: Vec<Vec<Word>> = sections()
            .filter(|section| section.keyword == "global")
            .flat_map(|section| section.lines.iter().filter_map(words_of))
            .collect();
        let binds = Binds::of(files);
        let is_left = |line: &Line| bind_line::read(line, false, &binds).is_some_and(|bind| !bind.left.is_empty());
        let has_conditionals = || lines().any(|line| line.directive() == Some(Directive::If));
        let opens_sockets = lines().any(is_left) || has_conditionals();
        let has_peers = sections().any(|section| section.keyword == "peers");
        let missing_in_global = own_lines::of_global(config, &global, state_file.as_deref(), opens_sockets);
        let layout = BaseLayout {
            state_file,
            stats_file: stats_file::in_use(config, texts()),
            is_written: stats_file::is_written(config),
            is_of_files: true,
            local_peer: local_peer::section(config, &global, has_peers).map(Into::into),
            certificates_path: config.certificates_path().to_string_lossy().into(),
            own_binds: config.management != ProxyManagement::Supervised,
            ..BaseLayout::default()
        };
        let mut reader = Self {
            config,
            layout,
            lines: Vec::new(),
            references: References::with_maps(config.files.iter().flat_map(|file| &file.maps)),
            defaults: BTreeMap::new(),
            missing_in_global,
            has_defaults: false,
            binds,
            listens: BTreeMap::new(),
            depth: 0,
        };
        for line in own_lines::header(config).split_inclusive('\n') {
            reader.lines.push(added(line));
        }
        reader.lines.push(added("\n"));
        let is_unconditional = |file: &'a File| unconditional_sections(file).any(|section| section.keyword == "global");
        if !files.iter().any(is_unconditional) {
            reader.lines.push(added("global\n"));
            reader.push_missing_in_global();
            reader.lines.push(added("\n"));
        }
        reader
    }

    fn read_file(&mut self, file: &'a File) {
        // HAProxy requires that conditionals end within their file.
        self.depth = 0;
        file.preamble.iter().for_each(|line| self.push_line(line));
        for section in &file.sections {
            match section.keyword {
                "global" => self.read_global(section),
                "defaults" => self.read_defaults(section),
                "listen" | "backend" => self.read_proxy(section),
                _ => self.read_other(section),
            }
        }
    }

    fn read_global(&mut self, section: &'a Section) {
        self.push_line(&section.header);
        let end = if self.depth == 0 { section.end() } else { section.lines.len() };
        section.lines[..end].iter().for_each(|line| self.push_global_line(line));
        if self.depth == 0 {
            self.push_missing_in_global();
        }
        section.lines[end..].iter().for_each(|line| self.push_line(line));
    }

    fn push_missing_in_global(&mut self) {
        for line in std::mem::take(&mut self.missing_in_global) {
            self.lines.push(added(&format!("{INDENT}{line}\n")));
        }
    }

    /// With `-db`, HAProxy ignores `daemon` but not these: it would fork, and the process that answers on the socket
    /// would not be the one that proxymgr started.
    fn push_global_line(&mut self, line: &'a Line) {
        let forks = matches!(line.keyword(), "master-worker" | "nbproc");
        if forks && self.config.management == ProxyManagement::Supervised {
            let why = "without effect, because proxymgr supervises the process itself";
            let text = format!("{INDENT}# {why}: {}\n", line.text.trim());
            self.lines.push(BaseLine { place: place_of(line), content: LineContent::Text(text.into()) });
        } else {
            self.push_line(line);
        }
    }

    fn read_defaults(&mut self, section: &'a Section) {
        let is_unconditional = self.depth == 0;
        self.push_line(&section.header);
        let own = own_lines::of_defaults(self.layout.state_file.is_some());
        let own: Vec<String> = own.iter().map(|line| format!("{INDENT}{line}\n")).collect();
        self.lines.extend(own.iter().map(|line| added(line)));
        section.lines.iter().for_each(|line| self.push_line(line));
        let written = &section.lines[..section.end()];
        let is_unconditional_throughout = is_unconditional && written.iter().all(|line| line.directive().is_none());
        let root = || {
            let written: String = written.iter().map(with_line_feed).collect();
            own_lines::defaults_root(section.from.as_deref(), &(own.concat() + &written))
        };
        self.layout.defaults_root = is_unconditional_throughout.then(root);
        let mut lines = section.from.as_deref().map(|from| self.defaults_named(from)).unwrap_or_default();
        lines.extend(section.lines.iter().filter_map(words_of));
        if let Some(name) = &section.name {
            self.defaults.insert(name, lines.clone());
            if let Ok(name) = ServiceName::new(name) {
                self.layout.named_defaults.insert(name, lines.clone());
            }
        }
        self.layout.defaults = lines;
        self.has_defaults |= is_unconditional;
    }

    fn defaults_named(&self, name: &str) -> Vec<Vec<Word>> {
        self.defaults.get(name).cloned().unwrap_or_default()
    }

    /// Returns the lines of the `defaults` section that applies to a section, in words.
    fn defaults_of(&self, section: &Section) -> Vec<Vec<Word>> {
        match &section.from {
            Some(name) => self.defaults_named(name),
            None => self.layout.defaults.clone(),
        }
    }

    fn read_proxy(&mut self, section: &'a Section) {
        let name = section.name.as_deref().and_then(|name| ServiceName::new(name).ok());
        let is_known = name.as_ref().is_some_and(|name| self.layout.services.contains_key(name));
        match name.filter(|_| self.depth == 0 && !is_known) {
            Some(name) => self.read_frame(section, name),
            None => self.read_other(section),
        }
    }

    /// Reads a section that gets the servers of a service.
    fn read_frame(&mut self, section: &'a Section, name: ServiceName) {
        let defaults = self.defaults_of(section);
        let end = section.end();
        let after_end = section.lines[end..].iter().take_while(|line| line.is_blank()).position(is_marker);
        let marker = section.lines[..end].iter().position(is_marker).or_else(|| Some(end + after_end?));
        let end = marker.map_or(end, |at| end.max(at + 1));
        let mut own: Vec<Vec<Word>> = defaults;
        own.extend(section.lines[..end].iter().filter_map(words_of));
        let is_http = is_http(&own);
        let (mut head, mut tail) = (vec![self.base_line(&section.header)], Vec::new());
        for (index, line) in section.lines[..end].iter().enumerate() {
            self.references.read(line, Some(&name), is_http);
            if marker == Some(index) {
                continue;
            }
            self.follow_conditionals(line);
            let line = self.base_line(line);
            match marker {
                Some(at) if index > at => tail.push(line),
                _ => head.push(line),
            }
        }
        let own_servers = section.lines[..end].iter().flat_map(servers_of).collect();
        own.retain(|words| !matches!(words[0].as_str(), "server" | "server-template" | "bind"));
        let frame = SectionFrame { head, tail, lines: own, own_servers };
        self.layout.services.insert(name.clone(), Arc::new(InBase { frame: Some(frame), ..InBase::default() }));
        self.flush();
        self.layout.parts.push(BasePart::Section(name));
        section.lines[end..].iter().for_each(|line| self.push_line(line));
    }

    fn read_other(&mut self, section: &'a Section) {
        let mut lines = self.defaults_of(section);
        lines.extend(section.lines.iter().filter_map(words_of));
        let is_http = is_http(&lines);
        self.push_line(&section.header);
        let name = section.name.as_deref().and_then(|name| ServiceName::new(name).ok());
        let is_proxy = matches!(section.keyword, "frontend" | "listen" | "backend");
        for line in &section.lines {
            if is_proxy {
                self.references.read(line, name.as_ref(), is_http);
                self.push_proxy_line(line);
            } else {
                self.push_line(line);
            }
            if is_marker(line) {
                let place = &line.place;
                self.layout.mistakes.push(format!(
                    "{place}: the servers of a service cannot be here; their place is in a backend or listen section \
                     that is outside of conditionals and has a service's name"
                ));
            }
        }
    }

    fn push_proxy_line(&mut self, line: &'a Line) {
        self.follow_conditionals(line);
        let line = self.base_line(line);
        self.lines.push(line);
    }

    fn push_line(&mut self, line: &'a Line) {
        self.follow_conditionals(line);
        self.lines.push(text_line(line));
    }

    fn follow_conditionals(&mut self, line: &Line) {
        self.depth = depth_after(line, self.depth);
    }

    /// Returns a line of a proxy section, whose listeners are held where the daemon starts HAProxy.
    fn base_line(&mut self, line: &'a Line) -> BaseLine {
        let read = bind_line::read(line, self.depth > 0, &self.binds);
        let Some(read) = read.filter(|_| !self.layout.own_binds) else { return text_line(line) };
        let place = place_of(line);
        for (address, reason) in read.left {
            self.layout.left_binds.push(LeftBind { place: place.clone(), address: address.into(), reason });
        }
        for address in read.line.held() {
            if let Some(first) = self.listens.insert(address.clone(), place.clone()) {
                let problem = format!("{place}: {address} is already an address of {first}, and only one can have it");
                self.layout.mistakes.push(problem);
            }
        }
        BaseLine { place, content: LineContent::Bind(read.line) }
    }

    fn flush(&mut self) {
        if !self.lines.is_empty() {
            self.layout.parts.push(BasePart::Lines(std::mem::take(&mut self.lines)));
        }
    }

    fn finish(mut self) -> BaseLayout {
        if !self.has_defaults {
            self.lines.extend(["\n", "defaults\n"].map(added));
            let own = own_lines::of_defaults(self.layout.state_file.is_some());
            let own = own.iter().map(String::as_str).chain(own_lines::DEFAULT_LINES);
            let own: Vec<String> = own.map(|line| format!("{INDENT}{line}\n")).collect();
            self.lines.extend(own.iter().map(|line| added(line)));
            self.layout.defaults.clear();
            self.layout.defaults_root = Some(own_lines::defaults_root(None, &own.concat()));
        }
        self.flush();
        for (name, reference) in std::mem::take(&mut self.references.backends) {
            let in_base = self.layout.services.entry(name).or_default();
            let in_base = Arc::make_mut(in_base);
            let none = BTreeSet::new();
            let own = in_base.frame.as_ref().map_or(&none, |frame| &frame.own_servers);
            in_base.required_servers = reference.servers.difference(own).cloned().collect();
            in_base.is_http = reference.is_http;
            in_base.referred_at = reference.at;
        }
        self.layout
    }
}

/// Returns the sections of a file that begin outside of conditionals.
fn unconditional_sections(file: &File) -> impl Iterator<Item = &Section> {
    let depth_after = |depth: &mut usize, line: &Line| {
        match line.directive() {
            Some(Directive::If) => *depth += 1,
            Some(Directive::Endif) => *depth = depth.saturating_sub(1),
            _ => {}
        };
    };
    let mut depth = 0;
    file.preamble.iter().for_each(|line| depth_after(&mut depth, line));
    file.sections.iter().filter(move |section| {
        let is_unconditional = depth == 0;
        section.lines.iter().for_each(|line| depth_after(&mut depth, line));
        is_unconditional
    })
}

/// Returns whether a line marks the place of a service's servers.
pub fn is_marker(line: &Line) -> bool {
    let is_comment = line.is_blank() && line.comment() == Some(MARKER);
    is_comment
        || line.tokens().iter().map(|token| token.text.as_str()).eq(EP2_MARKER)
        || matches!(line.tokens(), [token] if token.text == EP2_MARKER.concat())
}

/// Returns the names of the servers that a line of the operator configures.
fn servers_of(line: &Line) -> Vec<ServerName> {
    let words: Vec<&str> = line.tokens().iter().map(|token| token.text.as_str()).collect();
    match words[..] {
        ["server", name, ..] => ServerName::new(name).into_iter().collect(),
        ["server-template", prefix, count, ..] => {
            let (first, last) = count.split_once('-').unwrap_or(("1", count));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return Vec::new() };
            (first..=last).filter_map(|number| ServerName::new(&format!("{prefix}{number}")).ok()).collect()
        }
        _ => Vec::new(),
    }
}

fn is_http(lines: &[Vec<Word>]) -> bool {
    lines.iter().filter_map(|words| mode_of(words)).next_back().unwrap_or_default()
}

/// Returns a line in words; `None` where it has none, or HAProxy reads others.
fn words_of(line: &Line) -> Option<Vec<Word>> {
    let words: Option<Vec<Word>> = line.tokens().iter().map(|token| Word::new(&token.text).ok()).collect();
    words.filter(|words| !words.is_empty() && line.directive().is_none())
}

fn text_of(line: &Line) -> &str {
    line.text.trim_end()
}

fn place_of(line: &Line) -> Arc<str> {
    line.place.to_string().into()
}

fn text_line(line: &Line) -> BaseLine {
    BaseLine { place: place_of(line), content: LineContent::Text(with_line_feed(line).into()) }
}

fn with_line_feed(line: &Line) -> String {
    if line.text.ends_with('\n') { line.text.clone() } else { format!("{}\n", line.text) }
}

fn added(text: &str) -> BaseLine {
    BaseLine { place: "".into(), content: LineContent::Text(text.into()) }
}
