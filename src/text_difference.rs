//! The differences between two texts, line by line.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

/// Context lines around a difference.
const CONTEXT_LINES: usize = 3;

/// After this time the rest is compared less exactly: lines may be shown as different that are only moved.
const COMPARED_FOR_MAX: Duration = Duration::from_millis(200);

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferentLine {
    /// ` ` in both texts, `-` only in the first, `+` only in the second.
    pub mark: char,
    /// The line.
    pub text: String,
}

/// Adjacent differences with their context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The number of its first line in the first text, from 1; 0 where that has no lines before it.
    pub at: usize,
    /// The same in the second text.
    pub at_after: usize,
    /// Its lines.
    pub lines: Vec<DifferentLine>,
}

impl Hunk {
    /// Returns the number of its lines that the first text has (`-`), or the second one (`+`).
    fn count(&self, mark: char) -> usize {
        self.lines.iter().filter(|line| line.mark == ' ' || line.mark == mark).count()
    }
}

/// Returns the differences, each with three lines of context.
pub fn hunks(before: &str, after: &str) -> Vec<Hunk> {
    let difference = TextDiff::configure().timeout(COMPARED_FOR_MAX).diff_lines(before, after);
    let groups = difference.grouped_ops(CONTEXT_LINES);
    let hunk = |group: &Vec<similar::DiffOp>| {
        let lines = group.iter().flat_map(|operation| difference.iter_changes(operation)).map(|change| {
            let mark = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            DifferentLine { mark, text: change.value().trim_end_matches('\n').to_owned() }
        });
        let first = group.first()?;
        Some(Hunk { at: first.old_range().start, at_after: first.new_range().start, lines: lines.collect() })
    };
    let mut hunks: Vec<Hunk> = groups.iter().filter_map(hunk).collect();
    for hunk in &mut hunks {
        hunk.at += usize::from(hunk.count('-') > 0);
        hunk.at_after += usize::from(hunk.count('+') > 0);
    }
    hunks
}

/// Returns the differences in the unified format, with the section in which each begins; empty for equal texts.
///
/// <https://www.gnu.org/software/diffutils/manual/html_node/Detailed-Unified.html>
pub fn unified((before_name, before): (&str, &str), (after_name, after): (&str, &str)) -> String {
    let mut text = String::new();
    for hunk in hunks(before, after) {
        if text.is_empty() {
            let _ = writeln!(text, "--- {before_name}\n+++ {after_name}");
        }
        let context = hunk.lines.iter().take_while(|line| line.mark == ' ').count();
        let lines_before: Vec<&str> = before.lines().take(hunk.at + context).collect();
        let is_start = |line: &&&str| line.starts_with(|first: char| first.is_ascii_alphabetic());
        let section = lines_before.iter().rev().find(is_start).map(|line| format!(" {line}")).unwrap_or_default();
        let (at, at_after) = (hunk.at, hunk.at_after);
        let _ = writeln!(text, "@@ -{at},{} +{at_after},{} @@{section}", hunk.count('-'), hunk.count('+'));
        for DifferentLine { mark, text: line } in &hunk.lines {
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(before: &str, after: &str) -> String {
        let lines = hunks(before, after).into_iter().flat_map(|hunk| hunk.lines);
        lines.map(|line| format!("{}{}\n", line.mark, line.text)).collect()
    }

    #[test]
    fn difference_has_context_lines() {
        assert_eq!(marks("a\nb\nc\nd\ne\n", "a\nb\nc\nd\ne\n"), "");
        assert_eq!(marks("a\nb\nc\nd\ne\n", "a\nb\nc\nX\ne\n"), " a\n b\n c\n-d\n+X\n e\n");
        assert_eq!(marks("1\na\nb\n2\n", "1\nb\nc\n2\n"), " 1\n-a\n b\n+c\n 2\n");
        assert_eq!(marks("", "a\n"), "+a\n");
    }

    #[test]
    fn unified_format_names_the_section() {
        let before = "global\n    a\n\nlisten web\n    b\n    c\n    d\n    e\n    server x\n";
        let after = before.replace("server x", "server y");
        assert_eq!(
            unified(("old", before), ("new", &after)),
            "--- old\n+++ new\n@@ -6,4 +6,4 @@ listen web\n     c\n     d\n     e\n-    server x\n+    server y\n"
        );
        assert_eq!(unified(("old", ""), ("new", "a\n")), "--- old\n+++ new\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(unified(("old", before), ("new", before)), "");
    }
}
