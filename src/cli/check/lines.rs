//! The lines of a definition's keys, for mistakes with their places.

use std::collections::BTreeMap;

use proxymgr_yaml::{Invalid, Mistake, Node, Scalar};
use serde_json::Value;
use serde_saphyr::Spanned;

/// A list of strings under a key: the line of each, and its text.
type Entries = Vec<(u64, String)>;

/// The lines of a definition's keys. Its text is JSON or YAML; JSON is YAML.
pub(super) struct Lines {
    place: String,
    keys: BTreeMap<String, (u64, Entries)>,
    /// The line of a mistake in the syntax.
    broken: Option<u64>,
}

impl Lines {
    /// Reads a definition; `place` is its file or znode.
    pub(super) fn of(place: &str, text: &str) -> Self {
        let mut lines = Self { place: place.to_owned(), keys: BTreeMap::new(), broken: None };
        match proxymgr_yaml::parse::<Spanned<Node>>(text) {
            Ok(Spanned { value: Node::Map(keys), .. }) => {
                lines.keys =
                    keys.into_iter().map(|(key, node)| (key, (node.referenced.line(), entries(&node)))).collect();
            }
            Ok(_) => {}
            Err(Invalid { line, .. }) => lines.broken = line,
        }
        lines
    }

    /// Returns a mistake with its place. The texts of the core begin with the key in quotes.
    pub(super) fn mistake(&self, text: &str) -> Mistake {
        let key = text.strip_prefix('"').and_then(|rest| rest.split_once('"')).filter(|(key, _)| is_key(key));
        match key.map(|(key, rest)| (key, rest.strip_prefix(": "))) {
            Some((key, Some(problem))) => self.mistake_at(key, problem),
            // A sentence that begins with the key.
            Some((key, None)) => Mistake { key: String::new(), ..self.mistake_at(key, text) },
            None => Mistake { place: self.at(self.broken), key: String::new(), problem: text.to_owned() },
        }
    }

    /// Returns a mistake of a key. A problem that begins with an entry of the key's list is at that entry.
    pub(super) fn mistake_at(&self, key: &str, problem: &str) -> Mistake {
        let line = self.keys.get(key).map(|(line, entries)| {
            let is_quoted = |entry: &String| problem.starts_with(&Value::from(entry.as_str()).to_string());
            entries.iter().find(|(_, entry)| is_quoted(entry)).map_or(*line, |(line, _)| *line)
        });
        Mistake { place: self.at(line), key: key.to_owned(), problem: problem.to_owned() }
    }

    /// Returns a mistake of one entry of a key's list, from 0.
    pub(super) fn mistake_in(&self, key: &str, index: usize, problem: &str) -> Mistake {
        let line = self.keys.get(key).map(|(line, entries)| entries.get(index).map_or(*line, |(line, _)| *line));
        Mistake { place: self.at(line), key: key.to_owned(), problem: problem.to_owned() }
    }

    fn at(&self, line: Option<u64>) -> String {
        line.map_or_else(|| self.place.clone(), |line| format!("{}:{line}", self.place))
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn entries(node: &Spanned<Node>) -> Entries {
    let Node::Seq(entries) = &node.value else { return Entries::new() };
    let text = |entry: &Spanned<Node>| match &entry.value {
        Node::Scalar(Scalar::Text(text)) => text.clone(),
        _ => String::new(),
    };
    entries.iter().map(|entry| (entry.referenced.line(), text(entry))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistake_is_at_its_key_or_its_entry() {
        let json = "{\n\t\"port\": 0,\n  \"listen_options\": [\"mode http\",\n    \"lua x\"]\n}";
        let yaml = "# web\nport: 0\nlisten_options:\n  - mode http\n  - lua x\n";
        for (text, port, lua) in [(json, 2, 4), (yaml, 2, 5)] {
            let lines = Lines::of("web", text);
            assert_eq!(lines.mistake("\"port\": is 0").to_string(), format!("web:{port}: port: is 0"));
            let entry = lines.mistake("\"listen_options\": \"lua x\": no");
            assert_eq!(entry.place, format!("web:{lua}"));
            assert_eq!(lines.mistake_in("listen_options", 1, "no").place, format!("web:{lua}"));
            assert_eq!(lines.mistake("\"type\" is missing").to_string(), "web: \"type\" is missing");
            assert_eq!(lines.mistake_at("absent", "no").place, "web");
        }
    }

    #[test]
    fn broken_syntax_has_its_line() {
        assert_eq!(Lines::of("web", "a: 1\nb: [\n").mistake("it is not YAML").place, "web:2");
        assert_eq!(Lines::of("web", "just text").mistake("a service is an object").place, "web");
    }
}
