//! The event stream: one look and one text for all readers.
//!
//! A reader has no queue of its own. All read from one ring of the last few messages; whoever falls behind it is let
//! go, connects again and is sent what is new since. So what a reader costs is bounded, and an actor never waits for
//! one. Each message says what changed:
//!
//! | event | data |
//! | --- | --- |
//! | `hello` | which run of the daemon this is: a page of another run reads itself anew |
//! | `update` | an [`Update`](super::board::Update); its tick is the event's id, from which a reader goes on |
//! | `traffic` | sessions and rate by service, where they changed |
//! | `beat` | nothing new, and the daemon is there |

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

/// The readers, and what they are sent.
pub struct Streams {
    board: Rc<Board>,
    messages: broadcast::Sender<Bytes>,
    readers: Rc<Cell<usize>>,
    opened: Notify,
}

impl Streams {
    /// No readers yet.
    pub fn new(board: Rc<Board>) -> Self {
        let (messages, _) = broadcast::channel(STATUS_STREAM_MESSAGES_MAX);
        Self { board, messages, readers: Rc::default(), opened: Notify::new() }
    }

    /// A stream that begins with what is new since `tick`; none where there are as many as there may be.
    pub async fn open(&self, tick: u64) -> Option<impl Stream<Item = Result<Bytes, Infallible>> + use<>> {
        let place = Place::take(&self.readers)?;
        self.board.refresh(STATUS_REFRESH_INTERVAL).await;
        // From here on nothing is awaited: what comes after this state is in the ring.
        let messages = self.messages.subscribe();
        let update = self.board.read(|shown| shown.since(tick));
        self.opened.notify_one();
        let hello = json!({ "run": self.board.run() }).to_string();
        let first = [message("hello", None, &hello), update_message(&update)].concat();
        let rest = stream::unfold((messages, place), async |(mut messages, place)| {
            let next = messages.recv().await.ok()?;
            Some((Ok(next), (messages, place)))
        });
        Some(stream::once(async { Ok(Bytes::from(first)) }).chain(rest))
    }

    /// Looks, and tells all readers what is new, for as long as the listener runs. Without readers it looks now and
    /// then, so that the page can say since when something has not been well.
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
                self.tell(update_message(&update));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
            let traffic = self.board.refresh_traffic().await;
            if !traffic.is_empty() {
                self.tell(message("traffic", None, &traffic_json(&traffic)));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
            if Instant::now() >= beat_at {
                self.tell(message("beat", None, "{}"));
                beat_at = Instant::now() + STATUS_BEAT_INTERVAL;
            }
        }
    }

    /// Whether the journal has anything that is not shown yet: one short question to one actor.
    async fn has_news(&self) -> bool {
        let after = Some(self.board.read(|shown| shown.sequence));
        !self.board.view.journal(ReadJournal { after, limit: Some(1), ..ReadJournal::default() }).await.is_empty()
    }

    fn tell(&self, message: String) {
        // An error means that the last reader has just gone.
        let _ = self.messages.send(Bytes::from(message));
    }
}

/// A reader's place among those there may be; free again when it is dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(readers: &Rc<Cell<usize>>) -> Option<Self> {
        if readers.get() >= STATUS_STREAMS_MAX {
            return None;
        }
        readers.set(readers.get() + 1);
        Some(Self(Rc::clone(readers)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn update_message(update: &super::board::Update) -> String {
    // JSON has no line breaks of its own, which would end the message.
    let data = serde_json::to_string(update).unwrap_or_else(|_| json!({ "stale": true }).to_string());
    message("update", Some(update.tick), &data)
}

fn message(event: &str, id: Option<u64>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {event}\n{id}data: {data}\n\n")
}
