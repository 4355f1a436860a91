//! Reads values of the scenario's types from YAML, so that every mistake has its line, its key and a suggestion.

use std::fmt;

use proxymgr_actors::decide::nearest::nearest;
use proxymgr_yaml::{Node, Scalar};
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde_saphyr::Spanned;

/// A mistake and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1; 0 until it is known.
    pub line: u64,
    /// Keys on the path to the value, outermost first.
    pub path: Vec<String>,
    /// Description of the mistake.
    pub problem: String,
    /// The valid names, if the mistake is an unknown name.
    pub known: Vec<String>,
}

impl Wrong {
    /// Creates a mistake in this line.
    pub fn at(line: u64, problem: impl Into<String>) -> Self {
        Self { line, path: Vec::new(), problem: problem.into(), known: Vec::new() }
    }

    /// Creates the mistake of an unknown name.
    pub fn unknown<'a>(line: u64, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known = known.into_iter().map(ToOwned::to_owned).collect();
        Self { line, path: vec![name.to_owned()], problem: String::new(), known }
    }

    /// Prepends this key to the path.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    fn on_line(mut self, line: u64) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.known.is_empty() {
            return f.write_str(&self.problem);
        }
        let name = self.path.last().map(String::as_str).unwrap_or_default();
        match nearest(name, self.known.iter().map(String::as_str)) {
            Some(near) => write!(f, "is not known; did you mean {near}?"),
            None => write!(f, "is not known; there are {}", self.known.join(", ")),
        }
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::at(0, problem.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::at(0, format!("must be {wanted}, not {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::at(0, format!("must be {wanted}, not {found}"))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown(0, name, known.iter().copied())
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown(0, name, known.iter().copied())
    }

    fn missing_field(name: &'static str) -> Self {
        Self::at(0, format!("{name} is missing"))
    }
}

/// Reads a value of type `T`.
pub fn read<T: DeserializeOwned>(node: &Spanned<Node>) -> Result<T, Wrong> {
    T::deserialize(Reader { node, key: None })
}

/// Reads the variant `name` of an enum, with its value.
pub fn read_variant<T: DeserializeOwned>(name: &str, node: &Spanned<Node>) -> Result<T, Wrong> {
    T::deserialize(VariantReader { name, node: Some(node), line: line_of(node) })
}

/// Returns the line of a node, from 1.
pub fn line_of(node: &Spanned<Node>) -> u64 {
    node.referenced.line()
}

/// Deserializer of a node, with the key of the node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Spanned<Node>,
    key: Option<&'a str>,
}

impl Reader<'_> {
    fn placed<T>(self, read: Result<T, Wrong>) -> Result<T, Wrong> {
        read.map_err(|wrong| {
            let wrong = wrong.on_line(line_of(self.node));
            self.key.map_or(wrong.clone(), |key| wrong.within(key))
        })
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.placed(match &self.node.value {
            Node::Null => visitor.visit_unit(),
            Node::Scalar(value) => scalar(value, visitor),
            Node::Seq(entries) => {
                let entries = entries.iter().map(|node| Reader { node, key: None });
                visitor.visit_seq(SeqDeserializer::new(entries))
            }
            Node::Map(entries) => visitor.visit_map(Entries { left: entries }),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.node.value {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let line = line_of(self.node);
        self.placed(match &self.node.value {
            Node::Scalar(Scalar::Text(name)) => visitor.visit_enum(VariantReader { name, node: None, line }),
            Node::Map(entries) if entries.len() == 1 => {
                let (name, node) = &entries[0];
                visitor.visit_enum(VariantReader { name, node: Some(node), line })
            }
            _ => Err(Wrong::at(line, format!("must be one of {}", variants.join(", ")))),
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Iterator over the entries of a map.
struct Entries<'a> {
    left: &'a [(String, Spanned<Node>)],
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((name, node)) = self.left.first() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some).map_err(|wrong: Wrong| wrong.on_line(line_of(node)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let Some(((name, node), left)) = self.left.split_first() else {
            return Err(Wrong::at(0, "has a key without a value"));
        };
        self.left = left;
        seed.deserialize(Reader { node, key: Some(name) })
    }
}

/// Deserializer of one enum variant: `name`, or `name: value`.
struct VariantReader<'a> {
    name: &'a str,
    node: Option<&'a Spanned<Node>>,
    line: u64,
}

impl<'a> VariantReader<'a> {
    fn value(&self) -> Result<Reader<'a>, Wrong> {
        let node = self.node.ok_or_else(|| Wrong::at(self.line, "needs a value").within(self.name))?;
        Ok(Reader { node, key: Some(self.name) })
    }
}

impl<'de> Deserializer<'de> for VariantReader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for VariantReader<'de> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Wrong> {
        let variant = seed.deserialize(StrDeserializer::new(self.name));
        Ok((variant.map_err(|wrong: Wrong| wrong.on_line(self.line))?, self))
    }
}

impl<'de> VariantAccess<'de> for VariantReader<'de> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        match self.node {
            Some(node) if !matches!(node.value, Node::Null) => {
                Err(Wrong::at(line_of(node), "takes no value").within(self.name))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Wrong> {
        seed.deserialize(self.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.value()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        self.value()?.deserialize_any(visitor)
    }
}

fn scalar<'de, V: Visitor<'de>>(value: &Scalar, visitor: V) -> Result<V::Value, Wrong> {
    match value {
        Scalar::Bool(truth) => visitor.visit_bool(*truth),
        Scalar::Whole(number) => visitor.visit_u64(*number),
        Scalar::Negative(number) => visitor.visit_i64(*number),
        Scalar::Float(number) => visitor.visit_f64(*number),
        Scalar::Text(text) => visitor.visit_str(text),
    }
}
