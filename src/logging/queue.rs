//! The queue of records for the thread that writes the log. When it is full, records are dropped and counted, so that
//! logging never blocks an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use slog::{Drain, Level, Never, OwnedKVList, Record, b, record};
use slog_async::{AsyncCore, AsyncGuard};

use crate::dropped_records::DroppedRecords;

/// Length of the queue.
const QUEUE_RECORDS_MAX: usize = 8_192;

/// The queue.
pub struct Queue {
    records: AsyncCore,
    dropped: Arc<DroppedRecords>,
    /// How many dropped records the log does not report yet.
    unreported: AtomicU64,
}

impl Queue {
    /// Starts the thread that writes records to `drain`. Dropping the guard writes the remaining ones.
    pub fn start<D>(drain: D) -> (Self, AsyncGuard)
    where
        D: Drain<Ok = (), Err = Never> + Send + 'static,
    {
        let thread = AsyncCore::custom(drain).chan_size(QUEUE_RECORDS_MAX).thread_name("log".to_owned());
        let (records, guard) = thread.build_with_guard();
        (Self { records, dropped: Arc::default(), unreported: AtomicU64::new(0) }, guard)
    }

    /// Returns the counter of dropped records.
    pub fn dropped(&self) -> Arc<DroppedRecords> {
        Arc::clone(&self.dropped)
    }

    /// Writes how many records were dropped before this one.
    fn report(&self, values: &OwnedKVList) {
        let count = self.unreported.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let message = format_args!("records of the log were dropped, it could not be written fast enough");
        let reported = self.records.log(&record!(Level::Error, "", &message, b!("count" => count)), values);
        if reported.is_err() {
            self.unreported.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Drain for Queue {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        self.report(values);
        if self.records.log(record, values).is_err() {
            self.unreported.fetch_add(1, Ordering::Relaxed);
            self.dropped.add(unix_ms());
        }
        Ok(())
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
