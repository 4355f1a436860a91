//! The adapters of HAProxy, with every installed HAProxy.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod option_lines;
mod output;
mod own_runtime;
mod processes;
mod runtime_api;
mod server_options;
mod traffic;

use std::net::SocketAddr;
use std::os::fd::RawFd;

use proxymgr::proxy::haproxy_binary::HaproxyBinary;
use proxymgr_actors::model::{Address, Endpoint, ListenAddress, ServerId, ServerName, ServiceName};
use proxymgr_actors::port::HeldSocket;
use slog::{Discard, Logger, o};
use support::haproxy::HaproxyVersion;

/// Lines after `global` in every configuration of these tests.
const DEFAULTS: &str =
    "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n";

fn quiet() -> Logger {
    Logger::root(Discard, o!())
}

fn binary(version: &HaproxyVersion) -> HaproxyBinary {
    HaproxyBinary::new(&version.path)
}

/// An address with a port that the kernel chooses.
fn any_port() -> ListenAddress {
    ListenAddress::Ip(([127, 0, 0, 1], 0).into())
}

/// The address of a TCP socket.
fn address_of(held: &dyn HeldSocket) -> SocketAddr {
    held.address().ip().expect("it is no unix socket")
}

/// Returns the descriptor of a socket that this process holds, as all sockets of this adapter are.
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
    Endpoint::Tcp { address: Address::parse(address).unwrap(), port: port.try_into().unwrap() }
}
