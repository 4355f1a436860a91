//! The core of proxymgr: its actors, and their decisions. It does no I/O itself: it reaches the outside only through
//! ports, so that the same actors run in the daemon and in simulation.
//!
//! # The path of one change
//!
//! | step | where |
//! | --- | --- |
//! | a source shows its hosts: [`message::HostsSeen`] | an adapter behind [`port::HostSources`] |
//! | which servers are these? which entries are wrong? | [`decide::host_list`] |
//! | may this list replace the one that applies? | [`decide::guard`] |
//! | what is different: [`message::HostsChanged`] | `watcher_actor.rs`, one per service |
//! | what is desired, what is observed, what is to be done: [`reconcile::Input`] to [`reconcile::Effect`] | [`reconcile`], run by `haproxy_state_actor.rs` |
//! | the cheapest way there: runtime commands, or a reload and its reason | [`decide::proxy_plan`], asked by [`reconcile`] |
//! | at run time: [`model::RuntimeCommand`] | an adapter behind [`port::RuntimeApi`] |
//! | by a reload: [`message::Deploy`] | `deployment/`, run by `process_supervisor_actor.rs`; `socket_holder_actor.rs` |
//! | why it happened, and how long it took: [`journal::Event`] | `journal_actor.rs` |
//!
//! # Layers
//!
//! Each imports only from those above it in this list: [`model`] and [`limits`]; [`decide`] (pure functions); [`message`],
//! [`journal`], [`history`], [`inbox`], [`operator`], [`snapshot`], [`clock`] and [`port`]; [`reconcile`] (pure, without
//! actix and without a clock); `deployment` and the actors, which never import each other and hold `Recipient`s instead;
//! [`wiring`], the one place where they meet.

#![forbid(unsafe_code)]

pub mod clock;
mod confirmation;
pub mod decide;
mod deployment;
mod haproxy_state_actor;
pub mod history;
mod host_quota;
pub mod inbox;
pub mod journal;
mod journal_actor;
pub mod limits;
mod listeners;
mod log_line;
pub mod message;
pub mod model;
mod name_lookup_actor;
pub mod operator;
mod output_actor;
mod outside;
mod overrides_actor;
pub mod port;
mod process_supervisor_actor;
pub mod reconcile;
mod service_config_actor;
pub mod snapshot;
mod socket_holder_actor;
mod state_store_actor;
mod target_journal_actor;
mod watcher_actor;
pub mod wiring;

#[cfg(fuzzing)]
pub use deployment::properties as deployment_properties;
