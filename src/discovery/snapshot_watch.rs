//! A watch of a source that is read over HTTP, from one snapshot to the next.
//!
//! Common to all such sources: no snapshot is reported twice, a short disconnect is not reported, retries are spread
//! out, and a refresh reads and reports everything again. A confirmation reads the source by another reader, which knows
//! no index and no stream, while the watch goes on: a difference that the watch does not report within a moment was
//! missed.

use std::cell::Cell;
use std::rc::Rc;

use proxymgr_actors::limits::{HTTP_LOSS_GRACE, HTTP_RETRY_MAX, HTTP_RETRY_MIN, WATCH_DELAY_MAX};
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

    /// Returns another reader of the same source that has read nothing yet; `None` for a source that is polled, where
    /// every read is a confirmation.
    fn another(&self) -> Option<Self>
    where
        Self: Sized;

    /// Sends a snapshot to the recipient, or why there is none. `missed` is true for a change that the watch did not
    /// report.
    fn report(&self, snapshot: Result<&Self::Snapshot, String>, seen_at: Instant, missed: bool);
}

/// A watch, active until this is dropped.
pub(super) struct SnapshotWatch {
    task: AbortHandle,
    refresh: Rc<Notify>,
    confirm: Rc<Notify>,
}

impl SnapshotWatch {
    /// Starts to read.
    pub(super) fn start(reader: impl SnapshotReader) -> Self {
        let (refresh, confirm) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let watching = Watching {
            prober: reader.another(),
            reader,
            refresh: refresh.clone(),
            confirm: confirm.clone(),
            is_probing: Cell::new(false),
            was_missed: false,
            snapshot: None,
            reported: Reported::Nothing,
            failing_since: None,
            backoff: Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX),
        };
        Self { task: tokio::task::spawn_local(watching.run()).abort_handle(), refresh, confirm }
    }
}

impl OpenSource for SnapshotWatch {
    fn refresh(&self) {
        self.refresh.notify_one();
    }

    fn confirm(&self) {
        self.confirm.notify_one();
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

/// Waits for a confirmation, and reads the source independently of its watch. Returns whether it differs from the `known`
/// snapshot even after the watch had time to report that.
async fn probe<R: SnapshotReader>(
    prober: Option<&mut R>,
    confirm: &Notify,
    is_probing: &Cell<bool>,
    known: Option<&R::Snapshot>,
) -> bool {
    confirm.notified().await;
    is_probing.set(true);
    let (Some(prober), Some(known)) = (prober, known) else { return false };
    prober.start_over();
    let differs = prober.next().await.is_ok_and(|(snapshot, _)| snapshot != *known);
    if differs {
        sleep(WATCH_DELAY_MAX).await;
    }
    differs
}

struct Watching<R: SnapshotReader> {
    reader: R,
    /// Reads the source for confirmations.
    prober: Option<R>,
    refresh: Rc<Notify>,
    confirm: Rc<Notify>,
    /// Whether a confirmation is under way.
    is_probing: Cell<bool>,
    /// Whether a difference in the next snapshot was missed by the watch.
    was_missed: bool,
    snapshot: Option<R::Snapshot>,
    reported: Reported,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl<R: SnapshotReader> Watching<R> {
    async fn run(mut self) {
        loop {
            let known = self.snapshot.as_ref().filter(|_| self.reported == Reported::Snapshot);
            let next = tokio::select! {
                biased;
                () = self.refresh.notified() => {
                    self.start_over();
                    continue;
                }
                next = self.reader.next() => next,
                is_missed = probe(self.prober.as_mut(), &self.confirm, &self.is_probing, known) => {
                    self.is_probing.set(false);
                    self.was_missed = is_missed;
                    self.start_over();
                    continue;
                }
            };
            if self.is_probing.take() {
                // The watch was faster; it may have reported nothing new.
                self.confirm.notify_one();
            }
            match next {
                Ok((snapshot, seen_at)) => self.report(snapshot, seen_at),
                Err(error) => {
                    self.report_failure(&error);
                    tokio::select! {
                        () = sleep(self.backoff.pause()) => {}
                        () = self.refresh.notified() => self.start_over(),
                        () = self.confirm.notified() => self.start_over(),
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
        let missed = std::mem::take(&mut self.was_missed) && is_new;
        let snapshot = self.snapshot.insert(snapshot);
        if is_new || self.reported != Reported::Snapshot {
            self.reader.report(Ok(snapshot), seen_at, missed);
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
            self.reader.report(Err(error.to_string()), now, false);
            self.reported = reported;
        }
    }
}
