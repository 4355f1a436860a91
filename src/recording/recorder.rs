//! The recorder: takes down what passes by, and never holds it up.

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

/// What there is to take down.
#[derive(Debug)]
pub(super) enum Note {
    /// What the daemon knew from an earlier run.
    Restored(Vec<SavedService>),
    /// What an operator had rejected in an earlier run.
    RejectedDefinitions(DefinitionList),
    /// What the source of the definitions told.
    Definitions(Result<BTreeMap<Arc<str>, RawDefinition>, String>),
    /// What the source of a service told.
    Hosts(String, Result<Vec<SeenHost>, String>),
    /// What the daemon did.
    Outcome(Box<JournalEntry>),
    /// So many notes before this one were lost.
    Missed(u64),
    /// The end: whoever waits for it is told.
    End(oneshot::Sender<()>),
}

impl Note {
    /// How much memory it takes, in entries of a source.
    fn entries(&self) -> usize {
        match self {
            Self::Definitions(Ok(definitions)) => definitions.len(),
            Self::RejectedDefinitions(definitions) => definitions.len(),
            Self::Hosts(_, Ok(hosts)) => hosts.len(),
            _ => 1,
        }
    }
}

/// A note on its way to the file.
pub(super) struct Noted {
    /// Since the daemon started, in milliseconds.
    pub(super) at_ms: u64,
    /// What is noted.
    pub(super) note: Note,
}

/// Takes down what is said and done. Clones write into the same file.
#[derive(Clone)]
pub struct Recorder(Rc<Shared>);

struct Shared {
    origin: Instant,
    queue: SyncSender<Noted>,
    /// The entries that wait in the queue.
    waiting: Arc<AtomicUsize>,
    missed: Cell<u64>,
    log: Logger,
}

impl Recorder {
    /// Begins a recording: the file is opened, and whatever goes wrong with it is logged, by a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
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
            .map_err(|error| format!("cannot start the thread that records: {error}"))?;
        Ok(Self(Rc::new(Shared { origin: Instant::now(), queue, waiting, missed: Cell::new(0), log })))
    }

    /// Takes down what the daemon knew from an earlier run.
    pub fn restored(&self, SavedState { services, definitions_guard }: &SavedState) {
        if !services.is_empty() {
            self.note(Note::Restored(services.clone()));
        }
        if let Some(rejected) = &definitions_guard.rejected {
            self.note(Note::RejectedDefinitions(rejected.list.clone()));
        }
    }

    /// Takes down what the daemon did.
    pub fn outcome(&self, entry: JournalEntry) {
        self.note(Note::Outcome(Box::new(entry)));
    }

    /// Takes a note, unless too many are waiting: then it is counted and lost.
    pub(super) fn note(&self, note: Note) {
        let missed = self.0.missed.get();
        if missed > 0 && self.send(Note::Missed(missed)) {
            self.0.missed.set(0);
        }
        if self.0.missed.get() > 0 || !self.send(note) {
            self.0.missed.set(self.0.missed.get() + 1);
            if missed == 0 {
                warn!(self.0.log, "the recording cannot keep up, some of it will be missing");
            }
        }
    }

    fn send(&self, note: Note) -> bool {
        let entries = note.entries();
        let waiting = self.0.waiting.fetch_add(entries, Ordering::Relaxed);
        // A single level may be larger than all that may wait.
        let fits = waiting == 0 || waiting + entries <= RECORD_QUEUE_ENTRIES_MAX;
        let at_ms = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let sent = fits && self.0.queue.try_send(Noted { at_ms, note }).is_ok();
        if !sent {
            self.0.waiting.fetch_sub(entries, Ordering::Relaxed);
        }
        sent
    }

    /// Waits until all is written, for a while.
    pub async fn finish(&self) {
        let (done, ended) = oneshot::channel();
        if !self.send(Note::End(done)) || timeout(RECORD_FINISH_TIMEOUT, ended).await.is_err() {
            warn!(self.0.log, "the end of the recording is not written");
        }
    }
}
