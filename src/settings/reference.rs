//! Documentation generated from the table of settings: config/proxymgr.yml with every default and description, and
//! docs/settings.md with one table per section.

use std::fmt::Write;
use std::time::Duration;

use super::key::{KEYS, Key, Kind, SECTIONS, TakesEffect, Unset};

const COLUMNS: usize = 118;

const YAML_HEADER: &str = "\
Every setting of proxymgr with its default. Settings without a fixed default are commented out. This file is generated from \
the table in src/settings/key/table/ (make reference).
The environment overrides this file (PROXYMGR_HAPROXY__SOCKET_PATH sets haproxy.socket_path; lists as [\"one\", \"two\"]), and \
flags override both (--set haproxy.socket_path=...). `proxymgr check -c FILE` reports every mistake.
SIGHUP reads this file again. Settings marked [restart] take effect only when proxymgr is restarted. Durations have a unit: \
500ms, 2s, 1m.";

const MARKDOWN_HEADER: &str = "\
# Settings

Generated from the table in `src/settings/key/table/` (`make reference`). `config/proxymgr.yml` is a complete file with every
default and longer descriptions. Precedence: defaults < the YAML file < the environment (`PROXYMGR_HAPROXY__SOCKET_PATH` sets
`haproxy.socket_path`) < flags (`--set haproxy.socket_path=...`). A changed setting takes effect after SIGHUP or after a
restart of proxymgr.
";

/// The content of config/proxymgr.yml.
pub fn yaml() -> String {
    let mut text = comment(YAML_HEADER, 0, "\n#\n");
    let mut open: Vec<&str> = Vec::new();
    for key in KEYS {
        let (sections, name) = split(key.path);
        let common = open.iter().zip(&sections).take_while(|(open, section)| open == section).count();
        let is_first = common < sections.len();
        open.truncate(common);
        for section in &sections[common..] {
            open.push(section);
            let indent = 2 * (open.len() - 1);
            text.push('\n');
            if let Some(doc) = section_doc(&open.join(".")) {
                text += &comment(doc, indent, "\n#\n");
            }
            let _ = writeln!(text, "{:indent$}{section}:", "");
        }
        if !is_first {
            text.push('\n');
        }
        let indent = 2 * open.len();
        text += &comment(&description(key), indent, "\n");
        let _ = match (key.default, key.example) {
            (Unset::Otherwise(_), example) => writeln!(text, "{:indent$}#{name}: {}", "", example.unwrap_or_default()),
            (Unset::Text(default), _) => writeln!(text, "{:indent$}{name}: {default}", ""),
            (Unset::Empty, _) => writeln!(text, "{:indent$}{name}: {}", "", empty(key.kind)),
        };
    }
    text
}

/// A setting as documentation shows it.
#[derive(Debug)]
pub struct Row {
    /// The path in the file, joined by dots.
    pub path: &'static str,
    /// The values that it can have.
    pub value: String,
    /// Its default, in Markdown.
    pub default: String,
    /// When a changed value takes effect: at `SIGHUP`, or at a `restart`.
    pub effect: &'static str,
    /// Its purpose, in one line.
    pub doc: &'static str,
    /// More about it, in paragraphs separated by `\n`.
    pub details: &'static str,
}

/// Returns all settings, in the order of their sections.
pub fn rows() -> impl Iterator<Item = Row> {
    KEYS.iter().map(|key| Row {
        path: key.path,
        value: value(key.kind),
        default: match key.default {
            Unset::Text(default) => format!("`{default}`"),
            Unset::Empty => format!("`{}`", empty(key.kind)),
            Unset::Otherwise(words) => words.to_owned(),
        },
        effect: match key.takes_effect {
            TakesEffect::OnReload => "SIGHUP",
            TakesEffect::OnRestart => "restart",
        },
        doc: key.doc,
        details: key.details,
    })
}

/// The content of docs/settings.md.
pub fn markdown() -> String {
    let mut text = MARKDOWN_HEADER.to_owned();
    let mut current = None;
    for row in rows() {
        let (sections, _) = split(row.path);
        let section = sections.first().copied().unwrap_or_default();
        if current != Some(section) {
            current = Some(section);
            let title = if section.is_empty() { "Others".to_owned() } else { format!("`{section}`") };
            let _ = writeln!(text, "\n## {title}\n");
            if let Some(doc) = section_doc(section) {
                let _ = writeln!(text, "{}\n", doc.replace('\n', "\n\n"));
            }
            text += "| setting | value | default | effect | purpose |\n| --- | --- | --- | --- | --- |\n";
        }
        let cells = [format!("`{}`", row.path), row.value, row.default, row.effect.to_owned(), row.doc.to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// The sections of a key's path, and its last part.
fn split(path: &str) -> (Vec<&str>, &str) {
    let mut sections: Vec<&str> = path.split('.').collect();
    let name = sections.pop().unwrap_or_default();
    (sections, name)
}

/// Returns the description of a section: paragraphs, separated by `\n`.
pub fn section_doc(path: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|section| section.path == path).map(|section| section.doc)
}

/// What the YAML file has above a key.
fn description(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if !key.details.is_empty() {
        let is_list = key.details.starts_with([' ', '-']);
        text.push(if is_list { '\n' } else { ' ' });
        text += key.details;
    }
    if let Unset::Otherwise(words) = key.default {
        let _ = write!(text, " Default: {words}.");
    }
    if key.takes_effect == TakesEffect::OnRestart {
        text += " [restart]";
    }
    text
}

/// Paragraphs as comments; the items of lists are wrapped with a hanging indent.
fn comment(text: &str, indent: usize, between: &str) -> String {
    let paragraphs = text.split('\n').map(|paragraph| {
        let prefix = format!("{:indent$}# ", "");
        let hanging = hanging_indent(paragraph);
        wrapped(paragraph, COLUMNS - prefix.len(), hanging)
            .iter()
            .map(|line| format!("{prefix}{line}"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    paragraphs.collect::<Vec<_>>().join(&between.replace("\n#", &format!("\n{:indent$}#", ""))) + "\n"
}

/// Where the lines after the first begin: at the text of an item, `- text` or `  word  text`.
fn hanging_indent(paragraph: &str) -> usize {
    match paragraph.strip_prefix("  ") {
        Some(item) => {
            let word = item.find("  ").unwrap_or_default();
            2 + word + item[word..].find(|c| c != ' ').unwrap_or_default()
        }
        None if paragraph.starts_with("- ") => 2,
        None => 0,
    }
}

fn wrapped(paragraph: &str, columns: usize, hanging: usize) -> Vec<String> {
    // Runs of spaces at the beginning of an item are kept.
    let (head, rest) = paragraph.split_at(hanging);
    let mut lines = vec![head.to_owned()];
    for word in rest.split(' ') {
        let line = lines.last_mut().expect("there is one line at least");
        let is_empty = line.trim_start().is_empty() || line.len() == hanging;
        if !is_empty && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(format!("{:hanging$}{word}", ""));
        } else {
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn empty(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Levels) { "{}" } else { "[]" }
}

/// The values that a setting can have, for the table.
fn value(kind: Kind) -> String {
    let show = |duration: Duration| humantime::format_duration(duration).to_string();
    match kind {
        Kind::Text | Kind::Secret => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Duration { min, max } => format!("{} to {}", show(min), show(max)),
        Kind::Number { min, max } => format!("{min} to {max}"),
        Kind::Count { min, max } => format!("{min} to {max}"),
        Kind::Share => "0 to 1".to_owned(),
        Kind::Lines => "list of lines".to_owned(),
        Kind::Servers => "host:port, ...".to_owned(),
        Kind::Urls => "URL, ...".to_owned(),
        Kind::Listen => "address:port or none".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::Switch => "true or false".to_owned(),
        Kind::Levels => "map of levels".to_owned(),
        Kind::Entries => "list of maps".to_owned(),
    }
}
