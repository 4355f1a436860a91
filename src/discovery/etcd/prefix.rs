//! The keys below a prefix and what each says, kept in step with etcd.
//!
//! All keys are read once, then a watch tells what happens from the next revision on. A watch that breaks is taken up
//! where it ended, with whichever member answers. Everything is read again where that cannot be: what happened meanwhile
//! has been compacted away, or the store is another one (it went back in time, as after a restore from a backup).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::FutureExt;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::message::{Event, KeyValue, WatchAnswer, WatchLine};
use crate::discovery::followed::Followed;
use crate::discovery::http::{HttpError, HttpFailure, Lines};

/// What each key says, by what follows the prefix in its name.
pub(super) type Entries<E> = BTreeMap<Arc<str>, E>;

/// What the keys mean to those they are for.
pub(super) trait Meaning: 'static {
    /// What one key says.
    type Entry: Clone + PartialEq;
    /// Reads a key's value; `name` is what follows the prefix.
    fn entry(&self, name: &str, value: &[u8]) -> Self::Entry;
    /// What it means that there is no key at all; none where that is a level like any other.
    fn absent(&self, cluster: &Cluster) -> Option<String>;
    /// Tells the level, or why it cannot be told.
    fn report(&self, level: Result<&Entries<Self::Entry>, String>, seen_at: Instant);
}

/// How a watch says that who we are is not known, no longer known, or not enough.
const REFUSALS: [&str; 4] =
    ["invalid auth token", "user name is empty", "revision of auth store is old", "permission denied"];

/// A prefix that is being followed.
pub(super) struct Prefix<M: Meaning> {
    pub(super) cluster: Cluster,
    pub(super) prefix: String,
    pub(super) meaning: M,
    state: Option<State<M::Entry>>,
    watch: Option<Lines>,
    /// The store that last had keys, and its revision then.
    had_keys: Option<(String, i64)>,
}

/// What was read, and when.
struct State<E> {
    entries: Entries<E>,
    cluster_id: String,
    /// All that happened up to it is in the entries.
    revision: i64,
}

/// Why a watch cannot go on.
enum Stop {
    /// Everything is to be read again.
    ReadAgain,
    /// It broke; it can be taken up again.
    Broken(HttpError),
}

impl From<HttpError> for Stop {
    fn from(error: HttpError) -> Self {
        Self::Broken(error)
    }
}

impl<M: Meaning> Prefix<M> {
    /// Nothing is read yet.
    pub(super) fn new(cluster: Cluster, prefix: String, meaning: M) -> Self {
        Self { cluster, prefix, meaning, state: None, watch: None, had_keys: None }
    }

    async fn read(&mut self) -> Result<Instant, HttpError> {
        let range = self.cluster.range(&self.prefix).await?;
        let seen_at = Instant::now();
        let mut entries = BTreeMap::new();
        for pair in &range.kvs {
            entries.extend(self.entry(pair));
        }
        self.state = Some(State { entries, cluster_id: range.header.cluster_id, revision: range.header.revision });
        Ok(seen_at)
    }

    /// None for the folder itself.
    fn entry(&self, pair: &KeyValue) -> Option<(Arc<str>, M::Entry)> {
        let name = String::from_utf8_lossy(pair.key.strip_prefix(self.prefix.as_bytes())?);
        (!name.is_empty()).then(|| (Arc::from(&*name), self.meaning.entry(&name, &pair.value)))
    }

    /// Opens a watch from the next revision on.
    async fn open_watch(&mut self) -> Result<(), Stop> {
        let Some(state) = &self.state else { return Err(Stop::ReadAgain) };
        let mut watch = self.cluster.watch(&self.prefix, state.revision + 1).await?;
        let created = self.answer(watch.next().await?).await?;
        // etcd takes a revision that is yet to come for a wish to wait for it.
        let is_same_store = created.header.cluster_id == state.cluster_id && created.header.revision >= state.revision;
        if !created.created || !is_same_store {
            return Err(Stop::ReadAgain);
        }
        self.watch = Some(watch);
        Ok(())
    }

    /// Waits for something to happen, and takes in what happened with it.
    async fn follow(&mut self) -> Result<Instant, Stop> {
        loop {
            let Some(watch) = &mut self.watch else { return Err(Stop::ReadAgain) };
            let line = watch.next().await?;
            let seen_at = Instant::now();
            let mut has_news = self.take(line).await?;
            while let Some(line) = self.watch.as_mut().and_then(|watch| watch.next().now_or_never()) {
                has_news |= self.take(line?).await?;
            }
            if has_news {
                return Ok(seen_at);
            }
        }
    }

    async fn take(&mut self, line: Option<Vec<u8>>) -> Result<bool, Stop> {
        let answer = self.answer(line).await?;
        let has_news = !answer.events.is_empty();
        // In between, an answer may be a part of what is known up to its header's revision.
        let revision = answer.events.last().map_or(answer.header.revision, |event| event.kv.mod_revision);
        for event in answer.events {
            self.apply(&event);
        }
        if let Some(state) = &mut self.state {
            state.revision = state.revision.max(revision);
        }
        Ok(has_news)
    }

    fn apply(&mut self, event: &Event) {
        let Some((name, entry)) = self.entry(&event.kv) else { return };
        let Some(state) = &mut self.state else { return };
        match event.kind.as_str() {
            "DELETE" => drop(state.entries.remove(&name)),
            _ => drop(state.entries.insert(name, entry)),
        }
    }

    /// What a line of the watch says, unless it says that the watch is over.
    async fn answer(&self, line: Option<Vec<u8>>) -> Result<WatchAnswer, Stop> {
        let servers = self.cluster.servers();
        let over = |failure, why: &str| {
            let text = format!("the watch of {} in etcd {servers} ended{why}", self.prefix);
            Stop::Broken(HttpError::new(failure, text))
        };
        let Some(line) = line else { return Err(over(HttpFailure::Unreachable, "")) };
        let line: WatchLine = serde_json::from_slice(&line)
            .map_err(|error| over(HttpFailure::Malformed, &format!(": not an answer of etcd: {error}")))?;
        match line {
            WatchLine { error: Some(error), .. } => {
                let message = error.get("message").and_then(|message| message.as_str()).unwrap_or("no reason given");
                Err(over(HttpFailure::Status(503), &format!(": {message}")))
            }
            WatchLine { result: Some(answer), .. } if answer.compact_revision != 0 => Err(Stop::ReadAgain),
            WatchLine { result: Some(answer), .. } if answer.canceled => {
                let reason = &answer.cancel_reason;
                let is_refused = REFUSALS.iter().any(|refusal| reason.contains(refusal));
                if is_refused {
                    self.cluster.forget_token().await;
                }
                let failure = HttpFailure::Status(if is_refused { 403 } else { 503 });
                Err(over(failure, &format!(": {reason}")))
            }
            WatchLine { result, .. } => Ok(result.unwrap_or_default()),
        }
    }

    /// That there is no key is a level where the last one was deleted. A store that never had one, or that is not the one
    /// which had some, may be the wrong one, or have lost its keys.
    fn level(&mut self, seen_at: Instant) -> Result<(Entries<M::Entry>, Instant), HttpError> {
        let Some(State { entries, cluster_id, revision }) = &self.state else { return Ok((Entries::new(), seen_at)) };
        if !entries.is_empty() {
            self.had_keys = Some((cluster_id.clone(), *revision));
            return Ok((entries.clone(), seen_at));
        }
        let were_deleted = self.had_keys.as_ref().is_some_and(|(store, then)| store == cluster_id && then <= revision);
        match self.meaning.absent(&self.cluster).filter(|_| !were_deleted) {
            Some(absent) => Err(HttpError::new(HttpFailure::Status(404), absent)),
            None => Ok((Entries::new(), seen_at)),
        }
    }
}

impl<M: Meaning> Followed for Prefix<M> {
    type Level = Entries<M::Entry>;

    async fn next(&mut self) -> Result<(Self::Level, Instant), HttpError> {
        loop {
            let stopped = if self.watch.is_some() {
                self.follow().await
            } else if self.state.is_some() {
                // What happened since comes as the watch's first lines.
                self.open_watch().await.map(|()| Instant::now())
            } else {
                let seen_at = self.read().await?;
                return self.level(seen_at);
            };
            match stopped {
                Ok(seen_at) => return self.level(seen_at),
                Err(stop) => {
                    self.watch = None;
                    match stop {
                        Stop::ReadAgain => self.state = None,
                        Stop::Broken(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn start_over(&mut self) {
        self.state = None;
        self.watch = None;
    }

    fn report(&self, level: Result<&Self::Level, String>, seen_at: Instant) {
        self.meaning.report(level, seen_at);
    }
}
