//! The base configuration of settings without files of the operator: `haproxy.global` and `haproxy.defaults`.

use std::fmt::Write;

use super::layout::BaseLayout;
use super::local_peer;
use super::own_lines;
use super::sections::File;
use super::stats_file;
use crate::decide::config_lines::operator_lines;
use crate::decide::config_text::INDENT;
use crate::model::{BaseConfig, ProxyManagement, Word};

/// Timeouts that every configuration needs.
const TIMEOUTS: [(&str, &str); 3] = [("connect", "5s"), ("client", "1m"), ("server", "1m")];

/// Returns the layout for these lines.
pub(super) fn layout(config: &BaseConfig) -> BaseLayout {
    let lines = || config.global.iter().chain(&config.defaults).map(String::as_str);
    let state_file = own_lines::state_file_in_use(config, lines());
    let stats_file = stats_file::in_use(config, lines());
    let global: Vec<Vec<Word>> = operator_lines(&config.global).collect();
    let defaults: Vec<Vec<Word>> = operator_lines(&config.defaults).collect();
    let mut text = own_lines::header(config);
    text.push_str("\nglobal\n");
    push_lines(&mut text, &config.global);
    push_lines(&mut text, &own_lines::of_global(config, &global, state_file.as_deref(), false));
    let mut lines = String::new();
    push_lines(&mut lines, &own_lines::of_defaults(state_file.is_some()));
    if config.defaults.is_empty() {
        push_lines(&mut lines, &own_lines::DEFAULT_LINES);
    } else {
        push_lines(&mut lines, &config.defaults);
        push_timeouts(&mut lines, &defaults);
    }
    let _ = write!(text, "\ndefaults\n{lines}");
    BaseLayout {
        defaults,
        // Lines of the settings may begin another section.
        defaults_root: is_one_section(&config.defaults).then(|| own_lines::defaults_root(None, &lines)),
        state_file,
        stats_file,
        is_written: stats_file::is_written(config),
        local_peer: local_peer::section(config, &global, false).map(Into::into),
        certificates_path: config.certificates_path().to_string_lossy().into(),
        own_binds: config.management != ProxyManagement::Supervised,
        ..BaseLayout::of_text(&text)
    }
}

/// Returns whether these lines of `defaults` begin no other section, and do not depend on conditionals.
fn is_one_section(lines: &[String]) -> bool {
    let text: String = lines.iter().flat_map(|line| line.lines()).map(|line| format!("{}\n", line.trim())).collect();
    let file = File::read("", &text);
    file.sections.is_empty() && file.preamble.iter().all(|line| line.directive().is_none())
}

/// Adds the timeouts without which HAProxy keeps dead connections forever, and warns about it.
fn push_timeouts(text: &mut String, defaults: &[Vec<Word>]) {
    for (name, value) in TIMEOUTS {
        let sets = |words: &Vec<Word>| matches!(words.as_slice(), [timeout, what, ..] if timeout.as_str() == "timeout" && what.as_str() == name);
        if !defaults.iter().any(sets) {
            let _ = writeln!(text, "{INDENT}timeout {name} {value}");
        }
    }
}

fn push_lines(text: &mut String, lines: &[impl AsRef<str>]) {
    for line in lines.iter().flat_map(|line| line.as_ref().lines()) {
        let _ = writeln!(text, "{INDENT}{}", line.trim());
    }
}
