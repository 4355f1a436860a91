//! The reader that compares the words of a line with its shape.
//!
//! A line is accepted only if every word is understood. Where a shape does not fit, the reader goes back and tries the
//! next one; the refusal that is reported is the one of the furthest word.

use super::arguments;
use super::condition;
use super::expression;
use super::facts::{self, Fact};
use super::format;
use super::kind::Kind;
use super::line_breaks::LineBreaks;
use super::place::Place;
use super::section::Section;
use super::server_words;
use super::shape::{Item, Shape};
use super::value;
use crate::decide::nearest::nearest;
use crate::model::Word;

/// The most expected words that a message lists.
const EXPECTED_SHOWN_MAX: usize = 12;

/// Compares a line with all the shapes that its keyword may have. Returns what the line uses.
///
/// # Errors
/// The word that is not understood, and why.
pub fn read(words: &[Word], shapes: &[Shape], section: &Section<'_>) -> Result<Vec<Fact>, String> {
    let mut reader = Reader { words, section, facts: Vec::new(), furthest: Furthest::default() };
    for shape in shapes {
        reader.facts.clear();
        match reader.matches(shape, 0) {
            Some(end) if end == words.len() => {
                reader.facts.extend(facts::of_action(words));
                return Ok(reader.facts);
            }
            Some(end) => reader.furthest.note(end, None),
            None => {}
        }
    }
    Err(reader.furthest.refusal(words))
}

struct Reader<'a> {
    words: &'a [Word],
    section: &'a Section<'a>,
    facts: Vec<Fact>,
    furthest: Furthest,
}

impl Reader<'_> {
    /// Returns the position after the words that have this shape. Without a match, the facts are as before.
    fn matches(&mut self, shape: &Shape, at: usize) -> Option<usize> {
        let facts_before = self.facts.len();
        let end = match shape {
            Shape::Literal(literal) => self.literal(literal, at),
            Shape::Value(kind) => self.value(*kind, at),
            Shape::Call(name, wanted) => self.call(name, wanted, at),
            Shape::Sequence(shapes) => shapes.iter().try_fold(at, |at, shape| self.matches(shape, at)),
            Shape::Optional(shape) => Some(self.matches(shape, at).unwrap_or(at)),
            Shape::OneOf(shapes) => shapes.iter().find_map(|shape| self.matches(shape, at)),
            Shape::AnyOrder(items) => Some(self.any_order(items, at)),
            Shape::Many(shape) => {
                let mut end = self.matches(shape, at);
                while let Some(next) = end.and_then(|at| self.matches(shape, at)) {
                    end = Some(next);
                }
                end
            }
        };
        if end.is_none() {
            self.facts.truncate(facts_before);
        }
        end
    }

    fn literal(&mut self, literal: &'static str, at: usize) -> Option<usize> {
        if self.words.get(at).is_some_and(|word| word.as_str() == literal) {
            return Some(at + 1);
        }
        self.furthest.want(at, literal);
        None
    }

    fn any_order(&mut self, items: &[Item], at: usize) -> usize {
        let mut used = vec![false; items.len()];
        let mut end = at;
        loop {
            let mut found = None;
            for (index, item) in items.iter().enumerate() {
                let is_used = used[index] && !item.repeated;
                let facts_before = self.facts.len();
                let Some(next) = self.matches(&item.shape, end).filter(|next| *next > end) else { continue };
                if is_used {
                    self.facts.truncate(facts_before);
                    self.furthest.note(end, Some("is given twice, or excludes an earlier word".to_owned()));
                    continue;
                }
                found = Some((index, next));
                break;
            }
            let Some((index, next)) = found else { return end };
            used[index] = true;
            end = next;
        }
    }

    fn value(&mut self, kind: Kind, at: usize) -> Option<usize> {
        let Some(word) = self.words.get(at) else {
            self.furthest.note(at, Some(format!("{} is missing", kind.description())));
            return None;
        };
        let text = word.as_str();
        let rest = &self.words[at..];
        let read = match kind {
            Kind::Format => format::check(text, self.section, &mut self.facts)
                .map(|line_breaks| {
                    self.note_stored(line_breaks);
                    at + 1
                })
                .map_err(|reason| (at, format!("is refused: {reason}"))),
            Kind::LogFormat => format::check_of_log(text, self.section, &mut self.facts)
                .map(|()| at + 1)
                .map_err(|reason| (at, format!("is refused: {reason}"))),
            Kind::Expression => self.expression(at),
            Kind::Condition => condition::check(rest, self.section, &mut self.facts)
                .map(|()| self.words.len())
                .map_err(|(offset, reason)| (at + offset, reason)),
            Kind::AclTest => condition::check_test(rest, self.section, &mut self.facts)
                .map(|()| self.words.len())
                .map_err(|(offset, reason)| (at + offset, reason)),
            Kind::ServerOptions => server_words::check(rest, self.section, &mut self.facts)
                .map(|()| self.words.len())
                .map_err(|reason| (at, format!("is refused: {reason}"))),
            kind => {
                value::check(kind, text, self.section, &mut self.facts).map(|()| at + 1).map_err(|reason| (at, reason))
            }
        };
        read.map_err(|(at, reason)| self.furthest.note(at, Some(reason))).ok()
    }

    /// Reads an expression, and the words behind it that HAProxy takes as its converters.
    fn expression(&mut self, at: usize) -> Result<usize, (usize, String)> {
        let text = self.words[at].as_str();
        let refused = |at| move |reason: String| (at, format!("is refused: {reason}"));
        let expression = expression::read(text, Place::Value, self.section, &mut self.facts).map_err(refused(at))?;
        if expression.length != text.len() {
            return Err((at, format!("is not understood from {:?} on", &text[expression.length..])));
        }
        let (mut end, mut line_breaks) = (at + 1, expression.line_breaks);
        while let Some(next) = self.words.get(end).filter(|next| expression::may_be_converter(next.as_str())) {
            line_breaks = expression::read_converters(next.as_str(), line_breaks, self.section, &mut self.facts)
                .map_err(refused(end))?;
            end += 1;
        }
        self.note_stored(line_breaks);
        Ok(end)
    }

    /// Records that the line stores a text with line breaks.
    fn note_stored(&mut self, line_breaks: LineBreaks) {
        let stores = |word: &Word| word.as_str() == "capture" || word.as_str().starts_with("set-var");
        if line_breaks == LineBreaks::Possible && self.words.iter().take(3).any(stores) {
            self.facts.push(Fact::LineBreaksStored);
        }
    }

    fn call(&mut self, name: &'static str, wanted: &[arguments::Argument], at: usize) -> Option<usize> {
        let after = self.words.get(at).and_then(|word| word.as_str().strip_prefix(name));
        let Some(inner) = after.and_then(|after| after.strip_prefix('(')) else {
            self.furthest.want(at, name);
            return None;
        };
        // HAProxy does not unquote these arguments, so a quote is a part of them and no type accepts it.
        let plain = inner.strip_suffix(')').ok_or_else(|| "lacks its closing bracket".to_owned());
        let checked = plain.and_then(|inner| {
            let given = Vec::from_iter(inner.split(',').map(str::to_owned));
            let before = self.facts.len();
            arguments::check(name, wanted, &given, self.section, &mut self.facts)
                .map(|()| facts::note_changes(name, before, &mut self.facts))
                .map_err(|reason| format!("is refused: {reason}"))
        });
        checked.map(|()| at + 1).map_err(|reason| self.furthest.note(at, Some(reason))).ok()
    }
}

/// The furthest position where a line was not understood, and why.
#[derive(Default)]
struct Furthest {
    at: usize,
    expected: Vec<&'static str>,
    reason: Option<String>,
}

impl Furthest {
    fn reach(&mut self, at: usize) -> bool {
        if at > self.at {
            *self = Self { at, ..Self::default() };
        }
        at == self.at
    }

    fn note(&mut self, at: usize, reason: Option<String>) {
        if self.reach(at) && self.reason.is_none() {
            self.reason = reason;
        }
    }

    fn want(&mut self, at: usize, literal: &'static str) {
        if self.reach(at) && !self.expected.contains(&literal) {
            self.expected.push(literal);
        }
    }

    fn refusal(self, words: &[Word]) -> String {
        let Self { at, expected, reason } = self;
        let before = words.iter().take(at).map(Word::as_str);
        let path = Vec::from_iter(before).join(" ");
        let list = Vec::from_iter(expected.iter().take(EXPECTED_SHOWN_MAX).copied()).join(", ");
        let more = if expected.len() > EXPECTED_SHOWN_MAX { ", ..." } else { "" };
        let Some(word) = words.get(at).map(Word::as_str) else {
            let missing = reason.unwrap_or_else(|| match list.as_str() {
                "" => "more words are expected".to_owned(),
                list => format!("next comes one of {list}{more}"),
            });
            return format!("{path:?} is not complete: {missing}");
        };
        let after = if path.is_empty() { String::new() } else { format!(" after {path:?}") };
        if let Some(meant) = nearest(word, expected.iter().copied()) {
            return format!("{word:?}{after} is not something that a service may use; did you mean {meant:?}?");
        }
        match reason {
            Some(reason) => format!("{word:?}{after} {reason}"),
            None if list.is_empty() => format!("{word:?}{after} is too much"),
            None => format!("{word:?}{after} is not something that a service may use; it is none of {list}{more}"),
        }
    }
}
