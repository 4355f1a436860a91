//! Reads merged layers key by key, and collects every mistake instead of stopping at the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use proxymgr_actors::decide::nearest::nearest;
use proxymgr_yaml::Mistake;

use super::entry::Entry;
use super::key::{self, Key, Kind, LEVELS};
use crate::discovery::http::Servers;

/// The word that turns off what can be turned off.
const NONE: &str = "none";

/// The merged layers being read.
pub struct Reader {
    figment: Figment,
    root: Value,
    mistakes: Vec<Mistake>,
    effective: BTreeMap<&'static str, String>,
}

impl Reader {
    /// Takes the layers merged in `figment`, and reports every key that is none.
    pub fn new(figment: Figment) -> Self {
        let root = figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        let mut reader = Self { figment, root, mistakes: Vec::new(), effective: BTreeMap::new() };
        reader.report_unknown("", &reader.root.clone());
        reader
    }

    /// What was wrong, in the order of the places where it stands; and every value, for comparison.
    pub fn finish(mut self) -> (Vec<Mistake>, BTreeMap<&'static str, String>) {
        self.mistakes.sort_by(|a, b| natural(&a.place).cmp(&natural(&b.place)).then_with(|| a.cmp(b)));
        self.mistakes.dedup();
        (self.mistakes, self.effective)
    }

    /// Adds a mistake about this key, at the place where its value stands.
    pub fn refuse(&mut self, path: &str, problem: impl Into<String>) {
        let place = self.root.find_ref(path).map(|value| self.place(value, path)).unwrap_or_default();
        self.mistakes.push(Mistake { place, key: path.to_owned(), problem: problem.into() });
    }

    /// Adds a mistake about one entry of a list, counted from 0, at the place where it stands.
    pub fn refuse_line(&mut self, path: &str, at: usize, problem: impl Into<String>) {
        let value = self.root.find_ref(path);
        let entry = value.and_then(|value| value.as_array()?.get(at));
        let place = entry.map(|entry| self.place(entry, &format!("{path}.{at}"))).filter(|place| !place.is_empty());
        // In the environment and in flags the list has a place, its entries have not.
        let place = place.or_else(|| Some(self.place(value?, path))).unwrap_or_default();
        self.mistakes.push(Mistake { place, key: format!("{path}[{}]", at + 1), problem: problem.into() });
    }

    /// Whether someone other than the table of keys gave this key a value.
    pub fn is_set(&self, path: &str) -> bool {
        self.root.find_ref(path).is_some_and(|value| !self.place(value, path).is_empty())
    }

    /// A text of one line, or none where the key is not set.
    pub fn text(&mut self, path: &'static str) -> Option<String> {
        let key = declared(path);
        let value = self.root.find_ref(path)?.clone();
        let result = one_line(&value).map_err(|problem| match key.kind {
            // What is not a text may still be the secret.
            Kind::Secret => "must be one line of text, in quotes".to_owned(),
            _ => problem,
        });
        self.keep(path, &value, result)
    }

    /// A path, or none where the key is not set.
    pub fn path(&mut self, path: &'static str) -> Option<PathBuf> {
        let text = self.text(path)?;
        if text.is_empty() {
            self.refuse(path, "is empty; give a path, or leave the key out");
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
        let result = figure(&value)
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
        let result = figure(&value).and_then(|text| {
            let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| format!("{text} must be a share from 0 to 1, such as 0.5"))
        });
        self.keep(path, &value, result)
    }

    /// One of the key's words, in lower case.
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
            // From the environment and from flags everything is text.
            other => match one_line(other).as_deref() {
                Ok("true") => Ok(true),
                Ok("false") => Ok(false),
                _ => Err(format!("{} must be true or false", shown(other))),
            },
        };
        self.keep(path, &value, result)
    }

    /// An address with a port; none where it is turned off.
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

    /// Lines of text. Each mistake names the line's own place.
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

    /// Maps of keys, one an entry. `read` takes what it knows from each; what it leaves is reported.
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

    /// Adds a mistake about one key of an entry of a list of maps, at the place where its value stands, else the entry.
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
                    None => "is not a key; config/proxymgr.yml explains all there are".to_owned(),
                };
                self.mistakes.push(Mistake { place, key: path.to_owned(), problem });
            }
        }
    }

    /// A map has no place of its own in the environment: the first thing in it stands for it.
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
    key::find(path).expect("every key that is read stands in the table")
}

/// Puts line 10 after line 9.
fn natural(place: &str) -> (String, u64) {
    match place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
        Some((file, line)) => (file.to_owned(), line),
        None => (place.to_owned(), 0),
    }
}

/// A value without the places where its parts stand, so that moving it is no change.
fn plain(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A value as the operator wrote it, as far as figment kept it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, char) => char.to_string(),
        Value::Bool(_, bool) => bool.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a map".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

pub(super) fn one_line(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_, text) => match text.chars().find(|c| c.is_control() && *c != '\t') {
            None => Ok(text.clone()),
            Some('\n' | '\r') => Err(format!("{text:?} must be a single line; write one entry for each line")),
            Some(control) => Err(format!("{text:?} contains the control character {control:?}")),
        },
        Value::Num(..) | Value::Bool(..) => Err(format!("{} must be text: write it in quotes", shown(value))),
        other => Err(format!("{} must be one line of text", shown(other))),
    }
}

/// The text of a number, whether it was written in quotes or without.
fn figure(value: &Value) -> Result<String, String> {
    match value {
        Value::Num(..) => Ok(shown(value)),
        Value::String(_, text) => Ok(text.trim().to_owned()),
        other => Err(format!("{} must be a number", shown(other))),
    }
}

pub(super) fn duration(value: &Value, min: Duration, max: Duration) -> Result<Duration, String> {
    const UNITS: &str = "with a unit, such as 500ms, 2s or 1m";
    let text = match value {
        Value::Num(..) => shown(value),
        other => one_line(other).map_err(|_| format!("{} must be a duration {UNITS}", shown(other)))?,
    };
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text} has no unit: write {text}s or {text}ms"));
    }
    let duration = humantime::parse_duration(text.trim()).map_err(|_| format!("{text:?} is not a duration {UNITS}"))?;
    if duration < min || duration > max {
        let show = humantime::format_duration;
        return Err(format!("{} is out of bounds: from {} to {}", show(duration), show(min), show(max)));
    }
    Ok(duration)
}

pub(super) fn choose(text: &str, words: &'static [&'static str]) -> Result<&'static str, String> {
    let lower = text.to_ascii_lowercase();
    // Both are written everywhere.
    let lower = if lower == "warn" { "warning" } else { &lower };
    words.iter().find(|word| **word == lower).copied().ok_or_else(|| {
        let near = nearest(lower, words.iter().copied());
        let hint = near.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        format!("{text:?} must be one of {}{hint}", words.join(", "))
    })
}

/// A list, or a text with commas, as a text with commas.
fn joined(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Array(_, entries) => entries.iter().map(one_line).collect::<Result<Vec<_>, _>>()?.join(","),
        other => one_line(other)?,
    };
    Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// `host:port,host:port`, where the last may carry a chroot (`/chroot`).
pub(super) fn check_servers(text: &str) -> Result<(), String> {
    let (servers, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
    if chroot.contains(',') {
        return Err(format!("{text:?}: a chroot such as /x stands once, after the last server"));
    }
    for server in servers.split(',') {
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') || host.ends_with("]:") => (host, Some(port)),
            _ => (server, None),
        };
        proxymgr_actors::model::Address::parse(host)
            .map_err(|error| format!("{text:?} must be host:port, separated by commas: {error}"))?;
        if port.is_some_and(|port| port.parse::<std::num::NonZeroU16>().is_err()) {
            return Err(format!("{text:?}: the port of {server:?} must be a number from 1 to 65535"));
        }
    }
    Ok(())
}
