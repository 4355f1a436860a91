//! A separate runtime for backends and load, so that tests that block or pause the clock of tokio do
//! not delay them.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The runtime of backends and load generators; it lives as long as the test process.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-background")
            .enable_all()
            .build()
            .expect("start the runtime of backends and load")
    })
}

/// Runs a task on it.
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    runtime().spawn(task)
}
