//! Events of directories (inotify), one kernel instance for all that watch files: a user may have only 128 of them.
//!
//! Directories are watched rather than files, so that renames, editors' detours and exchanged links are seen. Events
//! only say where to look; [`super::watched_files`] looks, and also looks without events.

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

/// A file with one of these is complete; with any other event it may still be being written.
const COMPLETE: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE.union(AddWatchFlags::IN_MOVED_TO);

/// With one of these the descriptor no longer stands for the path.
const DETACHED: AddWatchFlags =
    AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF).union(AddWatchFlags::IN_IGNORED);

/// What happened in some directories since it was last taken. One per watcher, however many directories it watches.
#[derive(Default)]
pub(super) struct Happenings {
    completed: RefCell<BTreeSet<OsString>>,
    anything: Cell<bool>,
    notify: Notify,
}

impl Happenings {
    /// Waits until something happened.
    pub(super) async fn happened(&self) {
        self.notify.notified().await;
    }

    /// The names of the files that were completed. None: any may have been.
    pub(super) fn take(&self) -> Option<BTreeSet<OsString>> {
        let completed = self.completed.take();
        (!self.anything.replace(false)).then_some(completed)
    }

    fn add(&self, event: &InotifyEvent) {
        if event.mask.intersects(COMPLETE)
            && let Some(name) = &event.name
        {
            self.completed.borrow_mut().insert(name.clone());
        }
        self.notify.notify_one();
    }

    fn add_anything(&self) {
        self.anything.set(true);
        self.notify.notify_one();
    }
}

/// All watched directories. Clones share them.
#[derive(Clone)]
pub(super) struct DirectoryWatches {
    room: Rc<Room>,
}

struct Room {
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
    happenings: Rc<Happenings>,
}

/// A directory being watched, until this is dropped.
pub(super) struct WatchedDirectory {
    room: Rc<Room>,
    descriptor: WatchDescriptor,
    interest: Rc<Interest>,
    path: PathBuf,
}

impl WatchedDirectory {
    /// The path it was watched by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether only one name in it is of interest.
    pub(super) fn is_filtered(&self) -> bool {
        self.interest.only.is_some()
    }

    /// Whether events still come: not after the directory was removed or renamed.
    pub(super) fn is_attached(&self) -> bool {
        let watched = self.room.watched.borrow();
        let interests = watched.get(&self.descriptor);
        interests.is_some_and(|interests| interests.iter().any(|interest| Rc::ptr_eq(interest, &self.interest)))
    }
}

impl Drop for WatchedDirectory {
    fn drop(&mut self) {
        let mut watched = self.room.watched.borrow_mut();
        let Some(interests) = watched.get_mut(&self.descriptor) else { return };
        interests.retain(|interest| !Rc::ptr_eq(interest, &self.interest));
        if interests.is_empty() {
            watched.remove(&self.descriptor);
            self.room.forget(self.descriptor);
        }
    }
}

impl DirectoryWatches {
    /// None yet.
    pub(super) fn new(log: &Logger) -> Self {
        let log = log.new(o!("component" => "files"));
        Self { room: Rc::new(Room { kernel: RefCell::default(), watched: RefCell::default(), log }) }
    }

    /// Watches a directory: what happens to `only` this name in it, or to any. None where the kernel cannot: then looking
    /// without events has to do.
    pub(super) fn watch(
        &self,
        path: &Path,
        only: Option<&OsStr>,
        happenings: &Rc<Happenings>,
    ) -> Option<WatchedDirectory> {
        let descriptor = match self.add(path) {
            Ok(descriptor) => descriptor,
            // That it is not there is for those to tell who look into it.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return None,
            Err(error) => {
                let hint = "changes are seen within seconds instead of at once; fs.inotify.* may be too low";
                warn!(self.room.log, "a directory cannot be watched"; "path" => path.display(), "error" => %error, "hint" => hint);
                return None;
            }
        };
        let interest = Rc::new(Interest { only: only.map(OsStr::to_owned), happenings: happenings.clone() });
        self.room.watched.borrow_mut().entry(descriptor).or_default().push(interest.clone());
        Some(WatchedDirectory { room: self.room.clone(), descriptor, interest, path: path.to_owned() })
    }

    fn add(&self, path: &Path) -> Result<WatchDescriptor, Errno> {
        let mut kernel = self.room.kernel.borrow_mut();
        let kernel = match &mut *kernel {
            Some(kernel) => kernel,
            none => {
                let inotify = Rc::new(Descriptor(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?));
                let reader = tokio::task::spawn_local(read(inotify.clone(), Rc::downgrade(&self.room))).abort_handle();
                none.insert(Kernel { inotify, reader })
            }
        };
        kernel.inotify.0.add_watch(path, MASK)
    }
}

impl Room {
    fn forget(&self, descriptor: WatchDescriptor) {
        if let Some(kernel) = &*self.kernel.borrow() {
            // It fails where the directory is gone, and then there is nothing to forget.
            let _ = kernel.inotify.0.rm_watch(descriptor);
        }
    }

    fn dispatch(&self, event: &InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.watched.borrow().values().flatten().for_each(|interest| interest.happenings.add_anything());
            return;
        }
        if event.mask.intersects(DETACHED) {
            let interests = self.watched.borrow_mut().remove(&event.wd);
            self.forget(event.wd);
            interests.iter().flatten().for_each(|interest| interest.happenings.add_anything());
            return;
        }
        for interest in self.watched.borrow().get(&event.wd).into_iter().flatten() {
            if interest.only.is_none() || interest.only == event.name {
                interest.happenings.add(event);
            }
        }
    }
}

async fn read(inotify: Rc<Descriptor>, room: Weak<Room>) {
    // SAFETY: the descriptor is owned by what is registered, which neither replaces nor closes it before it is dropped.
    let readiness = match unsafe { AsyncFd::register(inotify.clone()) } {
        Ok(readiness) => readiness,
        Err(error) => return report(&room, &error.to_string()),
    };
    loop {
        let mut ready = match readiness.readable().await {
            Ok(ready) => ready,
            Err(error) => return report(&room, &error.to_string()),
        };
        match inotify.0.read_events() {
            Ok(events) => {
                let Some(room) = room.upgrade() else { return };
                events.iter().for_each(|event| room.dispatch(event));
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(error) => return report(&room, error.desc()),
        }
    }
}

fn report(room: &Weak<Room>, error: &str) {
    if let Some(room) = room.upgrade() {
        warn!(room.log, "events of directories cannot be read; changes are seen within seconds instead of at once"; "error" => error);
    }
}
