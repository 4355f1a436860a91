//! Keeps one further output in sync: another proxy's file, a list in a store, a stream. Each update contains all
//! services.
//!
//! An output receives the same desired state as HAProxy's actor: after the guard, with the last good lists and the
//! overrides. One update runs at a time; changes in the meantime are part of the next one.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, SpawnHandle, WrapFuture};
use slog::{Logger, info, warn};
use tokio::time::{Duration, Instant};

use crate::clock::Clock;
use crate::decide::overlay::with_choices;
use crate::journal::{Event, JournalEntry};
use crate::limits::{FIRST_LISTS_WAIT, OUTPUT_INTERVAL, OUTPUT_RETRY_MAX, OUTPUT_RETRY_MIN};
use crate::message::{
    DefinitionsLoaded, GetState, HostsChanged, HostsUnknown, OverridesChanged, Record, Refresh, ServiceDefined,
    ServiceRemoved,
};
use crate::model::{OperatorChoice, ServerName, ServiceName};
use crate::port::{Applied, PublishedService, SavedService, ServiceOutput};
use crate::snapshot::{ActorState, OutputState};

/// One output, and its desired state.
pub struct OutputActor {
    output: Rc<dyn ServiceOutput>,
    services: BTreeMap<ServiceName, Wanted>,
    /// The overrides, including those of services that are not known yet.
    choices: BTreeMap<ServiceName, BTreeMap<ServerName, OperatorChoice>>,
    /// When the definitions were first read; `None` before.
    loaded_at: Option<Instant>,
    /// Whether the output may differ from the desired state.
    dirty: bool,
    busy: bool,
    not_before: Instant,
    failures: u32,
    wake: Option<SpawnHandle>,
    state: OutputState,
    journal: Recipient<Record>,
    clock: Clock,
    log: Logger,
}

struct Wanted {
    service: PublishedService,
    /// Whether the first read has ended, with a list or with a failure; the first update waits for it.
    heard_of: bool,
}

impl OutputActor {
    /// Creates an actor without services that has not updated its output yet. `restored` is the state of an earlier
    /// run.
    pub fn new(
        output: Rc<dyn ServiceOutput>,
        restored: &[SavedService],
        journal: Recipient<Record>,
        clock: Clock,
        log: Logger,
    ) -> Self {
        let state = OutputState { name: output.name().to_owned(), ..OutputState::default() };
        Self {
            output,
            services: BTreeMap::new(),
            choices: restored.iter().map(|saved| (saved.definition.name.clone(), saved.choices.clone())).collect(),
            loaded_at: None,
            dirty: true,
            busy: false,
            not_before: Instant::now(),
            failures: 0,
            wake: None,
            state,
            journal,
            clock,
            log,
        }
    }

    /// Updates the output, if that is due and no update is under way.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.busy || !self.dirty {
            return;
        }
        let Some(loaded_at) = self.loaded_at else { return };
        let complete = self.services.values().all(|wanted| wanted.heard_of);
        // A first update with only some of the services would remove the others for a moment.
        let due = if complete { self.not_before } else { self.not_before.max(loaded_at + FIRST_LISTS_WAIT) };
        if Instant::now() < due {
            self.wake_at(due, ctx);
            return;
        }
        self.apply(ctx);
    }

    fn wake_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if let Some(earlier) = self.wake.take() {
            ctx.cancel_future(earlier);
        }
        let delay = at.saturating_duration_since(Instant::now());
        self.wake = Some(ctx.run_later(delay, |actor, ctx| {
            actor.wake = None;
            actor.advance(ctx);
        }));
    }

    fn apply(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        self.dirty = false;
        let services = self.services.iter().map(|(name, wanted)| self.published(name, wanted)).collect();
        let applied = self.output.apply(services).into_actor(self);
        ctx.spawn(applied.map(|result, actor, ctx| {
            actor.busy = false;
            actor.applied(result);
            actor.advance(ctx);
        }));
    }

    /// Returns a service with its overrides applied.
    fn published(&self, name: &ServiceName, wanted: &Wanted) -> PublishedService {
        let choices = self.choices.get(name).into_iter().flatten().map(|(server, choice)| (server, choice.state));
        let hosts = wanted.service.hosts.as_ref().map(|hosts| with_choices(hosts, choices));
        PublishedService { definition: wanted.service.definition.clone(), hosts }
    }

    fn applied(&mut self, result: Result<Applied, String>) {
        match result {
            Ok(applied) => {
                if self.failures > 0 {
                    info!(self.log, "the output is in sync again"; "failures" => self.failures);
                }
                self.failures = 0;
                self.not_before = Instant::now() + OUTPUT_INTERVAL;
                let (changed, problem) = match applied {
                    Applied::Changed => (true, None),
                    Applied::Unchanged => (false, None),
                    Applied::Partial { changed, problem } => (changed, Some(problem)),
                };
                self.show(problem, "the output does not use the newest data of some services");
                self.state.applied_at_unix_ms = Some(self.clock.unix_ms());
                if changed {
                    self.state.changes += 1;
                    info!(self.log, "the output was updated"; "services" => self.services.len());
                    self.record(Event::OutputChanged { output: self.state.name.clone() });
                }
            }
            Err(error) => {
                let pause = retry_pause(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.not_before = Instant::now() + pause;
                self.dirty = true;
                self.show(Some(error), "the output cannot be updated, it stays unchanged, retrying");
            }
        }
    }

    /// Shows a problem, and logs and records it where it is another one.
    fn show(&mut self, problem: Option<String>, what: &str) {
        if self.state.error == problem {
            return;
        }
        if let Some(error) = &problem {
            warn!(self.log, "{}", what; "error" => error);
            self.record(Event::Failed { error: format!("output {}: {error}", self.state.name) });
        }
        self.state.since_unix_ms = problem.as_ref().map(|_| self.clock.unix_ms());
        self.state.error = problem;
    }

    fn touch(&mut self, ctx: &mut Context<Self>) {
        self.dirty = true;
        self.advance(ctx);
    }

    fn record(&self, event: Event) {
        self.journal.do_send(Record(JournalEntry::new(event)));
    }
}

/// Returns the pause after this many failures.
fn retry_pause(failures: u32) -> Duration {
    OUTPUT_RETRY_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(OUTPUT_RETRY_MAX)
}

impl Actor for OutputActor {
    type Context = Context<Self>;
}

impl Handler<ServiceDefined> for OutputActor {
    type Result = ();

    fn handle(&mut self, ServiceDefined { definition }: ServiceDefined, ctx: &mut Self::Context) {
        match self.services.get_mut(&definition.name) {
            Some(known) => known.service.definition = definition,
            None => {
                let name = definition.name.clone();
                let service = PublishedService { definition, hosts: None };
                self.services.insert(name, Wanted { service, heard_of: false });
            }
        }
        self.touch(ctx);
    }
}

impl Handler<ServiceRemoved> for OutputActor {
    type Result = ();

    fn handle(&mut self, ServiceRemoved { service }: ServiceRemoved, ctx: &mut Self::Context) {
        self.services.remove(&service);
        self.choices.remove(&service);
        self.touch(ctx);
    }
}

impl Handler<DefinitionsLoaded> for OutputActor {
    type Result = ();

    fn handle(&mut self, _: DefinitionsLoaded, ctx: &mut Self::Context) {
        self.loaded_at.get_or_insert_with(Instant::now);
        self.advance(ctx);
    }
}

impl Handler<HostsChanged> for OutputActor {
    type Result = ();

    fn handle(&mut self, changed: HostsChanged, ctx: &mut Self::Context) {
        let Some(wanted) = self.services.get_mut(&changed.service) else { return };
        wanted.service.hosts = Some(changed.hosts);
        wanted.heard_of = true;
        self.touch(ctx);
    }
}

impl Handler<OverridesChanged> for OutputActor {
    type Result = ();

    fn handle(&mut self, OverridesChanged { service, choices, .. }: OverridesChanged, ctx: &mut Self::Context) {
        self.choices.insert(service, choices);
        self.touch(ctx);
    }
}

impl Handler<HostsUnknown> for OutputActor {
    type Result = ();

    fn handle(&mut self, HostsUnknown { service }: HostsUnknown, ctx: &mut Self::Context) {
        if let Some(wanted) = self.services.get_mut(&service) {
            wanted.heard_of = true;
        }
        self.advance(ctx);
    }
}

impl Handler<Refresh> for OutputActor {
    type Result = ();

    /// Also reverts changes made outside proxymgr.
    fn handle(&mut self, _: Refresh, ctx: &mut Self::Context) {
        self.not_before = Instant::now();
        self.touch(ctx);
    }
}

impl Handler<GetState> for OutputActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let services = self.services.len();
        MessageResult(ActorState::Output(OutputState { services, ..self.state.clone() }))
    }
}
