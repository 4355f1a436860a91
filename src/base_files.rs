//! The operator's own configuration files (`haproxy.base_config`): reads them, and keeps a copy of the last good ones
//! for a start at which they cannot be used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proxymgr_actors::decide::base;
use proxymgr_actors::limits::{BASE_FILES_MAX, CONFIG_FILE_BYTES_MAX};
use proxymgr_actors::model::BaseFile;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{FileMode, replace};

/// Only the owner may read the copy: the files may contain passwords.
const MODE: FileMode = FileMode::Exactly(0o600);

/// The version of the copy's format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    files: Vec<SavedFile>,
}

#[derive(Serialize, Deserialize)]
struct SavedFile {
    path: String,
    text: String,
}

/// Reads a file, or every `*.cfg` of a directory in the order of their names, as HAProxy does with `-f`.
///
/// # Errors
/// The file or directory that cannot be read, and why.
pub fn read(path: &Path) -> Result<Vec<BaseFile>, String> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", path.display());
    if !fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let entries = fs::read_dir(path).map_err(cannot)?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(cannot)?;
    paths.retain(|path| is_configuration(path));
    paths.sort();
    match paths.len() {
        0 => Err(format!("{} contains no file *.cfg", path.display())),
        count if count > BASE_FILES_MAX => {
            Err(format!("{} contains {count} files, more than {BASE_FILES_MAX}", path.display()))
        }
        _ => paths.iter().map(|path| read_file(path)).collect(),
    }
}

/// Reads the maps that a file names. One that cannot be read is left out: HAProxy names it.
fn with_maps(mut file: BaseFile) -> BaseFile {
    for path in base::map_paths(&file.text) {
        let is_small = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= CONFIG_FILE_BYTES_MAX);
        let text = is_small.then(|| fs::read_to_string(&path).ok()).flatten();
        file.maps.extend(text.map(|text| (path.into(), text.into())));
    }
    file
}

/// Returns whether HAProxy reads a file of this name in a directory.
pub fn is_configuration(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    !name.starts_with(b".") && name.ends_with(b".cfg")
}

fn read_file(path: &Path) -> Result<BaseFile, String> {
    let shown = path.display();
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read {shown}: {error}");
    let found = fs::metadata(path).map_err(|error| cannot(&error))?;
    // A read of a pipe without a writer would never end.
    if !found.is_file() {
        return Err(cannot(&"it is not a regular file"));
    }
    if found.len() > CONFIG_FILE_BYTES_MAX {
        return Err(cannot(&format!("it has more than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| cannot(&error))?;
    Ok(with_maps(BaseFile::new(shown.to_string(), text)))
}

/// Saves a copy of files that HAProxy accepted.
///
/// # Errors
/// Why it cannot be written.
pub fn save(path: &Path, files: &[BaseFile]) -> Result<(), String> {
    let files = files.iter().map(|file| SavedFile { path: file.path.to_string(), text: file.text.to_string() });
    let saved = Saved { version: VERSION, files: files.collect() };
    replace(path, MODE, |out| Ok(serde_json::to_writer(out, &saved)?))
}

/// Returns the files of the copy; `None` where there is none.
pub fn saved(path: &Path) -> Option<Vec<BaseFile>> {
    let saved: Saved = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let files = saved.files.into_iter().map(|file| with_maps(BaseFile::new(file.path, file.text)));
    (saved.version == VERSION).then(|| files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_read_in_the_order_of_names() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("b.cfg", "2"), ("a.cfg", "1"), (".c.cfg", "x"), ("d.txt", "x")] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let files = read(directory.path()).unwrap();
        assert_eq!(files.iter().map(|file| &*file.text).collect::<Vec<_>>(), ["1", "2"]);
        assert!(files[0].path.ends_with("/a.cfg"));
    }

    #[test]
    fn unusable_paths_are_named() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap_err().contains("*.cfg"));
        let missing = directory.path().join("x");
        assert!(read(&missing).unwrap_err().contains(missing.to_str().unwrap()));
        assert!(read(Path::new("/dev/null")).is_err());
        fs::write(&missing, [0xff]).unwrap();
        assert!(read(&missing).is_err());
    }

    #[test]
    fn copy_contains_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        assert_eq!(saved(&copy), None);
        let files = vec![BaseFile::new("/etc/a.cfg", "global\n")];
        save(&copy, &files).unwrap();
        assert_eq!(saved(&copy), Some(files));
        fs::write(&copy, "{").unwrap();
        assert_eq!(saved(&copy), None);
    }
}
