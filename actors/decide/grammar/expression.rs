//! Expressions: `fetch(arguments),converter(arguments),...`.
//!
//! They are read as HAProxy reads them (`sample_parse_expr`): the name is the longest run of characters that names may
//! have, and the arguments may be quoted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::arguments::{self, Argument};
use super::converters;
use super::facts::{self, Fact};
use super::fetches::{self, Row};
use super::line_breaks::LineBreaks;
use super::place::Place;
use super::section::Section;
use super::work;
use crate::decide::nearest::nearest;

/// An expression that was read.
#[derive(Debug, Clone, Copy)]
pub struct Expression<'a> {
    /// The name of its fetch, or of the ACL's keyword.
    pub name: &'a str,
    /// The number of its bytes.
    pub length: usize,
    /// Whether its result is an IP address.
    pub is_address: bool,
    /// Whether it has converters.
    pub is_converted: bool,
    /// Whether HAProxy evaluates it for each of several values.
    pub is_iterated: bool,
    /// Whether its result holds line breaks.
    pub line_breaks: LineBreaks,
}

type Table = BTreeMap<&'static str, Vec<Vec<Argument>>>;

/// Adds rows to a table. A name may have several rows.
fn insert(table: &mut Table, rows: &[Row]) {
    for (names, notation) in rows {
        for name in names.split_whitespace() {
            table.entry(name).or_default().push(arguments::parse(notation));
        }
    }
}

static FETCHES: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    insert(&mut table, fetches::ADDRESSES);
    insert(&mut table, fetches::FETCHES);
    table
});

static CONVERTERS: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    insert(&mut table, converters::CONVERTERS);
    table
});

/// Reads an expression from the beginning of a text.
///
/// # Errors
/// Which part is refused and why.
pub fn read<'t>(
    text: &'t str,
    place: Place,
    section: &Section<'_>,
    facts: &mut Vec<Fact>,
) -> Result<Expression<'t>, String> {
    let name = identifier(text);
    if name.is_empty() {
        return Err(format!("{text:?} does not begin with the name of a fetch"));
    }
    let base = if place == Place::AclTest { acl_method(name).map_or(name, |(base, _)| base) } else { name };
    facts.push(Fact::Expression(work::of_fetch(base, place)));
    facts.extend(facts::of_fetch(base));
    let is_iterated = work::is_iterated(base, place);
    let mut end = name.len();
    end += read_arguments(name, &text[end..], fetch(base), section, facts, |granted| {
        if granted { Ok(()) } else { Err(unknown_fetch(name)) }
    })?;
    let mut is_address =
        fetches::ADDRESSES.iter().any(|(names, _)| names.split_whitespace().any(|known| known == name));
    let mut is_converted = false;
    let mut line_breaks = LineBreaks::of_fetch(base, &text[name.len()..end]);
    while text[end..].starts_with(',') {
        end += 1;
        let (length, converter) = read_converter(&text[end..], is_iterated, section, facts)?;
        line_breaks = store(line_breaks, converter, &text[end + converter.len()..end + length], facts);
        end += length;
        is_converted = true;
        if !converters::TRANSPARENT.contains(&converter) {
            is_address = converters::ADDRESSES.contains(&converter);
        }
    }
    Ok(Expression { name, length: end, is_address, is_converted, is_iterated, line_breaks })
}

/// Returns whether the result of a converter holds line breaks, and records where a variable then does.
fn store(before: LineBreaks, converter: &str, arguments: &str, facts: &mut Vec<Fact>) -> LineBreaks {
    if converter == "set-var" && before == LineBreaks::Possible {
        facts.push(Fact::LineBreaksStored);
    }
    before.converted(converter, arguments)
}

/// Reads one converter from the beginning of a text. Returns its length and its name.
fn read_converter<'t>(
    text: &'t str,
    is_iterated: bool,
    section: &Section<'_>,
    facts: &mut Vec<Fact>,
) -> Result<(usize, &'t str), String> {
    let name = identifier(text);
    if name.is_empty() {
        return Err(format!("{text:?} after a comma does not begin with the name of a converter"));
    }
    let known = CONVERTERS.get(name).map(Vec::as_slice);
    let before = facts.len();
    let length = read_arguments(name, &text[name.len()..], known, section, facts, |granted| {
        if granted { Ok(()) } else { Err(unknown_converter(name)) }
    })?;
    facts::note_changes(name, before, facts);
    facts.push(Fact::Expression(work::of_converter(name, length, is_iterated)));
    Ok((name.len() + length, name))
}

/// Reads a list of converters in a word of its own, as HAProxy allows after an expression: `src ipmask(24)`. Returns whether
/// the result holds line breaks, if `line_breaks` is so for the text before.
///
/// # Errors
/// Which part is refused and why.
pub fn read_converters(
    text: &str,
    mut line_breaks: LineBreaks,
    section: &Section<'_>,
    facts: &mut Vec<Fact>,
) -> Result<LineBreaks, String> {
    let mut rest = text;
    loop {
        let (length, converter) = read_converter(rest, false, section, facts)?;
        line_breaks = store(line_breaks, converter, &rest[converter.len()..length], facts);
        rest = &rest[length..];
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(line_breaks),
            None => return Err(format!("{rest:?} after a converter is not understood")),
        }
    }
}

/// Returns whether HAProxy would take a word that follows an expression as its converter.
pub fn may_be_converter(word: &str) -> bool {
    let name = identifier(word);
    let after = &word[name.len()..];
    let is_known = CONVERTERS.contains_key(name) || refused(converters::REFUSED, name).is_some();
    !name.is_empty() && (is_known || after.starts_with('('))
}

/// Splits an ACL keyword such as `path_beg` into the fetch and the matching method.
pub fn acl_method(name: &str) -> Option<(&str, &str)> {
    let (base, method) = name.rsplit_once('_')?;
    (fetches::ACL_BASES.contains(&base) && fetches::ACL_METHODS.contains(&method)).then_some((base, method))
}

/// Reads the arguments behind a name. Returns their length with the brackets.
fn read_arguments(
    name: &str,
    after: &str,
    known: Option<&[Vec<Argument>]>,
    section: &Section<'_>,
    facts: &mut Vec<Fact>,
    unknown: impl FnOnce(bool) -> Result<(), String>,
) -> Result<usize, String> {
    let (given, length) = match after.strip_prefix('(') {
        Some(inner) => {
            let (given, length) = arguments::split(name, inner)?;
            (given, length + 1)
        }
        None => (Vec::new(), 0),
    };
    let Some(known) = known else {
        return unknown(section.grants(name)).map(|()| length);
    };
    let facts_before = facts.len();
    let mut mistake = Ok(());
    for wanted in known {
        facts.truncate(facts_before);
        mistake = arguments::check(name, wanted, &given, section, facts);
        if mistake.is_ok() {
            break;
        }
    }
    mistake.map(|()| length)
}

fn fetch(name: &str) -> Option<&'static [Vec<Argument>]> {
    static OF_COUNTERS: LazyLock<Vec<Vec<Argument>>> = LazyLock::new(|| vec![arguments::parse("own-section?")]);
    let of_counter = || {
        let rest = ["sc0_", "sc1_", "sc2_"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        fetches::OF_COUNTERS.contains(&rest).then_some(OF_COUNTERS.as_slice())
    };
    FETCHES.get(name).map(Vec::as_slice).or_else(of_counter)
}

/// Returns the run of characters that HAProxy allows in the name of a fetch or converter (`is_idchar`).
fn identifier(text: &str) -> &str {
    let is_identifier = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | ':');
    &text[..text.find(|c| !is_identifier(c)).unwrap_or(text.len())]
}

/// Returns why this name is in a list of refused ones.
fn refused(list: &'static [(&str, &str)], name: &str) -> Option<&'static str> {
    let is_meant = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    list.iter().find(|(names, _)| names.split_whitespace().any(is_meant)).map(|(_, reason)| *reason)
}

fn unknown_fetch(name: &str) -> String {
    let known = || FETCHES.keys().copied();
    match refused(fetches::REFUSED, name) {
        Some(reason) => format!("{name}(...) is not allowed: {reason}"),
        None if name.starts_with("lua.") => format!("{name} is not allowed: it runs Lua code"),
        None if CONVERTERS.contains_key(name) => format!("{name} is a converter; an expression begins with a fetch"),
        None => unknown("fetch", name, nearest(name, known())),
    }
}

fn unknown_converter(name: &str) -> String {
    match refused(converters::REFUSED, name) {
        Some(reason) => format!("{name}(...) is not allowed: {reason}"),
        None => unknown("converter", name, nearest(name, CONVERTERS.keys().copied())),
    }
}

fn unknown(what: &str, name: &str, meant: Option<&str>) -> String {
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    format!("{name:?} is not a {what} that a service may use{hint}")
}
