//! HAProxy's messages about a file that it refuses.

use proxymgr_actors::port::ConfigMessage;

use super::planted_bug::PlantedBug;
use super::tampering::POISON_SETTING;
use super::things::Things;
use super::truth::{POISON_NAMED, POISON_UNNAMED};

impl Things {
    /// Returns HAProxy's messages about this file; `None` if it contains no planted mistake. HAProxy names one line,
    /// even if several are refused.
    pub(super) fn refusal(&self, text: &str) -> Option<Vec<ConfigMessage>> {
        let first = |refused: &str| text.lines().position(|line| line.contains(refused)).map(|at| at + 1);
        if self.planted == Some(PlantedBug::GivesUpIsolating)
            && self.defined().any(|(_, service)| !service.is_accepted())
        {
            return Some(vec![ConfigMessage { line: None, text: "too many errors".to_owned() }]);
        }
        let message = |line: Option<usize>, text: &str| Some(vec![ConfigMessage { line, text: text.to_owned() }]);
        if let Some(line) = self.refused_lines.iter().filter_map(|refused| first(refused)).min() {
            return message(Some(line), "unknown keyword");
        }
        if let Some(line) = first(POISON_SETTING) {
            return message(Some(line), "unknown keyword in 'global'");
        }
        if let Some(line) = first(POISON_NAMED) {
            let line = if self.blames_another { other_section(text, line) } else { line };
            return message(Some(line), "unexpected character in 'timeout server'");
        }
        text.contains(POISON_UNNAMED).then(|| message(None, "Fatal errors found in configuration.")).flatten()
    }
}

/// Returns the first line, from 1, of a section other than that of this line.
fn other_section(text: &str, line: usize) -> usize {
    let is_section = |line: &str| line.starts_with("listen ") || line.starts_with("backend ");
    let starts = || text.lines().enumerate().filter(|(_, line)| is_section(line)).map(|(at, _)| at + 1);
    let own = starts().take_while(|start| *start <= line).last();
    starts().find(|start| Some(*start) != own).unwrap_or(line)
}
