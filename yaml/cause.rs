//! The causes of mistakes in YAML, in the terms of the author of the text.

use serde_saphyr::Error;

/// The longest part of a line that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 80;

/// Parts of the parser's messages, each with its meaning.
const SYNTAX: [(&str, &str); 20] = [
    ("unclosed bracket", "a closing ] or } is missing"),
    ("mismatched bracket", "a [ is closed by }, or a { by ]"),
    ("misplaced bracket", "a closing ] or } is too many"),
    ("EOF while parsing a flow", "a closing ] or } is missing"),
    ("expected ',' or ']'", "a comma or a closing ] is missing"),
    ("expected ',' or '}'", "a comma or a closing } is missing"),
    ("illegal placement of ':'", "a closing ] or } is missing before the colon"),
    (
        "mapping values are not allowed",
        "no colon is allowed here: put a value with a colon and a space in quotes, or check the indentation and the \
         line before",
    ),
    ("did not find expected key", "this line is indented differently from the keys before it, or a colon is missing"),
    ("expected '-' indicator", "this line does not belong to the list before it; check its indentation"),
    ("did not find expected node content", "a value is missing, or a closing ] or } is too many"),
    ("simple key", "a colon after the key is missing, or it is not followed by a space"),
    ("indentation in multiline quoted", "a closing quote is missing, or the text is not indented"),
    ("trailing content", "text follows a closing quote; put the whole value in quotes"),
    ("parsing a quoted scalar", "a text in double quotes has a backslash that is no escape; use single quotes"),
    ("escape", "a text in double quotes has a backslash that is no escape; use single quotes"),
    ("invalid indentation", "the indentation does not match the lines before"),
    ("tabs disallowed", "a tab is used for indentation; use spaces"),
    ("unexpected character", "a value that begins with @, ` or % needs quotes"),
    ("<document start>", "a line that begins with % needs quotes"),
];

/// The cause for any other message of the parser.
const OTHER: &str = "the structure is not clear; check quotes, colons and indentation";

/// The cause of an error, with the text of the line where it is known.
pub(crate) fn of(error: &Error, text: &str, line: Option<u64>) -> String {
    let cause = cause(error.without_snippet());
    let quoted = line.and_then(|line| text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?));
    let quoted = quoted.map(|line| line.trim().chars().take(QUOTED_CHARS_MAX).collect::<String>());
    match quoted.filter(|quoted| !quoted.is_empty()) {
        Some(quoted) => format!("{cause}: {quoted:?}"),
        None => cause,
    }
}

fn cause(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key:?} is used twice"),
        Error::DuplicateMappingKey { .. } => "a key is used twice".to_owned(),
        Error::MultipleDocuments { .. } => "--- begins a second document, and a file has one".to_owned(),
        Error::Eof { .. } => "it has no data".to_owned(),
        Error::UnknownAnchor { .. } => "an alias (*name) refers to an anchor (&name) that does not exist".to_owned(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "its aliases (*name) repeat too much text".to_owned(),
        Error::Budget { .. } => "it is too large, nested too deeply, or has too many aliases (*name)".to_owned(),
        Error::NonFiniteFloat { value, .. } => format!("{value:?} is not a finite number; write text in quotes"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "<< is not followed by the name of a map".to_owned(),
        Error::UnsupportedTag { tag, .. } => format!("the tag {tag:?} is not known; write text with ! in quotes"),
        Error::SerdeInvalidType { .. } | Error::Unexpected { .. } => {
            "a list or a map stands where a single value is needed, such as a key; a value with braces needs quotes"
                .to_owned()
        }
        Error::AliasError { error, .. } => cause(error.without_snippet()),
        other => {
            let message = other.without_snippet().to_string();
            let known = SYNTAX.iter().find(|(phrase, _)| message.contains(phrase));
            known.map_or(OTHER, |(_, cause)| cause).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, parse};

    /// Fails after an update of the parser that changes its messages.
    #[test]
    fn every_common_mistake_has_a_cause() {
        for (text, line, cause) in [
            ("a: [1\nb: 2", 2, "] or }"),
            ("a: {b: 1\n", 0, "] or }"),
            ("a: 1\na: 2\n", 2, "the key \"a\" is used twice"),
            ("a: 1\n---\nb: 2\n", 0, "second document"),
            ("a: b: c\n", 1, "quotes"),
            ("a:\n\t- b\n", 2, "tab"),
            ("a: \"x\n", 0, "quote"),
            ("a: 'x' y\n", 0, "quote"),
            ("a: *b\n", 1, "alias"),
            ("a: \"\\x\"\n", 1, "backslash"),
            ("a: @b\n", 1, "quotes"),
            ("a: %b\n", 1, "quotes"),
            ("a: [a, b}\n", 1, "closed by"),
            ("%a b\n", 0, "%"),
            ("a: {{ X }}\n", 1, "braces"),
            ("- a\n-b\n", 0, "colon"),
            ("a: `b`\n", 1, "quotes"),
            ("a: 1\n  b: 2\n", 2, ""),
            ("a: 1\n b: 2\n", 2, ""),
            ("a:\n  - b\n c: 1\n", 3, ""),
            ("- a\nb: 1\n", 2, ""),
            ("a: [1, 2\n", 0, "] or }"),
            ("a: ]\n", 1, ""),
            ("? [a, b]\n: 1\n", 0, "single value"),
            ("key\nother: 1\n", 0, "line before"),
        ] {
            let invalid = parse::<Option<serde_saphyr::Spanned<Node>>>(text).expect_err(text);
            let problem = &invalid.problem;
            assert!(!problem.starts_with(OTHER) && problem.contains(cause), "{text:?}: {invalid:?}");
            assert!(line == 0 || invalid.line == Some(line), "{text:?}: {invalid:?}");
        }
    }
}
