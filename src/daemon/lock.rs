//! One daemon for one haproxy.cfg: a lock that ends with the process that holds it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::failure::Failure;

/// Held for as long as it lives. The file stays: to delete it would let two daemons lock two files of one name.
#[derive(Debug)]
pub struct InstanceLock {
    _file: Flock<File>,
}

impl InstanceLock {
    /// Takes the lock that stands for `config_path`, or says who holds it.
    pub fn take(config_path: &Path) -> Result<Self, Failure> {
        let path = lock_path(config_path);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
        let file = open.map_err(|error| Failure::CannotStart(cannot_open(&path, &error)))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = holder.lines().next().filter(|line| !line.is_empty()).unwrap_or("of unknown pid");
                return Err(Failure::AlreadyRunning(format!(
                    "another proxymgr ({holder}) manages {} and holds {}; stop it, or give this one a \
                     haproxy.config_path of its own",
                    config_path.display(),
                    path.display()
                )));
            }
            Err((_, errno)) => {
                return Err(Failure::CannotStart(format!("cannot lock {}: {errno}", path.display())));
            }
        };
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "pid {}, since {since}", std::process::id()));
        written.map_err(|error| Failure::CannotStart(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self { _file: lock })
    }
}

/// `haproxy.cfg.lock` beside `haproxy.cfg`.
fn lock_path(config_path: &Path) -> PathBuf {
    let mut name = config_path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    config_path.with_file_name(name)
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or(path).display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => format!("; create the directory {directory}, or change haproxy.config_path"),
        io::ErrorKind::PermissionDenied => format!("; proxymgr must be able to write to {directory}"),
        _ => String::new(),
    };
    format!("cannot open the lock {}: {error}{hint}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_holds_the_lock_and_gets_it_once_that_one_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("haproxy.cfg");
        let first = InstanceLock::take(&config).unwrap();
        let Err(Failure::AlreadyRunning(message)) = InstanceLock::take(&config) else { panic!("two hold it") };
        assert!(message.contains(&format!("(pid {}, since 2", std::process::id())), "{message}");
        assert!(message.contains("haproxy.cfg.lock"), "{message}");
        drop(first);
        InstanceLock::take(&config).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named_with_what_to_do() {
        let Err(Failure::CannotStart(message)) = InstanceLock::take(Path::new("/nonexistent/haproxy.cfg")) else {
            panic!("there is no such directory")
        };
        assert!(message.contains("create the directory /nonexistent"), "{message}");
    }
}
