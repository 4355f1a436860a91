//! Format strings: text with `%[expression]`, `%alias`, `%{flags}alias` and `%(name)alias`.
//!
//! Source: `configuration.txt` 8.2.6, "Custom log format", of HAProxy 2.2 to 3.4.

use super::expression;
use super::facts::Fact;
use super::line_breaks::LineBreaks;
use super::place::Place;
use super::section::Section;

#[rustfmt::skip]
const ALIASES: &[&str] = &[
    "o", "OG", "B", "CC", "CS", "H", "ID", "ST", "T", "Ta", "Tc", "Td", "Th", "Ti", "Tl", "Tq", "TR", "Tr", "Ts", "Tt", "Tu",
    "Tw", "U", "ac", "b", "bc", "bi", "bp", "bq", "ci", "cp", "f", "fc", "fi", "fp", "ft", "hr", "hrl", "hs", "hsl", "HM",
    "HP", "HPO", "HQ", "HU", "HV", "lc", "ms", "pid", "r", "rc", "rt", "s", "sc", "si", "sp", "sq", "sslc", "sslv", "t", "tr",
    "trg", "trl", "ts", "tsc",
];

/// Checks a format. Returns whether its result holds line breaks.
///
/// # Errors
/// Which part is refused and why.
pub fn check(text: &str, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<LineBreaks, String> {
    let mut rest = text;
    let mut line_breaks = LineBreaks::of_text(text);
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(literal) = after.strip_prefix('%') {
            rest = literal;
            continue;
        }
        let (is_named, named) = between(after, '(', ')', is_name)?;
        let (is_flagged, item) = between(named, '{', '}', is_flags)?;
        if let Some(inner) = item.strip_prefix('[') {
            let expression = expression::read(inner, Place::Value, section, facts)?;
            line_breaks = line_breaks.max(expression.line_breaks);
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
    Ok(line_breaks)
}

/// Checks a format of logs, into which HAProxy writes the results of expressions as they are.
///
/// # Errors
/// Which part is refused and why, or that an expression may add lines to the log.
pub fn check_of_log(text: &str, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    match check(text, section, facts)? {
        LineBreaks::Never => {}
        LineBreaks::InVariables => facts.push(Fact::VariableLogged),
        LineBreaks::Possible => {
            return Err("an expression in it may add lines to the log; end it with a converter that encodes control \
                        characters, such as json or url_enc"
                .to_owned());
        }
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
        check(text, &Section { name: Some("web"), granted: &[], own: &OwnPlaces::default() }, &mut Vec::new()).map(drop)
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
