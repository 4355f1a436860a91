//! The texts of some files of one directory, kept in step with the disk.
//!
//! A file is taken when it is complete: closed after writing, renamed into place, or reached through an exchanged link.
//! Where no events come, it is taken when two looks in a row found it the same. A file that goes is kept for a moment:
//! editors take files away while they replace them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::libc::O_NONBLOCK;
use proxymgr_actors::limits::{
    SOURCE_ABSENCE_GRACE, SOURCE_FILE_BYTES_MAX, SOURCE_LOOK_INTERVAL, SOURCE_READ_TIMEOUT, SOURCE_SETTLE,
};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::directory_watch::{DirectoryWatches, Happenings, WatchedDirectory};

/// A file's text, or why it cannot be read.
pub(super) type FileText = Result<Arc<str>, String>;

/// Which files of the directory.
#[derive(Clone)]
pub(super) enum Wanted {
    /// The one with this name.
    One(OsString),
    /// Each whose name passes.
    Each(fn(&OsStr) -> bool),
}

/// Files that are being watched, until this is dropped.
pub(super) struct OpenFiles {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl OpenFiles {
    /// Watches, and tells every level: the texts by name, or why the directory cannot be read.
    pub(super) fn start(
        directory: PathBuf,
        wanted: Wanted,
        watches: &DirectoryWatches,
        report: impl FnMut(Result<&BTreeMap<OsString, FileText>, String>, Instant) + 'static,
    ) -> Self {
        let refresh = Rc::new(Notify::new());
        let files = WatchedFiles {
            directory,
            wanted,
            watches: watches.clone(),
            happenings: Rc::default(),
            watched: Vec::new(),
            refresh: refresh.clone(),
            texts: BTreeMap::new(),
            marks: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            gone: BTreeMap::new(),
            reported: None,
            report,
        };
        Self { task: tokio::task::spawn_local(files.run()).abort_handle(), refresh }
    }
}

impl OpenSource for OpenFiles {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is the same as long as a file is.
#[derive(Clone, PartialEq, Eq)]
struct Mark {
    /// Where it really is.
    target: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changes with the permissions.
    changed: (i64, i64),
}

/// Why the disk is looked at.
enum Reason {
    /// Everything is to be read.
    Everything,
    /// These may be complete now, others not.
    Completed(BTreeSet<OsString>),
    /// Time has passed.
    Routine,
}

struct WatchedFiles<R> {
    directory: PathBuf,
    wanted: Wanted,
    watches: DirectoryWatches,
    happenings: Rc<Happenings>,
    watched: Vec<WatchedDirectory>,
    refresh: Rc<Notify>,
    texts: BTreeMap<OsString, FileText>,
    /// Of the files as they were taken.
    marks: BTreeMap<OsString, Mark>,
    /// Of files that were found different by the last routine look.
    unsettled: BTreeMap<OsString, Mark>,
    /// Since when which file is gone.
    gone: BTreeMap<OsString, Instant>,
    reported: Option<Result<(), String>>,
    report: R,
}

impl<R: FnMut(Result<&BTreeMap<OsString, FileText>, String>, Instant)> WatchedFiles<R> {
    async fn run(mut self) {
        let mut reason = Reason::Everything;
        let mut seen_at = Instant::now();
        loop {
            // Watched before it is looked at, so that nothing falls in between.
            self.watch(&BTreeSet::from([self.directory.clone()]));
            let directories = match self.look(reason).await {
                Ok(directories) => {
                    self.tell(Ok(()), seen_at);
                    directories
                }
                Err(error) => {
                    self.tell(Err(error), seen_at);
                    // A directory that is not there comes in the one above it.
                    self.directory.parent().map(Path::to_owned).into_iter().collect()
                }
            };
            self.watched.retain(|watched| directories.contains(watched.path()));
            let has_new = self.watch(&directories);
            // What was completed before a directory was watched sent no event: it is taken once it stays the same.
            reason = if has_new { Reason::Routine } else { self.wait().await };
            seen_at = Instant::now();
        }
    }

    /// Waits for a reason to look again.
    async fn wait(&mut self) -> Reason {
        let pause = if self.unsettled.is_empty() { SOURCE_LOOK_INTERVAL } else { SOURCE_SETTLE };
        let routine = Instant::now() + pause;
        let confirm_gone = self.gone.values().min().map(|since| *since + SOURCE_ABSENCE_GRACE);
        tokio::select! {
            biased;
            () = self.refresh.notified() => {
                self.reported = None;
                Reason::Everything
            }
            () = self.happenings.happened() => match self.happenings.take() {
                Some(completed) => Reason::Completed(completed),
                None => Reason::Everything,
            },
            () = sleep_until(confirm_gone.unwrap_or(routine)) => {
                if confirm_gone.is_some() { Reason::Completed(BTreeSet::new()) } else { Reason::Routine }
            }
        }
    }

    /// Watches these directories besides those that are watched, and tells whether one is new.
    fn watch(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        // A file that is reached through links may be exchanged under any name, and a missing directory comes by its own.
        let only = match &self.wanted {
            Wanted::One(name) if !self.is_linked() => Some(name.as_os_str()),
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
            let watched = self.watches.watch(path, only.filter(|_| path == directory), &self.happenings);
            has_new |= watched.is_some();
            self.watched.extend(watched);
        }
        has_new
    }

    fn is_linked(&self) -> bool {
        self.marks.iter().any(|(name, mark)| mark.target != self.directory.join(name))
    }

    /// Looks at the disk, takes what is new, and returns the directories that matter.
    async fn look(&mut self, reason: Reason) -> Result<BTreeSet<PathBuf>, String> {
        let (everything, routine) = (matches!(reason, Reason::Everything), matches!(reason, Reason::Routine));
        let glance = Glance {
            directory: self.directory.clone(),
            wanted: self.wanted.clone(),
            marks: self.marks.clone(),
            unsettled: self.unsettled.clone(),
            everything,
            completed: if let Reason::Completed(names) = reason { names } else { BTreeSet::new() },
        };
        let mut looking = spawn_blocking(move || glance.look());
        let looked = match timeout(SOURCE_READ_TIMEOUT, &mut looking).await {
            Ok(looked) => looked,
            Err(_) => {
                let seconds = SOURCE_READ_TIMEOUT.as_secs();
                let error = format!("{}: the file system has not answered for {seconds} s", self.directory.display());
                self.tell(Err(error), Instant::now());
                // No second thread is given to a file system that holds the first one.
                looking.await
            }
        };
        let found = looked.map_err(|error| format!("{}: {error}", self.directory.display()))??;
        if routine || everything {
            self.unsettled.clear();
        }
        self.settle_gone(&found.files);
        for (name, file) in found.files {
            match file.text {
                Some(text) => {
                    self.marks.insert(name.clone(), file.mark);
                    if self.texts.get(&name) != Some(&text) {
                        self.texts.insert(name, text);
                        self.reported = None;
                    }
                }
                None if routine && self.marks.get(&name) != Some(&file.mark) => {
                    self.unsettled.insert(name, file.mark);
                }
                None => {}
            }
        }
        Ok(found.directories)
    }

    fn settle_gone(&mut self, present: &BTreeMap<OsString, FoundFile>) {
        self.gone.retain(|name, _| !present.contains_key(name));
        let now = Instant::now();
        for name in self.marks.keys().filter(|name| !present.contains_key(*name)) {
            self.gone.entry(name.clone()).or_insert(now);
        }
        let (confirmed, waiting) = std::mem::take(&mut self.gone)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, since)| now.duration_since(*since) >= SOURCE_ABSENCE_GRACE);
        self.gone = waiting;
        for name in confirmed.keys() {
            self.marks.remove(name);
            self.texts.remove(name);
            self.reported = None;
        }
    }

    /// Tells what was not told yet.
    fn tell(&mut self, result: Result<(), String>, seen_at: Instant) {
        if self.reported.as_ref() != Some(&result) {
            (self.report)(result.clone().map(|()| &self.texts), seen_at);
            self.reported = Some(result);
        }
    }
}

/// One look at the disk, on a thread that may block.
struct Glance {
    directory: PathBuf,
    wanted: Wanted,
    marks: BTreeMap<OsString, Mark>,
    unsettled: BTreeMap<OsString, Mark>,
    everything: bool,
    completed: BTreeSet<OsString>,
}

struct Found {
    files: BTreeMap<OsString, FoundFile>,
    directories: BTreeSet<PathBuf>,
}

struct FoundFile {
    mark: Mark,
    /// None where it is as it was taken, or not complete.
    text: Option<FileText>,
}

impl Glance {
    fn look(self) -> Result<Found, String> {
        let mut found = Found { files: BTreeMap::new(), directories: BTreeSet::from([self.directory.clone()]) };
        let cannot = |error: io::Error| format!("cannot read the directory {}: {error}", self.directory.display());
        let seen = fs::symlink_metadata(&self.directory);
        // A directory that is missing comes, and a link is exchanged, in the directory above.
        if seen.map_or(true, |metadata| metadata.is_symlink())
            && let Some(parent) = self.directory.parent()
        {
            found.directories.insert(parent.to_owned());
        }
        let names: Vec<OsString> = match &self.wanted {
            Wanted::One(name) => vec![name.clone()],
            Wanted::Each(passes) => {
                let entries = fs::read_dir(&self.directory).map_err(cannot)?;
                let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
                let names: io::Result<Vec<_>> = names.collect();
                names.map_err(cannot)?.into_iter().filter(|name| passes(name)).collect()
            }
        };
        for name in names {
            let Some(file) = self.file(&name) else { continue };
            if let Some(real) = file.mark.target.parent() {
                found.directories.insert(real.to_owned());
            }
            found.files.insert(name, file);
        }
        Ok(found)
    }

    /// None where there is no such file.
    fn file(&self, name: &OsStr) -> Option<FoundFile> {
        let path = self.directory.join(name);
        let seen = fs::canonicalize(&path).and_then(|target| Ok((fs::metadata(&target)?, target)));
        let (metadata, target) = match seen {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                let mark = Mark { target: path.clone(), inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };
                return Some(FoundFile { mark, text: Some(Err(unreadable(&path, &error))) });
            }
        };
        let mark = Mark::new(&metadata, target);
        let settled = self.unsettled.get(name) == Some(&mark);
        let completed = self.completed.contains(name)
            || mark.target.file_name().is_some_and(|target| self.completed.contains(target));
        let take = self.everything
            || completed
            || match self.marks.get(name) {
                None => settled || mark.target != path && is_link(&path),
                Some(taken) => taken.target != mark.target || *taken != mark && settled,
            };
        let text = take.then(|| read_text(&path).map_err(|error| unreadable(&path, &error)));
        Some(FoundFile { mark, text })
    }
}

impl Mark {
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

fn read_text(path: &Path) -> io::Result<Arc<str>> {
    // Opening a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    file.take(SOURCE_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SOURCE_FILE_BYTES_MAX {
        let error = format!("it is larger than {SOURCE_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, error));
    }
    Ok(text.into())
}
