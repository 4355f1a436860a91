//! Commands, orders and metrics of a running daemon with a real HAProxy.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod alerts;
mod certificates;
mod dashboard;
mod events;
mod log;
mod metrics;
mod orders;
mod stage;
mod top;
