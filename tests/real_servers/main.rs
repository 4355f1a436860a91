//! The real binary with real servers: ZooKeeper, Consul, every available HAProxy, supervisord.
//!
//! `make test-versions` fetches the HAProxy versions; without it only the installed one is tested.

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod api;
mod backends;
mod base_config;
mod certificates;
mod daemon_life;
mod domains;
mod files_to_haproxy;
mod life_of_servers;
mod process_life;
mod reach;
mod record_and_replay;
mod refused_definitions;
mod reloads;
mod removed_definitions;
mod restarts;
mod slots;
mod stage;
mod state_file;
mod status_page;
mod stops;
mod targets;
mod traffic;
mod two_lanes;
mod under_supervisord;
mod unix_sockets;
mod who_runs_haproxy;
mod zookeeper_faults;
mod zookeeper_to_haproxy;
