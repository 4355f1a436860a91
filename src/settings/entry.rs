//! One entry of a list of maps (`outputs: [{type: template, ...}]`), read key by key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use proxymgr_actors::decide::nearest::nearest;

use super::reader::Reader;
use super::value::{choose, duration, number, one_line, shown};
use crate::secret::Secret;

/// An entry that is being read. Every key that is read counts as known; [`Entry::finish`] reports the remaining keys.
pub struct Entry<'a> {
    reader: &'a mut Reader,
    list: &'static str,
    at: usize,
    dict: Dict,
    known: BTreeSet<&'static str>,
}

impl<'a> Entry<'a> {
    /// The entry at `at`, counted from 0, of the list at `list`.
    pub(super) fn new(reader: &'a mut Reader, list: &'static str, at: usize, dict: Dict) -> Self {
        Self { reader, list, at, dict, known: BTreeSet::new() }
    }

    /// Adds a mistake about a key of the entry, with the place of its value.
    pub fn refuse(&mut self, name: &str, problem: impl Into<String>) {
        self.reader.refuse_entry(self.list, self.at, self.dict.get(name), name, problem);
    }

    /// A text of one line, if the key is set.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, one_line)
    }

    /// A text that is never shown, if the key is set.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.read(name, |value| match one_line(value) {
            Ok(text) => Ok(Secret::from(text)),
            // A value of another type may still be the secret.
            Err(_) => Err("must be one line of text, in quotes".to_owned()),
        })
    }

    /// An absolute path, if the key is set.
    pub fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.read(name, |value| {
            let path = PathBuf::from(one_line(value)?);
            if path.is_absolute() { Ok(path) } else { Err(format!("{} must be an absolute path", shown(value))) }
        })
    }

    /// One of these words, if the key is set.
    pub fn choice(&mut self, name: &'static str, words: &'static [&'static str]) -> Option<&'static str> {
        self.read(name, |value| one_line(value).and_then(|text| choose(&text, words)))
    }

    /// `true` or `false`; `false` if the key is not set.
    pub fn flag(&mut self, name: &'static str) -> bool {
        let flag = self.read(name, |value| match value {
            Value::Bool(_, flag) => Ok(*flag),
            other => Err(format!("{} must be true or false", shown(other))),
        });
        flag.unwrap_or_default()
    }

    /// A duration within these bounds; `unset` if the key is not set.
    pub fn duration(&mut self, name: &'static str, unset: Duration, min: Duration, max: Duration) -> Option<Duration> {
        if !self.dict.contains_key(name) {
            self.known.insert(name);
            return Some(unset);
        }
        self.read(name, |value| duration(value, min, max))
    }

    /// A list of texts, or a single text, if the key is set.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.read(name, |value| match value {
            Value::Array(_, entries) => entries.iter().map(one_line).collect(),
            other => one_line(other).map(|text| vec![text]),
        })
    }

    /// A list of values, or a single value, each parsed from its text, if the key is set. Numbers need no quotes.
    pub fn list<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let text = |value: &Value| match value {
            Value::Num(..) => Ok(shown(value)),
            other => one_line(other),
        };
        let parsed = |value: &Value| text(value).and_then(|text| parse(text.trim()));
        self.read(name, |value| match value {
            Value::Array(_, entries) => entries.iter().map(parsed).collect(),
            other => parsed(other).map(|entry| vec![entry]),
        })
    }

    /// A whole number from 0 to `max`, if the key is set.
    pub fn count(&mut self, name: &'static str, max: usize) -> Option<usize> {
        self.read(name, |value| {
            let text = number(value)?;
            let count = text.parse().ok().filter(|count| *count <= max);
            count.ok_or_else(|| format!("{text} must be a whole number from 0 to {max}"))
        })
    }

    /// Whether the key has a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.dict.contains_key(name)
    }

    /// Adds a mistake if a required key has no value. An invalid value was reported already.
    pub fn need(&mut self, name: &'static str, example: &str) {
        if !self.is_set(name) {
            self.refuse(name, format!("is missing; for example {example}"));
        }
    }

    /// Reports every unknown key.
    pub fn finish(mut self) {
        let unknown: Vec<String> = self.dict.keys().filter(|key| !self.known.contains(key.as_str())).cloned().collect();
        for key in unknown {
            let problem = match nearest(&key, self.known.iter().copied()) {
                Some(near) => format!("is not a key here; did you mean {near}?"),
                None => format!("is not a key here: {}", self.known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.refuse(&key, problem);
        }
    }

    fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        self.known.insert(name);
        let value = self.dict.get(name)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(name, problem);
                None
            }
        }
    }
}
