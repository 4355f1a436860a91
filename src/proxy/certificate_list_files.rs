//! The files with the certificates of listeners (`crt-list`), in the private directory of certificates.
//!
//! The name of each depends on its content, so the candidate never changes a file that the live configuration names.
//! Those of the candidate, of the live file and of the one before it are kept, and the others are removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use proxymgr_actors::decide::listener_certificates::LIST_SUFFIX;
use proxymgr_actors::model::CertificateLists;

use crate::atomic_file::{FileMode, replace};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: FileMode = FileMode::Exactly(0o600);

/// The files that are in use.
#[derive(Debug, Default)]
pub(super) struct ListsInUse {
    candidate: BTreeSet<PathBuf>,
    /// `None` before the live file was first written: the lists of an earlier run are not known.
    live: Option<BTreeSet<PathBuf>>,
}

impl ListsInUse {
    /// Records the lists of a new candidate.
    pub(super) fn of_candidate(&mut self, lists: &CertificateLists) {
        self.candidate = lists.keys().cloned().collect();
    }

    /// Records the lists of a part of the candidate, which is checked by itself.
    pub(super) fn of_part(&mut self, lists: &CertificateLists) {
        self.candidate.extend(lists.keys().cloned());
    }

    /// Records that the candidate became the live file. Returns the files to keep; `None` where all are.
    pub(super) fn promoted(&mut self) -> Option<BTreeSet<PathBuf>> {
        self.becomes_live(self.candidate.clone())
    }

    /// Records that the live file was written with these lists. Returns the files to keep; `None` where all are.
    pub(super) fn written(&mut self, lists: &CertificateLists) -> Option<BTreeSet<PathBuf>> {
        self.becomes_live(lists.keys().cloned().collect())
    }

    fn becomes_live(&mut self, lists: BTreeSet<PathBuf>) -> Option<BTreeSet<PathBuf>> {
        let before = self.live.replace(lists.clone())?;
        Some(lists.into_iter().chain(before).chain(self.candidate.iter().cloned()).collect())
    }
}

/// Writes the files that do not have their content yet. Blocks.
///
/// # Errors
/// The first file that cannot be written, and why.
pub(super) fn write(lists: &CertificateLists) -> Result<(), String> {
    for (path, text) in lists {
        if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            // A failure shows when the file is written.
            let _ = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
        }
        replace(path, FILE_MODE, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Removes the files in `directory` that are not kept. Blocks.
pub(super) fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_list = |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(LIST_SUFFIX.as_bytes());
    for path in entries.map(|entry| entry.path()).filter(|path| is_list(path) && !kept.contains(path)) {
        // A file that stays is not used.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn lists(directory: &Path, names: &[&str]) -> CertificateLists {
        names.iter().map(|name| (directory.join(format!("{name}{LIST_SUFFIX}")), (*name).into())).collect()
    }

    #[test]
    fn lists_before_the_live_ones_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("certs");
        let mut in_use = ListsInUse::default();
        let mut becomes_live = |name: &str| {
            let lists = lists(&directory, &[name]);
            write(&lists).unwrap();
            in_use.of_candidate(&lists);
            if let Some(kept) = in_use.promoted() {
                remove_others(&directory, &kept);
            }
        };
        write(&lists(&directory, &["earlier"])).unwrap();
        fs::write(directory.join("shop.pem"), "x").unwrap();
        let files = || {
            let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        becomes_live("a");
        assert_eq!(files(), ["a.list", "earlier.list", "shop.pem"], "the earlier run may still be needed");
        becomes_live("b");
        becomes_live("c");
        assert_eq!(files(), ["b.list", "c.list", "shop.pem"]);
        assert_eq!(fs::read_to_string(directory.join("c.list")).unwrap(), "c");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("c.list"))), (0o700, 0o600));
    }

    #[test]
    fn lists_of_the_candidate_are_kept() {
        let paths = |names: &[&str]| lists(Path::new("/certs"), names);
        let mut in_use = ListsInUse::default();
        assert_eq!(in_use.written(&paths(&["a"])), None);
        in_use.of_candidate(&paths(&["b"]));
        in_use.of_part(&paths(&["part"]));
        let kept = in_use.written(&paths(&["c"])).unwrap();
        assert_eq!(kept, paths(&["a", "b", "c", "part"]).into_keys().collect());
        in_use.of_candidate(&paths(&["d"]));
        assert_eq!(in_use.promoted().unwrap(), paths(&["c", "d"]).into_keys().collect());
    }
}
