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

/// Context lines around a difference.
const CONTEXT_LINES: usize = 3;

/// Longest texts that are compared line by line; longer ones are compared at their beginning and end only.
const COMPARED_LINES_MAX: usize = 2_000;

/// Most lines of differences shown.
const DIFFERENCE_LINES_MAX: usize = 2_000;

/// Longest file shown on one page, in lines; the sections of a longer file have pages of their own.
const SHOWN_LINES_MAX: usize = 3_000;

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferentLine {
    /// ` ` in both, `-` only in the running, `+` only in the desired configuration.
    pub mark: char,
    /// The line.
    pub text: String,
}

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

/// Differing lines with their context.
fn difference(before: &str, after: &str) -> Vec<DifferentLine> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = before.iter().zip(&after).take_while(same).count();
    let rest = before.len().min(after.len()) - head;
    let tail = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(same).count();
    let (old, new) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    let line = |mark, text: &str| DifferentLine { mark, text: text.to_owned() };
    let context_before = before[head.saturating_sub(CONTEXT_LINES)..head].iter().map(|text| line(' ', text));
    let context_after = before[before.len() - tail..].iter().take(CONTEXT_LINES).map(|text| line(' ', text));
    context_before.chain(changes(old, new)).chain(context_after).collect()
}

/// Shortest edit script between two texts, by their longest common subsequence.
fn changes(old: &[&str], new: &[&str]) -> Vec<DifferentLine> {
    let line = |mark, text: &&str| DifferentLine { mark, text: (*text).to_owned() };
    if old.len() > COMPARED_LINES_MAX || new.len() > COMPARED_LINES_MAX {
        return old.iter().map(|text| line('-', text)).chain(new.iter().map(|text| line('+', text))).collect();
    }
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(line(' ', &old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            lines.push(line('-', &old[i]));
            i += 1;
        } else {
            lines.push(line('+', &new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(before: &str, after: &str) -> String {
        difference(before, after).iter().map(|line| format!("{}{}\n", line.mark, line.text)).collect()
    }

    #[test]
    fn difference_has_context_lines() {
        assert_eq!(marks("a\nb\nc\nd\ne\n", "a\nb\nc\nd\ne\n"), "");
        assert_eq!(marks("a\nb\nc\nd\ne\n", "a\nb\nc\nX\ne\n"), " a\n b\n c\n-d\n+X\n e\n");
        assert_eq!(marks("1\na\nb\n2\n", "1\nb\nc\n2\n"), " 1\n-a\n b\n+c\n 2\n");
        assert_eq!(marks("", "a\n"), "+a\n");
    }
}
