//! Finds the sections that HAProxy refuses, from its verdicts on groups of them.
//!
//! All sections of an accepted group are good. A refused group is tried again without the sections that HAProxy names,
//! and those are tried alone; where it names none, or named a good one, the group is halved. A section is only found
//! bad by a trial of its own, because a definition can forge the names in messages. `b` bad sections of `n` take about
//! `2 b` trials where HAProxy names them and `2 b log2 n` where it does not, and never more than `3 n`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::ServiceName;

/// The sections that each section refers to, directly or indirectly.
pub type References = BTreeMap<ServiceName, BTreeSet<ServiceName>>;

/// The search for bad sections among the suspects.
#[derive(Debug)]
pub struct Search {
    /// The groups to try, the next one last.
    groups: Vec<Vec<ServiceName>>,
    /// Sections that were refused while one that they refer to was undecided: tried again after all others.
    postponed: VecDeque<ServiceName>,
    references: References,
    /// Sections that are tried alone because HAProxy named them.
    named: BTreeSet<ServiceName>,
    trusts_names: bool,
    accepted: BTreeSet<ServiceName>,
}

/// The result of a trial.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// No single section is decided yet.
    Open,
    /// This one is bad.
    Bad(ServiceName),
}

impl Search {
    /// Creates a search among these suspects. Sections come after those that they refer to.
    pub fn new(suspects: impl IntoIterator<Item = ServiceName>, references: References) -> Self {
        let mut group: Vec<ServiceName> = suspects.into_iter().collect();
        group.sort_by_key(|name| (references.get(name).map_or(0, BTreeSet::len), name.clone()));
        Self {
            groups: if group.is_empty() { Vec::new() } else { vec![group] },
            postponed: VecDeque::new(),
            references,
            named: BTreeSet::new(),
            trusts_names: true,
            accepted: BTreeSet::new(),
        }
    }

    /// Returns the sections to try next; `None` when every suspect is decided.
    pub fn next_group(&self) -> Option<&[ServiceName]> {
        match self.groups.last() {
            Some(group) => Some(group),
            None => Some(std::slice::from_ref(self.postponed.front()?)),
        }
    }

    /// Returns the sections that were found good so far.
    pub fn accepted(&self) -> &BTreeSet<ServiceName> {
        &self.accepted
    }

    /// Records that HAProxy accepts the group.
    pub fn group_accepted(&mut self) {
        let group = self.take_group();
        if let [only] = &*group {
            self.trusts_names &= !self.named.contains(only);
        }
        self.accepted.extend(group);
    }

    /// Records that HAProxy refuses the group and names these sections of the whole file.
    pub fn group_refused(&mut self, named: &BTreeSet<ServiceName>) -> Finding {
        let is_last_chance = self.groups.is_empty();
        let mut group = self.take_group();
        if let [only] = &*group {
            if !is_last_chance && self.is_open(only) {
                self.postpone(only.clone());
                return Finding::Open;
            }
            return Finding::Bad(group.remove(0));
        }
        if self.trusts_names && group.iter().any(|name| named.contains(name)) {
            let (named, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|name| named.contains(name));
            self.groups.extend(Some(rest).filter(|rest| !rest.is_empty()));
            self.named.extend(named.iter().cloned());
            self.groups.extend(named.into_iter().rev().map(|name| vec![name]));
        } else {
            let second = group.split_off(group.len() / 2);
            self.groups.extend([second, group]);
        }
        Finding::Open
    }

    /// Takes out the tried group, which has at least one section.
    fn take_group(&mut self) -> Vec<ServiceName> {
        self.groups.pop().or_else(|| Some(vec![self.postponed.pop_front()?])).unwrap_or_default()
    }

    /// Returns whether a section that this one refers to is undecided.
    fn is_open(&self, name: &ServiceName) -> bool {
        let Some(references) = self.references.get(name) else { return false };
        let open = self.groups.iter().flatten().chain(&self.postponed);
        open.into_iter().any(|other| other != name && references.contains(other))
    }

    fn postpone(&mut self, name: ServiceName) {
        let rank = self.rank(&name);
        let at = self.postponed.iter().take_while(|other| self.rank(other) < rank).count();
        self.postponed.insert(at, name);
    }

    /// Returns the sort key: a referenced section has fewer references than its user, unless both refer to each other.
    fn rank(&self, name: &ServiceName) -> (usize, ServiceName) {
        (self.references.get(name).map_or(0, BTreeSet::len), name.clone())
    }
}
