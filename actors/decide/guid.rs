//! Global unique ids of sections and servers: HAProxy gives an object of the next process the counters that it dumped
//! under the same id.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#5.2-guid>

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::capabilities::GUID;
use super::server_options::contains;
use crate::model::{ServerName, ServiceName, Word};

/// HAProxy's limit.
const LENGTH_MAX: usize = 127;

/// What all ids that the daemon chooses begin with.
const PREFIX: &str = "proxymgr:";

/// The bytes of the hash in an id.
const HASH_BYTES: usize = 16;

/// Returns the id of a section.
pub(super) fn of_section(name: &str) -> String {
    id(name, None)
}

/// Returns the id of a server of a service.
fn of_server(service: &ServiceName, server: &ServerName) -> String {
    id(service.as_str(), Some(server.as_str()))
}

/// Returns the option of a server with these other options: none where they have an id, which the operator has to
/// allow.
pub(super) fn option_beside(words: &[Word], service: &ServiceName, server: &ServerName) -> Option<[Word; 2]> {
    let word = |text: &str| Word::new(text).expect("names and hashes have no control characters");
    (!contains(words, GUID)).then(|| [word(GUID), word(&of_server(service, server))])
}

/// Returns whether this option is an id that the daemon chose.
pub fn is_ours(option: &Word, value: &Word) -> bool {
    option.as_str() == GUID && value.as_str().starts_with(PREFIX)
}

/// Returns `proxymgr:SECTION:SERVER`. Where that is too long, or the section's name contains a colon, a hash is in its
/// place: two objects could have the same text.
fn id(section: &str, server: Option<&str>) -> String {
    let of_server = server.map_or(0, |server| 1 + server.len());
    if !section.contains(':') && PREFIX.len() + section.len() + of_server <= LENGTH_MAX {
        return match server {
            Some(server) => format!("{PREFIX}{section}:{server}"),
            None => format!("{PREFIX}{section}"),
        };
    }
    // No section has an empty name: no readable id has two colons there.
    let mut id = format!("{PREFIX}:");
    let mut hash = Sha256::new();
    hash.update(section);
    // No name contains it.
    hash.update("/");
    hash.update(server.unwrap_or_default());
    for byte in &hash.finalize()[..HASH_BYTES] {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_readable_where_they_are_unique() {
        assert_eq!(of_section("web"), "proxymgr:web");
        assert_eq!(id("web", Some("10.0.0.1:80")), "proxymgr:web:10.0.0.1:80");
    }

    #[test]
    fn no_two_objects_have_the_same_id() {
        let long = "s".repeat(LENGTH_MAX);
        let objects = [
            ("a", None),
            ("a", Some("b")),
            ("a:b", None),
            ("a", Some("b:c")),
            ("a:b", Some("c")),
            ("a:b:c", None),
            (":", None),
            (":", Some("a")),
            ("::a", None),
            (&long, None),
            (&long, Some("a")),
            ("a", Some(&long)),
        ];
        let ids: BTreeSet<String> = objects.iter().map(|(section, server)| id(section, *server)).collect();
        assert_eq!(ids.len(), objects.len(), "{ids:#?}");
        // A section that is named like the hash of another.
        let hashed = of_section("a:b");
        assert_ne!(of_section(hashed.strip_prefix(PREFIX).unwrap()), hashed);
        assert!(ids.iter().all(|id| id.len() <= LENGTH_MAX), "{ids:#?}");
    }
}
