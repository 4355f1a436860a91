//! The event stream: one refresh and one message for all readers.
//!
//! A reader has no queue of its own. All readers share one ring of the last few messages; a reader that falls behind is
//! disconnected, reconnects and receives the changes since. So the cost of a reader is bounded, and no actor waits for
//! one. Events:
//!
//! | event | data |
//! | --- | --- |
//! | `hello` | the run of the daemon; a page of another run reloads itself |
//! | `update` | an [`Update`](super::board::Update); its tick is the event's id, from which a reader resumes |
//! | `traffic` | changed sessions and session rates by service |
//! | `beat` | no change; the daemon is alive |

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use actix_web::web::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use proxymgr_actors::limits::{
    STATUS_BEAT_INTERVAL, STATUS_IDLE_LOOK_INTERVAL, STATUS_LOOK_INTERVAL, STATUS_REFRESH_COST_SHARE,
    STATUS_REFRESH_INTERVAL, STATUS_STREAM_MESSAGES_MAX, STATUS_STREAMS_MAX,
};
use proxymgr_actors::message::ReadJournal;
use serde_json::json;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::board::{Board, traffic_json};

/// The readers and their messages.
pub struct Streams {
    board: Rc<Board>,
    messages: broadcast::Sender<Bytes>,
    readers: Rc<Cell<usize>>,
    opened: Notify,
}

impl Streams {
    /// Without readers yet.
    pub fn new(board: Rc<Board>) -> Self {
        let (messages, _) = broadcast::channel(STATUS_STREAM_MESSAGES_MAX);
        Self { board, messages, readers: Rc::default(), opened: Notify::new() }
    }

    /// A stream that begins with the changes since `tick`; none if too many are open.
    pub async fn open(&self, tick: u64) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + use<>> {
        let slot = ReaderSlot::take(&self.readers)?;
        self.board.refresh(STATUS_REFRESH_INTERVAL).await;
        // No await from here on: the ring has all changes after this state.
        let messages = self.messages.subscribe();
        let update = self.board.read(|shown| shown.since(tick));
        self.opened.notify_one();
        let hello = json!({ "run": self.board.run() }).to_string();
        let first = [message("hello", None, &hello), update_message(&update)].concat();
        let rest = stream::unfold((messages, slot), async |(mut messages, slot)| {
            let next = messages.recv().await.ok()?;
            Some((Ok(next), (messages, slot)))
        });
        Some(stream::once(async { Ok(Bytes::from(first)) }).chain(rest))
    }

    /// Refreshes the board and sends all changes to the readers, as long as the listener runs. Without readers it refreshes
    /// rarely, so that the page can show since when a problem exists.
    pub async fn keep_readers_informed(self: Rc<Self>) {
        let mut beat_at = Instant::now();
        let mut tick = self.board.read(|shown| shown.tick);
        let mut pause = Duration::ZERO;
        loop {
            if self.readers.get() == 0 {
                let _ = timeout(STATUS_IDLE_LOOK_INTERVAL, self.opened.notified()).await;
                self.board.refresh(STATUS_IDLE_LOOK_INTERVAL / 2).await;
                tick = self.board.read(|shown| shown.tick);
                continue;
            }
            sleep(STATUS_LOOK_INTERVAL).await;
            let age = self.board.age().unwrap_or(Duration::MAX);
            if age >= STATUS_BEAT_INTERVAL || (age >= pause && self.has_news().await) {
                let begun = Instant::now();
                self.board.refresh(Duration::ZERO).await;
                pause = STATUS_REFRESH_INTERVAL.max(begun.elapsed() * STATUS_REFRESH_COST_SHARE);
            }
            let update = self.board.read(|shown| (shown.tick > tick).then(|| shown.since(tick)));
            if let Some(update) = update {
                tick = update.tick;
                self.send(update_message(&update));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
            let traffic = self.board.refresh_traffic().await;
            if !traffic.is_empty() {
                self.send(message("traffic", None, &traffic_json(&traffic)));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
            if Instant::now() >= beat_at {
                self.send(message("beat", None, "{}"));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
        }
    }

    /// Whether the journal has entries that the board does not show yet; asks one actor.
    async fn has_news(&self) -> bool {
        let after = Some(self.board.read(|shown| shown.sequence));
        !self.board.view.journal(ReadJournal { after, limit: Some(1), ..ReadJournal::default() }).await.is_empty()
    }

    fn send(&self, message: String) {
        // An error means that the last reader has just left.
        let _ = self.messages.send(Bytes::from(message));
    }
}

/// One of the limited reader slots; released when dropped.
struct ReaderSlot(Rc<Cell<usize>>);

impl ReaderSlot {
    fn take(readers: &Rc<Cell<usize>>) -> Option<Self> {
        if readers.get() >= STATUS_STREAMS_MAX {
            return None;
        }
        readers.set(readers.get() + 1);
        Some(Self(Rc::clone(readers)))
    }
}

impl Drop for ReaderSlot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn update_message(update: &super::board::Update) -> String {
    // JSON text has no line breaks, which would end the message.
    let data = serde_json::to_string(update).unwrap_or_else(|_| json!({ "stale": true }).to_string());
    message("update", Some(update.tick), &data)
}

fn message(event: &str, id: Option<u64>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {event}\n{id}data: {data}\n\n")
}
