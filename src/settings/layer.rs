//! The layers of settings, each a figment provider that knows the places of its values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use proxymgr_actors::decide::text::text_from;
use proxymgr_yaml::{self as yaml, Mistake, Node, Scalar};
use serde_saphyr::Spanned;

use super::key::{self, KEYS, Kind, Unset};
use super::template_code;

/// The prefix of environment variables that are settings.
pub const ENVIRONMENT_PREFIX: &str = "PROXYMGR_";

/// Values by their path, each with its place.
#[derive(Debug, Default)]
pub struct Layer {
    name: &'static str,
    dict: Dict,
    /// The place of each path, including entries of lists (`haproxy.global.2`).
    places: Arc<BTreeMap<String, String>>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let places = Arc::clone(&self.places);
        Metadata::named(self.name)
            .interpolater(move |_: &Profile, keys: &[&str]| places.get(&keys.join(".")).cloned().unwrap_or_default())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    /// The defaults of the table.
    pub fn defaults() -> Self {
        let mut layer = Self { name: "defaults", ..Self::default() };
        for key in KEYS {
            let value = match key.default {
                Unset::Text(text) => Value::from(text),
                Unset::Empty if matches!(key.kind, Kind::Levels) => Value::from(Dict::new()),
                Unset::Empty => Value::from(Vec::<Value>::new()),
                Unset::Otherwise(_) => continue,
            };
            insert(&mut layer.dict, key.path, value);
        }
        layer
    }

    /// The YAML file at `path`.
    pub fn file(path: &Path) -> Result<Self, Mistake> {
        let whole = |problem: String| Mistake { place: path.display().to_string(), key: String::new(), problem };
        let bytes = std::fs::read(path).map_err(|error| {
            whole(format!("cannot be read: {error}; set the settings file with -c (`proxymgr demo` needs none)"))
        })?;
        let text = text_from(&bytes).map_err(|error| whole(format!("cannot be read: {error}")))?;
        Self::yaml(text, path)
    }

    /// The YAML text of the file at `path`.
    pub fn yaml(text: &str, path: &Path) -> Result<Self, Mistake> {
        if let Some(mistake) = template_code::mistake(text, path) {
            return Err(mistake);
        }
        let root = yaml::read(text, path)?;
        let mut layer = Self { name: "file", ..Self::default() };
        let Some(root) = root else { return Ok(layer) };
        let line = root.referenced.line();
        let Node::Map(entries) = root.value else {
            let place = format!("{}:{line}", path.display());
            let problem = "the file must be a map of sections, such as `haproxy:`".to_owned();
            return Err(Mistake { place, key: String::new(), problem });
        };
        let mut lines = Lines { path: path.to_owned(), places: BTreeMap::new() };
        layer.dict = lines.dict("", entries);
        layer.places = Arc::new(lines.places);
        Ok(layer)
    }

    /// The environment: `PROXYMGR_HAPROXY__SOCKET_PATH` sets `haproxy.socket_path`. Returns the ignored names as well:
    /// Kubernetes sets variables such as `PROXYMGR_PORT` for a service of this name.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> (Self, Vec<String>) {
        let mut ignored = Vec::new();
        let mut settings = Vec::new();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let path = path.replace("__", ".").to_ascii_lowercase();
            if path.contains('.') || key::find(&path).is_some() || key::is_flattened(&path) {
                settings.push((path, value, format!("environment variable {name}")));
            } else {
                ignored.push(name);
            }
        }
        ignored.sort();
        (Self::texts("environment", settings), ignored)
    }

    /// Texts, each with its path and place.
    pub fn texts(name: &'static str, settings: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let mut layer = Self { name, ..Self::default() };
        let mut places = BTreeMap::new();
        for (path, text, place) in settings {
            let path = canonical(&path);
            let value = match key::governing(&path).map(|key| key.kind) {
                Some(Kind::Lines | Kind::Levels | Kind::Entries) if !path.starts_with("log.levels.") => flow(&text),
                _ => Value::from(text),
            };
            insert(&mut layer.dict, &path, value);
            places.insert(path, place);
        }
        layer.places = Arc::new(places);
        layer
    }
}

/// A list or map on one line, such as `[maxconn 100, nbthread 2]`; anything else is one text.
fn flow(text: &str) -> Value {
    if text.starts_with(['[', '{'])
        && let Ok(node) = serde_saphyr::from_str::<Spanned<Node>>(text)
    {
        return Lines { path: PathBuf::new(), places: BTreeMap::new() }.value("", node);
    }
    Value::from(text)
}

/// The current path of an alias.
fn canonical(path: &str) -> String {
    key::ALIASES.iter().find(|(alias, _)| *alias == path).map_or(path, |(_, path)| path).to_owned()
}

fn insert(dict: &mut Dict, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        dict.insert(path.to_owned(), value);
        return;
    };
    let below = dict.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if !matches!(below, Value::Dict(..)) {
        *below = Value::from(Dict::new());
    }
    if let Value::Dict(_, below) = below {
        insert(below, rest, value);
    }
}

/// Converts YAML nodes to figment's values, and collects their places.
struct Lines {
    path: PathBuf,
    places: BTreeMap<String, String>,
}

impl Lines {
    fn dict(&mut self, below: &str, entries: Vec<(String, Spanned<Node>)>) -> Dict {
        let mut dict = Dict::new();
        for (name, node) in entries {
            let path = canonical(&if below.is_empty() { name } else { format!("{below}.{name}") });
            // A key without a value is not set.
            if !matches!(node.value, Node::Null) || key::governing(&path).is_none() && !key::is_section(&path) {
                let within = path.strip_prefix(below).unwrap_or(&path).trim_start_matches('.').to_owned();
                let value = self.value(&path, node);
                insert(&mut dict, &within, value);
            }
        }
        dict
    }

    fn value(&mut self, path: &str, node: Spanned<Node>) -> Value {
        self.places.insert(path.to_owned(), format!("{}:{}", self.path.display(), node.referenced.line()));
        match node.value {
            Node::Null => Value::from("null"),
            Node::Scalar(scalar) => figment_value(scalar),
            Node::Map(entries) => Value::from(self.dict(path, entries)),
            Node::Seq(entries) => {
                let values = entries.into_iter().enumerate();
                Value::from(values.map(|(at, entry)| self.value(&format!("{path}.{at}"), entry)).collect::<Vec<_>>())
            }
        }
    }
}

fn figment_value(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Bool(truth) => truth.into(),
        Scalar::Negative(number) => number.into(),
        Scalar::Whole(number) => number.into(),
        Scalar::Float(number) => number.into(),
        Scalar::Text(text) => text.into(),
    }
}
