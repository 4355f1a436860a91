//! YAML values that know their lines, for settings and scenarios alike, and mistakes in them.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Reads YAML text that stands in the file at `path`; none where it is empty.
///
/// # Errors
/// What is wrong with the text as YAML, with its line.
pub fn read(text: &str, path: &Path) -> Result<Option<Spanned<Node>>, Mistake> {
    serde_saphyr::from_str(text).map_err(|error| Mistake {
        place: error
            .location()
            .map_or_else(|| path.display().to_string(), |location| format!("{}:{}", path.display(), location.line())),
        key: String::new(),
        problem: format!("is not valid YAML: {}", first_line(&error.without_snippet().to_string())),
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// One thing that is wrong: where it stands, which key it is about, what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// `proxymgr.yml:7`, `environment variable PROXYMGR_STATE_DIR`, `--set`; empty where it stands nowhere.
    pub place: String,
    /// The key; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong, with the offending value, and what to do about it.
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

/// A YAML value whose parts know their lines.
#[derive(Debug, Clone)]
pub enum Node {
    /// Nothing.
    Null,
    /// A text, a number, true or false.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Spanned<Node>>),
    /// A map, in the order in which it was written.
    Map(Vec<(String, Spanned<Node>)>),
}

/// A single value, as YAML's core schema resolves it.
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
