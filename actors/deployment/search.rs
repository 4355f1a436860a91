//! Finds the sections that HAProxy refuses, from its verdicts on groups of them.
//!
//! A group that is accepted is good as a whole. One that is refused is tried again without the sections that HAProxy names,
//! and those alone; where it names none, or named one that turned out to be good, the group is halved. A section is found bad
//! only by a trial of its own, so HAProxy's words never decide: a definition can forge them. `b` bad ones of `n` take about
//! `2 b` trials where HAProxy names them and `2 b log2 n` where it does not, and never more than `3 n`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::ServiceName;

/// Which other sections each one refers to, directly or through others.
pub type References = BTreeMap<ServiceName, BTreeSet<ServiceName>>;

/// The search for the bad ones of some suspects.
#[derive(Debug)]
pub struct Search {
    /// The groups to try, the next one last.
    groups: Vec<Vec<ServiceName>>,
    /// Sections that were refused while it was open whether one that they refer to is good: tried again after all others.
    postponed: VecDeque<ServiceName>,
    references: References,
    /// Sections that are tried alone because HAProxy named them.
    named: BTreeSet<ServiceName>,
    trusts_names: bool,
    accepted: BTreeSet<ServiceName>,
}

/// What a trial has shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing about a single section yet.
    Open,
    /// This one is bad.
    Bad(ServiceName),
}

impl Search {
    /// A search among these. Sections come after those that they refer to.
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

    /// The sections to try next; none when every suspect is decided.
    pub fn next_group(&self) -> Option<&[ServiceName]> {
        match self.groups.last() {
            Some(group) => Some(group),
            None => Some(std::slice::from_ref(self.postponed.front()?)),
        }
    }

    /// The sections that were found good so far.
    pub fn accepted(&self) -> &BTreeSet<ServiceName> {
        &self.accepted
    }

    /// HAProxy accepts the group.
    pub fn group_accepted(&mut self) {
        let group = self.take_group();
        if let [only] = &*group {
            self.trusts_names &= !self.named.contains(only);
        }
        self.accepted.extend(group);
    }

    /// HAProxy refuses the group and names these sections of the whole file.
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

    /// The group that was tried; it holds at least one section.
    fn take_group(&mut self) -> Vec<ServiceName> {
        self.groups.pop().or_else(|| Some(vec![self.postponed.pop_front()?])).unwrap_or_default()
    }

    /// Whether a section that this one refers to is not decided yet.
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

    /// What a section refers to has fewer references than itself, unless both refer to each other.
    fn rank(&self, name: &ServiceName) -> (usize, ServiceName) {
        (self.references.get(name).map_or(0, BTreeSet::len), name.clone())
    }
}
