//! Reads merged layers key by key, and collects all mistakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use proxymgr_yaml::Mistake;

use super::entry::Entry;
use super::key::{self, Key, Kind, LEVELS};
use super::value::{check_servers, choose, duration, joined, number, one_line, plain, shown};
use crate::http::Servers;

/// The value that turns something off.
const NONE: &str = "none";

/// Reads the merged layers.
pub struct Reader {
    figment: Figment,
    root: Value,
    mistakes: Vec<Mistake>,
    effective: BTreeMap<&'static str, String>,
}

impl Reader {
    /// A reader of the layers merged in `figment`. Reports unknown keys.
    pub fn new(figment: Figment) -> Self {
        let root = figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        let mut reader = Self { figment, root, mistakes: Vec::new(), effective: BTreeMap::new() };
        reader.report_unknown("", &reader.root.clone());
        reader
    }

    /// The mistakes, sorted by place; and the text of every value, for comparison.
    pub fn finish(mut self) -> (Vec<Mistake>, BTreeMap<&'static str, String>) {
        self.mistakes.sort_by(|a, b| natural(&a.place).cmp(&natural(&b.place)).then_with(|| a.cmp(b)));
        self.mistakes.dedup();
        (self.mistakes, self.effective)
    }

    /// Adds a mistake about a key, with the place of its value.
    pub fn refuse(&mut self, path: &str, problem: impl Into<String>) {
        let place = self.root.find_ref(path).map(|value| self.place(value, path)).unwrap_or_default();
        self.mistakes.push(Mistake { place, key: path.to_owned(), problem: problem.into() });
    }

    /// Adds a mistake about an entry of a list, counted from 0, with its place.
    pub fn refuse_line(&mut self, path: &str, at: usize, problem: impl Into<String>) {
        let value = self.root.find_ref(path);
        let entry = value.and_then(|value| value.as_array()?.get(at));
        let place = entry.map(|entry| self.place(entry, &format!("{path}.{at}"))).filter(|place| !place.is_empty());
        // In the environment and in flags, the list has a place, but its entries have none.
        let place = place.or_else(|| Some(self.place(value?, path))).unwrap_or_default();
        self.mistakes.push(Mistake { place, key: format!("{path}[{}]", at + 1), problem: problem.into() });
    }

    /// Whether the key is set: its value is not the default.
    pub fn is_set(&self, path: &str) -> bool {
        self.root.find_ref(path).is_some_and(|value| !self.place(value, path).is_empty())
    }

    /// A text of one line, if the key is set.
    pub fn text(&mut self, path: &'static str) -> Option<String> {
        let key = declared(path);
        let value = self.root.find_ref(path)?.clone();
        let result = one_line(&value).map_err(|problem| match key.kind {
            // A value of another type may still be the secret.
            Kind::Secret => "must be one line of text, in quotes".to_owned(),
            _ => problem,
        });
        self.keep(path, &value, result)
    }

    /// A path, if the key is set.
    pub fn path(&mut self, path: &'static str) -> Option<PathBuf> {
        let text = self.text(path)?;
        if text.is_empty() {
            self.refuse(path, "is empty; give a path, or remove the key");
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// A duration within the key's bounds.
    pub fn duration(&mut self, path: &'static str) -> Option<Duration> {
        let Kind::Duration { min, max } = declared(path).kind else { unreachable!("{path} is declared as a duration") };
        let value = self.root.find_ref(path)?.clone();
        let result = duration(&value, min, max);
        self.keep(path, &value, result)
    }

    /// A whole number within the key's bounds.
    pub fn number(&mut self, path: &'static str) -> Option<u64> {
        let Kind::Number { min, max } = declared(path).kind else { unreachable!("{path} is declared as a number") };
        let value = self.root.find_ref(path)?.clone();
        let result = number(&value)
            .and_then(|text| {
                text.parse::<u64>().map_err(|_| format!("{text} must be a whole number from {min} to {max}"))
            })
            .and_then(|number| match (min..=max).contains(&number) {
                true => Ok(number),
                false => Err(format!("{number} is out of bounds: from {min} to {max}")),
            });
        self.keep(path, &value, result)
    }

    /// A share from 0 to 1.
    pub fn share(&mut self, path: &'static str) -> Option<f64> {
        let value = self.root.find_ref(path)?.clone();
        let result = number(&value).and_then(|text| {
            let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| format!("{text} must be a share from 0 to 1, such as 0.5"))
        });
        self.keep(path, &value, result)
    }

    /// One of the key's choices, in lower case.
    pub fn choice(&mut self, path: &'static str) -> Option<&'static str> {
        let Kind::Choice(words) = declared(path).kind else { unreachable!("{path} is declared as a choice") };
        let value = self.root.find_ref(path)?.clone();
        let result = one_line(&value).and_then(|text| choose(&text, words));
        self.keep(path, &value, result)
    }

    /// `true` or `false`.
    pub fn switch(&mut self, path: &'static str) -> Option<bool> {
        let value = self.root.find_ref(path)?.clone();
        let result = match &value {
            Value::Bool(_, on) => Ok(*on),
            // In the environment and in flags, everything is text.
            other => match one_line(other).as_deref() {
                Ok("true") => Ok(true),
                Ok("false") => Ok(false),
                _ => Err(format!("{} must be true or false", shown(other))),
            },
        };
        self.keep(path, &value, result)
    }

    /// An address with a port; none if it is turned off.
    pub fn listen(&mut self, path: &'static str) -> Option<SocketAddr> {
        let value = self.root.find_ref(path)?.clone();
        let result = one_line(&value).and_then(|text| {
            if text == NONE {
                return Ok(None);
            }
            let example = "must be an address with a port, such as 127.0.0.1:8470 or [::1]:8470, or none";
            text.parse().map(Some).map_err(|_| format!("{text:?} {example}"))
        });
        self.keep(path, &value, result).flatten()
    }

    /// Lines of text. Each mistake has the place of its line.
    pub fn lines(&mut self, path: &'static str) -> Vec<String> {
        let Some(value) = self.root.find_ref(path).cloned() else { return Vec::new() };
        let entries = match &value {
            Value::Array(_, entries) => entries.clone(),
            Value::String(..) => vec![value.clone()],
            other => {
                self.refuse(path, format!("{} must be a list of lines, such as [\"maxconn 1000\"]", shown(other)));
                return Vec::new();
            }
        };
        let mut lines = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match one_line(entry) {
                Ok(line) => lines.push(line),
                Err(problem) => self.refuse_line(path, at, problem),
            }
        }
        self.effective.insert(path, lines.join("\n"));
        lines
    }

    /// `host:port`s, separated by commas or as a list, as one text.
    pub fn servers(&mut self, path: &'static str) -> Option<String> {
        let value = self.root.find_ref(path)?.clone();
        let result = joined(&value).and_then(|text| check_servers(&text).map(|()| text));
        self.keep(path, &value, result)
    }

    /// URLs of HTTP servers, separated by commas or as a list.
    pub fn urls(&mut self, path: &'static str) -> Option<Servers> {
        let value = self.root.find_ref(path)?.clone();
        let result = joined(&value).and_then(|text| text.parse());
        self.keep(path, &value, result)
    }

    /// A whole number within the key's bounds.
    pub fn count(&mut self, path: &'static str) -> Option<u32> {
        let Kind::Count { min, max } = declared(path).kind else { unreachable!("{path} is declared as a count") };
        let value = self.root.find_ref(path)?.clone();
        let text = shown(&value);
        let number = text.trim_matches('"').parse().ok().filter(|number| (min..=max).contains(number));
        let result = number.ok_or_else(|| format!("{text} must be a whole number from {min} to {max}"));
        self.keep(path, &value, result)
    }

    /// A level for each component.
    pub fn levels(&mut self, path: &'static str) -> BTreeMap<String, &'static str> {
        let Some(value) = self.root.find_ref(path).cloned() else { return BTreeMap::new() };
        let Value::Dict(_, entries) = &value else {
            self.refuse(path, format!("{} must be a map, such as {{haproxy: debug}}", shown(&value)));
            return BTreeMap::new();
        };
        let mut levels = BTreeMap::new();
        for (component, value) in entries {
            match one_line(value).and_then(|text| choose(&text, LEVELS)) {
                Ok(level) => drop(levels.insert(component.clone(), level)),
                Err(problem) => self.refuse(&format!("{path}.{component}"), problem),
            }
        }
        self.effective.insert(path, format!("{levels:?}"));
        levels
    }

    /// A list of maps. `read` reads the keys of each map; unread keys are reported.
    pub fn entries<T>(&mut self, path: &'static str, mut read: impl FnMut(&mut Entry<'_>) -> Option<T>) -> Vec<T> {
        let Some(value) = self.root.find_ref(path).cloned() else { return Vec::new() };
        self.effective.insert(path, format!("{:?}", plain(&value)));
        let Value::Array(_, values) = &value else {
            self.refuse(path, format!("{} must be a list of maps, such as [{{type: stdout}}]", shown(&value)));
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let Value::Dict(_, dict) = value else {
                self.refuse_line(path, at, format!("{} must be a map of keys", shown(value)));
                continue;
            };
            let mut entry = Entry::new(self, path, at, dict.clone());
            entries.extend(read(&mut entry));
            entry.finish();
        }
        entries
    }

    /// Adds a mistake about a key of an entry of a list of maps, with the place of its value, or else of the entry.
    pub(super) fn refuse_entry(
        &mut self,
        path: &'static str,
        at: usize,
        value: Option<&Value>,
        name: &str,
        problem: impl Into<String>,
    ) {
        let own = value.map(|value| self.place(value, &format!("{path}.{at}.{name}")));
        let list = self.root.find_ref(path);
        let entry = || {
            let entry = list.and_then(|list| list.as_array()?.get(at));
            entry.map(|entry| self.place(entry, &format!("{path}.{at}")))
        };
        let known = |place: &String| !place.is_empty();
        let place = own.filter(known).or_else(|| entry().filter(known));
        let place = place.or_else(|| list.map(|list| self.place(list, path))).unwrap_or_default();
        let key = format!("{path}[{}].{name}", at + 1);
        self.mistakes.push(Mistake { place, key, problem: problem.into() });
    }

    fn keep<T>(&mut self, path: &'static str, value: &Value, result: Result<T, String>) -> Option<T> {
        self.effective.insert(path, shown(value));
        result.map_err(|problem| self.refuse(path, problem)).ok()
    }

    fn place(&self, value: &Value, path: &str) -> String {
        let keys: Vec<&str> = path.split('.').collect();
        self.figment.get_metadata(value.tag()).map(|of| of.interpolate(&Profile::Default, &keys)).unwrap_or_default()
    }

    fn report_unknown(&mut self, path: &str, value: &Value) {
        let known = path.is_empty() || key::is_section(path);
        match value {
            _ if key::governing(path).is_some() => {}
            Value::Dict(_, entries) if known => {
                for (name, value) in entries {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.report_unknown(&below, value);
                }
            }
            _ if known => {
                let problem = format!("{} must be a map of keys", shown(value));
                self.mistakes.push(Mistake { place: self.place(value, path), key: path.to_owned(), problem });
            }
            _ => {
                let place = self.unknown_place(value, path);
                let problem = match key::nearest(path) {
                    Some(near) => format!("is not a key; did you mean {near}?"),
                    None => "is not a key; docs/settings.md lists all keys".to_owned(),
                };
                self.mistakes.push(Mistake { place, key: path.to_owned(), problem });
            }
        }
    }

    /// In the environment, a map has no place of its own: it gets that of its first value.
    fn unknown_place(&self, value: &Value, path: &str) -> String {
        let place = self.place(value, path);
        match value {
            Value::Dict(_, entries) if place.is_empty() => entries
                .iter()
                .next()
                .map(|(name, below)| self.unknown_place(below, &format!("{path}.{name}")))
                .unwrap_or_default(),
            _ => place,
        }
    }
}

fn declared(path: &'static str) -> &'static Key {
    key::find(path).expect("every key that is read is in the table")
}

/// A sort key that puts line 10 after line 9.
fn natural(place: &str) -> (String, u64) {
    match place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
        Some((file, line)) => (file.to_owned(), line),
        None => (place.to_owned(), 0),
    }
}
