//! Persistent ids of servers: the number by which HAProxy places a server in its hashes and orders `balance first`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A server's persistent id: the option `id` of its line and of `add server` (configuration.txt 5.2).
///
/// HAProxy gives servers without one the lowest free ids, so ours begin well above those; up to 2.6, and again from 3.2
/// on, its consistent hashes take ids modulo 2^20, so ours end below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PersistentId(u32);

/// A number outside the range of [`PersistentId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not a server id from {min} to {max}", min = PersistentId::MIN, max = PersistentId::MAX)]
pub struct InvalidPersistentId(pub u32);

impl PersistentId {
    /// The lowest that is given.
    pub const MIN: Self = Self(65_536);
    /// The highest that is given.
    pub const MAX: Self = Self((1 << 20) - 1);
    /// How many there are.
    pub const COUNT: u32 = Self::MAX.0 - Self::MIN.0 + 1;

    /// The id of this rank within the range, counted from 0; ranks beyond the last begin again at the first.
    pub fn ranked(rank: u64) -> Self {
        let offset = u32::try_from(rank % u64::from(Self::COUNT)).expect("it is below a u32");
        Self(Self::MIN.0 + offset)
    }

    /// Its place within the range, counted from 0.
    pub fn rank(self) -> u32 {
        self.0 - Self::MIN.0
    }

    /// The number.
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
