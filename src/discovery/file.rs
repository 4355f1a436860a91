//! Hosts from a text file with one host per line, and definitions from a directory of JSON and YAML files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::proxym_service;
use proxymgr_actors::decide::text::{NO_DATA, is_blank, json_from};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, RawDefinition, SourceSpec};
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use proxymgr_yaml::Invalid;
use serde_json::Value;
use slog::Logger;

use super::directory_watch::DirectoryWatches;
use super::file_roots::FileRoots;
use super::settings::required;
pub use super::watched_files::FileText;
use super::watched_files::{FileFilter, FileWatch, read_file};

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] = &[key(
    "path",
    "path",
    "A file with one `host:port` per line, below `discovery.file_root`; a relative path begins there. `file`, as in the Ruby ProxyMgr, is the same key. Required.",
)];

/// Watches the file that the definition names.
pub(super) fn open(
    spec: &SourceSpec,
    roots: &Arc<FileRoots>,
    watches: &DirectoryWatches,
    options: &Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
) -> Result<FileWatch, String> {
    let path: PathBuf = required(spec, "path", "the file that lists the hosts, one per line")?;
    let path = roots.path_of(&path)?;
    let Some(name) = path.file_name().map(OsStr::to_owned) else {
        return Err(format!("\"path\" is {path:?}, which is not the path of a file"));
    };
    let directory = directory_of(&path);
    let options = options.clone();
    Ok(FileWatch::start(
        directory,
        FileFilter::One(name.clone(), roots.clone()),
        |_, text| text,
        watches,
        move |snapshot, seen_at| {
            let text = snapshot.and_then(|files| files.get(&name).cloned().unwrap_or_else(|| Err(absent(&path))));
            let result = text.map(|text| read_hosts(&path, &text, &options));
            watcher.do_send(HostsSeen::watched(result, seen_at));
        },
    ))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn absent(path: &Path) -> String {
    format!("{} does not exist; create an empty file for a service without hosts", path.display())
}

/// The hosts of a file. The key of a line is the host's endpoint, or its number. No message repeats its text, which may
/// be a secret: the author of a definition chooses the file.
pub(super) fn read_hosts(path: &Path, text: &str, options: &OptionPolicy) -> Vec<SeenHost> {
    let mut first_lines: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut hosts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let place = format!("{}, line {number}", path.display());
        let seen = match host_record::from_line(line, options) {
            Ok(None) => continue,
            Ok(Some(record)) => {
                let key: Arc<str> = record.host.endpoint.to_string().into();
                match first_lines.get(&key) {
                    Some(first) => {
                        let error = format!("{place}: {key} is a duplicate of line {first}");
                        SeenHost { key: format!("{key} (line {number})").into(), record: Err(error) }
                    }
                    None => {
                        first_lines.insert(key.clone(), number);
                        SeenHost::of_record(key, Ok(record))
                    }
                }
            }
            // The key is the endpoint at the beginning of the line, so that the last good host stays.
            Err(error) => {
                let endpoint = host_record::endpoint_in_line(line).map(|endpoint| endpoint.to_string());
                let key = endpoint.unwrap_or_else(|| format!("line {number}"));
                SeenHost { key: key.into(), record: Err(format!("{place}: {error}")) }
            }
        };
        hosts.push(seen);
    }
    hosts
}

/// The definitions in a directory: one per file `*.json`, `*.yml` or `*.yaml`, named after the file.
pub struct FileDefinitions {
    directory: PathBuf,
    watches: DirectoryWatches,
}

impl FileDefinitions {
    /// The definitions in this directory.
    pub fn new(directory: PathBuf, log: &Logger) -> Self {
        Self { directory, watches: DirectoryWatches::new(log) }
    }
}

impl DefinitionSource for FileDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let report = move |snapshot: Result<&BTreeMap<OsString, NamedDefinition>, String>, _| {
            let result = snapshot.map(|files| with_rivals(files.values().cloned()));
            let hint = |error| format!("{error}; it must contain the service definitions, one per file");
            reader.do_send(DefinitionsSeen::plain(result.map_err(hint)));
        };
        let (directory, filter) = (self.directory.clone(), FileFilter::Each(is_definition));
        Box::new(FileWatch::start(directory, filter, read_definition, &self.watches, report))
    }
}

/// Temporary files of editors have another ending (`web.json~`, `.swp`, `.tmp`) or are hidden.
fn is_definition(name: &OsStr) -> bool {
    let path = Path::new(name);
    let hidden = name.as_encoded_bytes().starts_with(b".");
    !hidden && path.extension().is_some_and(|extension| ["json", "yml", "yaml"].iter().any(|known| extension == *known))
}

/// The definition in a file, and the name of its service: that of the file, unless the definition contains one (services of
/// proxym do).
pub(super) type NamedDefinition = (Arc<str>, RawDefinition);

/// The definitions of these files by the names of their services, each with its rivals.
pub fn by_name(files: impl IntoIterator<Item = (PathBuf, FileText)>) -> BTreeMap<Arc<str>, RawDefinition> {
    with_rivals(files.into_iter().map(|(path, text)| read_definition(&path, text)))
}

fn with_rivals(named: impl IntoIterator<Item = NamedDefinition>) -> BTreeMap<Arc<str>, RawDefinition> {
    let mut definitions: BTreeMap<Arc<str>, RawDefinition> = BTreeMap::new();
    for (name, definition) in named {
        match definitions.entry(name) {
            Entry::Vacant(free) => drop(free.insert(definition)),
            Entry::Occupied(mut first) => first.get_mut().rivals.push(definition),
        }
    }
    definitions
}

/// Reads the file of a definition, or all of a directory, once.
///
/// # Errors
/// The directory cannot be read.
pub fn read_files(path: &Path) -> io::Result<Vec<(PathBuf, FileText)>> {
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        paths = entries.iter().filter(|entry| is_definition(&entry.file_name())).map(|entry| entry.path()).collect();
        paths.sort();
    }
    Ok(paths.into_iter().map(|path| (path.clone(), read_file(&path))).collect())
}

pub(super) fn read_definition(path: &Path, text: FileText) -> NamedDefinition {
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into();
    let (name, definition) = match text {
        Ok(text) => parse_definition(path, text),
        Err(error) => (None, unusable(path, &error)),
    };
    (name.map_or_else(stem, Arc::from), definition)
}

fn parse_definition(path: &Path, text: Arc<str>) -> (Option<String>, RawDefinition) {
    let origin = path.display().to_string();
    let is_json = path.extension() == Some(OsStr::new("json"));
    match if is_json { json_from(&text) } else { yaml_from(&text) } {
        Ok(value) => match proxym_service::read(&value) {
            Some(Ok(service)) => (Some(service.name), RawDefinition::new(service.keys.to_string(), origin)),
            Some(Err(error)) => (None, unusable(path, &error)),
            None if is_json => (None, RawDefinition::new(text, origin)),
            None => (None, RawDefinition::new(value.to_string(), origin)),
        },
        Err(error) => (None, unusable(path, &error)),
    }
}

fn yaml_from(text: &str) -> Result<Value, String> {
    if is_blank(text) {
        return Err(NO_DATA.to_owned());
    }
    match proxymgr_yaml::parse::<Value>(text) {
        // Only comments.
        Ok(Value::Null) => Err(NO_DATA.to_owned()),
        Ok(value) => Ok(value),
        Err(Invalid { line: Some(line), problem }) => Err(format!("it is not YAML: line {line}: {problem}")),
        Err(Invalid { line: None, problem }) => Err(format!("it is not YAML: {problem}")),
    }
}

/// A definition that cannot be used; it affects no other.
fn unusable(path: &Path, reason: &str) -> RawDefinition {
    RawDefinition::unreadable(reason, path.display().to_string())
}
