//! A HAProxy that somebody else runs: taken as it is found, and driven at run time alone.
//!
//! A section that bears the name of a service is ours to drive. What is written there of servers that discovery knows is
//! taken to be as our definition says; other servers go into maintenance, and none that was found there is ever deleted.
//! What only a reload can bring waits for whoever runs it: the process that is found afterwards is taken anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{info, warn};
use tokio::time::Instant;

use super::desired::{DesiredService, WantedBefore};
use super::running::{Running, Section};
use super::{HaproxyPeers, HaproxyStateActor, backoff};
use crate::decide::capabilities::Capabilities;
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::proxy_plan::{Holder, LoadedServer, given};
use crate::decide::routing::Routing;
use crate::decide::scope::Scope;
use crate::journal::{Event, JournalEntry};
use crate::limits::{RUNTIME_RETRY_MAX, RUNTIME_RETRY_MIN};
use crate::message::Record;
use crate::model::{
    AdminState, Host, Observation, ObservedServer, ObservedServers, ProcessInfo, ProxyPolicy, ServerName, ServiceName,
    Word,
};
use crate::port::RuntimeError;
use crate::snapshot::ProxyPhase;

impl HaproxyStateActor {
    /// Whether somebody else runs this HAProxy, so that only what can be done at run time is ours to do.
    pub(super) fn is_run_by_others(&self) -> bool {
        self.peers.deployment.is_none()
    }

    /// Looks whether it is there, and what it has.
    pub(super) fn begin_attachment(&mut self, ctx: &mut Context<Self>) {
        self.busy_since = Some(Instant::now());
        self.observe_due = false;
        let runtime = self.ports.runtime.clone();
        let look = async move { Ok((runtime.process().await?, runtime.observe(None).await?)) };
        ctx.spawn(look.into_actor(self).map(|found: Result<(ProcessInfo, Observation), RuntimeError>, actor, ctx| {
            actor.busy_since = None;
            if actor.phase == ProxyPhase::Stopping {
                return;
            }
            match found {
                Ok((process, observation)) => actor.attach(process, observation),
                Err(error) => actor.still_away(&error),
            }
            actor.advance(ctx);
        }));
    }

    /// Takes the process that answers, with all that it has.
    pub(super) fn attach(&mut self, process: ProcessInfo, observation: Observation) {
        self.phase = ProxyPhase::Running;
        self.runtime_failures = 0;
        self.runtime_retry_at = Instant::now();
        self.runtime_error.ends();
        if let Some(running) = self.running.as_mut().filter(|running| running.process.pid == process.pid) {
            info!(self.log, "HAProxy is back"; "pid" => process.pid);
            running.alive = true;
            running.sections.values_mut().for_each(|section| section.stale = true);
            self.process_found(process, observation, None);
            return;
        }
        info!(self.log, "a HAProxy that somebody else runs is driven from here on";
            "pid" => process.pid, "version" => &process.version_text);
        if let Some(before) = &self.running {
            // Until it was seen to be another process it was asked for what that one was meant to do.
            let holders = before.sections.iter().map(|(name, section)| (name.clone(), section.holders()));
            self.wanted_before.extend(holders);
        }
        let style = SectionStyle::of(&self.policy.frame, Some(process.version));
        let mut unclaimed = observation.services;
        let mut sections = BTreeMap::new();
        for (name, service) in self.desired.services.iter().filter(|(_, service)| service.revision.is_some()) {
            let before = self.wanted_before.get(name);
            let found = unclaimed.remove(name).map(|servers| found_section(service, servers, style, before));
            sections.extend(found.map(|section| (name.clone(), section)));
        }
        // What the process before refused is tried again: nothing was reloaded to bring it.
        self.drain_again(&mut sections);
        let capabilities = Capabilities::of(process.version);
        let frame = Arc::default();
        self.running = Some(Running {
            process,
            alive: true,
            capabilities,
            frame,
            style,
            sections,
            unclaimed,
            // Who is asked for which domain is decided by whoever runs it.
            frontends: BTreeMap::new(),
            routing: Routing::default(),
            map: None,
            map_refusals: 0,
            health_changed: false,
        });
        self.choose_strategies();
        self.reload_due.clear();
        self.drifted.clear();
        self.dirty = self.desired.services.keys().cloned().collect();
    }

    /// It does not answer; it is looked for again after a pause.
    fn still_away(&mut self, error: &RuntimeError) {
        self.phase = ProxyPhase::Down;
        self.runtime_failures += 1;
        self.reload_not_before = Instant::now() + backoff(self.runtime_failures, RUNTIME_RETRY_MIN, RUNTIME_RETRY_MAX);
        let error = error.to_string();
        if self.runtime_error.text() != Some(&error) {
            warn!(self.log, "HAProxy is away, it is caught up when it returns"; "error" => &error);
            self.peers.journal.do_send(Record(JournalEntry::new(Event::Failed { error: error.clone() })));
        }
        self.runtime_error.stands(error, self.clock);
        self.running.iter_mut().for_each(|running| running.alive = false);
    }

    /// Takes the section of a service whose hosts are known by now, and leaves that of a service that is no more.
    pub(super) fn claim(&mut self, name: &ServiceName, scope: &Scope) {
        let Some(running) = &mut self.running else { return };
        let service = self.desired.services.get(name).filter(|service| service.revision.is_some());
        let Some(service) = service else {
            let Some(section) = running.sections.remove(name) else { return };
            // It may be defined again: whose drains these are is known until then.
            self.wanted_before.insert(name.clone(), section.holders());
            if section.stale {
                // What it has is asked for before it is taken again.
                self.observe_due = true;
            } else {
                running.unclaimed.insert(name.clone(), section.observed);
            }
            return;
        };
        if let Some(servers) = running.unclaimed.remove(name) {
            let before = self.wanted_before.get(name);
            running.sections.insert(name.clone(), found_section(service, servers, running.style, before));
        }
        let Some(section) = running.sections.get_mut(name) else { return };
        let mut take_as_defined = |server: &ServerName, host: &Host| {
            if let Some(found) = section.observed.get(server)
                && !section.loaded.servers.contains_key(server)
            {
                let held_by = section.unwanted_held_by.remove(server);
                let held_by = drained_for(found, host.state, || held_by);
                section
                    .loaded
                    .servers
                    .insert(server.clone(), LoadedServer { held_by, ..given(&service.definition, host) });
            }
        };
        match scope {
            Scope::Whole => service.servers.iter().for_each(|(server, host)| take_as_defined(server, host)),
            Scope::Servers(servers) => {
                let wanted = servers.iter().filter_map(|server| Some((server, service.servers.get(server)?)));
                wanted.for_each(|(server, host)| take_as_defined(server, host));
            }
        }
    }
}

/// The `default-server` words of our own `defaults` section. What another's says is not known.
pub(super) fn inherited(policy: &ProxyPolicy, peers: &HaproxyPeers) -> Vec<Word> {
    if peers.deployment.is_some() { haproxy_config::frame_default_server_words(&policy.frame) } else { Vec::new() }
}

fn found_section(
    service: &DesiredService,
    servers: Arc<ObservedServers>,
    style: SectionStyle,
    before: Option<&WantedBefore>,
) -> Section {
    let mut section = Section::new(service.definition.clone(), None, service.servers.clone(), style);
    for (name, found) in &*servers {
        let state = service.servers.get(name).map_or(AdminState::Ready, |host| host.state);
        // What an earlier run wanted ready, it never drained. What that run did not want it drained for good.
        let holder_before = || before?.get(name).copied().unwrap_or(Some(Holder::Removal));
        section.note_holder(name, drained_for(found, state, holder_before));
    }
    section.found = servers.keys().cloned().collect();
    section.observed = servers;
    section.stale = false;
    section
}

/// For whom a server is in drain that is found so; none where it is not, or where it is an operator's doing on HAProxy's
/// own socket.
fn drained_for(
    found: &ObservedServer,
    wanted: AdminState,
    holder_before: impl FnOnce() -> Option<Holder>,
) -> Option<Holder> {
    match wanted {
        _ if !found.in_drain() => None,
        // Whoever put it there, it is as it should be, and ours to end.
        AdminState::Drain => Some(Holder::Discovery),
        AdminState::Ready | AdminState::Maint => holder_before(),
    }
}
