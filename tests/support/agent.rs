//! An agent for HAProxy's `agent-check`: each connection gets one line.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::background;
use super::dir::TestDir;

/// An agent on a loopback port.
#[derive(Debug)]
pub struct Agent {
    port: u16,
    report: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Agent {
    /// Starts an agent with this report: `ready`, `maint`, `50%`.
    pub fn start(dir: &TestDir, report: &str) -> Self {
        let port = dir.port();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is reserved");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let entered = background::runtime().enter();
        let listener = TcpListener::from_std(listener).expect("register a listener that does not block");
        drop(entered);
        let report = Arc::new(Mutex::new(report.to_owned()));
        let asked = Arc::<AtomicU64>::default();
        let server = background::spawn(answer(listener, Arc::clone(&report), Arc::clone(&asked)));
        Self { port, report, asked, server }
    }

    /// Returns the server options for it. The interval also works for 2.2 on a busy machine.
    pub fn options(&self) -> String {
        format!("agent-check agent-addr 127.0.0.1 agent-port {} agent-inter 300ms", self.port)
    }

    /// Sets the report.
    pub fn report(&self, report: &str) {
        *self.report.lock().expect("no holder of this lock panics") = report.to_owned();
    }

    /// Returns the number of queries.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(listener: TcpListener, report: Arc<Mutex<String>>, asked: Arc<AtomicU64>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let line = format!("{}\n", report.lock().expect("no holder of this lock panics"));
        // HAProxy may have given up waiting.
        let _ = stream.write_all(line.as_bytes()).await;
        asked.fetch_add(1, Ordering::SeqCst);
    }
}
