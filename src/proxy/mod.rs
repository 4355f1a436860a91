//! Drives HAProxy: the adapters of the core's ports that face the proxy.
//!
//! | port | adapter |
//! | --- | --- |
//! | `RuntimeApi` | [`haproxy_socket`]: text by [`runtime_text`], conversation by `runtime_connection`, the map by `route_map` |
//! | `ConfigFile` | [`config_file`]: the output of `haproxy -c` is read by `config_check_output`; [`trial`] is for texts that are not deployed |
//! | `ProxyProcesses` | by `haproxy.run`: [`haproxy_process`] (supervise), [`run_by_systemd`], [`run_by_binary`], [`run_by_command`], [`run_by_others`] (none); all watch processes by `watched_processes` |
//! | `NameResolver` | [`name_resolver`] |
//! | `ListeningSockets` | [`listening_sockets`], or [`claimed_addresses`] where HAProxy binds its own: who holds a port by `port_holder` |
//!
//! [`haproxy_binary`] runs HAProxy's program for all of them, `command` an operator's command. [`haproxy_process`] lets
//! HAProxy inherit its Runtime API socket, which `stats_socket` opens for each launch. `unsafe` occurs only in
//! [`haproxy_binary`] (work between fork and exec) and in `watched_processes` (a pidfd registered with the reactor).

mod certificate_list_files;
mod certificate_update;
pub mod claimed_addresses;
mod command;
mod config_check_output;
pub mod config_file;
pub mod haproxy_binary;
mod haproxy_message;
pub mod haproxy_process;
pub mod haproxy_socket;
mod health_line;
pub mod listening_sockets;
mod liveness;
pub mod name_resolver;
pub mod ordered_processes;
pub mod outputs;
mod port_holder;
mod process_lookup;
mod process_output;
mod process_usage;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod route_map;
pub mod run_by_binary;
pub mod run_by_command;
pub mod run_by_others;
pub mod run_by_systemd;
mod runtime_connection;
pub mod runtime_text;
mod socket_answers;
mod statistics;
mod stats_socket;
pub mod trial;
mod watched_processes;
