//! Checks HAProxy expressions in a line for access outside the section.

use crate::model::Word;

/// Returns why a line is refused: one of its words reads a file, the environment or state of the whole process. `path
/// -m beg -f FILE`, `src,map(FILE)`, `%[env(NAME)]`.
pub fn reaches_outside(words: &[Word]) -> Option<String> {
    words.iter().find_map(|word| {
        let text = word.as_str();
        if matches!(text, "-f" | "-M") {
            return Some(format!("{text} reads patterns from a file"));
        }
        if text.contains("(proc.") {
            return Some(format!("{text:?} uses a variable of the whole process (proc.)"));
        }
        identifiers(text).find_map(|identifier| identifier.refusal())
    })
}

struct Identifier<'a> {
    name: &'a str,
    before: Option<char>,
    after: Option<char>,
}

impl Identifier<'_> {
    fn refusal(&self) -> Option<String> {
        let Self { name, before, after } = self;
        // `lua.name` needs no brackets; behind a slash it is part of a URL.
        if name.starts_with("lua.") && *before != Some('/') {
            return Some(format!("{name} runs Lua code"));
        }
        if *after != Some('(') {
            return None;
        }
        match *name {
            "env" => Some("env(...) reads the environment of HAProxy".to_owned()),
            "map" => Some("map(...) reads a file".to_owned()),
            name if name.starts_with("map_") || name.starts_with("jwt_verify") => {
                Some(format!("{name}(...) reads a file"))
            }
            _ => None,
        }
    }
}

/// Returns the runs of characters that HAProxy allows in the name of a fetch or converter (`is_idchar`).
fn identifiers(text: &str) -> impl Iterator<Item = Identifier<'_>> {
    let is_identifier = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | ':');
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = position + text[position..].find(is_identifier)?;
        let end = text[start..].find(|c| !is_identifier(c)).map_or(text.len(), |length| start + length);
        position = end;
        Some(Identifier {
            name: &text[start..end],
            before: text[..start].chars().next_back(),
            after: text[end..].chars().next(),
        })
    })
}
