//! Real servers for tests and benches: ZooKeeper ensembles, Consul, etcd, all available HAProxy versions, HTTP backends and
//! clients, supervisord, and proxymgr itself.
//!
//! A test includes this folder with `#[path = "../support/mod.rs"] mod support;`, a bench with
//! `#[path = "../tests/support/mod.rs"] mod support;`. Rules:
//!
//! - A test creates one [`dir::TestDir`]. All processes have their files, output and ports there, and end
//!   with the test. The directory of a failed test is kept, and its path is printed.
//! - Nothing waits for a fixed time: see [`eventually`].
//! - Failures of the support code are panics that name the failed action.
//!
//! ```ignore
//! let dir = TestDir::new();
//! let ensemble = Ensemble::start(&dir, 3).await;
//! let client = ensemble.client().await;
//! znodes::put(&client, "/services/web", &json!({"type": "zookeeper"})).await;
//! let mut daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
//!     .zookeeper(&ensemble.connect_string(), "/services")
//!     .start();
//! daemon.wait_until_haproxy_answers().await;
//! ```

// Each test binary and each bench compiles the whole folder and uses its own part of it.
#![allow(dead_code)]

pub mod agent;
pub mod backend;
pub mod background;
pub mod browser;
pub mod consul;
pub mod daemon;
pub mod dir;
pub mod dnsmasq;
pub mod etcd;
pub mod eventually;
pub mod haproxy;
pub mod http;
pub mod https;
pub mod knot;
pub mod load;
#[cfg(feature = "aws")]
pub mod moto;
pub mod name_server;
pub mod ports;
pub mod process;
pub mod scripted_server;
pub mod supervisord;
pub mod tls;
pub mod znodes;
pub mod zookeeper;
