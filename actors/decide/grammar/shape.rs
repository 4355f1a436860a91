//! The shape of a line, and its notation.
//!
//! | notation | meaning |
//! | --- | --- |
//! | `word` | this word |
//! | `<type>` | one argument of this [type](super::kind::Kind), or several words where the type says so |
//! | `name(<type>,<type>?)` | one word with arguments in brackets; `?` after those that may be absent |
//! | `[ ... ]` | may be absent |
//! | `{ a \| b }` | one of these |
//! | `{ a \| b }*` | any of these, each at most once, in any order; those that end in `*` several times |
//! | `a ...` | once or several times |

use super::arguments::{self, Argument};
use super::kind::Kind;

/// The shape of a line or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// This word.
    Literal(&'static str),
    /// A typed argument.
    Value(Kind),
    /// One word: a name and arguments in brackets.
    Call(&'static str, Vec<Argument>),
    /// One after the other.
    Sequence(Vec<Shape>),
    /// It may be absent.
    Optional(Box<Shape>),
    /// The first one that fits.
    OneOf(Vec<Shape>),
    /// Any of these in any order.
    AnyOrder(Vec<Item>),
    /// Once or several times.
    Many(Box<Shape>),
}

/// One of several things in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its shape.
    pub shape: Shape,
    /// Whether it may occur several times.
    pub repeated: bool,
}

impl Shape {
    /// Parses the notation.
    ///
    /// # Errors
    /// What is invalid in the notation.
    pub fn parse(notation: &'static str) -> Result<Self, String> {
        let mut parser = Parser { tokens: notation.split_whitespace().peekable() };
        let shape = parser.sequence()?;
        match parser.tokens.next() {
            Some(token) => Err(format!("{token:?} is too much in {notation:?}")),
            None => Ok(shape),
        }
    }

    /// Returns whether the values of the line are restricted because of their effects outside the section.
    pub fn protects_others(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Value(kind) => kind.protects_others(),
            Self::Call(_, arguments) => arguments.iter().any(|argument| argument.kind.protects_others()),
            Self::Sequence(shapes) | Self::OneOf(shapes) => shapes.iter().any(Self::protects_others),
            Self::Optional(shape) | Self::Many(shape) => shape.protects_others(),
            Self::AnyOrder(items) => items.iter().any(|item| item.shape.protects_others()),
        }
    }
}

struct Parser<I: Iterator<Item = &'static str>> {
    tokens: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = &'static str>> Parser<I> {
    fn sequence(&mut self) -> Result<Shape, String> {
        let mut shapes: Vec<Shape> = Vec::new();
        while let Some(token) = self.tokens.next_if(|token| !matches!(*token, "]" | "}" | "}*" | "|" | "*")) {
            let shape = match token {
                "..." => {
                    let last = shapes.pop().ok_or("... follows nothing")?;
                    Shape::Many(Box::new(last))
                }
                "[" => {
                    let inner = self.sequence()?;
                    self.closing("]")?;
                    Shape::Optional(Box::new(inner))
                }
                "{" => self.choice()?,
                token => word(token)?,
            };
            shapes.push(shape);
        }
        Ok(if shapes.len() == 1 { shapes.remove(0) } else { Shape::Sequence(shapes) })
    }

    fn choice(&mut self) -> Result<Shape, String> {
        let mut items = Vec::new();
        loop {
            let shape = self.sequence()?;
            let repeated = self.tokens.next_if_eq(&"*").is_some();
            items.push(Item { shape, repeated });
            match self.tokens.next() {
                Some("|") => {}
                Some("}*") => return Ok(Shape::AnyOrder(items)),
                Some("}") if items.iter().all(|item| !item.repeated) => {
                    return Ok(Shape::OneOf(items.into_iter().map(|item| item.shape).collect()));
                }
                token => return Err(format!("{token:?} in a choice")),
            }
        }
    }

    fn closing(&mut self, wanted: &str) -> Result<(), String> {
        match self.tokens.next() {
            Some(token) if token == wanted => Ok(()),
            token => Err(format!("{token:?} in place of {wanted:?}")),
        }
    }
}

fn word(token: &'static str) -> Result<Shape, String> {
    if let Some(name) = token.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        return Kind::named(name).map(Shape::Value).ok_or_else(|| format!("{name:?} is not a type"));
    }
    match token.split_once('(') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| format!("{token:?} has no closing bracket"))?;
            Ok(Shape::Call(name, arguments::parse(inner)))
        }
        None => Ok(Shape::Literal(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_is_parsed() {
        let shape = Shape::parse("a { b <name> | c }* [ d ] e(number,text?) <text> ... { x | y z }").unwrap();
        let Shape::Sequence(parts) = shape else { panic!("{shape:?}") };
        assert_eq!(parts[0], Shape::Literal("a"));
        assert!(matches!(&parts[1], Shape::AnyOrder(items) if items.len() == 2));
        assert_eq!(parts[2], Shape::Optional(Box::new(Shape::Literal("d"))));
        assert!(matches!(&parts[3], Shape::Call("e", arguments) if arguments[1].optional));
        assert_eq!(parts[4], Shape::Many(Box::new(Shape::Value(Kind::Text))));
        assert!(matches!(&parts[5], Shape::OneOf(shapes) if shapes.len() == 2));
    }

    #[test]
    fn invalid_notation_is_refused() {
        for notation in ["a ]", "{ a", "[ a", "<nothing>", "...", "{ a * | b }", "a(number"] {
            assert!(Shape::parse(notation).is_err(), "{notation}");
        }
    }
}
