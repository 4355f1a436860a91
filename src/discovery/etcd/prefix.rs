//! The keys below a prefix, decoded and kept in sync with etcd.
//!
//! All keys are read once, then a watch reports the changes from the next revision on. A watch that breaks is resumed
//! at its last revision, with any member. Everything is read again if that is impossible: the revision was compacted,
//! or the store is another one (an older one after a restore from a backup). It is also read again after a line that
//! cannot be decoded. An event that arrives twice is applied once. A read with a revision below the highest one is
//! believed if it is repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::FutureExt;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::message::{Event, Header, KeyValue, WatchAnswer, WatchLine};
use crate::discovery::http::{HttpError, HttpFailure, LineStream, known_text};
use crate::discovery::snapshot_watch::SnapshotReader;

/// The decoded keys, by their names without the prefix.
pub(super) type Entries<E> = BTreeMap<Arc<str>, E>;

/// Decodes keys for one recipient.
pub(super) trait KeyDecoder: Clone + 'static {
    /// A decoded key.
    type Entry: Clone + PartialEq;
    /// Decodes a key's value; `name` is the key without the prefix.
    fn entry(&self, name: &str, value: &[u8]) -> Self::Entry;
    /// The error if there is no key at all; none if that is a valid snapshot.
    fn absent(&self, cluster: &Cluster) -> Option<String>;
    /// Sends a snapshot to the recipient, or why there is none. `missed` is true for a change that no event reported.
    fn report(&self, snapshot: Result<&Entries<Self::Entry>, String>, seen_at: Instant, missed: bool);
}

/// The reasons with which a watch ends when the credentials are missing, outdated or insufficient.
const REFUSALS: [&str; 4] =
    ["invalid auth token", "user name is empty", "revision of auth store is old", "permission denied"];

/// The reader of one prefix.
pub(super) struct Prefix<M: KeyDecoder> {
    pub(super) cluster: Cluster,
    pub(super) prefix: String,
    pub(super) decoder: M,
    state: Option<State<M::Entry>>,
    watch: Option<LineStream>,
    /// The id and revision of the store when it last had keys.
    had_keys: Option<(String, i64)>,
    /// The id and the highest revision of the store; a lower one after that was repeated.
    highest: Option<(String, i64)>,
}

/// The state of the prefix at one revision.
struct State<E> {
    entries: Entries<E>,
    cluster_id: String,
    /// The entries contain all changes up to this revision.
    revision: i64,
}

/// Why a watch ended.
enum Stop {
    /// It cannot be resumed: everything must be read again.
    ReadAgain,
    /// The connection broke: it can be resumed.
    Broken(HttpError),
    /// What it sent cannot be decoded: everything must be read again.
    Garbled(HttpError),
}

impl From<HttpError> for Stop {
    fn from(error: HttpError) -> Self {
        Self::Broken(error)
    }
}

impl<M: KeyDecoder> Prefix<M> {
    /// A reader that has read nothing yet.
    pub(super) fn new(cluster: Cluster, prefix: String, decoder: M) -> Self {
        Self { cluster, prefix, decoder, state: None, watch: None, had_keys: None, highest: None }
    }

    async fn read(&mut self) -> Result<Instant, HttpError> {
        let mut range = self.cluster.range(&self.prefix).await?;
        let is_old =
            |(store, highest): &(String, i64)| *store == range.header.cluster_id && range.header.revision < *highest;
        if self.highest.as_ref().is_some_and(is_old) {
            range = self.cluster.range(&self.prefix).await?;
        }
        let seen_at = Instant::now();
        let mut entries = BTreeMap::new();
        for pair in &range.kvs {
            entries.extend(self.entry(pair));
        }
        let Header { cluster_id, revision } = range.header;
        self.highest = Some((cluster_id.clone(), revision));
        self.state = Some(State { entries, cluster_id, revision });
        Ok(seen_at)
    }

    /// The name of a key; none for the folder itself.
    fn name(&self, pair: &KeyValue) -> Option<Arc<str>> {
        let name = String::from_utf8_lossy(pair.key.strip_prefix(self.prefix.as_bytes())?);
        (!name.is_empty()).then(|| Arc::from(&*name))
    }

    /// The decoded key; none for a folder, which is a key without a value whose name ends with a slash.
    fn entry(&self, pair: &KeyValue) -> Option<(Arc<str>, M::Entry)> {
        let name = self.name(pair).filter(|name| !(name.ends_with('/') && pair.value.is_empty()))?;
        let entry = self.decoder.entry(&name, &pair.value);
        Some((name, entry))
    }

    /// Opens a watch that starts at the next revision.
    async fn open_watch(&mut self) -> Result<(), Stop> {
        let Some(state) = &self.state else { return Err(Stop::ReadAgain) };
        let mut watch = self.cluster.watch(&self.prefix, state.revision + 1).await?;
        let created = self.answer(watch.next().await?).await?;
        // If the start revision is in the future, etcd waits for it: the store may be an older one.
        let is_same_store = created.header.cluster_id == state.cluster_id && created.header.revision >= state.revision;
        if !created.created || !is_same_store {
            return Err(Stop::ReadAgain);
        }
        self.watch = Some(watch);
        Ok(())
    }

    /// Waits for changes and applies them.
    async fn watch_changes(&mut self) -> Result<Instant, Stop> {
        loop {
            let Some(watch) = &mut self.watch else { return Err(Stop::ReadAgain) };
            let line = watch.next().await?;
            let seen_at = Instant::now();
            let mut has_changed = self.apply_line(line).await?;
            while let Some(line) = self.watch.as_mut().and_then(|watch| watch.next().now_or_never()) {
                has_changed |= self.apply_line(line?).await?;
            }
            if has_changed {
                return Ok(seen_at);
            }
        }
    }

    async fn apply_line(&mut self, line: Option<Vec<u8>>) -> Result<bool, Stop> {
        let answer = self.answer(line).await?;
        // An answer may contain only a part of the changes up to its header's revision.
        let revision = answer.events.last().map_or(answer.header.revision, |event| event.kv.mod_revision);
        let applied = self.state.as_ref().map_or(0, |state| state.revision);
        let mut has_changed = false;
        // All events of one revision are in one answer.
        for event in answer.events.iter().filter(|event| event.kv.mod_revision > applied) {
            self.apply(event);
            has_changed = true;
        }
        if let Some(state) = &mut self.state {
            state.revision = applied.max(revision);
            self.highest = Some((state.cluster_id.clone(), state.revision));
        }
        Ok(has_changed)
    }

    fn apply(&mut self, event: &Event) {
        let Some(name) = self.name(&event.kv) else { return };
        let entry = if event.kind == "DELETE" { None } else { self.entry(&event.kv) };
        let Some(state) = &mut self.state else { return };
        match entry {
            Some((name, entry)) => drop(state.entries.insert(name, entry)),
            None => drop(state.entries.remove(&name)),
        }
    }

    /// Parses a line of the watch; an error if the watch has ended.
    async fn answer(&self, line: Option<Vec<u8>>) -> Result<WatchAnswer, Stop> {
        let servers = self.cluster.servers();
        let ended = |failure, why: &str| {
            let text = format!("{why}: the watch of {} in etcd {servers} ended", self.prefix);
            HttpError::new(failure, text)
        };
        let closed = || Stop::Broken(ended(HttpFailure::Unreachable, "the server closed the connection"));
        let Some(line) = line else { return Err(closed()) };
        let line: WatchLine = match serde_json::from_slice(&line) {
            Ok(line) => line,
            Err(error) if error.is_eof() => return Err(closed()),
            Err(_) => return Err(Stop::Garbled(ended(HttpFailure::Malformed, "the answer is not one of etcd"))),
        };
        let ended = |failure, why: &str| Stop::Broken(ended(failure, why));
        match line {
            WatchLine { error: Some(error), .. } => {
                let reason = error.get("message").and_then(|message| message.as_str()).unwrap_or("no reason given");
                let quorum = if reason.contains("no leader") { "no quorum, " } else { "" };
                Err(ended(
                    HttpFailure::Status(503),
                    &format!("{quorum}{}", known_text(reason.as_bytes()).unwrap_or("the server gives another reason")),
                ))
            }
            WatchLine { result: Some(answer), .. } if answer.compact_revision != 0 => Err(Stop::ReadAgain),
            WatchLine { result: Some(answer), .. } if answer.canceled => {
                let reason = &answer.cancel_reason;
                let is_refused = REFUSALS.iter().any(|refusal| reason.contains(refusal));
                if is_refused {
                    self.cluster.forget_token().await;
                }
                let (failure, denied) = if is_refused { (403, "access denied, ") } else { (503, "") };
                Err(ended(
                    HttpFailure::Status(failure),
                    &format!("{denied}{}", known_text(reason.as_bytes()).unwrap_or("the server gives another reason")),
                ))
            }
            WatchLine { result, .. } => Ok(result.unwrap_or_default()),
        }
    }

    /// The current snapshot. No keys are a valid snapshot only after the last one was deleted: a store that never had
    /// keys, or another store, may be the wrong one or have lost its data.
    fn snapshot(&mut self, seen_at: Instant) -> Result<(Entries<M::Entry>, Instant), HttpError> {
        let Some(State { entries, cluster_id, revision }) = &self.state else { return Ok((Entries::new(), seen_at)) };
        if !entries.is_empty() {
            self.had_keys = Some((cluster_id.clone(), *revision));
            return Ok((entries.clone(), seen_at));
        }
        let were_deleted = self.had_keys.as_ref().is_some_and(|(store, then)| store == cluster_id && then <= revision);
        match self.decoder.absent(&self.cluster).filter(|_| !were_deleted) {
            Some(absent) => Err(HttpError::new(HttpFailure::Status(404), absent)),
            None => Ok((Entries::new(), seen_at)),
        }
    }
}

impl<M: KeyDecoder> SnapshotReader for Prefix<M> {
    type Snapshot = Entries<M::Entry>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        loop {
            let stopped = if self.watch.is_some() {
                self.watch_changes().await
            } else if self.state.is_some() {
                // The first lines of the watch have the changes since.
                self.open_watch().await.map(|()| Instant::now())
            } else {
                let seen_at = self.read().await?;
                return self.snapshot(seen_at);
            };
            match stopped {
                Ok(seen_at) => return self.snapshot(seen_at),
                Err(stop) => {
                    self.watch = None;
                    match stop {
                        Stop::ReadAgain => self.state = None,
                        Stop::Broken(error) => return Err(error),
                        Stop::Garbled(error) => {
                            self.state = None;
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    fn start_over(&mut self) {
        self.state = None;
        self.watch = None;
    }

    fn another(&self) -> Option<Self> {
        Some(Self::new(self.cluster.clone(), self.prefix.clone(), self.decoder.clone()))
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, seen_at: Instant, missed: bool) {
        self.decoder.report(snapshot, seen_at, missed);
    }
}
