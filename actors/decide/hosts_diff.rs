//! The differences between two lists of hosts.

use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools;
use serde::{Deserialize, Serialize};

use super::common_ends::between_common_ends;
use crate::model::{HostList, ServerName};

/// The servers that only one of two lists has, or that differ.
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
    /// Returns the differences between `before` and `after`. Each part is sorted by name.
    pub fn between(before: &HostList, after: &HostList) -> Self {
        let mut diff = Self::default();
        // Both are sorted by name: one merge of the two replaces a search for each host.
        let (before, after) = (before.as_slice(), after.as_slice());
        let (of_before, of_after) = between_common_ends(before, after, PartialEq::eq);
        for pair in
            before[of_before].iter().merge_join_by(&after[of_after], |(before, _), (after, _)| before.cmp(after))
        {
            match pair {
                Left((gone, _)) => diff.removed.push(gone.clone()),
                Right((new, _)) => diff.added.push(new.clone()),
                Both((_, before), (name, after)) if before != after => diff.changed.push(name.clone()),
                Both(..) => {}
            }
        }
        diff
    }

    /// Returns every server that is not the same in both lists.
    pub fn servers(&self) -> impl Iterator<Item = &ServerName> {
        self.added.iter().chain(&self.removed).chain(&self.changed)
    }

    /// Returns whether the two lists are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
