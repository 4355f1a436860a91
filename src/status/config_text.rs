//! The running configuration with secrets hidden, and its differences from the desired one.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config;
use proxymgr_actors::message::{ConfigState, NextSection};
use proxymgr_actors::model::ServiceName;
use proxymgr_actors::snapshot::ServiceState;
use serde::Serialize;

use super::masking::masked;
use super::report::StatusReport;
use crate::text_difference::{DifferentLine, hunks};

/// Most lines of differences shown.
const DIFFERENCE_LINES_MAX: usize = 2_000;

/// Longest file shown on one page, in lines; the sections of a longer file have pages of their own.
const SHOWN_LINES_MAX: usize = 3_000;

/// Differences of one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the section; `global and defaults` for the base configuration.
    pub name: String,
    /// Its lines.
    pub lines: Vec<DifferentLine>,
}

/// The configuration page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigView {
    /// Whether a configuration runs; none does before the first start.
    pub is_running: bool,
    /// Differences from the desired configuration.
    pub differences: Vec<Difference>,
    /// Whether more differences exist than are shown.
    pub is_cut: bool,
    /// The base configuration: `global` and `defaults`.
    pub base_config: String,
    /// The sections: name and text; without text if the file is too long for one page.
    pub sections: Vec<(String, Option<String>)>,
    /// Length of the file in lines.
    pub lines: usize,
}

/// HAProxy's warnings about the running configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigWarnings {
    /// About no single service.
    pub base: Vec<String>,
    /// About the section of a service: its name and the warning.
    pub services: Vec<(String, String)>,
}

impl ConfigWarnings {
    /// The warnings in a status report.
    pub fn of(report: Option<&StatusReport>) -> Self {
        let Some(haproxy) = report.and_then(StatusReport::haproxy) else { return Self::default() };
        let of_service = |(name, service): (&ServiceName, &ServiceState)| {
            let name = name.to_string();
            service.warnings.iter().map(move |warning| (name.clone(), warning.clone())).collect::<Vec<_>>()
        };
        Self { base: haproxy.warnings.clone(), services: haproxy.services.iter().flat_map(of_service).collect() }
    }
}

/// Content of the configuration page.
pub fn view(state: &ConfigState) -> ConfigView {
    let Some(running) = &state.running else { return ConfigView::default() };
    let pieces = running.sections.values().chain(&running.frontends);
    let lines = running.base_config.lines().count() + pieces.map(|text| text.lines().count()).sum::<usize>();
    let whole = lines <= SHOWN_LINES_MAX;
    let text = |text: &str| whole.then(|| masked(text));
    let sections = running.sections.iter().map(|(name, section)| (name.to_string(), text(section)));
    let frontends = running.frontends.iter().map(|frontend| (name_of(frontend), text(frontend)));
    let sections = sections.chain(frontends);
    let (differences, is_cut) = differences(state);
    ConfigView {
        is_running: true,
        differences,
        is_cut,
        base_config: masked(&running.base_config),
        sections: sections.collect(),
        lines,
    }
}

/// `http:8080` of `frontend http:8080`.
fn name_of(frontend: &str) -> String {
    let first = frontend.lines().next().unwrap_or_default();
    first.strip_prefix("frontend ").unwrap_or(first).to_owned()
}

/// The running section of a service.
pub fn section(state: &ConfigState, service: &str) -> Option<String> {
    let sections = &state.running.as_ref()?.sections;
    sections.iter().find(|(name, _)| name.as_str() == service).map(|(_, text)| masked(text))
}

/// The whole running configuration; none before the first start.
pub fn whole(state: &ConfigState) -> Option<String> {
    let running = state.running.as_ref()?;
    Some(running.pieces.iter().map(|text| masked(text)).collect())
}

/// Sections that differ from the desired configuration, and whether more exist than are returned.
pub fn differences(state: &ConfigState) -> (Vec<Difference>, bool) {
    let Some(running) = &state.running else { return (Vec::new(), false) };
    let next = state.next.iter().map(|section| {
        let NextSection { definition, descriptors, hosts, ids } = section;
        (&definition.name, haproxy_config::section(definition, descriptors, hosts, ids, state.next_style))
    });
    let next: BTreeMap<_, _> = next.collect();
    let names: BTreeSet<_> = running.sections.keys().chain(next.keys().copied()).collect();
    let of_sections = names.into_iter().map(|name| {
        let before = running.sections.get(name).map_or("", |text| text);
        (name.to_string(), before, next.get(name).map_or("", |text| text))
    });
    let services = state.next.iter().map(|section| (&*section.definition, &section.descriptors));
    let next_frontends = frontends(services, state.next_style, &state.map_path);
    let mut of_frontends: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for text in &running.frontends {
        of_frontends.entry(name_of(text)).or_default().0 = text;
    }
    for text in next_frontends.values() {
        of_frontends.entry(name_of(text)).or_default().1 = text;
    }
    let of_frontends = of_frontends.into_iter().map(|(name, (before, after))| (name, before, after));
    let head = ("base configuration".to_owned(), &*running.base_config, &*state.next_base);
    let mut differences = Vec::new();
    let mut room = DIFFERENCE_LINES_MAX;
    let pieces = std::iter::once(head).chain(of_sections).chain(of_frontends);
    for (name, before, after) in pieces.filter(|(_, before, after)| before != after) {
        let mut lines = difference(&masked(before), &masked(after));
        if lines.is_empty() {
            let text = "a hidden value differs".to_owned();
            lines.push(DifferentLine { mark: ' ', text });
        }
        if lines.len() > room {
            lines.truncate(room);
            differences.push(Difference { name, lines });
            return (differences, true);
        }
        room -= lines.len();
        differences.push(Difference { name, lines });
    }
    (differences, false)
}

/// Differing lines with their context; three dots stand for lines in between that are equal.
fn difference(before: &str, after: &str) -> Vec<DifferentLine> {
    let mut lines = Vec::new();
    for hunk in hunks(before, after) {
        if !lines.is_empty() {
            lines.push(DifferentLine { mark: ' ', text: "...".to_owned() });
        }
        lines.extend(hunk.lines);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_between_differences_are_left_out() {
        let before = "a\n1\n2\n3\n4\n5\n6\n7\nb\n";
        let lines = difference(before, &before.replace('a', "A").replace('b', "B"));
        let text: Vec<String> = lines.iter().map(|line| format!("{}{}", line.mark, line.text)).collect();
        assert_eq!(text, ["-a", "+A", " 1", " 2", " 3", " ...", " 5", " 6", " 7", "-b", "+B"]);
    }
}
