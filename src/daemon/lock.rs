//! One daemon per haproxy.cfg: a file lock that ends with its process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::failure::Failure;

/// The lock, released when dropped. Its file stays: if it were deleted, two daemons could lock two files of the same name.
#[derive(Debug)]
pub struct InstanceLock {
    file: Flock<File>,
}

impl InstanceLock {
    /// Takes the lock for `config_path`; the error names the holder. `inherited` is the file that was locked before a
    /// restart in place.
    pub fn take(config_path: &Path, inherited: Option<&OwnedFd>) -> Result<Self, Failure> {
        let path = lock_path(config_path);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
        let opened = open.map_err(|error| Failure::CannotStart(cannot_open(&path, &error)))?;
        // Another file, even of the same name, has another lock.
        let file = match inherited.and_then(|inherited| inherited.try_clone().ok()).map(File::from) {
            Some(inherited) if is_same_file(&inherited, &opened) => inherited,
            _ => opened,
        };
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = holder.lines().next().filter(|line| !line.is_empty()).unwrap_or("of unknown pid");
                return Err(Failure::AlreadyRunning(format!(
                    "another proxymgr ({holder}) manages {} and holds {}; stop it, or set a different \
                     haproxy.config_path for this one",
                    config_path.display(),
                    path.display()
                )));
            }
            Err((_, errno)) => {
                return Err(Failure::CannotStart(format!("cannot lock {}: {errno}", path.display())));
            }
        };
        let rewound = lock.seek(SeekFrom::Start(0));
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = rewound
            .and_then(|_| lock.set_len(0))
            .and_then(|()| writeln!(lock, "pid {}, since {since}", std::process::id()));
        written.map_err(|error| Failure::CannotStart(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self { file: lock })
    }

    /// Leaves the lock to the next program in this process.
    pub fn leave(self) -> io::Result<OwnedFd> {
        let copy = self.file.try_clone()?;
        // Dropping it would unlock the file.
        std::mem::forget(self.file);
        Ok(copy.into())
    }
}

fn is_same_file(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|found| Some(found) == identity(other))
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
    fn lock_is_exclusive_and_names_holder() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("haproxy.cfg");
        let first = InstanceLock::take(&config, None).unwrap();
        let Err(Failure::AlreadyRunning(message)) = InstanceLock::take(&config, None) else {
            panic!("the lock is not exclusive")
        };
        assert!(message.contains(&format!("(pid {}, since 2", std::process::id())), "{message}");
        assert!(message.contains("haproxy.cfg.lock"), "{message}");
        let inherited = first.leave().unwrap();
        assert!(InstanceLock::take(&config, None).is_err(), "it is still locked");
        let first = InstanceLock::take(&config, Some(&inherited)).expect("the lock belongs to the inherited file");
        drop(first);
        InstanceLock::take(&config, None).unwrap();
    }

    #[test]
    fn missing_directory_is_named() {
        let Err(Failure::CannotStart(message)) = InstanceLock::take(Path::new("/nonexistent/haproxy.cfg"), None) else {
            panic!("the directory does not exist")
        };
        assert!(message.contains("create the directory /nonexistent"), "{message}");
    }
}
