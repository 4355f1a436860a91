//! Format strings: text with `%[expression]`, `%alias`, `%{flags}alias` and `%(name)alias`.
//!
//! Source: `configuration.txt` 8.2.6, "Custom log format", of HAProxy 2.2 to 3.4.

use super::expression::{self, Place};
use super::facts::Fact;
use super::section::Section;

#[rustfmt::skip]
const ALIASES: &[&str] = &[
    "o", "OG", "B", "CC", "CS", "H", "ID", "ST", "T", "Ta", "Tc", "Td", "Th", "Ti", "Tl", "Tq", "TR", "Tr", "Ts", "Tt", "Tu",
    "Tw", "U", "ac", "b", "bc", "bi", "bp", "bq", "ci", "cp", "f", "fc", "fi", "fp", "ft", "hr", "hrl", "hs", "hsl", "HM",
    "HP", "HPO", "HQ", "HU", "HV", "lc", "ms", "pid", "r", "rc", "rt", "s", "sc", "si", "sp", "sq", "sslc", "sslv", "t", "tr",
    "trg", "trl", "ts", "tsc",
];

/// Checks a format.
///
/// # Errors
/// Which part is refused and why.
pub fn check(text: &str, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(literal) = after.strip_prefix('%') {
            rest = literal;
            continue;
        }
        let (is_named, named) = between(after, '(', ')', is_name)?;
        let (is_flagged, item) = between(named, '{', '}', is_flags)?;
        if let Some(inner) = item.strip_prefix('[') {
            let expression = expression::read(inner, Place::Value, section, facts)?;
            let closing = inner[expression.length..].strip_prefix(']');
            rest = closing.ok_or_else(|| format!("%[{inner} has no ] after {:?}", &inner[..expression.length]))?;
            continue;
        }
        let length = item.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let alias = &item[..length];
        let is_literal = length == 0 && !is_named && !is_flagged && !item.is_empty() && !item.starts_with([' ', '\t']);
        if !is_literal && !ALIASES.contains(&alias) {
            let shown: String = after.chars().take(20).collect();
            return Err(format!("%{shown} is not a known part of a format; a percent sign itself is written as %%"));
        }
        rest = &item[length..];
    }
    Ok(())
}

/// Returns whether the text begins with a part in these brackets, and the text after it.
fn between(text: &str, open: char, close: char, is_valid: fn(&str) -> bool) -> Result<(bool, &str), String> {
    let Some(inner) = text.strip_prefix(open) else { return Ok((false, text)) };
    match inner.split_once(close) {
        Some((part, after)) if is_valid(part) => Ok((true, after)),
        Some((part, _)) => Err(format!("%{open}{part}{close} is not understood in a format")),
        None => Err(format!("%{open} has no {close}")),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-:".contains(&b))
}

fn is_flags(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-,".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::own_places::OwnPlaces;

    fn checked(text: &str) -> Result<(), String> {
        check(text, &Section { name: Some("web"), granted: &[], own: &OwnPlaces::default() }, &mut Vec::new())
    }

    #[test]
    fn format_of_known_parts_is_accepted() {
        for text in [
            "",
            "text",
            "100%%",
            "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r",
            "%[src]",
            "%[req.hdr(host),lower]]",
            "max-age=%[int(7)]; x",
            "%{+Q}[req.hdr(a)]",
            "%(a-b)Ta",
            "%(a:str)[src]",
            "a%:b",
            "%[req.hdr(a),regsub('[^a-z]','',g)]",
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn unknown_part_is_refused() {
        for text in [
            "%",
            "100% x",
            "%5",
            "%xyz",
            "%ci2",
            "%[env(X)]",
            "%[src",
            "%[src,]",
            "%[src x]",
            "%{+Q",
            "%{a b}r",
            "%()r",
            "%(a b)r",
            "%[]",
            "%{+Q}[env(X)]",
            "%(a)[env(X)]",
            "%(a){+Q}[env(X)]",
            "%%%[env(X)]",
            "%{+Q}",
            "%{+Q}%[env(X)]",
            "%(%[env(X)])r",
        ] {
            assert!(checked(text).is_err(), "{text}");
        }
    }
}
