//! The adapters that face HAProxy, against every HAProxy found on this machine.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod output;
mod own_runtime;
mod processes;
mod runtime_api;
mod server_options;
mod traffic;

use std::os::fd::RawFd;

use proxymgr::proxy::haproxy_binary::HaproxyBinary;
use proxymgr_actors::model::{Address, Endpoint, ServerId, ServerName, ServiceName};
use proxymgr_actors::port::HeldSocket;
use slog::{Discard, Logger, o};
use support::haproxy::HaproxyVersion;

/// What every configuration of these tests begins with, after `global`.
const DEFAULTS: &str =
    "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n";

fn quiet() -> Logger {
    Logger::root(Discard, o!())
}

fn binary(version: &HaproxyVersion) -> HaproxyBinary {
    HaproxyBinary::new(&version.path)
}

/// The descriptor of a socket that is held here, as all of this adapter's are.
fn descriptor(held: &dyn HeldSocket) -> RawFd {
    held.descriptor().expect("it is held here")
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn server(service_name: &str, name: &str) -> ServerId {
    ServerId { service: service(service_name), server: ServerName::new(name).unwrap() }
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint { address: Address::parse(address).unwrap(), port: port.try_into().unwrap() }
}
