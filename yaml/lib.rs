//! Parses YAML for settings and scenarios, with the line of each value, and reports mistakes.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

mod cause;

/// Why a text is not valid YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// The mistake, in the terms of the author.
    pub problem: String,
}

/// Parses YAML, with or without a byte order mark.
///
/// # Errors
/// The mistake and its line.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    // Some editors begin a file with a byte order mark.
    serde_saphyr::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        Invalid { line, problem: cause::of(&error, text, line) }
    })
}

/// Parses the YAML text of the file at `path`; returns `None` if it is empty.
///
/// # Errors
/// The text is not valid YAML; the error has the line.
pub fn read(text: &str, path: &Path) -> Result<Option<Spanned<Node>>, Mistake> {
    parse(text).map_err(|Invalid { line, problem }| Mistake {
        place: line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display())),
        key: String::new(),
        problem: format!("is not valid YAML: {problem}"),
    })
}

/// One mistake: its place, its key, the problem and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// `proxymgr.yml:7`, `environment variable PROXYMGR_STATE_DIR` or `--set`; empty if there is no place.
    pub place: String,
    /// The key; empty if the mistake concerns the whole file.
    pub key: String,
    /// The problem, with the wrong value, and what to do.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.problem)
    }
}

/// A YAML value; each of its parts has its line.
#[derive(Debug, Clone)]
pub enum Node {
    /// No value.
    Null,
    /// A text, a number, true or false.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Spanned<Node>>),
    /// A map, in the order in which it was written.
    Map(Vec<(String, Spanned<Node>)>),
}

/// A scalar, as YAML's core schema resolves it.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number below 0.
    Negative(i64),
    /// A whole number from 0 on.
    Whole(u64),
    /// A number with a fraction.
    Float(f64),
    /// Anything else.
    Text(String),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Scalar::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Whole)))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Scalar::Whole(value)))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Scalar::Float(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Scalar::Text(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_element()? {
            entries.push(entry);
        }
        Ok(Node::Seq(entries))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
