//! A real dnsmasq, which answers NXDOMAIN without an SOA record.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;

use super::dir::TestDir;
use super::process::Process;

/// A server for the domain `test.` on a free loopback port.
pub struct Dnsmasq {
    dir: TestDir,
    port: u16,
    process: Process,
}

impl Dnsmasq {
    /// Starts a server without hosts.
    pub fn start(dir: &TestDir) -> Self {
        let dir = dir.subdir("dnsmasq");
        let port = dir.port();
        let hosts = dir.write("hosts", "");
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().expect("this user has a name");
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]);
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local=/test/"]);
        command.arg(format!("--port={port}")).arg(format!("--user={}", user.name));
        command.arg(format!("--addn-hosts={}", hosts.display()));
        let process = Process::start(&dir, "dnsmasq", command);
        Self { dir, port, process }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Replaces all hosts: lines like `10.0.0.1 web.test`.
    pub fn replace(&mut self, hosts: &str) {
        self.dir.write("hosts", hosts);
        self.process.signal(Signal::SIGHUP);
    }
}
