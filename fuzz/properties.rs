//! What holds for every text, for the fuzz targets and for the tests of the grammar.
#![allow(dead_code, reason = "each fuzz target is a program of its own and uses one of these functions")]

use proxymgr_actors::decide::grammar::samples;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::{joined, split_line};
use proxymgr_actors::model::Word;

/// Lines that must be accepted: see the comments in the file.
pub const ACCEPTED: &str = include_str!("../actors/tests/options/accepted.txt");

/// Lines that must be refused.
pub const REFUSED: &str = include_str!("../actors/tests/options/refused.txt");

/// Texts to begin with: those of the two tables, and lines made from the table of the grammar. Server options with `true`.
pub fn seeds() -> Vec<(bool, String)> {
    let of_tables = [ACCEPTED, REFUSED].map(str::lines).into_iter().flatten();
    let of_tables =
        of_tables.filter(|line| !line.is_empty() && !line.starts_with(['=', '@']) && !line.starts_with("# "));
    let of_table =
        |line: &str| line.strip_prefix("> ").map_or((false, line.to_owned()), |options| (true, options.to_owned()));
    let made = (0..600).map(|seed| (false, samples::line(&mut samples::choices(seed)).join(" ")));
    of_tables.map(of_table).chain(made).collect()
}

/// The words that begin something which no service may write, in any spelling.
const STRUCTURE: [&str; 8] = ["global", "defaults", "listen", "frontend", "backend", "server", "bind", "peers"];

/// An accepted line is rendered as one line, which is read and accepted as the same words.
pub fn listen_line(text: &str) {
    let policy = OptionPolicy::default();
    let Ok(words) = policy.listen_line("web", text) else { return };
    let line = one_line(&words);
    assert!(!STRUCTURE.contains(&words[0].as_str()), "{text:?}");
    assert_eq!(policy.listen_line("web", &line).as_ref(), Ok(&words), "{text:?} is rendered as {line:?}");
}

/// Accepted server options are rendered as one line, which is read and accepted as the same words.
pub fn server_options(text: &str) {
    let policy = OptionPolicy::default();
    let Ok(words) = policy.server_options(&[text.to_owned()]) else { return };
    let line = one_line(&words);
    assert_eq!(
        policy.server_options(std::slice::from_ref(&line)).as_ref(),
        Ok(&words),
        "{text:?} is rendered as {line:?}"
    );
    assert!(!line.contains(';') && !line.contains("<<"), "{text:?} ends a command of the Runtime API");
}

/// Renders words, and checks that they are one line of the same words.
fn one_line(words: &[Word]) -> String {
    let line = joined(words);
    assert!(!line.chars().any(char::is_control), "{line:?} has a control character");
    assert_eq!(split_line(&line).as_deref(), Ok(words), "{line:?}");
    line
}
