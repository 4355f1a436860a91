//! Shared parts of the discovery tests: an inbox for messages of sources, a gate to cut a source off, and the kinds of
//! sources behind one trait.

#![allow(dead_code)]

#[cfg(feature = "aws")]
pub mod aws_kind;
pub mod dns_kind;
pub mod gate;
pub mod inbox;
pub mod kinds;
pub mod marathon_kind;
pub mod proxy;
