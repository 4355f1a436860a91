//! The private directory: the certificates that HAProxy reads, one file `NAME.pem` for each last good one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proxymgr_actors::model::{CertificateName, GoodCertificate};

use super::files;
use super::pair::Pair;
use crate::atomic_file::{FileMode, replace};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: FileMode = FileMode::Exactly(0o600);
const SUFFIX: &str = ".pem";

/// The suffix of a file whose writing was interrupted.
const UNFINISHED_SUFFIX: &str = ".pem.new";

/// The private directory.
#[derive(Debug)]
pub struct PrivateFiles {
    directory: PathBuf,
}

impl PrivateFiles {
    /// Keeps the files in this directory, which need not exist yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Creates the directory, or makes it private. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn prepare(&self) -> Result<(), String> {
        let shown = self.directory.display();
        let prepare = || -> io::Result<()> {
            match fs::symlink_metadata(&self.directory) {
                Ok(found) if !found.is_dir() => Err(io::Error::from(io::ErrorKind::NotADirectory)),
                Ok(found) if found.permissions().mode() & 0o7777 == DIRECTORY_MODE => Ok(()),
                Ok(_) => fs::set_permissions(&self.directory, Permissions::from_mode(DIRECTORY_MODE)),
                Err(_) => DirBuilder::new().mode(DIRECTORY_MODE).create(&self.directory),
            }
        };
        prepare().map_err(|error| format!("cannot use the private directory of certificates {shown}: {error}"))
    }

    /// Returns the certificates of an earlier run; files that cannot be used are left out. Blocks.
    pub fn load(&self) -> BTreeMap<CertificateName, Pair> {
        let good = |(name, path): (CertificateName, PathBuf)| {
            Some((name, files::read(&path).and_then(|text| Pair::parse(&[(path, text)])).ok()?))
        };
        self.names().into_iter().filter_map(good).collect()
    }

    /// Writes the file of a certificate, unless it already has this content. Blocks.
    ///
    /// # Errors
    /// Why it cannot be written; the old file stays.
    pub fn save(&self, name: &CertificateName, certificate: &GoodCertificate) -> Result<(), String> {
        self.prepare()?;
        let path = self.path(name);
        let pem = certificate.pem.0.as_bytes();
        let is_regular = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if is_regular && files::read(&path).is_ok_and(|found| found == pem) {
            return fs::set_permissions(&path, Permissions::from_mode(0o600))
                .map_err(|error| format!("cannot make {} private: {error}", path.display()));
        }
        replace(&path, FILE_MODE, |out| out.write_all(pem))
    }

    /// Removes the files of all other names, and those whose writing was interrupted. Blocks.
    pub fn retain(&self, kept: &BTreeSet<&CertificateName>) {
        for path in self.paths() {
            let is_kept = certificate_name(&path).is_some_and(|name| kept.contains(&name));
            let file_name = path.as_os_str().as_encoded_bytes();
            let is_ours = file_name.ends_with(SUFFIX.as_bytes()) || file_name.ends_with(UNFINISHED_SUFFIX.as_bytes());
            if is_ours && !is_kept {
                // A file that stays is not used, and removed at the next start.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn names(&self) -> Vec<(CertificateName, PathBuf)> {
        self.paths().into_iter().filter_map(|path| Some((certificate_name(&path)?, path))).collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }

    fn path(&self, name: &CertificateName) -> PathBuf {
        self.directory.join(format!("{name}{SUFFIX}"))
    }
}

fn certificate_name(path: &Path) -> Option<CertificateName> {
    CertificateName::new(path.file_name()?.to_str()?.strip_suffix(SUFFIX)?).ok()
}
