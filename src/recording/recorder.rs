//! The recorder: queues notes without ever blocking.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::limits::{RECORD_FINISH_TIMEOUT, RECORD_QUEUE_ENTRIES_MAX, RECORD_QUEUE_NOTES_MAX};
use proxymgr_actors::model::{RawDefinition, SeenHost};
use proxymgr_actors::port::{DefinitionList, SavedService, SavedState};
use slog::{Logger, warn};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::file;
use super::format::Header;

/// Something to record.
#[derive(Debug)]
pub(super) enum Note {
    /// The services that were restored from an earlier run.
    Restored(Vec<SavedService>),
    /// The definitions that an operator rejected in an earlier run.
    RejectedDefinitions(DefinitionList),
    /// A report of the source of the definitions.
    Definitions(Result<BTreeMap<Arc<str>, RawDefinition>, String>),
    /// A report of the source of a service.
    Hosts(String, Result<Vec<SeenHost>, String>),
    /// An action of the daemon.
    Outcome(Box<JournalEntry>),
    /// The number of notes that were lost before this one.
    Missed(u64),
    /// The end; the sender is notified once it is written.
    End(oneshot::Sender<()>),
}

impl Note {
    /// Its size, in entries of a source.
    fn entries(&self) -> usize {
        match self {
            Self::Definitions(Ok(definitions)) => definitions.len(),
            Self::RejectedDefinitions(definitions) => definitions.len(),
            Self::Hosts(_, Ok(hosts)) => hosts.len(),
            _ => 1,
        }
    }
}

/// A note with its time.
pub(super) struct Noted {
    /// Milliseconds since the daemon started.
    pub(super) at_ms: u64,
    /// The note.
    pub(super) note: Note,
}

/// Records inputs and actions. Clones write to the same file.
#[derive(Clone)]
pub struct Recorder(Rc<Shared>);

struct Shared {
    origin: Instant,
    queue: SyncSender<Noted>,
    /// The number of entries in the queue.
    waiting: Arc<AtomicUsize>,
    missed: Cell<u64>,
    log: Logger,
}

impl Recorder {
    /// Starts a recording. A separate thread opens the file and logs its errors.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(path: PathBuf, header: Header, log: Logger) -> Result<Self, String> {
        let (queue, notes) = sync_channel(RECORD_QUEUE_NOTES_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (taken, log_of_file) = (waiting.clone(), log.clone());
        let taken = move |noted: &Noted| {
            taken.fetch_sub(noted.note.entries(), Ordering::Relaxed);
        };
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || file::write_all(path, header, &notes, taken, log_of_file))
            .map_err(|error| format!("cannot start the recorder thread: {error}"))?;
        Ok(Self(Rc::new(Shared { origin: Instant::now(), queue, waiting, missed: Cell::new(0), log })))
    }

    /// Records the state that was restored from an earlier run.
    pub fn restored(&self, SavedState { services, definitions_guard }: &SavedState) {
        if !services.is_empty() {
            self.note(Note::Restored(services.clone()));
        }
        if let Some(rejected) = &definitions_guard.rejected {
            self.note(Note::RejectedDefinitions(rejected.list.clone()));
        }
    }

    /// Records an action of the daemon.
    pub fn outcome(&self, entry: JournalEntry) {
        self.note(Note::Outcome(Box::new(entry)));
    }

    /// Queues a note. If the queue is full, the note is lost and counted.
    pub(super) fn note(&self, note: Note) {
        let missed = self.0.missed.get();
        if missed > 0 && self.send(Note::Missed(missed)) {
            self.0.missed.set(0);
        }
        if self.0.missed.get() > 0 || !self.send(note) {
            self.0.missed.set(self.0.missed.get() + 1);
            if missed == 0 {
                warn!(self.0.log, "the recorder cannot keep up; lines are lost");
            }
        }
    }

    fn send(&self, note: Note) -> bool {
        let entries = note.entries();
        let waiting = self.0.waiting.fetch_add(entries, Ordering::Relaxed);
        // A single snapshot may be larger than the queue.
        let fits = waiting == 0 || waiting + entries <= RECORD_QUEUE_ENTRIES_MAX;
        let at_ms = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let sent = fits && self.0.queue.try_send(Noted { at_ms, note }).is_ok();
        if !sent {
            self.0.waiting.fetch_sub(entries, Ordering::Relaxed);
        }
        sent
    }

    /// Waits until everything is written, within a time limit.
    pub async fn finish(&self) {
        let (done, ended) = oneshot::channel();
        if !self.send(Note::End(done)) || timeout(RECORD_FINISH_TIMEOUT, ended).await.is_err() {
            warn!(self.0.log, "cannot write the end of the recording in time");
        }
    }
}
