//! Which servers of a service a plan has to look at: after a change of one host it need not be all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ServerName;

/// The servers that may differ from what they should be. That nothing else differs is for whoever narrows the scope
/// to know: the section's own lines, above all, are only looked at as a part of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The section and all of its servers.
    Whole,
    /// These servers, whether they are wanted, there, or both.
    Servers(BTreeSet<ServerName>),
}

impl Scope {
    /// The servers of this list that are in it, in the order of their names.
    pub fn of<'a, T>(
        &'a self,
        servers: &'a BTreeMap<ServerName, T>,
    ) -> Box<dyn Iterator<Item = (&'a ServerName, &'a T)> + 'a> {
        match self {
            Self::Whole => Box::new(servers.iter()),
            Self::Servers(names) => Box::new(names.iter().filter_map(|name| servers.get_key_value(name))),
        }
    }

    /// Takes these servers in as well.
    pub fn widen(&mut self, by: Self) {
        match (&mut *self, by) {
            (Self::Servers(known), Self::Servers(further)) => known.extend(further),
            _ => *self = Self::Whole,
        }
    }
}
