//! A set of hosts by their numbers, in 32 bytes, because it is copied and compared at each change of a host.

/// Numbers of hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HostNumbers([u128; 2]);

impl HostNumbers {
    fn bit(host: u8) -> (usize, u128) {
        (usize::from(host / 128), 1 << (host % 128))
    }

    pub(super) fn contains(&self, host: u8) -> bool {
        let (half, bit) = Self::bit(host);
        self.0[half] & bit != 0
    }

    pub(super) fn insert(&mut self, host: u8) {
        let (half, bit) = Self::bit(host);
        self.0[half] |= bit;
    }

    /// Removes a host. Returns whether it was present.
    pub(super) fn remove(&mut self, host: u8) -> bool {
        let was_there = self.contains(host);
        let (half, bit) = Self::bit(host);
        self.0[half] &= !bit;
        was_there
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|half| half.count_ones()).sum()
    }

    /// Returns how many hosts have a lower number.
    pub(super) fn count_below(&self, host: u8) -> usize {
        let (half, bit) = Self::bit(host);
        let lower = self.0[..half].iter().map(|half| half.count_ones()).sum::<u32>();
        (lower + (self.0[half] & (bit - 1)).count_ones()) as usize
    }

    /// Iterates over the hosts in order.
    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        [0, 128].into_iter().zip(self.0).flat_map(|(first, mut half)| {
            std::iter::from_fn(move || {
                let lowest = u8::try_from(half.trailing_zeros()).ok().filter(|place| *place < 128)?;
                half &= half - 1;
                Some(first + lowest)
            })
        })
    }

    /// Returns the hosts that only one of the two sets has.
    pub(super) fn difference_to(self, other: Self) -> Self {
        Self([self.0[0] ^ other.0[0], self.0[1] ^ other.0[1]])
    }
}

impl FromIterator<u8> for HostNumbers {
    fn from_iter<T: IntoIterator<Item = u8>>(hosts: T) -> Self {
        let mut numbers = Self::default();
        hosts.into_iter().for_each(|host| numbers.insert(host));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_reported_in_order() {
        let mut hosts: HostNumbers = [255, 0, 127, 128].into_iter().collect();
        assert_eq!(hosts.iter().collect::<Vec<_>>(), [0, 127, 128, 255]);
        assert!(hosts.remove(128) && !hosts.remove(128) && !hosts.contains(128));
        assert_eq!((hosts.len(), hosts.count_below(127), hosts.count_below(255)), (3, 1, 2));
        let other: HostNumbers = [0, 1].into_iter().collect();
        assert_eq!(hosts.difference_to(other).iter().collect::<Vec<_>>(), [1, 127, 255]);
    }
}
