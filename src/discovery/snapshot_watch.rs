//! A watch of a source that is read over HTTP, from one snapshot to the next.
//!
//! Common to all such sources: no snapshot is reported twice, a short disconnect is not reported, retries are spread
//! out, and a refresh reads and reports everything again.

use std::rc::Rc;

use proxymgr_actors::limits::{HTTP_LOSS_GRACE, HTTP_RETRY_MAX, HTTP_RETRY_MIN};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::http::{HttpError, HttpFailure};

/// Reads the snapshots of one source.
pub(super) trait SnapshotReader: 'static {
    /// The state of the source at one time.
    type Snapshot: PartialEq;

    /// Waits for a new snapshot (the first one is available at once), and returns it with the time it was read. Called
    /// again after a failure. If it is dropped before its end, [`Self::start_over`] follows.
    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError>;

    /// Has the next call read everything again.
    fn start_over(&mut self);

    /// Sends a snapshot to the recipient, or why there is none.
    fn report(&self, snapshot: Result<&Self::Snapshot, String>, seen_at: Instant);
}

/// A watch, active until this is dropped.
pub(super) struct SnapshotWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl SnapshotWatch {
    /// Starts to read.
    pub(super) fn start(reader: impl SnapshotReader) -> Self {
        let refresh = Rc::new(Notify::new());
        let watching = Watching {
            reader,
            refresh: refresh.clone(),
            snapshot: None,
            reported: Reported::Nothing,
            failing_since: None,
            backoff: Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX),
        };
        Self { task: tokio::task::spawn_local(watching.run()).abort_handle(), refresh }
    }
}

impl OpenSource for SnapshotWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for SnapshotWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The last report.
#[derive(PartialEq, Eq)]
enum Reported {
    /// None, or an outdated one.
    Nothing,
    /// The current snapshot.
    Snapshot,
    /// A failure of this kind; its text may differ between attempts.
    Failure(HttpFailure),
}

struct Watching<R: SnapshotReader> {
    reader: R,
    refresh: Rc<Notify>,
    snapshot: Option<R::Snapshot>,
    reported: Reported,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl<R: SnapshotReader> Watching<R> {
    async fn run(mut self) {
        loop {
            let next = tokio::select! {
                biased;
                () = self.refresh.notified() => {
                    self.start_over();
                    continue;
                }
                next = self.reader.next() => next,
            };
            match next {
                Ok((snapshot, seen_at)) => self.report(snapshot, seen_at),
                Err(error) => {
                    self.report_failure(&error);
                    tokio::select! {
                        () = sleep(self.backoff.pause()) => {}
                        () = self.refresh.notified() => self.start_over(),
                    }
                }
            }
        }
    }

    fn start_over(&mut self) {
        self.reported = Reported::Nothing;
        self.reader.start_over();
    }

    fn report(&mut self, snapshot: R::Snapshot, seen_at: Instant) {
        self.failing_since = None;
        self.backoff.reset();
        let is_new = self.snapshot.as_ref() != Some(&snapshot);
        let snapshot = self.snapshot.insert(snapshot);
        if is_new || self.reported != Reported::Snapshot {
            self.reader.report(Ok(snapshot), seen_at);
            self.reported = Reported::Snapshot;
        }
    }

    fn report_failure(&mut self, error: &HttpError) {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        // The restart of a server, an election, and a failed look-up end soon.
        let may_end_soon =
            matches!(error.failure, HttpFailure::Unreachable | HttpFailure::UnknownHost | HttpFailure::Status(500..));
        let in_grace =
            may_end_soon && self.reported == Reported::Snapshot && now.duration_since(since) < HTTP_LOSS_GRACE;
        let reported = Reported::Failure(error.failure);
        if !in_grace && self.reported != reported {
            self.reader.report(Err(error.to_string()), now);
            self.reported = reported;
        }
    }
}
