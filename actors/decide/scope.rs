//! Which servers of a service a plan has to look at: after a change of one host it need not be all of them.

use std::collections::BTreeSet;

use itertools::Either;
use litemap::LiteMap;

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
    pub fn of<'a, T>(&'a self, servers: &'a LiteMap<ServerName, T>) -> impl Iterator<Item = (&'a ServerName, &'a T)> {
        match self {
            Self::Whole => Either::Left(servers.iter()),
            Self::Servers(names) => Either::Right(names.iter().filter_map(|name| Some((name, servers.get(name)?)))),
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
