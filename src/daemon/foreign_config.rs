//! Keeps a copy of a haproxy.cfg that proxymgr did not write, before it is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use proxymgr_actors::decide::base::is_ours;

/// Copies the file at `path` to `*.before-proxymgr` unless proxymgr wrote it or a copy exists. Returns the copy, if any.
pub fn keep(path: &Path) -> Result<Option<PathBuf>, String> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    let Ok(text) = fs::read(path) else { return Ok(None) };
    if is_ours(&String::from_utf8_lossy(&text)) {
        return Ok(None);
    }
    let kept = crate::atomic_file::beside(path, "before-proxymgr");
    if kept.exists() {
        return Ok(None);
    }
    fs::copy(path, &kept)
        .map(|_| Some(kept.clone()))
        .map_err(|error| format!("cannot copy {} to {}: {error}", path.display(), kept.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_foreign_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haproxy.cfg");
        assert_eq!(keep(&path), Ok(None), "no file");
        fs::write(&path, "global\n").unwrap();
        let kept = keep(&path).unwrap().expect("a foreign file is copied");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "global\n");
        fs::write(&path, "defaults\n").unwrap();
        assert_eq!(keep(&path), Ok(None), "the first copy is kept");
        fs::write(&path, "# Written by proxymgr, and so on\n").unwrap();
        fs::remove_file(&kept).unwrap();
        assert_eq!(keep(&path), Ok(None), "it is ours");
    }
}
