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
        for (name, host) in after {
            match before.get(name) {
                None => diff.added.push(name.clone()),
                Some(known) if known != host => diff.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        diff.removed.extend(before.keys().filter(|name| !after.contains_key(*name)).cloned());
        diff
    }

    /// Whether the two lists are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
