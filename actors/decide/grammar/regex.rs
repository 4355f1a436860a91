//! Regular expressions whose matching takes a time that is bounded.
//!
//! HAProxy's PCRE tries all ways in which the parts of an expression can share a text, and while it matches, its thread does
//! nothing else: after two to four seconds the watchdog aborts the process. `(a+)+b` takes exponential time for a long run
//! of `a`, and `a*a*[bc]` cubic time. So the number of ways is estimated, as a power of two: a part that repeats without a
//! bound counts as the length of a text if what follows may begin with the same character. An expression with
//! exponentially many ways is refused, one with many is expensive ([`WORK_MAX`](crate::limits::WORK_MAX)).
//!
//! The parser's syntax is that of Rust. What PCRE reads differently is refused (`regex_dialect.rs`): `[a&&b]` is an intersection
//! there and three characters here, `(?R)` a flag there and a recursion here.

use std::borrow::Cow;

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{AssertionKind, Ast, ErrorKind, RepetitionKind, RepetitionRange};
use regex_syntax::hir::{Class, HirKind, translate::TranslatorBuilder};

use super::regex_dialect;
use crate::decide::quoting::escaped_control;
use crate::limits::{REGEX_BYTES_MAX, REGEX_NESTING_MAX, REGEX_REPEAT_MAX};

/// The length of the longest text, 16 KiB with a margin, as a power of two.
const TEXT_BITS: u32 = 13;

/// The most ways: up to a tenth of a second on HAProxy 2.2. An expression with the cube of the length of a text takes a second
/// on every version (measured on 2.2, 2.6 and 3.2).
const WAYS_BITS_MAX: u32 = 2 * TEXT_BITS;

/// The work of the simplest expression: PCRE reads the whole text.
const WORK_MIN: u64 = 10;

/// Returns the work of matching, in units of 10 microseconds at worst.
///
/// # Errors
/// Why the expression is refused, as the end of a sentence that begins with it.
pub fn check(text: &str) -> Result<u64, String> {
    if text.len() > REGEX_BYTES_MAX {
        return Err(format!("is a regular expression of {} bytes; at most {REGEX_BYTES_MAX} are allowed", text.len()));
    }
    let text = &*with_controls(text);
    let ast = parsed(text)?;
    if let Some(what) = regex_dialect::foreign(&ast) {
        return Err(format!("is a regular expression with {what}, which HAProxy reads in another way"));
    }
    // `-i` may make both cases one, and `[^a]` contains `A` without it.
    let bits = bits(&ast, text, Case::Sensitive)?.max(bits(&ast, text, Case::Ignored)?);
    if bits > WAYS_BITS_MAX {
        return Err("is a regular expression with too many ways to match a text: use fewer repetitions (* and +), or \
                    classes that exclude what follows, such as [^/]+/"
            .to_owned());
    }
    Ok(((1_u64 << bits.saturating_sub(TEXT_BITS)) / 2).max(WORK_MIN))
}

/// Returns the ways to match a text, as a power of two.
fn bits(ast: &Ast, text: &str, case: Case) -> Result<u32, String> {
    let part = Part::of(ast, text, case)?;
    let mut ways = Ways::default();
    ways.add(&part, &Bytes::default())?;
    let is_anchored = begins_with_start(ast) || part.begins_with_anything();
    Ok(ways.bits(is_anchored))
}

/// Returns the text with the line feeds and the like that HAProxy reads from escapes.
fn with_controls(text: &str) -> Cow<'_, str> {
    match text.chars().any(|c| escaped_control(c).is_some()) {
        true => Cow::Owned(text.chars().map(|c| escaped_control(c).unwrap_or(c)).collect()),
        false => Cow::Borrowed(text),
    }
}

/// Whether a letter stands for both of its cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Sensitive,
    Ignored,
}

/// A part of an expression. The parser's own simplified form is not used, because PCRE does not simplify `(a|a)*`.
enum Part {
    /// It matches no text.
    Empty,
    /// It matches a position, which the text before and these bytes after it decide: `$`, `\b`.
    Position(Bytes),
    /// One character.
    One(Bytes),
    Repeated {
        min: u32,
        max: Option<u32>,
        part: Box<Part>,
    },
    InOrder(Vec<Part>),
    OneOf(Vec<Part>),
}

fn parsed(text: &str) -> Result<Ast, String> {
    let parsed = ParserBuilder::new().nest_limit(REGEX_NESTING_MAX).octal(false).build().parse(text);
    parsed.map_err(|error| match error.kind() {
        ErrorKind::UnsupportedLookAround => {
            "is a regular expression with look-around, which a service may not use".to_owned()
        }
        ErrorKind::UnsupportedBackreference => {
            "is a regular expression with a backreference, which a service may not use".to_owned()
        }
        kind => format!("is not a plain regular expression: {kind}"),
    })
}

impl Part {
    /// Converts a part of the parsed text. The parser's limit bounds the depth of the recursion.
    fn of(ast: &Ast, text: &str, case: Case) -> Result<Self, String> {
        let all = |parts: &[Ast]| parts.iter().map(|ast| Self::of(ast, text, case)).collect::<Result<Vec<_>, _>>();
        Ok(match ast {
            Ast::Empty(_) | Ast::Flags(_) => Self::Empty,
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::EndLine | AssertionKind::EndText => Self::Position(Bytes::POSITION),
                _ => Self::Position(Bytes::ALL.union(Bytes::POSITION)),
            },
            Ast::Dot(_) => Self::One(Bytes::ALL),
            Ast::Literal(_) | Ast::ClassUnicode(_) | Ast::ClassPerl(_) | Ast::ClassBracketed(_) => {
                Self::One(Bytes::of(ast, text, case)?)
            }
            Ast::Group(group) => Self::of(&group.ast, text, case)?,
            Ast::Concat(concat) => Self::InOrder(all(&concat.asts)?),
            Ast::Alternation(alternation) => Self::OneOf(all(&alternation.asts)?),
            Ast::Repetition(repetition) => {
                let (min, max) = match repetition.op.kind {
                    RepetitionKind::ZeroOrOne => (0, Some(1)),
                    RepetitionKind::ZeroOrMore => (0, None),
                    RepetitionKind::OneOrMore => (1, None),
                    RepetitionKind::Range(RepetitionRange::Exactly(times)) => (times, Some(times)),
                    RepetitionKind::Range(RepetitionRange::Bounded(min, max)) => (min, Some(max)),
                    RepetitionKind::Range(RepetitionRange::AtLeast(min)) => (min, None),
                };
                Self::Repeated { min, max, part: Box::new(Self::of(&repetition.ast, text, case)?) }
            }
        })
    }

    /// Returns the bytes that a match may begin with, and whether it may be empty.
    fn first(&self) -> (Bytes, bool) {
        match self {
            Self::Empty => (Bytes::default(), true),
            Self::Position(bytes) => (*bytes, true),
            Self::One(bytes) => (*bytes, false),
            Self::Repeated { min, part, .. } => {
                let (bytes, is_nullable) = part.first();
                (bytes, is_nullable || *min == 0)
            }
            Self::InOrder(parts) => {
                let mut bytes = Bytes::default();
                for part in parts {
                    let (of_part, is_nullable) = part.first();
                    bytes = bytes.union(of_part);
                    if !is_nullable {
                        return (bytes, false);
                    }
                }
                (bytes, true)
            }
            Self::OneOf(parts) => parts
                .iter()
                .map(Self::first)
                .fold((Bytes::default(), false), |all, one| (all.0.union(one.0), all.1 || one.1)),
        }
    }

    /// Returns the characters that it begins with in any case.
    fn beginning(&self) -> Vec<Bytes> {
        match self {
            Self::One(bytes) => vec![*bytes],
            Self::InOrder(parts) => {
                let ones = parts.iter().map_while(|part| if let Self::One(bytes) = part { Some(*bytes) } else { None });
                ones.collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns whether it matches at the beginning of the text only: `^a`, `.*a`.
    fn begins_with_anything(&self) -> bool {
        match self {
            Self::Repeated { max: None, part, .. } => part.first().0.len() > 250,
            Self::InOrder(parts) => parts.first().is_some_and(Self::begins_with_anything),
            _ => false,
        }
    }
}

/// Returns whether the expression begins with `^`.
fn begins_with_start(ast: &Ast) -> bool {
    match ast {
        Ast::Assertion(assertion) => {
            matches!(assertion.kind, AssertionKind::StartLine | AssertionKind::StartText)
        }
        Ast::Group(group) => begins_with_start(&group.ast),
        Ast::Concat(concat) => {
            let mut parts = concat.asts.iter().filter(|ast| !matches!(ast, Ast::Flags(_)));
            parts.next().is_some_and(begins_with_start)
        }
        Ast::Alternation(alternation) => alternation.asts.iter().all(begins_with_start),
        _ => false,
    }
}

/// A set of bytes; the last number says whether an assertion such as `$` may match at that position.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bytes([u64; 5]);

impl Bytes {
    const ALL: Self = Self([u64::MAX, u64::MAX, u64::MAX, u64::MAX, 0]);

    const POSITION: Self = Self([0, 0, 0, 0, 1]);

    /// Returns the bytes of a character or a class.
    fn of(ast: &Ast, text: &str, case: Case) -> Result<Self, String> {
        let mut bytes = Self::default();
        if let Ast::Literal(literal) = ast {
            match u8::try_from(literal.c) {
                Ok(byte) if byte.is_ascii() && case == Case::Sensitive => bytes.insert(byte),
                Ok(byte) if byte.is_ascii() => {
                    bytes.insert(byte.to_ascii_lowercase());
                    bytes.insert(byte.to_ascii_uppercase());
                }
                // Its bytes in UTF-8.
                _ => (0x80..=0xFF).for_each(|byte| bytes.insert(byte)),
            }
            return Ok(bytes);
        }
        let mut translator =
            TranslatorBuilder::new().unicode(false).utf8(false).case_insensitive(case == Case::Ignored).build();
        let class = translator.translate(text, ast);
        let class = class.map_err(|error| format!("is not a plain regular expression: {}", error.kind()))?;
        match class.kind() {
            HirKind::Class(Class::Bytes(class)) => {
                class
                    .ranges()
                    .iter()
                    .for_each(|range| (range.start()..=range.end()).for_each(|byte| bytes.insert(byte)));
            }
            HirKind::Literal(literal) => literal.0.iter().for_each(|byte| bytes.insert(*byte)),
            _ => bytes = Self::ALL,
        }
        Ok(bytes)
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] | other.0[index]))
    }

    fn meets(&self, other: &Self) -> bool {
        self.0[..4].iter().zip(other.0).any(|(own, other)| own & other != 0)
    }

    fn len(&self) -> u32 {
        self.0[..4].iter().map(|bits| bits.count_ones()).sum()
    }
}

/// The number of ways to match a text.
#[derive(Default)]
struct Ways {
    /// The power of two of the choices.
    choices: u32,
    /// Whether a part repeats without a bound, and without a choice.
    has_run: bool,
    /// Whether a part repeats without a bound.
    is_unbounded: bool,
}

impl Ways {
    fn bits(&self, is_anchored: bool) -> u32 {
        let of_runs = if self.has_run { TEXT_BITS } else { 0 };
        let of_begins = if self.is_unbounded && !is_anchored { TEXT_BITS } else { 0 };
        self.choices.saturating_add(of_runs).max(TEXT_BITS).saturating_add(of_begins)
    }

    /// Adds a part, which is followed by a text that begins with one of these bytes.
    fn add(&mut self, part: &Part, follow: &Bytes) -> Result<(), String> {
        match part {
            Part::Empty | Part::Position(_) | Part::One(_) => Ok(()),
            Part::Repeated { min, max, part } => self.add_repetition(*min, *max, part, follow),
            Part::InOrder(parts) => {
                let mut follow = *follow;
                for part in parts.iter().rev() {
                    self.add(part, &follow)?;
                    let (of_part, is_nullable) = part.first();
                    follow = if is_nullable { follow.union(of_part) } else { of_part };
                }
                Ok(())
            }
            Part::OneOf(parts) => self.add_alternatives(parts, follow),
        }
    }

    fn add_alternatives(&mut self, parts: &[Part], follow: &Bytes) -> Result<(), String> {
        let (mut most, mut overlaps) = (0, 0_u32);
        for (at, part) in parts.iter().enumerate() {
            let mut of_part = Self::default();
            of_part.add(part, follow)?;
            most = most.max(of_part.choices);
            self.has_run |= of_part.has_run;
            self.is_unbounded |= of_part.is_unbounded;
            overlaps += u32::from(parts[..at].iter().any(|earlier| may_both_match(earlier, part, follow)));
        }
        self.choices = self.choices.saturating_add(most).saturating_add(bits_of(overlaps + 1));
        Ok(())
    }

    fn add_repetition(&mut self, min: u32, max: Option<u32>, part: &Part, follow: &Bytes) -> Result<(), String> {
        if min.max(max.unwrap_or(0)) > REGEX_REPEAT_MAX {
            return Err(format!("is a regular expression with a repetition of more than {REGEX_REPEAT_MAX} times"));
        }
        let (begin, is_nullable) = part.first();
        let mut inner = Self::default();
        inner.add(part, &if max == Some(1) { *follow } else { follow.union(begin) })?;
        if max.is_none() && (inner.choices > 0 || is_nullable) {
            return Err(
                "is a regular expression that repeats a part which can match in several ways (nested quantifiers), \
                        and may take exponential time"
                    .to_owned(),
            );
        }
        self.has_run |= inner.has_run;
        if max.is_none() && begin.len() > 250 && *follow == Bytes::default() {
            // `.*` at the very end always matches.
            return Ok(());
        }
        self.is_unbounded |= inner.is_unbounded || max.is_none();
        self.choices = self.choices.saturating_add(inner.choices.saturating_mul(max.unwrap_or(1)));
        let is_ambiguous = begin.meets(follow) || is_nullable;
        match max {
            None if is_ambiguous => self.choices = self.choices.saturating_add(TEXT_BITS),
            None => self.has_run = true,
            Some(max) if is_ambiguous => {
                self.choices = self.choices.saturating_add(bits_of(max.saturating_sub(min) + 1))
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Returns whether two alternatives may match the same text, or the beginning of it.
fn may_both_match(one: &Part, other: &Part, follow: &Bytes) -> bool {
    let begin = |part: &Part| {
        let (bytes, is_nullable) = part.first();
        if is_nullable { bytes.union(*follow) } else { bytes }
    };
    let characters = one.beginning().into_iter().zip(other.beginning());
    begin(one).meets(&begin(other)) && characters.into_iter().all(|(one, other)| one.meets(&other))
}

/// Returns the power of two that is at least this number.
fn bits_of(number: u32) -> u32 {
    number.max(1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::{WORK_MIN, check};

    #[test]
    fn ordinary_expressions_are_cheap() {
        for text in [
            "^/api/v[0-9]+/",
            r"\.(jpg|jpeg|png|gif|css|js)(\?.*)?$",
            r"^([^\ ]*)\ /old/(.*)",
            "^(www|api)\\.example\\.(com|org)$",
            "(?i)^mozilla/5\\.0",
            "[0-9]{1,3}(\\.[0-9]{1,3}){3}x?",
            r"^(.*)/old/(.*)$",
            r"\d+\s\w+",
            "^[^/]+$",
            "^([a-z0-9-]+\\.)*example\\.com$",
            "^(/[^/]+)*/$",
            "(ab|cd)+",
            "(foo)*",
            "([a-f][0-9])+",
            "/admin/.*\\.php",
            "^/([^/]*)/([^/]*)/([^/]*)/(.*)$",
        ] {
            assert!(check(text).is_ok_and(|work| work <= 4_096), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn expressions_with_many_ways_are_expensive_or_refused() {
        for text in ["a*[=x]", "^/a*a*[=x]", "/admin/.*\\.php"] {
            assert!(check(text).is_ok_and(|work| work >= 4_000), "{text}: {:?}", check(text));
        }
        for text in ["/old/(.*)", "^/old/(.*)$", "^[^/]+$", "\\.(jpg|jpeg|js)$"] {
            assert_eq!(check(text), Ok(WORK_MIN), "{text}");
        }
        for text in [
            "a*a*[=x]",
            "^/a*a*a*[=x]",
            "foo.*bar.*baz",
            "(.*)(.*)\\b.*x",
            "(.*)(.*)(.*)(.*)[=x]$",
            &"(a|a)".repeat(60),
            &"a?".repeat(60),
            "(a{0,9}){20}x",
        ] {
            assert!(check(text).is_err(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn expressions_that_may_explode_are_refused() {
        for text in [
            "(a+)+",
            "(a*)*",
            "(a|a)*",
            "(a|aa)+",
            "(a{1,9}){1,9}+",
            "(a+){2,}",
            "(a?)+",
            "((a+))*b",
            "([a-z]+)*$",
            "(.*a){20}",
            "(a|b|[a-b])*",
            "(x+x+)+y",
            "(?:a+)+",
            "(?i:A|a)*",
            "(A|a)*",
            "(a|)*",
            r"(a)\1",
            "(?=a)",
            "(?!a)b",
            "(?<=a)b",
            "a{2000}",
            "(?>a+)+",
            "[",
            "(",
            "*",
            "(a*b?)*",
            "((ab)*)*",
            "(a|ab)(c|bcd)(d*)+x",
            "(?:[^a]|A)*[xy]",
        ] {
            assert!(check(text).is_err(), "{text}: {:?}", check(text));
        }
        assert!(check(&"a".repeat(2_000)).is_err());
    }

    #[test]
    fn what_pcre_reads_differently_is_refused() {
        for text in [
            "[a&&b]",
            "(?:[a&&b]|[a&&c])*[xy]",
            "[a--b]",
            "[a~~b]",
            "[a[b]c]",
            "[[:<:]]a",
            r"\v",
            r"[\v]",
            r"(?:\v|\n)*[xy]",
            "(?R)",
            "a(?:(?R)|)(?:(?R)|)b",
            "(?x)a b",
            "(?x)(?:[ a]|[ b])*[cd]",
            "(?x)#\u{FDD0}(a|a)*[xy]",
            "(?x:a)",
            "(?u)a",
            r"\<a\>",
            r"\b{start}a",
            "(?i:a)b",
            "a(?i)b",
            "(?-i)a",
        ] {
            assert!(check(text).is_err(), "{text}: {:?}", check(text));
        }
        for text in
            ["(?i)^a", "(?s)^a.b", "(?m)^a", "(?s:.)", "(?:a)", "[[:alpha:]]", r"\bfoo\B", "[a&b]", "[]a]", "[a-]"]
        {
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn escaped_controls_are_those_that_haproxy_reads() {
        assert!(check("(?:\u{FDD0}|\\x0a)*[xy]").is_err());
        assert!(check("(?:\u{FDD0}|\u{FDD1})*[xy]").is_ok());
    }

    #[test]
    fn long_expressions_are_refused() {
        assert!(check(&"(".repeat(300)).is_err());
    }
}
