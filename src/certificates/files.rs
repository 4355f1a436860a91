//! Files in the operator's directory: `NAME.pem`, `NAME.crt` with `NAME.key`, or a folder `NAME` with `fullchain.pem` and
//! `privkey.pem`, as certbot writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use proxymgr_actors::limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATES_MAX};
use proxymgr_actors::model::CertificateName;

/// The chain in a folder.
const FOLDER_CHAIN: &str = "fullchain.pem";

/// The key in a folder.
const FOLDER_KEY: &str = "privkey.pem";

/// The certificates in a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files of each name.
    pub files: BTreeMap<CertificateName, NamedFiles>,
    /// Entries that look like certificates and whose names cannot be used.
    pub misnamed: BTreeSet<String>,
}

/// What the directory contains for one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedFiles {
    /// `NAME.pem`.
    pem: bool,
    /// `NAME.crt`.
    certificate: bool,
    /// `NAME.key`.
    key: bool,
    /// `NAME/`, if at least one of its two files exists.
    folder: bool,
}

impl Listing {
    /// Lists the directory. Blocks.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub fn of(directory: &Path) -> Result<Self, String> {
        let shown = directory.display();
        let cannot = |error: io::Error| format!("cannot read the directory of certificates {shown}: {error}");
        let mut listing = Self::default();
        for entry in fs::read_dir(directory).map_err(cannot)? {
            listing.add(&entry.map_err(cannot)?.path());
        }
        match listing.files.len() {
            count if count > CERTIFICATES_MAX => {
                Err(format!("{shown} contains {count} certificates, more than {CERTIFICATES_MAX}"))
            }
            _ => Ok(listing),
        }
    }

    fn add(&mut self, path: &Path) {
        let file_name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        // Temporary files of copying programs, and the data of mounted Kubernetes secrets.
        if file_name.starts_with('.') {
            return;
        }
        let (stem, is_part): (&str, fn(&mut NamedFiles) -> &mut bool) = match file_name.rsplit_once('.') {
            _ if path.is_dir() => {
                let is_certificate =
                    [FOLDER_CHAIN, FOLDER_KEY].iter().any(|part| fs::symlink_metadata(path.join(part)).is_ok());
                if !is_certificate {
                    return;
                }
                (&file_name, |files| &mut files.folder)
            }
            Some((stem, "pem")) => (stem, |files| &mut files.pem),
            Some((stem, "crt")) => (stem, |files| &mut files.certificate),
            Some((stem, "key")) => (stem, |files| &mut files.key),
            _ => return,
        };
        match CertificateName::new(stem) {
            Ok(name) => *is_part(self.files.entry(name).or_default()) = true,
            Err(error) => {
                self.misnamed.insert(format!("{}: {error}", path.display()));
            }
        }
    }

    /// Identifies the contents of all files without reading them. Blocks.
    pub fn fingerprints(&self, directory: &Path) -> BTreeMap<PathBuf, Option<Fingerprint>> {
        let paths = self.files.iter().flat_map(|(name, files)| files.paths(directory, name));
        paths.map(|path| (path.clone(), Fingerprint::of(&path).ok())).collect()
    }
}

impl NamedFiles {
    /// Reads the PEM texts of the chain and the key, which may be in one file. Blocks.
    ///
    /// # Errors
    /// Why there is no such pair of files, or which of them cannot be read.
    pub fn read(&self, directory: &Path, name: &CertificateName) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
        if [self.pem, self.certificate || self.key, self.folder].iter().filter(|is_used| **is_used).count() > 1 {
            let names: Vec<String> = self.shown(name);
            return Err(format!("there are two ways to read it ({}): keep the files of one", names.join(", ")));
        }
        self.paths(directory, name).into_iter().map(|path| Ok((path.clone(), read(&path)?))).collect()
    }

    /// The files that exist, or must exist beside those that do.
    fn paths(&self, directory: &Path, name: &CertificateName) -> Vec<PathBuf> {
        let mut names = Vec::new();
        if self.pem {
            names.push(format!("{name}.pem"));
        }
        if self.certificate || self.key {
            names.extend([format!("{name}.crt"), format!("{name}.key")]);
        }
        if self.folder {
            names.extend([format!("{name}/{FOLDER_CHAIN}"), format!("{name}/{FOLDER_KEY}")]);
        }
        names.into_iter().map(|name| directory.join(name)).collect()
    }

    fn shown(&self, name: &CertificateName) -> Vec<String> {
        let shown = [(self.pem, ".pem"), (self.certificate, ".crt"), (self.key, ".key"), (self.folder, "/")];
        shown.iter().filter(|(exists, _)| *exists).map(|(_, suffix)| format!("{name}{suffix}")).collect()
    }
}

/// Identifies the content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The path without links.
    target: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changed with the permissions.
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(path: &Path) -> io::Result<Self> {
        let target = fs::canonicalize(path)?;
        let metadata = fs::metadata(&target)?;
        Ok(Self {
            target,
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads a regular file of limited size.
///
/// # Errors
/// The file and why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |problem: String| format!("cannot read {}: {problem}", path.display());
    // O_NONBLOCK: opening a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path);
    let file = file.map_err(|error| cannot(error.to_string()))?;
    if !file.metadata().map_err(|error| cannot(error.to_string()))?.is_file() {
        return Err(cannot("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(CERTIFICATE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > CERTIFICATE_FILE_BYTES_MAX {
        return Err(cannot(format!("it has more than {CERTIFICATE_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
