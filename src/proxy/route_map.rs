//! Commands and answers of the Runtime API for the map of domains (management guide, section 9.3: `add map`, `set map`,
//! `del map`, `show map`).
//!
//! On success all of these commands return an empty answer, on 2.2, 2.6, 3.0 and 3.2.

use std::collections::BTreeSet;
use std::path::Path;

use proxymgr_actors::model::{ObservedRoutes, RouteCommand, RouteKey};
use proxymgr_actors::port::Answer;

use super::runtime_text::escaped;

/// Returns the query for the whole map.
pub(super) fn show(map: &Path) -> String {
    format!("show map {}\n", escaped(&map.to_string_lossy()))
}

/// Returns the command as it is sent, with its line feed.
pub(super) fn request(map: &Path, command: &RouteCommand) -> String {
    command.text(&escaped(&map.to_string_lossy()), &escaped(command.key().as_str())) + "\n"
}

/// Classifies an answer as success or failure by its text.
pub(super) fn classify(text: String) -> Answer {
    Answer { accepted: text.is_empty(), text }
}

/// Parses the lines of an answer to `show map`: reference, key, value.
#[derive(Default)]
pub(super) struct MapReader {
    routes: ObservedRoutes,
    is_unknown: bool,
    problem: Option<String>,
}

impl MapReader {
    /// Takes the next line.
    pub(super) fn line(&mut self, line: &str) {
        if line.starts_with("Unknown map") {
            self.is_unknown = true;
        } else if line == "Permission denied" {
            self.problem = Some("permission denied: the stats socket needs `level admin`".to_owned());
        } else if let Some((_, entry)) = line.strip_prefix("0x").and_then(|line| line.split_once(' ')) {
            let (key, value) = entry.split_once(' ').unwrap_or((entry, ""));
            self.entry(RouteKey::observed(key), value);
        }
    }

    /// Adds an entry. A key that occurs several times with different values gets all of them, so that it equals no
    /// desired value.
    fn entry(&mut self, key: RouteKey, value: &str) {
        let known = self.routes.entry(key).or_insert_with(|| value.to_owned());
        let values: BTreeSet<&str> = known.split(' ').chain([value]).collect();
        if values.len() > 1 {
            *known = values.into_iter().collect::<Vec<_>>().join(" ");
        }
    }

    /// Returns the map; `None` if HAProxy has no such map.
    pub(super) fn finish(self) -> Result<Option<ObservedRoutes>, String> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok((!self.is_unknown).then_some(self.routes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::ServiceName;

    use super::*;

    #[test]
    fn a_map_is_read_with_its_odd_lines() {
        let mut reader = MapReader::default();
        for line in ["0x5622 1.1.1.1:80/a/ web", "0x5623 1.1.1.1:80/b/ web", "0x5624 1.1.1.1:80/b/ api", "0x1 lone", ""]
        {
            reader.line(line);
        }
        let routes = reader.finish().unwrap().unwrap();
        let shown: Vec<_> = routes.iter().map(|(key, value)| format!("{}={value}", key.as_str())).collect();
        assert_eq!(shown, ["1.1.1.1:80/a/=web", "1.1.1.1:80/b/=api web", "lone="]);
    }

    #[test]
    fn missing_map_differs_from_empty_map() {
        let mut reader = MapReader::default();
        reader.line("Unknown map identifier. Please use #<id> or <file>.");
        assert_eq!(reader.finish(), Ok(None));
        assert_eq!(MapReader::default().finish(), Ok(Some(ObservedRoutes::new())));
    }

    #[test]
    fn no_key_can_end_its_command() {
        let service = ServiceName::new("web").unwrap();
        let command = RouteCommand::Set(RouteKey::observed("a;b c"), service);
        assert_eq!(request(Path::new("/x/m"), &command), "set map /x/m a\\;b\\ c web\n");
        assert_eq!(request(Path::new("/x/m"), &RouteCommand::Delete(RouteKey::observed("k"))), "del map /x/m k\n");
    }
}
