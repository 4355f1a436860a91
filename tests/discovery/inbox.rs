//! Receives the messages of a source, as a WatcherActor or a ServiceConfigActor would.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Time-out for an expected message, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// `10.0.0.1:80` or `10.0.0.1:80 weight 5` by the entry's key; `None` for a bad entry.
pub type Hosts = BTreeMap<String, Option<String>>;

/// Creates a list of hosts.
pub fn hosts<const N: usize>(entries: [(&str, Option<&str>); N]) -> Hosts {
    entries.into_iter().map(|(key, host)| (key.to_owned(), host.map(str::to_owned))).collect()
}

/// Returns the list of a message.
pub fn level(seen: &HostsSeen) -> Result<Hosts, String> {
    let entries = seen.result.as_ref().map_err(Clone::clone)?;
    let describe = |entry: &proxymgr_actors::message::SeenHost| {
        let host = entry.host().map(|host| match host.weight {
            Some(weight) => format!("{} weight {weight}", host.endpoint),
            None => host.endpoint.to_string(),
        });
        (entry.key.to_string(), host)
    };
    Ok(entries.iter().map(describe).collect())
}

struct Forwarder<M>(mpsc::UnboundedSender<M>);

impl<M: Unpin + 'static> Actor for Forwarder<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Forwarder<M> {
    type Result = ();
    fn handle(&mut self, message: M, _: &mut Self::Context) {
        let _ = self.0.send(message);
    }
}

/// Messages of a source.
pub struct Inbox<M: Message<Result = ()> + Send + Unpin + Debug + 'static> {
    pub recipient: Recipient<M>,
    messages: mpsc::UnboundedReceiver<M>,
}

impl<M: Message<Result = ()> + Send + Unpin + Debug + 'static> Inbox<M> {
    pub fn new() -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        Self { recipient: Forwarder(sender).start().recipient(), messages }
    }

    /// Waits for the next message.
    pub async fn next(&mut self) -> M {
        let next = timeout_at(Instant::now() + LIMIT, self.messages.recv()).await;
        next.expect("the source reports something in time").expect("the inbox is open")
    }

    /// Returns the messages that have arrived and were not read yet.
    pub fn waiting(&mut self) -> Vec<M> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }

    /// Waits for the first message that meets the condition, and returns it with those before it.
    #[track_caller]
    pub fn until(&mut self, what: String, fits: impl Fn(&M) -> bool) -> impl Future<Output = (M, Vec<M>)> {
        let caller = std::panic::Location::caller();
        let deadline = Instant::now() + LIMIT;
        async move {
            let mut before = Vec::new();
            loop {
                match timeout_at(deadline, self.messages.recv()).await {
                    Ok(Some(message)) if fits(&message) => return (message, before),
                    Ok(Some(message)) => before.push(message),
                    Ok(None) | Err(_) => {
                        panic!("{caller}: not within {LIMIT:?}: {what}; last seen: {:#?}", before.last());
                    }
                }
            }
        }
    }
}

impl Inbox<HostsSeen> {
    /// Waits for this list.
    #[track_caller]
    pub fn until_hosts(&mut self, expected: &Hosts) -> impl Future<Output = HostsSeen> {
        let what = format!("the hosts are {expected:?}");
        let expected = Ok(expected.clone());
        let seen = self.until(what, move |seen| level(seen) == expected);
        async move { seen.await.0 }
    }

    /// Waits for an error, and returns it with the messages before it.
    #[track_caller]
    pub fn until_error(&mut self) -> impl Future<Output = (String, Vec<HostsSeen>)> {
        let seen = self.until("an error is reported".to_owned(), |seen: &HostsSeen| seen.result.is_err());
        async move {
            let (seen, before) = seen.await;
            (seen.result.expect_err("asked for"), before)
        }
    }
}

/// Returns the names and texts of a message.
pub fn texts(seen: &DefinitionsSeen) -> Result<BTreeMap<String, String>, String> {
    let definitions = seen.result.as_ref().map_err(Clone::clone)?;
    Ok(definitions.iter().map(|(name, raw)| (name.to_string(), raw.text.to_string())).collect())
}

impl Inbox<DefinitionsSeen> {
    /// Waits for these names and texts.
    #[track_caller]
    pub fn until_texts<const N: usize>(
        &mut self,
        expected: [(&str, &str); N],
    ) -> impl Future<Output = (DefinitionsSeen, Vec<DefinitionsSeen>)> {
        let expected: BTreeMap<String, String> =
            expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        self.until(format!("{expected:?}"), move |seen| texts(seen) == Ok(expected.clone()))
    }

    /// Waits for an error.
    #[track_caller]
    pub fn until_no_texts(&mut self) -> impl Future<Output = String> {
        let seen = self.until("an error is reported".to_owned(), |seen| seen.result.is_err());
        async move { seen.await.0.result.expect_err("asked for") }
    }

    /// Waits for the error about missing keys; an empty list before it would remove every service.
    #[track_caller]
    pub fn until_keys_are_missing(&mut self) -> impl Future<Output = String> {
        let seen = self.until("the missing keys".to_owned(), |seen| match &seen.result {
            Ok(definitions) => definitions.is_empty(),
            Err(error) => error.contains("there is no key"),
        });
        async move { seen.await.0.result.expect_err("the list is not empty") }
    }
}
