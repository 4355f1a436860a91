//! Conditions (`if`, `unless`) and the tests of ACLs.
//!
//! Source: `configuration.txt` 7.1 and 7.2 of HAProxy 2.2 to 3.4.

use super::expression::{self, Expression};
use super::facts::Fact;
use super::kind::Kind;
use super::place::Place;
use super::section::Section;
use super::value;
use super::work;
use crate::model::Word;

const METHODS: &[&str] = &["found", "bool", "int", "ip", "bin", "len", "str", "sub", "reg", "beg", "end", "dir", "dom"];

/// A refused word: its position, and the reason.
pub type Refusal = (usize, String);

/// Checks `if` or `unless` and the ACLs behind it, which end the line.
///
/// # Errors
/// The position of the refused word, and the reason.
pub fn check(words: &[Word], section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), Refusal> {
    let text = |at: usize| words.get(at).map_or("", Word::as_str);
    if !matches!(text(0), "if" | "unless") {
        return Err((0, "is not understood here; a condition begins with if or unless".to_owned()));
    }
    let mut at = 1;
    let mut is_complete = false;
    while at < words.len() {
        let term = text(at).trim_start_matches('!');
        match term {
            "" => is_complete = false,
            "||" => is_complete = false,
            or if or.eq_ignore_ascii_case("or") => is_complete = false,
            "{" => {
                let length = words[at + 1..].iter().position(|word| word.as_str() == "}");
                let end = at + 1 + length.ok_or((at, "begins a test without a closing }".to_owned()))?;
                check_test(&words[at + 1..end], section, facts).map_err(|(inner, reason)| (at + 1 + inner, reason))?;
                at = end;
                is_complete = true;
            }
            name => {
                value::check(Kind::Acl, name, section, facts).map_err(|reason| (at, reason))?;
                is_complete = true;
            }
        }
        at += 1;
    }
    if is_complete { Ok(()) } else { Err((words.len(), "a condition is not complete".to_owned())) }
}

/// Checks the test of an ACL: an expression, flags and patterns.
///
/// # Errors
/// The position of the refused word, and the reason.
pub fn check_test(words: &[Word], section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), Refusal> {
    let Some(first) = words.first() else { return Err((0, "a test lacks its expression".to_owned())) };
    let text = first.as_str();
    let tested = expression::read(text, Place::AclTest, section, facts)
        .map_err(|reason| (0, format!("is refused: {reason}")))?;
    if tested.length != text.len() {
        return Err((0, format!("is not understood from {:?} on", &text[tested.length..])));
    }
    let (method, at) = flags(words)?;
    let is_keyword =
        expression::acl_method(tested.name).is_some() || super::fetches::ACL_KEYWORDS.contains(&tested.name);
    if let Some(next) = words.get(1).filter(|next| !is_keyword && expression::may_be_converter(next.as_str())) {
        let advice = format!("HAProxy would apply it as a converter; write \"-- {}\" for a pattern", next.as_str());
        return Err((1, format!("is not allowed right after an expression: {advice}")));
    }
    let patterns = Patterns::of(&tested, method);
    for (offset, word) in words[at..].iter().enumerate() {
        let is_escaped = at > 0 && words[at - 1].as_str() == "--";
        if matches!(word.as_str(), "-f" | "-M") && !is_escaped {
            return Err((at + offset, "reads patterns from a file, which a service may not".to_owned()));
        }
        value::check(patterns.kind, word.as_str(), section, facts).map_err(|reason| (at + offset, reason))?;
        let is_regex = patterns.kind == Kind::Regex;
        let work = work::of_pattern(word.as_str(), patterns.are_searched, is_regex, tested.is_iterated);
        facts.push(Fact::Work(work));
    }
    Ok(())
}

/// Reads the flags behind the expression. Returns the method of `-m`, and the position of the first pattern.
fn flags(words: &[Word]) -> Result<(Option<&str>, usize), Refusal> {
    let (mut at, mut method) = (1, None);
    while let Some(flag) = words.get(at).map(Word::as_str).filter(|word| word.starts_with('-')) {
        match flag {
            "--" => return Ok((method, at + 1)),
            "-i" | "-n" => {}
            "-m" if method.is_some() => return Err((at, "is given twice".to_owned())),
            "-m" => {
                let name = words.get(at + 1).map_or("", Word::as_str);
                if !METHODS.contains(&name) {
                    return Err((at + 1, format!("is none of the methods {}", METHODS.join(", "))));
                }
                method = Some(name);
                at += 1;
            }
            "-f" | "-M" => return Err((at, "reads patterns from a file, which a service may not".to_owned())),
            "-u" => return Err((at, "sets an identifier that is unique in the whole process".to_owned())),
            // A negative number is a pattern in HAProxy only after `--`.
            _ => {
                return Err((
                    at,
                    "is no flag of an ACL (-i, -m METHOD, -n, --); write -- before such a pattern".to_owned(),
                ));
            }
        }
        at += 1;
    }
    Ok((method, at))
}

/// The patterns of a test.
struct Patterns {
    kind: Kind,
    /// Whether they may be anywhere in a text.
    are_searched: bool,
}

impl Patterns {
    fn of(tested: &Expression<'_>, method: Option<&str>) -> Self {
        let of_keyword = expression::acl_method(tested.name).map(|(_, method)| method).filter(|_| !tested.is_converted);
        let method = method.or(of_keyword);
        let kind = match method {
            Some("reg") => Kind::Regex,
            Some("ip") => Kind::Network,
            None if tested.is_address => Kind::Network,
            _ => Kind::Text,
        };
        Self { kind, are_searched: matches!(method, Some("sub" | "dir" | "dom")) }
    }
}
