//! What differs between two lists of hosts.

use serde::{Deserialize, Serialize};

use crate::model::{HostList, ServerName};

/// The servers that one list has and the other has not, or has differently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsDiff {
    /// Only in the newer list.
    pub added: Vec<ServerName>,
    /// Only in the older list.
    pub removed: Vec<ServerName>,
    /// In both, with another endpoint, weight, state or options.
    pub changed: Vec<ServerName>,
}

impl HostsDiff {
    /// What leads from `before` to `after`. Each part is in the order of names.
    pub fn between(before: &HostList, after: &HostList) -> Self {
        let mut diff = Self::default();
        // Both are in the order of names: one walk over the two instead of a search for each host.
        let mut before = before.iter().peekable();
        for (name, host) in after {
            while let Some((gone, _)) = before.next_if(|(known, _)| *known < name) {
                diff.removed.push(gone.clone());
            }
            match before.next_if(|(known, _)| *known == name) {
                None => diff.added.push(name.clone()),
                Some((_, known)) if known != host => diff.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        diff.removed.extend(before.map(|(name, _)| name.clone()));
        diff
    }

    /// Every server that is not the same in both lists.
    pub fn servers(&self) -> impl Iterator<Item = &ServerName> {
        self.added.iter().chain(&self.removed).chain(&self.changed)
    }

    /// Whether the two lists are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
