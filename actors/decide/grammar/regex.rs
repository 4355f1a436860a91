//! Regular expressions whose matching takes a time that is bounded.
//!
//! HAProxy's PCRE tries all ways in which nested repetitions can share a text, so that `(a+)+b` takes exponential time for
//! a long run of `a`; while it matches, nothing else of the thread runs, and the watchdog ends the process. So a
//! repeated part may only match in one way: it contains no repetition, and its alternatives begin with different
//! characters.

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{Ast, ErrorKind, RepetitionKind, RepetitionRange};

use crate::limits::{
    REGEX_BYTES_MAX, REGEX_NESTED_TIMES_MAX, REGEX_NESTING_MAX, REGEX_REPEAT_MAX, REGEX_REPETITIONS_MAX,
};

const NESTED: &str = "is a regular expression with nested quantifiers, which may take exponential time: repeat a part without a \
                      repetition inside";

/// Returns the number of repetitions without a bound.
///
/// # Errors
/// Why the expression is refused, as the end of a sentence that begins with it.
pub fn check(text: &str) -> Result<usize, String> {
    if text.len() > REGEX_BYTES_MAX {
        return Err(format!("is a regular expression of {} bytes; at most {REGEX_BYTES_MAX} are allowed", text.len()));
    }
    let parsed = ParserBuilder::new().nest_limit(REGEX_NESTING_MAX).octal(false).build().parse(text);
    let ast = parsed.map_err(|error| match error.kind() {
        ErrorKind::UnsupportedLookAround => {
            "is a regular expression with look-around, which a service may not use".to_owned()
        }
        ErrorKind::UnsupportedBackreference => {
            "is a regular expression with a backreference, which a service may not use".to_owned()
        }
        kind => format!("is not a plain regular expression: {kind}"),
    })?;
    let mut repetitions = 0;
    visit(&ast, &mut repetitions)?;
    if repetitions > REGEX_REPETITIONS_MAX {
        return Err(format!(
            "is a regular expression with {repetitions} unbounded repetitions (* or +); at most {REGEX_REPETITIONS_MAX} are \
             allowed"
        ));
    }
    Ok(repetitions)
}

/// Counts the unbounded repetitions. The parser's limit bounds the depth of the recursion.
fn visit(ast: &Ast, repetitions: &mut usize) -> Result<(), String> {
    match ast {
        Ast::Repetition(repetition) => {
            let times = most(&repetition.op.kind);
            if times.is_some_and(|times| times > REGEX_REPEAT_MAX) {
                return Err(format!("is a regular expression with a repetition of more than {REGEX_REPEAT_MAX} times"));
            }
            if times != Some(1) {
                one_way(&repetition.ast, times)?;
            }
            // Two bounds that differ also give a choice at every position.
            *repetitions += usize::from(times.is_none() || is_range(&repetition.op.kind));
            visit(&repetition.ast, repetitions)
        }
        Ast::Group(group) => visit(&group.ast, repetitions),
        Ast::Alternation(alternation) => alternation.asts.iter().try_for_each(|ast| visit(ast, repetitions)),
        Ast::Concat(concat) => concat.asts.iter().try_for_each(|ast| visit(ast, repetitions)),
        _ => Ok(()),
    }
}

/// Returns how often the part may repeat; `None` without a bound.
fn most(kind: &RepetitionKind) -> Option<u32> {
    match kind {
        RepetitionKind::ZeroOrOne => Some(1),
        RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => None,
        RepetitionKind::Range(RepetitionRange::Exactly(times) | RepetitionRange::Bounded(_, times)) => Some(*times),
        RepetitionKind::Range(RepetitionRange::AtLeast(_)) => None,
    }
}

fn is_range(kind: &RepetitionKind) -> bool {
    matches!(kind, RepetitionKind::Range(RepetitionRange::Bounded(min, max)) if min < max && *max > 1)
}

/// Checks that a part which repeats `times` times can match a text in one way only, or in few.
fn one_way(ast: &Ast, times: Option<u32>) -> Result<(), String> {
    match ast {
        Ast::Repetition(inner) => match times.zip(most(&inner.op.kind)).and_then(|(a, b)| a.checked_mul(b)) {
            Some(times) if times <= REGEX_NESTED_TIMES_MAX => one_way(&inner.ast, Some(times)),
            _ => Err(NESTED.to_owned()),
        },
        Ast::Empty(_) => Err("is a regular expression that repeats an empty part".to_owned()),
        Ast::Group(group) => one_way(&group.ast, times),
        Ast::Concat(concat) => concat.asts.iter().try_for_each(|ast| one_way(ast, times)),
        Ast::Alternation(alternation) => {
            let mut begins = Vec::new();
            for ast in &alternation.asts {
                one_way(ast, times)?;
                let begin = first_literal(ast).filter(|begin| !begins.contains(begin));
                begins.push(begin.ok_or_else(|| {
                    "is a regular expression that repeats alternatives which do not begin with different characters, which \
                     may take exponential time"
                        .to_owned()
                })?);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Returns the character that each match begins with, in lower case.
fn first_literal(ast: &Ast) -> Option<String> {
    match ast {
        Ast::Literal(literal) => Some(literal.c.to_lowercase().collect()),
        Ast::Concat(concat) => concat.asts.first().and_then(first_literal),
        Ast::Group(group) => first_literal(&group.ast),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn ordinary_expressions_are_accepted() {
        for text in [
            "^/api/v[0-9]+/",
            r"\.(jpg|jpeg|png|gif|css|js)(\?.*)?$",
            r"^([^\ ]*)\ /old/(.*)",
            "^(www|api)\\.example\\.(com|org)$",
            "(?i)^mozilla/5\\.0",
            "[0-9]{1,3}(\\.[0-9]{1,3}){3}x?",
            r"^(.*?)//+(.*)$",
            r"\d+\s\w+",
            "^[^/]+$",
            "(ab|cd)+",
            "(foo)*",
            "([a-f][0-9])+",
        ] {
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn expressions_that_may_explode_are_refused() {
        for text in [
            "(a+)+",
            "(a*)*",
            "(a|a)*",
            "(a|aa)+",
            "(a{1,9}){1,9}",
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
            "()*",
            "(a|)*",
            r"(a)\1",
            "(?=a)",
            "(?!a)b",
            "(?<=a)b",
            "a{2000}",
            "a++",
            "(?>a+)+",
            "[",
            "(",
            "*",
            "a**",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check(&"a*".repeat(20)).is_err());
        assert!(check(&"a".repeat(2_000)).is_err());
        assert!(check(&"(".repeat(300)).is_err());
    }

    #[test]
    fn unbounded_repetitions_are_counted() {
        assert_eq!(check("^a.*b+c?d{2}$"), Ok(2));
        assert_eq!(check("a{1,5}"), Ok(1));
    }
}
