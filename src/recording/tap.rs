//! The taps of the recorder: between the sources and the actors, and at the journal.

use std::cell::Cell;
use std::rc::Rc;

use actix::{Actor, Context, Handler, Message, Recipient};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::limits::RECORD_JOURNAL_INTERVAL;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, ReadJournal};
use proxymgr_actors::model::{ServiceName, SourceKind, SourceSpec};
use proxymgr_actors::port::{DefinitionSource, HostSources, OpenSource};
use proxymgr_actors::wiring::{Actors, Outside};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::recorder::{Note, Recorder};

/// Inserts taps between these adapters and the actors.
pub fn listen(outside: Outside, recorder: &Recorder) -> Outside {
    Outside {
        definitions: Rc::new(Tapped { source: outside.definitions.clone(), recorder: recorder.clone() }),
        host_sources: Rc::new(Tapped { source: outside.host_sources.clone(), recorder: recorder.clone() }),
        ..outside
    }
}

/// Records the entries of the journal.
pub struct JournalFollower {
    actors: Actors,
    recorder: Recorder,
    /// The sequence number of the last recorded entry.
    last: Rc<Cell<u64>>,
    polling: JoinHandle<()>,
}

impl JournalFollower {
    /// Starts to poll the journal, for entries after this one.
    pub fn start(actors: Actors, recorder: Recorder, after: u64) -> Self {
        let last = Rc::new(Cell::new(after));
        let polling = {
            let (actors, recorder, last) = (actors.clone(), recorder.clone(), last.clone());
            actix::spawn(async move {
                loop {
                    record_journal(&actors, &recorder, &last).await;
                    sleep(RECORD_JOURNAL_INTERVAL).await;
                }
            })
        };
        Self { actors, recorder, last, polling }
    }

    /// Polls a last time, and waits until everything is written.
    pub async fn finish(self) {
        self.polling.abort();
        record_journal(&self.actors, &self.recorder, &self.last).await;
        self.recorder.finish().await;
    }
}

async fn record_journal(actors: &Actors, recorder: &Recorder, last: &Cell<u64>) {
    let query = ReadJournal { after: Some(last.get()), ..ReadJournal::default() };
    for entry in actors.journal(query).await {
        let missed = entry.sequence.saturating_sub(last.get() + 1);
        if missed > 0 {
            recorder.note(Note::Missed(missed));
        }
        last.set(entry.sequence);
        recorder.outcome(entry);
    }
}

/// A source whose reports are recorded.
struct Tapped<S: ?Sized> {
    source: Rc<S>,
    recorder: Recorder,
}

impl DefinitionSource for Tapped<dyn DefinitionSource> {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let recorder = self.recorder.clone();
        self.source.open(tap(reader, move |seen| recorder.note(Note::Definitions(seen.result.clone()))))
    }

    fn are_derived(&self) -> bool {
        self.source.are_derived()
    }
}

impl HostSources for Tapped<dyn HostSources> {
    fn open(
        &self,
        service: &ServiceName,
        spec: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        let (recorder, name) = (self.recorder.clone(), service.to_string());
        let of = name.clone();
        let note = move |seen: &HostsSeen| recorder.note(Note::Hosts(of.clone(), seen.result.clone()));
        let opened = self.source.open(service, spec, tap(watcher, note));
        opened.inspect_err(|error| self.recorder.note(Note::Hosts(name, Err(error.clone()))))
    }

    fn kinds(&self) -> &[SourceKind] {
        self.source.kinds()
    }

    fn change_options(&self, options: &OptionPolicy) {
        self.source.change_options(options);
    }
}

/// A recipient that records each message before it forwards it.
fn tap<M>(to: Recipient<M>, note: impl Fn(&M) + Unpin + 'static) -> Recipient<M>
where
    M: Message<Result = ()> + Send + Unpin + 'static,
{
    Tap { to, note }.start().recipient()
}

struct Tap<M: Message<Result = ()> + Send + 'static, N> {
    to: Recipient<M>,
    note: N,
}

impl<M: Message<Result = ()> + Send + 'static, N: Unpin + 'static> Actor for Tap<M, N> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Send + 'static, N: Fn(&M) + Unpin + 'static> Handler<M> for Tap<M, N> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Self::Context) {
        (self.note)(&message);
        self.to.do_send(message);
    }
}
