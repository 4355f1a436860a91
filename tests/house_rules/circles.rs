//! Imports between the files of `actors/` must form a tree: files that need each other hide a third concept.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// The files that import each other.
pub fn import_circles(sources: &[Source]) -> Vec<String> {
    let modules = Modules::of(sources);
    let imports = modules.imports();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (*file, reachable(file, &imports))).collect();
    let circles = reached.iter().filter(|(file, files)| files.contains(*file)).map(|(file, files)| {
        let others = files.iter().filter(|other| *other != file && reached[*other].contains(file));
        let others = Vec::from_iter(others.copied()).join(", ");
        format!("{file}: it and {others} import each other: find the concept that both need, and give it a file below")
    });
    circles.collect()
}

/// Returns all files that a file imports, directly or indirectly; itself only if it is in a circle.
fn reachable<'a>(file: &str, imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = Vec::from_iter(imports.get(file).into_iter().flatten().copied());
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(imports.get(file).into_iter().flatten());
        }
    }
    reached
}

/// Modules of the crate in `actors/`, by their path without `crate`.
struct Modules<'a> {
    files: BTreeMap<Vec<String>, &'a Source>,
}

impl<'a> Modules<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let ours = sources.iter().filter(|source| source.is_rust() && source.is_in(&["actors/"]));
        let ours = ours.filter(|source| !source.is_in(&["actors/tests/", "actors/benches/", "actors/build.rs"]));
        Self { files: ours.map(|source| (module_of(&source.path), source)).collect() }
    }

    /// Returns, for each file, the files that it names.
    fn imports(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let of_file = |(module, source): (&Vec<String>, &&'a Source)| {
            let targets = source.paths().into_iter().filter_map(|path| self.target(&absolute(module, &path.segments)?));
            (source.path.as_str(), targets.filter(|path| *path != source.path).collect())
        };
        // A module that only lists others imports nothing.
        self.files.iter().filter(|(_, source)| !is_contents(source)).map(of_file).collect()
    }

    /// Returns the file that defines the item of a path.
    fn target(&self, path: &[String]) -> Option<&'a str> {
        let (module, source) = (1..=path.len()).rev().find_map(|length| self.files.get_key_value(&path[..length]))?;
        if !is_contents(source) {
            return Some(&source.path);
        }
        // For example `model::Host`, which actors/model/mod.rs re-exports from `host::Host`.
        let name = path.get(module.len())?;
        let listed = source
            .paths()
            .into_iter()
            .find(|listed| listed.segments.len() > 1 && listed.segments.last() == Some(name))?;
        self.target(&[module.as_slice(), &listed.segments].concat())
    }
}

/// Returns whether a file only lists the modules below it.
fn is_contents(source: &Source) -> bool {
    let defines =
        ["fn", "struct", "enum", "trait", "impl"].iter().any(|word| !Source::words(&source.code, word).is_empty());
    matches!(source.stem(), "mod" | "lib") && !defines
}

/// Returns the module of a file: `actors/decide/mod.rs` is `decide`.
fn module_of(path: &str) -> Vec<String> {
    let below = path.strip_prefix("actors/").and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
    let segments = below.split('/').filter(|segment| !matches!(*segment, "mod" | "lib"));
    segments.map(str::to_owned).collect()
}

/// Returns the path from the root of the crate; `None` if it leads out of the crate.
fn absolute(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    let (first, rest) = segments.split_first()?;
    let up = segments.iter().take_while(|segment| *segment == "super").count();
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => Some([module.get(..module.len().checked_sub(up)?)?, &segments[up..]].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let sources = Vec::from_iter(files.iter().map(|(path, text)| Source::new(path, text)));
        let found = import_circles(&sources);
        found.into_iter().map(|what| what.split(':').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        let files = [
            ("actors/decide/mod.rs", "pub mod a;\npub mod b;\npub mod c;"),
            ("actors/decide/a.rs", "use super::b::{B, self};"),
            ("actors/decide/b.rs", "use crate::decide::c::C;"),
            ("actors/decide/c.rs", "fn c() { super::a::f() }"),
            ("actors/decide/d.rs", "use super::a;"),
        ];
        assert_eq!(circles(&files), ["actors/decide/a.rs", "actors/decide/b.rs", "actors/decide/c.rs"]);
        assert_eq!(circles(&files[..3]), [""; 0]);
    }

    #[test]
    fn parent_and_child_can_be_a_circle() {
        let files = [("actors/plan.rs", "use self::one::One;"), ("actors/plan/one.rs", "use super::Step;")];
        assert_eq!(circles(&files), ["actors/plan.rs", "actors/plan/one.rs"]);
    }

    #[test]
    fn name_of_a_table_of_contents_is_followed() {
        let files = [
            ("actors/model/mod.rs", "pub use host::{Host, Port};\npub use word::Word;"),
            ("actors/model/host.rs", "use super::Word;"),
            ("actors/model/word.rs", "use crate::model::Port;"),
        ];
        assert_eq!(circles(&files), ["actors/model/host.rs", "actors/model/word.rs"]);
        assert_eq!(circles(&files[..2]), [""; 0]);
    }

    #[test]
    fn tests_and_other_crates_do_not_count() {
        let files = [
            ("actors/a.rs", "#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("actors/b.rs", "use crate::a::A;\nuse serde::b;"),
            ("src/c.rs", "use crate::d;"),
            ("src/d.rs", "use crate::c;"),
        ];
        assert_eq!(circles(&files), [""; 0]);
    }
}
