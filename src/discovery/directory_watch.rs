//! Events of directories (inotify), with one inotify instance for all watches: a user may have only 128 instances.
//!
//! Directories are watched instead of files, so that renames, temporary files of editors and replaced links are
//! noticed. Events only trigger a scan by [`super::watched_files`], which also scans without events.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use slog::{Logger, o, warn};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

const MASK: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// After one of these events a file is complete; after any other it may still be written.
const COMPLETE: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE.union(AddWatchFlags::IN_MOVED_TO);

/// After one of these events the watch descriptor no longer belongs to the path.
const DETACHED: AddWatchFlags =
    AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF).union(AddWatchFlags::IN_IGNORED);

/// The events in some directories since they were last taken. One per watcher, for all of its directories.
#[derive(Default)]
pub(super) struct FileEvents {
    completed: RefCell<BTreeSet<OsString>>,
    overflowed: Cell<bool>,
    notify: Notify,
}

impl FileEvents {
    /// Waits for an event.
    pub(super) async fn wait(&self) {
        self.notify.notified().await;
    }

    /// The names of the completed files. None: events were lost, and any file may have been completed.
    pub(super) fn take(&self) -> Option<BTreeSet<OsString>> {
        let completed = self.completed.take();
        (!self.overflowed.replace(false)).then_some(completed)
    }

    fn add(&self, event: &InotifyEvent) {
        if event.mask.intersects(COMPLETE)
            && let Some(name) = &event.name
        {
            self.completed.borrow_mut().insert(name.clone());
        }
        self.notify.notify_one();
    }

    fn add_overflow(&self) {
        self.overflowed.set(true);
        self.notify.notify_one();
    }
}

/// All watched directories. Clones share them.
#[derive(Clone)]
pub(super) struct DirectoryWatches {
    shared: Rc<Shared>,
}

struct Shared {
    kernel: RefCell<Option<Kernel>>,
    watched: RefCell<BTreeMap<WatchDescriptor, Vec<Rc<Interest>>>>,
    log: Logger,
}

struct Kernel {
    inotify: Rc<Descriptor>,
    reader: AbortHandle,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Interest {
    only: Option<OsString>,
    events: Rc<FileEvents>,
}

/// A watched directory, until this is dropped.
pub(super) struct WatchedDirectory {
    shared: Rc<Shared>,
    descriptor: WatchDescriptor,
    interest: Rc<Interest>,
    path: PathBuf,
}

impl WatchedDirectory {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether only one name in it is watched.
    pub(super) fn is_filtered(&self) -> bool {
        self.interest.only.is_some()
    }

    /// Whether it still sends events: not after the directory was removed or renamed.
    pub(super) fn is_attached(&self) -> bool {
        let watched = self.shared.watched.borrow();
        let interests = watched.get(&self.descriptor);
        interests.is_some_and(|interests| interests.iter().any(|interest| Rc::ptr_eq(interest, &self.interest)))
    }
}

impl Drop for WatchedDirectory {
    fn drop(&mut self) {
        let mut watched = self.shared.watched.borrow_mut();
        let Some(interests) = watched.get_mut(&self.descriptor) else { return };
        interests.retain(|interest| !Rc::ptr_eq(interest, &self.interest));
        if interests.is_empty() {
            watched.remove(&self.descriptor);
            self.shared.remove_watch(self.descriptor);
        }
    }
}

impl DirectoryWatches {
    /// No watches yet.
    pub(super) fn new(log: &Logger) -> Self {
        let log = log.new(o!("component" => "files"));
        Self { shared: Rc::new(Shared { kernel: RefCell::default(), watched: RefCell::default(), log }) }
    }

    /// Watches a directory for events of the name `only`, or of any name. None if the kernel cannot watch it: changes
    /// are then noticed by scans without events.
    pub(super) fn watch(&self, path: &Path, only: Option<&OsStr>, events: &Rc<FileEvents>) -> Option<WatchedDirectory> {
        let descriptor = match self.add(path) {
            Ok(descriptor) => descriptor,
            // The scan reports a missing directory.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return None,
            Err(error) => {
                let hint = "changes are noticed within seconds instead of at once; fs.inotify.* may be too low";
                warn!(self.shared.log, "cannot watch a directory"; "path" => path.display(), "error" => %error, "hint" => hint);
                return None;
            }
        };
        let interest = Rc::new(Interest { only: only.map(OsStr::to_owned), events: events.clone() });
        self.shared.watched.borrow_mut().entry(descriptor).or_default().push(interest.clone());
        Some(WatchedDirectory { shared: self.shared.clone(), descriptor, interest, path: path.to_owned() })
    }

    fn add(&self, path: &Path) -> Result<WatchDescriptor, Errno> {
        let mut kernel = self.shared.kernel.borrow_mut();
        let kernel = match &mut *kernel {
            Some(kernel) => kernel,
            none => {
                let inotify = Rc::new(Descriptor(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?));
                let reader =
                    tokio::task::spawn_local(read(inotify.clone(), Rc::downgrade(&self.shared))).abort_handle();
                none.insert(Kernel { inotify, reader })
            }
        };
        kernel.inotify.0.add_watch(path, MASK)
    }
}

impl Shared {
    fn remove_watch(&self, descriptor: WatchDescriptor) {
        if let Some(kernel) = &*self.kernel.borrow() {
            // It fails if the directory is gone, and its watch with it.
            let _ = kernel.inotify.0.rm_watch(descriptor);
        }
    }

    fn dispatch(&self, event: &InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.watched.borrow().values().flatten().for_each(|interest| interest.events.add_overflow());
            return;
        }
        if event.mask.intersects(DETACHED) {
            let interests = self.watched.borrow_mut().remove(&event.wd);
            self.remove_watch(event.wd);
            interests.iter().flatten().for_each(|interest| interest.events.add_overflow());
            return;
        }
        for interest in self.watched.borrow().get(&event.wd).into_iter().flatten() {
            if interest.only.is_none() || interest.only == event.name {
                interest.events.add(event);
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio cannot know that the value keeps its descriptor")]
async fn read(inotify: Rc<Descriptor>, shared: Weak<Shared>) {
    // SAFETY: the registered value owns the descriptor, and neither replaces nor closes it before it is dropped.
    let readiness = match unsafe { AsyncFd::register(inotify.clone()) } {
        Ok(readiness) => readiness,
        Err(error) => return report(&shared, &error.to_string()),
    };
    loop {
        let mut ready = match readiness.readable().await {
            Ok(ready) => ready,
            Err(error) => return report(&shared, &error.to_string()),
        };
        match inotify.0.read_events() {
            Ok(events) => {
                let Some(shared) = shared.upgrade() else { return };
                events.iter().for_each(|event| shared.dispatch(event));
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(error) => return report(&shared, error.desc()),
        }
    }
}

fn report(shared: &Weak<Shared>, error: &str) {
    if let Some(shared) = shared.upgrade() {
        warn!(shared.log, "cannot read events of directories; changes are noticed within seconds instead of at once"; "error" => error);
    }
}
