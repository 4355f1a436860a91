//! One entry of a list of maps (`outputs: [{type: template, ...}]`), read key by key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use proxymgr_actors::decide::nearest::nearest;

use super::Secret;
use super::reader::{Reader, choose, duration, one_line, shown};

/// An entry being read. Every key that is asked for is known by that; [`Entry::finish`] reports the others.
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

    /// Adds a mistake about one key of the entry, at the place where its value stands.
    pub fn refuse(&mut self, name: &str, problem: impl Into<String>) {
        self.reader.refuse_entry(self.list, self.at, self.dict.get(name), name, problem);
    }

    /// A text of one line; none where the key is not set.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, one_line)
    }

    /// A text that no message shows; none where the key is not set.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.read(name, |value| match one_line(value) {
            Ok(text) => Ok(Secret(text)),
            // What is not a text may still be the secret.
            Err(_) => Err("must be one line of text, in quotes".to_owned()),
        })
    }

    /// An absolute path; none where the key is not set.
    pub fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.read(name, |value| {
            let path = PathBuf::from(one_line(value)?);
            if path.is_absolute() { Ok(path) } else { Err(format!("{} must be an absolute path", shown(value))) }
        })
    }

    /// One of these words; none where the key is not set.
    pub fn choice(&mut self, name: &'static str, words: &'static [&'static str]) -> Option<&'static str> {
        self.read(name, |value| one_line(value).and_then(|text| choose(&text, words)))
    }

    /// Yes or no; no where the key is not set.
    pub fn flag(&mut self, name: &'static str) -> bool {
        let flag = self.read(name, |value| match value {
            Value::Bool(_, flag) => Ok(*flag),
            other => Err(format!("{} must be true or false", shown(other))),
        });
        flag.unwrap_or_default()
    }

    /// A duration within these bounds; `unset` where the key is not set.
    pub fn duration(&mut self, name: &'static str, unset: Duration, min: Duration, max: Duration) -> Option<Duration> {
        if !self.dict.contains_key(name) {
            self.known.insert(name);
            return Some(unset);
        }
        self.read(name, |value| duration(value, min, max))
    }

    /// A list of texts, or one text alone; none where the key is not set.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.read(name, |value| match value {
            Value::Array(_, entries) => entries.iter().map(one_line).collect(),
            other => one_line(other).map(|text| vec![text]),
        })
    }

    /// Whether the key has a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.dict.contains_key(name)
    }

    /// Adds a mistake where a key that is needed has no value; one that cannot be used was reported already.
    pub fn need(&mut self, name: &'static str, example: &str) {
        if !self.is_set(name) {
            self.refuse(name, format!("is missing; for example {example}"));
        }
    }

    /// Reports every key that nobody asked for.
    pub fn finish(mut self) {
        let strange: Vec<String> = self.dict.keys().filter(|key| !self.known.contains(key.as_str())).cloned().collect();
        for key in strange {
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
