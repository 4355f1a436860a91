//! A real DNS server: Knot, with a zone `test.` that a test changes while it runs.
//!
//! Below `frail.` there is `web.frail. 0 A 10.0.0.8`, until [`Knot::expire_frail`] makes it answer SERVFAIL there. All other
//! names it refuses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::UdpSocket;

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::process::Process;

/// What a zone begins with. Nothing in it lives longer than the moment, not even that a name does not exist.
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
        // Databases of a few megabytes each: the defaults reserve gigabytes of address space for each server.
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

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Adds a record, like `web 0 A 10.0.0.1`.
    pub fn add(&mut self, record: &str) {
        self.records.insert(record.to_owned());
        self.publish();
    }

    /// Takes a record away.
    pub fn remove(&mut self, record: &str) {
        self.records.remove(record);
        self.publish();
    }

    /// Has these records and no others.
    pub fn replace(&mut self, records: &[&str]) {
        self.records = records.iter().map(|record| (*record).to_owned()).collect();
        self.publish();
    }

    /// Stops it from running, so that it is silent. What is changed meanwhile shows when it is thawed.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.frozen = true;
    }

    /// Lets it run again.
    pub fn thaw(&mut self) {
        self.frozen = false;
        self.signal(Signal::SIGCONT);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port.
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

    /// Has it answer SERVFAIL below `frail.`, as a secondary server does that has lost its primary for too long.
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
            // It stays pending until the process runs again.
            self.signal(Signal::SIGHUP);
        } else if self.process.is_some() {
            self.control(&["-b", "zone-reload", "test."]);
        }
    }
}

/// Whether the zone is served: any answer without an error to a question for `ns.test.`.
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
