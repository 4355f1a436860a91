//! The contents of some files of one directory, kept in sync with the disk.
//!
//! A file is read when it is complete: closed after writing, renamed into place, or reached through a replaced link.
//! Without events, it is read when two consecutive scans found it unchanged. A single file that disappears is kept for a
//! moment: editors remove files while they replace them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::libc::O_NONBLOCK;
use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::limits::{
    DEFINITIONS_MAX, SOURCE_ABSENCE_GRACE, SOURCE_FILE_BYTES_MAX, SOURCE_LOOK_INTERVAL, SOURCE_READ_TIMEOUT,
    SOURCE_SETTLE,
};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::directory_watch::{DirectoryWatches, FileEvents, WatchedDirectory};
use super::file_roots::FileRoots;

/// A file's text, or why it cannot be read.
pub type FileText = Result<Arc<str>, String>;

/// Makes something of a file's path and text; executed on a thread that may block.
pub(super) type ReadFile<T> = fn(&Path, FileText) -> T;

/// The relevant files of a directory.
#[derive(Clone)]
pub(super) enum FileFilter {
    /// The file with this name, which must really be below these directories.
    One(OsString, Arc<FileRoots>),
    /// Every file whose name this function accepts.
    Each(fn(&OsStr) -> bool),
}

/// A watch of files, active until this is dropped.
pub(super) struct FileWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl FileWatch {
    /// Starts to watch; reports snapshots: what was `read` from each file, by name, or why the directory cannot be read.
    pub(super) fn start<T: Clone + PartialEq + Send + 'static>(
        directory: PathBuf,
        filter: FileFilter,
        read: ReadFile<T>,
        watches: &DirectoryWatches,
        report: impl FnMut(Result<&BTreeMap<OsString, T>, String>, Instant) + 'static,
    ) -> Self {
        let refresh = Rc::new(Notify::new());
        let files = WatchedFiles {
            directory,
            filter,
            read,
            watches: watches.clone(),
            events: Rc::default(),
            watched: Vec::new(),
            refresh: refresh.clone(),
            contents: BTreeMap::new(),
            fingerprints: Arc::default(),
            unsettled: BTreeMap::new(),
            gone: BTreeMap::new(),
            reported: None,
            report,
        };
        Self { task: tokio::task::spawn_local(files.run()).abort_handle(), refresh }
    }
}

impl OpenSource for FileWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Identifies the content of a file.
#[derive(Clone, PartialEq, Eq)]
struct Fingerprint {
    /// The path without links.
    target: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changed with the permissions.
    changed: (i64, i64),
}

/// Why the directory is scanned.
enum ScanReason {
    /// All files must be read.
    Everything,
    /// These files were completed.
    Completed(BTreeSet<OsString>),
    /// The interval has passed.
    Routine,
}

struct WatchedFiles<T, R> {
    directory: PathBuf,
    filter: FileFilter,
    read: ReadFile<T>,
    watches: DirectoryWatches,
    events: Rc<FileEvents>,
    watched: Vec<WatchedDirectory>,
    refresh: Rc<Notify>,
    contents: BTreeMap<OsString, T>,
    /// Of the files when they were read.
    fingerprints: Arc<BTreeMap<OsString, Fingerprint>>,
    /// Of files that had changed in the last routine scan.
    unsettled: BTreeMap<OsString, Fingerprint>,
    /// Since when files are gone.
    gone: BTreeMap<OsString, Instant>,
    reported: Option<Result<(), String>>,
    report: R,
}

impl<T, R> WatchedFiles<T, R>
where
    T: Clone + PartialEq + Send + 'static,
    R: FnMut(Result<&BTreeMap<OsString, T>, String>, Instant),
{
    async fn run(mut self) {
        let mut reason = ScanReason::Everything;
        let mut seen_at = Instant::now();
        loop {
            // Watched before the scan, so that no change is missed in between.
            self.watch(&BTreeSet::from([self.directory.clone()]));
            let directories = match self.scan(reason).await {
                Ok(directories) => {
                    self.report_once(Ok(()), seen_at);
                    directories
                }
                Err(error) => {
                    self.report_once(Err(error), seen_at);
                    // A missing directory is created in its parent.
                    self.directory.parent().map(Path::to_owned).into_iter().collect()
                }
            };
            self.watched.retain(|watched| directories.contains(watched.path()));
            let has_new = self.watch(&directories);
            // A file that was completed before the directory was watched sent no event: it is read once it is
            // unchanged.
            reason = if has_new { ScanReason::Routine } else { self.wait().await };
            seen_at = Instant::now();
        }
    }

    /// Waits for a reason to scan again.
    async fn wait(&mut self) -> ScanReason {
        let pause = if self.unsettled.is_empty() { SOURCE_LOOK_INTERVAL } else { SOURCE_SETTLE };
        let routine = Instant::now() + pause;
        let confirm_gone = self.gone.values().min().map(|since| *since + self.absence_grace());
        tokio::select! {
            biased;
            () = self.refresh.notified() => {
                self.reported = None;
                ScanReason::Everything
            }
            () = self.events.wait() => match self.events.take() {
                Some(completed) => ScanReason::Completed(completed),
                None => ScanReason::Everything,
            },
            () = sleep_until(confirm_gone.unwrap_or(routine)) => {
                if confirm_gone.is_some() { ScanReason::Completed(BTreeSet::new()) } else { ScanReason::Routine }
            }
        }
    }

    /// Watches further directories; returns whether one of them is new.
    fn watch(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        // A file behind links may be replaced under any name, and a missing directory is created under its own.
        let only = match &self.filter {
            FileFilter::One(name, _) if !self.is_linked() => Some(name.as_os_str()),
            _ => None,
        };
        let (directory, filtered) = (&self.directory, only.is_some());
        self.watched.retain(|watched| {
            watched.is_attached() && (watched.path() != directory || watched.is_filtered() == filtered)
        });
        let mut has_new = false;
        for path in directories {
            if self.watched.iter().any(|watched| watched.path() == path) {
                continue;
            }
            let watched = self.watches.watch(path, only.filter(|_| path == directory), &self.events);
            has_new |= watched.is_some();
            self.watched.extend(watched);
        }
        has_new
    }

    fn is_linked(&self) -> bool {
        self.fingerprints.iter().any(|(name, fingerprint)| fingerprint.target != self.directory.join(name))
    }

    /// Scans the directory, reads what has changed, and returns the directories to watch.
    async fn scan(&mut self, reason: ScanReason) -> Result<BTreeSet<PathBuf>, String> {
        let (everything, routine) = (matches!(reason, ScanReason::Everything), matches!(reason, ScanReason::Routine));
        let scan = Scan {
            directory: self.directory.clone(),
            filter: self.filter.clone(),
            read: self.read,
            fingerprints: self.fingerprints.clone(),
            unsettled: self.unsettled.clone(),
            everything,
            completed: if let ScanReason::Completed(names) = reason { names } else { BTreeSet::new() },
        };
        let mut scanning = spawn_blocking(move || scan.scan());
        let scanned = match timeout(SOURCE_READ_TIMEOUT, &mut scanning).await {
            Ok(scanned) => scanned,
            Err(_) => {
                let seconds = SOURCE_READ_TIMEOUT.as_secs();
                let error = format!("{}: the file system does not answer ({seconds} s)", self.directory.display());
                self.report_once(Err(error), Instant::now());
                // A hanging file system blocks one thread at most.
                scanning.await
            }
        };
        let found = scanned.map_err(|error| format!("{}: {error}", self.directory.display()))??;
        if routine || everything {
            self.unsettled.clear();
        }
        self.settle_gone(&found.files);
        for (name, file) in found.files {
            match file.content {
                Some(content) => {
                    Arc::make_mut(&mut self.fingerprints).insert(name.clone(), file.fingerprint);
                    if self.contents.get(&name) != Some(&content) {
                        self.contents.insert(name, content);
                        self.reported = None;
                    }
                }
                None if routine && self.fingerprints.get(&name) != Some(&file.fingerprint) => {
                    self.unsettled.insert(name, file.fingerprint);
                }
                None => {}
            }
        }
        Ok(found.directories)
    }

    fn settle_gone(&mut self, present: &BTreeMap<OsString, FoundFile<T>>) {
        let grace = self.absence_grace();
        self.gone.retain(|name, _| !present.contains_key(name));
        let now = Instant::now();
        for name in self.fingerprints.keys().filter(|name| !present.contains_key(*name)) {
            self.gone.entry(name.clone()).or_insert(now);
        }
        let (confirmed, waiting) = std::mem::take(&mut self.gone)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, since)| now.duration_since(*since) >= grace);
        self.gone = waiting;
        for name in confirmed.keys() {
            Arc::make_mut(&mut self.fingerprints).remove(name);
            self.contents.remove(name);
            self.reported = None;
        }
    }

    /// Returns how long a file must be missing before it counts as removed. Definitions have the grace period of their
    /// services.
    fn absence_grace(&self) -> Duration {
        match self.filter {
            FileFilter::One(..) => SOURCE_ABSENCE_GRACE,
            FileFilter::Each(_) => Duration::ZERO,
        }
    }

    /// Reports a snapshot that was not reported yet.
    fn report_once(&mut self, result: Result<(), String>, seen_at: Instant) {
        if self.reported.as_ref() != Some(&result) {
            (self.report)(result.clone().map(|()| &self.contents), seen_at);
            self.reported = Some(result);
        }
    }
}

/// One scan, on a thread that may block.
struct Scan<T> {
    directory: PathBuf,
    filter: FileFilter,
    read: ReadFile<T>,
    fingerprints: Arc<BTreeMap<OsString, Fingerprint>>,
    unsettled: BTreeMap<OsString, Fingerprint>,
    everything: bool,
    completed: BTreeSet<OsString>,
}

struct Found<T> {
    files: BTreeMap<OsString, FoundFile<T>>,
    directories: BTreeSet<PathBuf>,
}

struct FoundFile<T> {
    fingerprint: Fingerprint,
    /// None if it is unchanged or not complete.
    content: Option<T>,
}

impl<T> Scan<T> {
    fn scan(self) -> Result<Found<T>, String> {
        let mut found = Found { files: BTreeMap::new(), directories: BTreeSet::from([self.directory.clone()]) };
        let cannot = |error: io::Error| format!("cannot read the directory {}: {error}", self.directory.display());
        let seen = fs::symlink_metadata(&self.directory);
        // A missing directory is created, and a link is replaced, in the parent directory.
        if seen.map_or(true, |metadata| metadata.is_symlink())
            && let Some(parent) = self.directory.parent()
        {
            found.directories.insert(parent.to_owned());
        }
        let names: Vec<OsString> = match &self.filter {
            FileFilter::One(name, _) => vec![name.clone()],
            FileFilter::Each(accepts) => {
                let entries = fs::read_dir(&self.directory).map_err(cannot)?;
                let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
                let names: io::Result<Vec<_>> = names.collect();
                let names: Vec<_> = names.map_err(cannot)?.into_iter().filter(|name| accepts(name)).collect();
                if names.len() > DEFINITIONS_MAX {
                    let (directory, count) = (self.directory.display(), names.len());
                    return Err(format!("{directory} has {count} definitions, at most {DEFINITIONS_MAX} are read"));
                }
                names
            }
        };
        for name in names {
            let Some(file) = self.file(&name) else { continue };
            if let Some(real) = file.fingerprint.target.parent() {
                found.directories.insert(real.to_owned());
            }
            found.files.insert(name, file);
        }
        Ok(found)
    }

    /// The file with this name, if it exists.
    fn file(&self, name: &OsStr) -> Option<FoundFile<T>> {
        let path = self.directory.join(name);
        let roots = match &self.filter {
            FileFilter::One(_, roots) => Some(&**roots),
            FileFilter::Each(_) => None,
        };
        let seen = fs::canonicalize(&path).and_then(|target| {
            roots.map_or(Ok(()), |roots| roots.check(&target))?;
            Ok((fs::metadata(&target)?, target))
        });
        let (metadata, target) = match seen {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                let fingerprint =
                    Fingerprint { target: path.clone(), inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };
                let content = (self.read)(&path, Err(unreadable(&path, &error)));
                return Some(FoundFile { fingerprint, content: Some(content) });
            }
        };
        let fingerprint = Fingerprint::new(&metadata, target);
        let settled = self.unsettled.get(name) == Some(&fingerprint);
        let completed = self.completed.contains(name)
            || fingerprint.target.file_name().is_some_and(|target| self.completed.contains(target));
        let must_read = self.everything
            || completed
            || match self.fingerprints.get(name) {
                None => settled || fingerprint.target != path && is_link(&path),
                Some(known) => known.target != fingerprint.target || *known != fingerprint && settled,
            };
        let read = || read_text(&path, roots).map_err(|error| unreadable(&path, &error));
        Some(FoundFile { fingerprint, content: must_read.then(|| (self.read)(&path, read())) })
    }
}

impl Fingerprint {
    fn new(metadata: &Metadata, target: PathBuf) -> Self {
        Self {
            target,
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// Reads the text of a file that may be anywhere.
pub(super) fn read_file(path: &Path) -> FileText {
    read_text(path, None).map_err(|error| unreadable(path, &error))
}

fn read_text(path: &Path, roots: Option<&FileRoots>) -> io::Result<Arc<str>> {
    let file = match roots {
        Some(roots) => roots.open(path)?,
        // O_NONBLOCK: opening a named pipe would wait for its writer.
        None => OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(SOURCE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SOURCE_FILE_BYTES_MAX {
        let error = format!("it is larger than {SOURCE_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, error));
    }
    text_from(&bytes).map(Arc::from).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}
