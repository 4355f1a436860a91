//! Atomic replacement of files: a reader, also after a power failure, finds either the complete old or the complete
//! new file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The size of the write buffer, in bytes.
const BUFFER_BYTES: usize = 262_144;

/// The mode of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// This mode.
    Exactly(u32),
    /// The mode of the old file, and its owner if permitted; this mode if there was no file.
    KeptOr(u32),
}

/// Replaces `path` by what `content` writes. Blocks. On failure the old file stays, and the error has the file, the
/// cause and what to do.
pub fn replace<W>(path: &Path, mode: FileMode, content: W) -> Result<(), String>
where
    W: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    let target = resolved(path);
    let new = beside(&target, "new");
    write_synced(&new, &target, mode, content)?;
    rename_synced(&new, &target).inspect_err(|_| remove_quietly(&new))
}

/// Writes `path` and syncs it to the disk, with the mode and owner of `model`. On failure it is removed.
pub fn write_synced<W>(path: &Path, model: &Path, mode: FileMode, content: W) -> Result<(), String>
where
    W: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    let write = || write_new(path, model, mode, content)?.sync_all();
    write().map_err(|error| not_written(path, &error))
}

/// The same as [`write_synced`], for a file that need not survive a power failure.
pub fn write_unsynced<W>(path: &Path, model: &Path, mode: FileMode, content: W) -> Result<(), String>
where
    W: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    write_new(path, model, mode, content).map(drop).map_err(|error| not_written(path, &error))
}

fn write_new<W>(path: &Path, model: &Path, mode: FileMode, content: W) -> io::Result<File>
where
    W: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    // Not reused: a file at this path may have another owner or mode, or be a link.
    remove_quietly(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    take_mode(&file, model, mode)?;
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, &mut file);
    content(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    Ok(file)
}

fn not_written(path: &Path, error: &io::Error) -> String {
    remove_quietly(path);
    failure("write", path, error)
}

/// Renames `from` to `to` and syncs the directory.
pub fn rename_synced(from: &Path, to: &Path) -> Result<(), String> {
    let directory = parent(to);
    fs::rename(from, to).map_err(|error| failure("replace", to, &error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| failure("sync", directory, &error))
}

/// The target of `path`: links are followed, so that the file is replaced and not the link.
pub fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// `path` with `.suffix` appended: in the same directory, so that a rename is atomic.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn take_mode(file: &File, model: &Path, mode: FileMode) -> io::Result<()> {
    let bits = match mode {
        FileMode::Exactly(bits) => bits,
        FileMode::KeptOr(otherwise) => match fs::metadata(model) {
            Ok(before) => {
                let now = file.metadata()?;
                if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
                    // Only root may change the owner.
                    let _ = fchown(file, Some(before.uid()), Some(before.gid()));
                }
                before.mode() & 0o7777
            }
            Err(_) => otherwise,
        },
    };
    file.set_permissions(Permissions::from_mode(bits))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn remove_quietly(path: &Path) {
    // An error shows at the next attempt to create the file.
    let _ = fs::remove_file(path);
}

fn failure(doing: &str, path: &Path, error: &io::Error) -> String {
    let directory = parent(path).display();
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => format!("; free some space in {directory}"),
        Some(Errno::EROFS) => format!("; {directory} is read-only: mount it writable or choose another path"),
        Some(Errno::EACCES | Errno::EPERM) => {
            format!("; let the user that runs proxymgr create and rename files in {directory}")
        }
        Some(Errno::ENOENT) => format!("; create the directory {directory}"),
        Some(Errno::EFBIG) => "; raise the file size limit of the daemon".to_owned(),
        _ => String::new(),
    };
    format!("cannot {doing} {}: {error}{advice}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, mode: FileMode, text: &str) -> Result<(), String> {
        replace(path, mode, |out| out.write_all(text.as_bytes()))
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn mode_of_the_old_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        put(&path, FileMode::KeptOr(0o640), "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        put(&path, FileMode::KeptOr(0o640), "two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o604);
        put(&path, FileMode::Exactly(0o600), "three").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(names(directory.path()), ["f"]);
    }

    #[test]
    fn failure_leaves_only_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        put(&path, FileMode::Exactly(0o600), "old").unwrap();
        let error = replace(&path, FileMode::Exactly(0o600), |out| {
            out.write_all(b"half")?;
            Err(io::Error::from_raw_os_error(Errno::ENOSPC as i32))
        })
        .unwrap_err();
        assert!(error.contains("f.new") && error.contains("free some space"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["f"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = put(&directory.path().join("gone/f"), FileMode::Exactly(0o600), "x").unwrap_err();
        assert!(error.contains("create the directory"), "{error}");
    }

    #[test]
    fn links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("real")).unwrap();
        let (real, link) = (directory.path().join("real/f"), directory.path().join("link"));
        put(&real, FileMode::Exactly(0o600), "old").unwrap();
        symlink(&real, &link).unwrap();
        put(&link, FileMode::Exactly(0o600), "new").unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
