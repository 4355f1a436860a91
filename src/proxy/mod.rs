//! Driving HAProxy: the adapters behind the ports of the core that face the proxy.
//!
//! | port | adapter |
//! | --- | --- |
//! | `RuntimeApi` | [`haproxy_socket`]: text by [`runtime_text`], conversation by `runtime_connection`, servers by [`server_state`] |
//! | `ConfigFile` | [`config_file`]: what `haproxy -c` says is read by `config_check_output` |
//! | `ProxyProcesses` | [`haproxy_process`]: output to the log by `process_output`, /proc by `process_lookup` |
//! | `ListeningSockets` | [`listening_sockets`]: who holds a port by `port_holder` |
//!
//! [`haproxy_binary`] is how every one of them runs HAProxy's program. `unsafe` is there (work between fork and exec)
//! and in [`haproxy_process`] (a pidfd handed to the reactor), nowhere else.

mod config_check_output;
pub mod config_file;
pub mod haproxy_binary;
mod haproxy_message;
pub mod haproxy_process;
pub mod haproxy_socket;
pub mod listening_sockets;
pub mod outputs;
mod port_holder;
mod process_lookup;
mod process_output;
mod process_usage;
mod runtime_connection;
pub mod runtime_text;
pub mod server_state;
mod statistics;
