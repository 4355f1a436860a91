//! Real servers for tests and benches: ZooKeeper ensembles, Consul, etcd, HAProxy of every version found here,
//! HTTP backends and clients, supervisord, and proxymgr itself.
//!
//! A test takes this folder in with `#[path = "../support/mod.rs"] mod support;`, and a bench with
//! `#[path = "../tests/support/mod.rs"] mod support;`. What every part of it keeps to:
//!
//! - A test makes one [`dir::TestDir`]. Whatever it starts has its files, its output and its ports
//!   there, and is gone when the test is. The directory stays, and is named, when the test fails.
//! - Nothing waits for a fixed time: see [`eventually`].
//! - What goes wrong inside the support is a panic that says what was being done.
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

pub mod backend;
pub mod background;
pub mod browser;
pub mod consul;
pub mod daemon;
pub mod dir;
pub mod etcd;
pub mod eventually;
pub mod haproxy;
pub mod http;
pub mod knot;
pub mod load;
#[cfg(feature = "aws")]
pub mod moto;
pub mod ports;
pub mod process;
pub mod scripted_server;
pub mod supervisord;
pub mod tls;
pub mod znodes;
pub mod zookeeper;
