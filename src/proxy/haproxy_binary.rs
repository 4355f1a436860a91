//! Runs HAProxy's program: as a proxy with inherited descriptors, or to query its version.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::dup2_raw;
use proxymgr_actors::decide::haproxy_config::STATS_DESCRIPTOR;
use proxymgr_actors::limits::VERSION_TIMEOUT;
use proxymgr_actors::model::ProxyVersion;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use tokio::process::Command;
use tokio::time::timeout;

use crate::child_environment::ChildEnvironment;
use crate::settings::HaproxySettings;

/// HAProxy's program on this machine.
#[derive(Debug, Clone)]
pub struct HaproxyBinary {
    path: PathBuf,
    environment: ChildEnvironment,
}

impl HaproxyBinary {
    /// The program at `path`; a name without a slash is looked up in `PATH`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), environment: ChildEnvironment::default() }
    }

    /// The same program, with this environment.
    pub fn with_environment(self, environment: ChildEnvironment) -> Self {
        Self { environment, ..self }
    }

    /// The program that these settings select, with the environment that they allow.
    pub fn of(settings: &HaproxySettings) -> Self {
        Self { path: settings.binary.clone(), environment: settings.run.environment.clone() }
    }

    /// What the program inherits of the daemon's environment.
    pub(super) fn environment(&self) -> &ChildEnvironment {
        &self.environment
    }

    /// The path of the program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its version, as a number and as text (`haproxy -v`).
    pub async fn version(&self) -> Result<(ProxyVersion, String), String> {
        let what = format!("cannot learn the version of HAProxy from `{} -v`", self.path.display());
        let mut command = self.command(Inherited::default());
        command.arg("-v").kill_on_drop(true);
        let output = match timeout(VERSION_TIMEOUT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("{what}: {}", self.not_run(&error))),
            Err(_) => return Err(format!("{what}: no answer within {} s", VERSION_TIMEOUT.as_secs())),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        version_in(&said).ok_or_else(|| {
            let first = said.lines().next().unwrap_or_default();
            format!("{what}: it prints {first:?} ({}); set haproxy.path to HAProxy's program", output.status)
        })
    }

    /// Returns a command that runs the program in its own process group and without standard input. Ctrl-C in the
    /// daemon's terminal must reach only the daemon, which then stops HAProxy softly.
    ///
    /// The program inherits the descriptors in `inherited` and no others. Those that it owns stay open until the
    /// command is dropped.
    pub(super) fn command(&self, inherited: Inherited) -> Command {
        let mut command = self.environment.command(&self.path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        inherit(&mut command, inherited);
        command
    }

    /// Returns why the program could not be run, and what to do.
    pub(super) fn not_run(&self, error: &io::Error) -> String {
        let path = self.path.display();
        match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {path}; install HAProxy or set haproxy.path"),
            io::ErrorKind::PermissionDenied => format!("{path} may not be run by this user ({error})"),
            _ => format!("{path} cannot be run: {error}"),
        }
    }
}

/// What HAProxy inherits from the daemon.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The listening sockets of services, under the same numbers as in the daemon.
    pub(super) listeners: Vec<RawFd>,
    /// Its Runtime API socket, as [`STATS_DESCRIPTOR`].
    pub(super) stats: Option<OwnedFd>,
}

/// Lets the child keep these descriptors across `exec`. All descriptors of the daemon are close-on-exec. The flag is
/// cleared only in the child: if it were cleared in the daemon, any other program started at that moment would inherit
/// the listening sockets and keep their ports in use.
#[expect(unsafe_code, reason = "what a child does between fork and exec is not checked by the compiler")]
fn inherit(command: &mut Command, Inherited { listeners, stats }: Inherited) {
    if listeners.is_empty() && stats.is_none() {
        return;
    }
    let keep_across_exec = move || -> io::Result<()> {
        for &descriptor in &listeners {
            if stats.is_some() && descriptor == STATS_DESCRIPTOR {
                // The number is reserved before the first listening socket is opened.
                return Err(Errno::BUSY.into());
            }
            // SAFETY: the owner of the sockets passed this number, which is used for one system call only. If it has
            // been closed in between, the call fails with EBADF and the child is not started.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        match &stats {
            // dup2(2) onto itself would not change its flags.
            Some(stats) if stats.as_raw_fd() == STATS_DESCRIPTOR => fcntl_setfd(stats, FdFlags::empty())?,
            Some(stats) => {
                // SAFETY: in the child, this number refers to a copy of a daemon's descriptor that the child does not
                // need: it uses only the listeners, which were compared above, and 0 to 2. The new copy must stay open
                // until exec.
                let copy = unsafe { dup2_raw(stats, STATS_DESCRIPTOR) }?;
                mem::forget(copy);
            }
            None => {}
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes the system calls fcntl(2)
    // and dup2(2) for numbers that were known before the fork, and neither allocates nor locks.
    unsafe {
        command.pre_exec(keep_across_exec);
    }
}

/// `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/`; `HA-Proxy version ...` in 2.2.
fn version_in(said: &str) -> Option<(ProxyVersion, String)> {
    let text = said.lines().next()?.split_once("roxy version ")?.1.split_ascii_whitespace().next()?;
    Some((ProxyVersion::parse(text)?, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_spellings() {
        let old = version_in("HA-Proxy version 2.2.9-2+deb11u6 2023/12/23 - https://haproxy.org/\n").unwrap();
        assert_eq!(old, (ProxyVersion { major: 2, minor: 2 }, "2.2.9-2+deb11u6".to_owned()));
        let new = version_in("HAProxy version 3.2.26-1 2026/10/14 - https://haproxy.org/\nStatus: x\n").unwrap();
        assert_eq!(new.0, ProxyVersion { major: 3, minor: 2 });
        assert_eq!(version_in("bash: version 5"), None);
    }
}
