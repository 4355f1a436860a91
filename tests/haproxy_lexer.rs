//! HAProxy's own lexer agrees with ours, on every version that prints tokens (`.notice`, since 2.4).

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proxymgr_actors::decide::base::lexer::lex;
use support::dir::TestDir;
use support::haproxy;

/// Lines per version.
const LINES: usize = 2_000;

/// HAProxy stops reading after 50 mistakes.
const LINES_PER_FILE: usize = 40;

/// What a lexer makes of a line `.notice ...`.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// One argument.
    Argument(String),
    /// More than one; the second.
    Unexpected(String),
    /// A mistake in quotes, escapes or variables.
    Mistake,
}

/// Returns our reading; `None` where HAProxy prints no token: it has none, or a variable or an empty token.
fn ours(line: &str) -> Option<Reading> {
    let Ok(lexed) = lex(line) else { return Some(Reading::Mistake) };
    let is_plain = lexed.tokens.iter().all(|token| token.variables.is_empty() && !token.text.is_empty());
    match lexed.tokens.as_slice() {
        [_, token] if is_plain => Some(Reading::Argument(token.text.clone())),
        [_, _, token, ..] if is_plain => Some(Reading::Unexpected(token.text.clone())),
        _ => None,
    }
}

/// Returns HAProxy's readings by the numbers of the lines.
fn theirs(haproxy: &Path, file: &Path) -> BTreeMap<usize, Reading> {
    let output = Command::new(haproxy).arg("-c").arg("-f").arg(file).output().expect("HAProxy runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut readings = BTreeMap::new();
    for message in said.split(&format!("arsing [{}:", file.display())).skip(1) {
        let (number, text) = message.split_once(']').expect("a place ends with a bracket");
        let text = text.trim_start_matches([' ', ':']);
        let argument = text.strip_prefix('\'').and_then(|text| text.rsplit_once("'."));
        let unexpected =
            text.strip_prefix("Unexpected argument '").and_then(|text| text.rsplit_once("' for '.notice'"));
        let reading = match (argument, unexpected) {
            (Some((text, _)), _) => Reading::Argument(text.to_owned()),
            (_, Some((text, _))) => Reading::Unexpected(text.to_owned()),
            _ => Reading::Mistake,
        };
        readings.insert(number.parse().expect("a place has a number"), reading);
    }
    readings
}

fn arguments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9.:/@%=,()!*-]{1,4}",
        Just(" ".to_owned()),
        proptest::sample::select(vec!["'", "\"", "\\", "#", "$", "{", "}", "\t", "[*]", "\u{b}"])
            .prop_map(str::to_owned),
        proptest::sample::select(vec![
            "\\\\", "\\'", "\\\"", "\\#", "\\ ", "\\$", "\\t", "\\x41", "\\x20", "\\x4", "\\xZZ", "\\d", "\\", "$HOME",
            "${HOME}", "ä", "€", "'a b'", "\"c d\"", "''", "\"\"",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn haproxy_reads_the_same_tokens() {
    let dir = TestDir::new();
    let mut runner = TestRunner::deterministic();
    let strategy = arguments();
    let mut line = || {
        let tree = strategy.new_tree(&mut runner).expect("every piece has a value");
        format!(".notice {}", tree.current())
    };
    let lines = std::iter::repeat_with(&mut line).take(LINES);
    let lines = lines.filter_map(|line| ours(&line).map(|reading| (line, reading)));
    // HAProxy 3.2 prints nothing else about a file with such a mistake.
    let (mistakes, tokens): (Vec<_>, Vec<_>) = lines.partition(|(_, reading)| *reading == Reading::Mistake);
    assert!(mistakes.len() > 100 && tokens.len() > 100, "{} {}", mistakes.len(), tokens.len());
    for version in haproxy::versions().iter().filter(|version| version.branch >= (2, 4)) {
        for lines in mistakes.chunks(LINES_PER_FILE).chain(tokens.chunks(LINES_PER_FILE)) {
            let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
            let theirs = theirs(&version.path, &dir.write("lines.cfg", text));
            for (index, (line, ours)) in lines.iter().enumerate() {
                assert_eq!(theirs.get(&(index + 1)), Some(ours), "{version}: {line:?}");
            }
        }
    }
}
