//! The section that a line belongs to, and what the operator granted to it.

use crate::decide::own_places::OwnPlaces;

/// The section whose lines are read.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The section's name; `None` for options that apply to several sections, or that have none of their own.
    pub name: Option<&'a str>,
    /// The entries of `haproxy.extra_options`. An entry that is the name of a fetch or a converter allows it.
    pub granted: &'a [String],
    /// What belongs to proxymgr itself.
    pub own: &'a OwnPlaces,
}

impl Section<'_> {
    /// Returns whether the operator allows this fetch or converter by its name.
    pub fn grants(&self, name: &str) -> bool {
        self.granted.iter().any(|entry| entry.trim() == name)
    }
}
