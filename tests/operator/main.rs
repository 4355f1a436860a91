//! What an operator has of a running daemon: its metrics and the command line that asks it, with a real HAProxy.

#[path = "../support/mod.rs"]
mod support;

mod dashboard;
mod events;
mod metrics;
mod orders;
mod stage;
mod top;
