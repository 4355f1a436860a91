//! The scope of a plan: after a change of one host it need not cover all servers of a service.

use std::collections::BTreeSet;

use itertools::Either;
use litemap::LiteMap;

use crate::model::ServerName;

/// The servers that may differ from the desired state. The code that narrows the scope must ensure that nothing else
/// differs. In particular, the section's own lines are only compared with `Whole`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The section and all of its servers.
    Whole,
    /// These servers, whether they are desired, present, or both.
    Servers(BTreeSet<ServerName>),
}

impl Scope {
    /// Returns the servers of this list that are in scope, sorted by name.
    pub fn of<'a, T>(&'a self, servers: &'a LiteMap<ServerName, T>) -> impl Iterator<Item = (&'a ServerName, &'a T)> {
        match self {
            Self::Whole => Either::Left(servers.iter()),
            Self::Servers(names) => Either::Right(names.iter().filter_map(|name| Some((name, servers.get(name)?)))),
        }
    }

    /// Extends the scope.
    pub fn widen(&mut self, by: Self) {
        match (&mut *self, by) {
            (Self::Servers(known), Self::Servers(further)) => known.extend(further),
            _ => *self = Self::Whole,
        }
    }
}
