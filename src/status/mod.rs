//! What the daemon says of itself over HTTP, and how the command line asks for it.

pub mod client;
pub mod listener;
pub mod report;

#[cfg(test)]
mod tests;
