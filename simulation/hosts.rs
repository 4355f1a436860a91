//! The hosts that discovery shows, by their numbers: reported, copied and compared at each change of a host.

use proxymgr_actors::model::AdminState;

use super::host_numbers::HostNumbers;

/// A host as its record describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) weight: u16,
    pub(super) state: AdminState,
}

impl Shown {
    /// A host without keys of its own: it has HAProxy's default weight.
    pub(super) const PLAIN: Self = Self { weight: 1, state: AdminState::Ready };
}

/// Hosts as their records describe them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    numbers: HostNumbers,
    /// In the order of their numbers.
    shown: Vec<Shown>,
}

impl Hosts {
    pub(super) fn numbers(&self) -> HostNumbers {
        self.numbers
    }

    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// Returns the number of hosts that take traffic.
    pub(super) fn ready(&self) -> usize {
        self.shown.iter().filter(|shown| shown.state == AdminState::Ready).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    pub(super) fn contains(&self, host: u8) -> bool {
        self.numbers.contains(host)
    }

    pub(super) fn get(&self, host: u8) -> Option<Shown> {
        self.contains(host).then(|| self.shown[self.numbers.count_below(host)])
    }

    pub(super) fn get_mut(&mut self, host: u8) -> Option<&mut Shown> {
        self.contains(host).then(|| &mut self.shown[self.numbers.count_below(host)])
    }

    pub(super) fn insert(&mut self, host: u8, shown: Shown) {
        match self.get_mut(host) {
            Some(known) => *known = shown,
            None => {
                self.shown.insert(self.numbers.count_below(host), shown);
                self.numbers.insert(host);
            }
        }
    }

    pub(super) fn remove(&mut self, host: u8) {
        if self.numbers.remove(host) {
            self.shown.remove(self.numbers.count_below(host));
        }
    }

    /// Iterates over the hosts in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, Shown)> {
        self.numbers.iter().zip(self.shown.iter().copied())
    }
}

impl FromIterator<(u8, Shown)> for Hosts {
    fn from_iter<T: IntoIterator<Item = (u8, Shown)>>(shown: T) -> Self {
        let mut hosts = Self::default();
        shown.into_iter().for_each(|(host, shown)| hosts.insert(host, shown));
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_what_is_shown_of_it() {
        let of = |host: u8| Shown { weight: host.into(), ..Shown::PLAIN };
        let mut hosts: Hosts = [200, 3, 127, 128, 0].into_iter().map(|host| (host, of(host))).collect();
        hosts.remove(127);
        hosts.remove(7);
        hosts.insert(5, of(5));
        assert_eq!(hosts.iter().collect::<Vec<_>>(), [0, 3, 5, 128, 200].map(|host| (host, of(host))));
        hosts.insert(5, Shown::PLAIN);
        assert_eq!([hosts.get(5), hosts.get(127), hosts.get(128)], [Some(Shown::PLAIN), None, Some(of(128))]);
        assert_eq!((hosts.len(), hosts.is_empty(), hosts.contains(200)), (5, false, true));
    }
}
