//! A real DNS server: Knot, with a zone `test.` that tests change at run time.
//!
//! The zone `frail.` has `web.frail. 0 A 10.0.0.8`, until [`Knot::expire_frail`] makes it answer SERVFAIL. All other names
//! are refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::UdpSocket;

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::process::Process;

/// Beginning of a zone. All TTLs are 0, including those of negative answers.
const HEAD_BEFORE_SERIAL: &str = "@ 0 SOA ns hostmaster";
const HEAD_AFTER_SERIAL: &str = "3600 600 86400 0\n@ 0 NS ns\nns 0 A 127.0.0.1\n";

/// A server on a free loopback port.
pub struct Knot {
    dir: TestDir,
    port: u16,
    process: Option<Process>,
    frozen: bool,
    records: BTreeSet<String>,
    serial: u32,
}

impl Knot {
    /// Starts a server whose zone has no hosts.
    pub async fn start(dir: &TestDir) -> Self {
        let dir = dir.subdir("knot");
        let port = dir.port();
        let mut knot = Self { dir, port, process: None, frozen: false, records: BTreeSet::new(), serial: 0 };
        let path = knot.dir.path().display().to_string();
        // Small databases: the defaults reserve gigabytes of address space per server.
        let sizes = "journal-db-max-size: 5M\n    kasp-db-max-size: 5M\n    timer-db-max-size: 5M";
        let zone = |name: &str| format!("  - domain: {name}.\n    storage: {path}\n    file: {name}.zone\n");
        let (test, frail) = (zone("test"), zone("frail"));
        knot.dir.write(
            "frail.zone",
            format!("$ORIGIN frail.\n{HEAD_BEFORE_SERIAL} 1 {HEAD_AFTER_SERIAL}web 0 A 10.0.0.8\n"),
        );
        knot.dir.write(
            "knot.conf",
            format!(
                "server:\n    rundir: {path}\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    \
                 background-workers: 1\ndatabase:\n    storage: {path}\n    {sizes}\ncontrol:\n    listen: knot.sock\n\
                 log:\n  - target: stderr\n    any: info\nzone:\n{test}    zonefile-load: whole\n{frail}"
            ),
        );
        knot.write_zone();
        knot.run().await;
        knot
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Adds a record, such as `web 0 A 10.0.0.1`.
    pub fn add(&mut self, record: &str) {
        self.records.insert(record.to_owned());
        self.publish();
    }

    /// Removes a record.
    pub fn remove(&mut self, record: &str) {
        self.records.remove(record);
        self.publish();
    }

    /// Replaces all records.
    pub fn replace(&mut self, records: &[&str]) {
        self.records = records.iter().map(|record| (*record).to_owned()).collect();
        self.publish();
    }

    /// Freezes it (SIGSTOP). Changes made meanwhile apply when it is resumed.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.frozen = true;
    }

    /// Resumes it.
    pub fn thaw(&mut self) {
        self.frozen = false;
        self.signal(Signal::SIGCONT);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Restarts it on the same port.
    pub async fn run(&mut self) {
        let mut command = Command::new("knotd");
        command.arg("-c").arg(self.dir.join("knot.conf"));
        let mut process = Process::start(&self.dir, "knotd", command);
        let ended = || process.exit_status().map_or(String::new(), |status| format!("knotd ended with {status}"));
        let address = self.address();
        let probe = async || if answers(address).await { Ok(()) } else { Err("no answer") };
        eventually_or(Duration::from_secs(20), "knotd answers", probe, ended).await;
        self.process = Some(process);
    }

    /// Makes it answer SERVFAIL for `frail.`, like a secondary server with an expired zone.
    pub fn expire_frail(&self) {
        self.control(&["-b", "-f", "zone-purge", "frail."]);
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = Command::new("knotc");
        command.arg("-c").arg(self.dir.join("knot.conf")).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("run knotc");
        assert!(output.status.success(), "knotc: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("it was started and not killed").signal(signal);
    }

    fn write_zone(&mut self) {
        self.serial += 1;
        let records: String = self.records.iter().map(|record| format!("{record}\n")).collect();
        let serial = self.serial;
        let head = format!("$ORIGIN test.\n{HEAD_BEFORE_SERIAL} {serial} {HEAD_AFTER_SERIAL}");
        self.dir.write("test.zone", head + &records);
    }

    fn publish(&mut self) {
        self.write_zone();
        if self.frozen {
            // The signal stays pending until the process is resumed.
            self.signal(Signal::SIGHUP);
        } else if self.process.is_some() {
            self.control(&["-b", "zone-reload", "test."]);
        }
    }
}

/// Whether the zone is served: `ns.test.` is answered without an error.
async fn answers(server: SocketAddr) -> bool {
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02ns\x04test\x00\x00\x01\x00\x01";
    let mut answer = [0; 512];
    let asking = async {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.ok()?;
        socket.connect(server).await.ok()?;
        socket.send(question).await.ok()?;
        let length = socket.recv(&mut answer).await.ok()?;
        (length > 12 && answer[3] & 0x0f == 0).then_some(())
    };
    tokio::time::timeout(Duration::from_millis(500), asking).await.ok().flatten().is_some()
}
