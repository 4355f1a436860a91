//! Persistent ids of servers: HAProxy uses them for consistent hashes and for the order of `balance first`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A server's persistent id: the option `id` of its line and of `add server` (configuration.txt 5.2).
///
/// HAProxy assigns the lowest free ids to servers without one, so ours begin well above those. Up to 2.6, and again
/// since 3.2, its consistent hashes use ids modulo 2^20, so ours end below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PersistentId(u32);

/// A number outside the range of [`PersistentId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not a server id from {min} to {max}", min = PersistentId::MIN, max = PersistentId::MAX)]
pub struct InvalidPersistentId(pub u32);

impl PersistentId {
    /// The lowest id.
    pub const MIN: Self = Self(65_536);
    /// The highest id.
    pub const MAX: Self = Self((1 << 20) - 1);
    /// The number of ids.
    pub const COUNT: u32 = Self::MAX.0 - Self::MIN.0 + 1;

    /// Returns the id of this rank within the range, counted from 0; higher ranks wrap around.
    pub fn ranked(rank: u64) -> Self {
        let offset = u32::try_from(rank % u64::from(Self::COUNT)).expect("it is below a u32");
        Self(Self::MIN.0 + offset)
    }

    /// Returns its rank within the range, counted from 0.
    pub fn rank(self) -> u32 {
        self.0 - Self::MIN.0
    }

    /// Returns the number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PersistentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u32> for PersistentId {
    type Error = InvalidPersistentId;
    fn try_from(number: u32) -> Result<Self, InvalidPersistentId> {
        let id = Self(number);
        if (Self::MIN..=Self::MAX).contains(&id) { Ok(id) } else { Err(InvalidPersistentId(number)) }
    }
}

impl From<PersistentId> for u32 {
    fn from(id: PersistentId) -> u32 {
        id.0
    }
}
