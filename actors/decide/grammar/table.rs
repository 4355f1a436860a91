//! The table of all lines that a service may use: by the first word of the line, the shapes that it may have.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::checks::CHECK_LINES;
use super::rules::{ACTIONS, DELAYS, REDIRECT, RULE_SETS};
use super::section_lines::{FLAGS, OPTIONS, SECTION_LINES};
use super::shape::Shape;

/// The notations of all lines. Actions occur once for each of their rule sets.
fn notations() -> Vec<&'static str> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let of_action = |(letters, action): &(&str, &str)| {
        let sets = RULE_SETS.iter().filter(|(letter, _)| letters.contains(*letter));
        Vec::from_iter(sets.map(|(_, set)| leak(format!("{set} {action} [ <condition> ]"))))
    };
    let flags = leak(format!("[ no ] option {{ {} }}", FLAGS.join(" | ")));
    let fixed = [SECTION_LINES, OPTIONS, DELAYS, CHECK_LINES].concat();
    fixed.into_iter().chain([REDIRECT, flags]).chain(ACTIONS.iter().flat_map(of_action)).collect()
}

/// A line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its notation.
    pub notation: &'static str,
    /// Its shape.
    pub shape: Shape,
}

/// All lines. They are written once and live as long as the process.
pub static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let line = |notation| Line { notation, shape: Shape::parse(notation).expect("the tests parse every notation") };
    notations().into_iter().map(line).collect()
});

/// Returns the shapes of the lines that begin with this word.
pub fn shapes(keyword: &str) -> Option<&'static [Shape]> {
    static BY_KEYWORD: LazyLock<BTreeMap<&str, Vec<Shape>>> = LazyLock::new(|| {
        let mut shapes: BTreeMap<&str, Vec<Shape>> = BTreeMap::new();
        for line in LINES.iter() {
            for keyword in first_words(&line.shape) {
                shapes.entry(keyword).or_default().push(line.shape.clone());
            }
        }
        shapes
    });
    BY_KEYWORD.get(keyword).map(Vec::as_slice)
}

/// Returns all first words of lines.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    LINES.iter().flat_map(|line| first_words(&line.shape))
}

/// Returns the words that a line of this shape may begin with.
fn first_words(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Literal(word) => vec![word],
        Shape::OneOf(shapes) => shapes.iter().flat_map(first_words).collect(),
        Shape::Sequence(shapes) => {
            let mut words = Vec::new();
            for shape in shapes {
                words.extend(first_words(shape));
                if !matches!(shape, Shape::Optional(_)) {
                    break;
                }
            }
            words
        }
        Shape::Optional(shape) | Shape::Many(shape) => first_words(shape),
        Shape::Value(_) | Shape::Call(..) | Shape::AnyOrder(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::grammar::arguments;
    use crate::decide::grammar::converters::CONVERTERS;
    use crate::decide::grammar::fetches::{ADDRESSES, FETCHES};

    #[test]
    fn every_notation_is_valid() {
        for notation in notations() {
            let shape = Shape::parse(notation).unwrap_or_else(|reason| panic!("{notation}: {reason}"));
            assert!(!first_words(&shape).is_empty(), "{notation} begins with a keyword");
        }
        for (names, notation) in ADDRESSES.iter().chain(FETCHES).chain(CONVERTERS) {
            assert!(arguments::parse(notation).len() <= 5, "{names}");
        }
    }
}
