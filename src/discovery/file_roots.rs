//! The directories below which definitions may name files (`discovery.file_root`).
//!
//! The author of a definition chooses the path, so that a path is trusted only after it was resolved: what counts is
//! where an opened file really is, not the text of its path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NONBLOCK, O_PATH};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// Directories whose files describe processes and devices, whatever the settings allow.
const NEVER: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The directories that files of hosts may be in, at any depth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRoots(Vec<PathBuf>);

impl FileRoots {
    /// Files may be in these directories only. They need not exist yet.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self(directories)
    }

    /// Returns the absolute path that a definition names. A relative one begins at the first directory.
    pub(super) fn path_of(&self, named: &Path) -> Result<PathBuf, String> {
        let path = self.0.first().map_or_else(|| named.to_owned(), |first| first.join(named));
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if !climbs && self.0.iter().any(|root| path.starts_with(root) || path.starts_with(real(root))) {
            return Ok(path);
        }
        Err(format!("\"path\" is {named:?}, which is not {}", self.place()))
    }

    /// Opens a regular file for reading, if it really is below one of the directories.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        // Without O_PATH, opening a device could have an effect, and opening a named pipe would wait for its writer.
        let place = OpenOptions::new().read(true).custom_flags(O_PATH | O_CLOEXEC).open(path)?;
        let link = format!("/proc/self/fd/{}", place.as_raw_fd());
        self.check(&fs::read_link(&link)?)?;
        if !place.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        // The same file, even if its path leads elsewhere by now.
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_CLOEXEC).open(&link)?;
        if fstatfs(&file)?.filesystem_type() == PROC_SUPER_MAGIC {
            return Err(self.elsewhere());
        }
        Ok(file)
    }

    /// Checks a path without links.
    pub(super) fn check(&self, target: &Path) -> io::Result<()> {
        let is_below = self.0.iter().any(|root| target.starts_with(real(root)));
        let is_special = NEVER.iter().any(|directory| target.starts_with(directory));
        if is_below && !is_special { Ok(()) } else { Err(self.elsewhere()) }
    }

    fn elsewhere(&self) -> io::Error {
        io::Error::new(ErrorKind::PermissionDenied, format!("it is a link to a file that is not {}", self.place()))
    }

    fn place(&self) -> String {
        let directories = self.0.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
        format!("below discovery.file_root ({directories}); move the file, or add its directory there")
    }
}

/// The path without links, if the directory exists.
fn real(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_must_be_below_a_root() {
        let roots = FileRoots::new(vec!["/srv/hosts".into(), "/etc/proxymgr/hosts".into()]);
        let resolved = |path: &str| roots.path_of(Path::new(path));
        assert_eq!(resolved("web"), Ok("/srv/hosts/web".into()));
        assert_eq!(resolved("/etc/proxymgr/hosts/a/web"), Ok("/etc/proxymgr/hosts/a/web".into()));
        for path in ["/etc/proxymgr/token", "/srv/hosts/../web", "../web", "/srv/hosts2/web", "/proc/self/environ"] {
            let error = resolved(path).unwrap_err();
            assert!(error.contains("not below discovery.file_root (/srv/hosts, /etc/proxymgr/hosts)"), "{error}");
        }
        assert!(FileRoots::default().path_of(Path::new("/a")).is_err());
    }

    #[test]
    fn opened_file_must_be_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, link) = (dir.path().join("root"), dir.path().join("link"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("web"), "").unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("web", root.join("within")).unwrap();
        symlink(dir.path(), root.join("sub/up")).unwrap();
        symlink("/proc/self/environ", root.join("environ")).unwrap();
        symlink("/dev/null", root.join("null")).unwrap();
        symlink(&root, &link).unwrap();
        let roots = FileRoots::new(vec![link.clone()]);
        for path in [root.join("web"), link.join("web"), link.join("within")] {
            assert!(roots.open(&path).is_ok(), "{path:?}");
        }
        for path in ["out", "environ", "null", "sub/up/secret", "sub", "absent"] {
            assert!(roots.open(&link.join(path)).is_err(), "{path}");
        }
        let everything = FileRoots::new(vec!["/".into()]);
        assert!(everything.open(Path::new("/proc/self/environ")).is_err());
    }
}
