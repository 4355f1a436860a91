//! Reloads: what a new process is brought up with, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use slog::{info, warn};
use tokio::time::Instant;

use super::desired::DesiredService;
use super::running::{Running, Section};
use super::{HaproxyDeployment, HaproxyStateActor, backoff};
use crate::decide::capabilities::Capabilities;
use crate::decide::deployment::{
    BoundSection, ConfigContext, DeployFailure, DeployOrder, Deployed, HealthSource, LastFile, RestartedProcess,
    SectionSpec, ServiceSection, ServingProcess,
};
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::state_file;
use crate::journal::{Event, JournalEntry};
use crate::limits::{RELOAD_RETRY, RELOAD_RETRY_MAX, RESTART_BACKOFF_MIN};
use crate::message::{Deploy, Record, ReleaseSockets, SocketOpened, WaitOnlyFor, WantedSocket};
use crate::model::{
    Blocker, ChangeId, Observation, ObservedServer, PlanClass, ProxyVersion, ReloadCause, ReloadReason, ServerName,
    ServiceName,
};
use crate::snapshot::ProxyPhase;

impl HaproxyStateActor {
    /// Brings up a new process with everything that is known.
    pub(super) fn begin_launch(&mut self, deployment: &HaproxyDeployment, ctx: &mut Context<Self>) {
        if self.file.is_writing() {
            // The candidate must not be overtaken by an older text; the end of the write comes back here.
            return;
        }
        self.desired.services.values_mut().for_each(DesiredService::shrink_slots);
        let reasons = self.reload_reasons();
        let causes = self.reload_causes();
        let (base, style) = self.head_of_file();
        let tried = base.clone();
        let order = DeployOrder {
            health_source: self.health_source(&base),
            state_file: state_file::in_use(&self.policy.frame).map(Path::to_owned),
            context: ConfigContext {
                base,
                style,
                map_path: self.policy.frame.map_path.clone(),
                previous_routes: self
                    .running
                    .as_ref()
                    .map(|running| running.routing.routes.clone())
                    .unwrap_or_default(),
            },
            services: self.service_sections(),
            only_for: (self.reload_forced.is_empty() && self.exit.is_none())
                .then(|| self.reload_due.keys().cloned().collect()),
            last_file: self.last_file(),
        };
        info!(self.log, "reload"; "reasons" => reasons.join("; "), "services" => order.services.len());
        self.busy_since = Some(Instant::now());
        self.phase = ProxyPhase::Launching;
        self.reload_due.clear();
        self.reload_due_since = None;
        let forced = std::mem::take(&mut self.reload_forced);
        self.dirty.clear();
        self.opened_meanwhile.clear();
        let begun = Instant::now();
        let newest = self.desired.newest_change();
        let deployed = deployment.deploy.send(Deploy(order)).into_actor(self);
        ctx.spawn(deployed.map(move |outcome, actor, ctx| {
            actor.busy_since = None;
            if actor.phase == ProxyPhase::Stopping {
                return;
            }
            let gone = |_| Err(DeployFailure::from("the supervisor of HAProxy's processes is gone".to_owned()));
            match outcome.unwrap_or_else(gone) {
                Ok(Deployed::Serving(serving)) => actor.launched(*serving, reasons, causes, (begun, newest)),
                Ok(Deployed::OnLastFile(restarted)) => {
                    let failure = actor.restarted(*restarted, &reasons, causes, begun);
                    actor.launch_failed(failure, &reasons, forced, tried);
                }
                Ok(Deployed::NothingToGain(blockers)) => actor.launch_blocked(&blockers),
                Err(failure) => actor.launch_failed(failure, &reasons, forced, tried),
            }
            actor.end_waits_in_vain();
            actor.routes_due = true;
            actor.follow_file(ctx);
            // Which definitions are good is known only now.
            actor.save_later(ctx);
            actor.advance(ctx);
        }));
    }

    /// `global` and `defaults` as the settings want them, or, where HAProxy did not start with those, as they last
    /// were.
    pub(super) fn head_of_file(&self) -> (Arc<str>, SectionStyle) {
        let wanted = haproxy_config::frame(&self.policy.frame);
        match &self.running {
            Some(running) if self.refused_frame.as_ref() == Some(&wanted) => (running.frame.clone(), running.style),
            _ => (wanted, SectionStyle::of(&self.policy.frame, self.version())),
        }
    }

    /// Who knows the health of the servers: the process that serves, where it answers, or the file that it left. None where
    /// it had another base: its servers may have been checked otherwise.
    fn health_source(&self, base: &Arc<str>) -> Option<HealthSource> {
        let path = state_file::in_use(&self.policy.frame)?;
        let running = self.running.as_ref().filter(|running| running.frame == *base)?;
        let loaded = running.sections.iter().map(|(name, section)| (name.clone(), section.loaded.clone())).collect();
        Some(match running.alive && self.runtime_failures == 0 {
            true => HealthSource::Process { loaded },
            false => HealthSource::File { path: path.to_owned(), loaded },
        })
    }

    pub(super) fn version(&self) -> Option<ProxyVersion> {
        self.running.as_ref().map(|running| running.process.version).or(self.binary)
    }

    /// Why a reload is due, in words.
    pub(super) fn reload_reasons(&self) -> Vec<String> {
        let of_service = |(service, reasons): (&ServiceName, &Vec<ReloadReason>)| {
            let reasons: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
            format!("{service}: {}", reasons.join(", "))
        };
        let forced = self.reload_forced.iter().map(|reason| reason.text.clone());
        self.exit.iter().cloned().chain(forced).chain(self.reload_due.iter().map(of_service)).collect()
    }

    fn reload_causes(&self) -> BTreeSet<ReloadCause> {
        let exit = self.exit.iter().map(|_| ReloadCause::Exit);
        let reasons = self.reload_forced.iter().chain(self.reload_due.values().flatten());
        exit.chain(reasons.map(|reason| reason.cause)).collect()
    }

    /// The services that a deployment would bring, as they should be and as they were last good.
    pub(super) fn service_sections(&self) -> BTreeMap<ServiceName, ServiceSection> {
        let of_service = |(name, service): (&ServiceName, &DesiredService)| {
            let section = self.running.as_ref().and_then(|running| running.sections.get(name));
            // After the first start a new service is brought in once its hosts have been looked for.
            if section.is_none() && self.running.is_some() && !service.known {
                return None;
            }
            let last_good = match section {
                Some(section) => Some(BoundSection {
                    spec: SectionSpec { definition: section.definition.clone(), hosts: section.hosts.clone() },
                    descriptor: section.descriptor,
                }),
                // Of an earlier run; its socket has yet to be held.
                None => service.before.as_ref().map(|before| BoundSection {
                    spec: SectionSpec { definition: before.clone(), hosts: service.servers.clone() },
                    descriptor: None,
                }),
            };
            let definition = match section {
                // A port that is taken is asked for again each time; what was refused is not.
                Some(section) if service.is_rejected(Some(&section.definition)) => &section.definition,
                _ => &service.definition,
            };
            let desired = SectionSpec { definition: definition.clone(), hosts: service.servers.clone() };
            Some((name.clone(), ServiceSection { desired, last_good }))
        };
        self.desired.services.iter().filter_map(of_service).collect()
    }

    /// What was begun, when, and with which change as the newest, is done.
    fn launched(
        &mut self,
        serving: ServingProcess,
        reasons: Vec<String>,
        causes: BTreeSet<ReloadCause>,
        (begun, newest): (Instant, Option<ChangeId>),
    ) {
        let ServingProcess {
            process,
            base,
            style,
            sections,
            frontends,
            routing,
            blockers,
            observation,
            orphan_observation,
        } = serving;
        let now = Instant::now();
        self.tell_reload(process.pid, &reasons, causes, begun);
        let section = |BoundSection { spec, descriptor }: BoundSection| {
            Section::new(spec.definition, descriptor, spec.hosts, style)
        };
        let mut sections: BTreeMap<_, _> = sections.into_iter().map(|(name, bound)| (name, section(bound))).collect();
        self.drain_again(&mut sections);
        self.give_up_again(&mut sections, &blockers);
        self.carry_over_drains(&mut sections, orphan_observation);
        let alive = self.came_to_stay(process.pid);
        let loaded = routing.routes.iter().map(|(key, service)| (key.clone(), service.to_string()));
        let mut running = Running {
            alive,
            capabilities: Capabilities::of(process.version),
            process,
            frame: base,
            style,
            sections,
            unclaimed: BTreeMap::new(),
            frontends,
            map: Some(loaded.collect()),
            routing,
            map_refusals: 0,
            health_changed: true,
        };
        if let Some(observation) = observation {
            running.observed(None, observation);
        }
        self.release_sockets(&running);
        self.note_blockers(&blockers);
        for (name, service) in &mut self.desired.services {
            let is_in_force =
                running.sections.get(name).is_some_and(|section| section.definition == service.definition);
            if is_in_force && !blockers.contains_key(name) {
                service.blocker = None;
            }
            // What came after the launch had begun is not in it.
            for pending in service.pending.iter_mut().filter(|pending| Some(pending.change) <= newest) {
                pending.class = Some(PlanClass::Reload);
            }
        }
        self.dirty = self.desired.services.keys().chain(running.sections.keys()).cloned().collect();
        // Of a service whose section is gone, a new one is made of what it is then told.
        self.left_behind.retain(|name, _| running.sections.contains_key(name));
        self.running = Some(running);
        self.choose_strategies();
        self.phase = self.phase_after_launch();
        self.file.is_in_step();
        self.last_reload = Some((now, reasons));
        self.reload_error.ends();
        self.reload_failures = 0;
        self.runtime_error.ends();
        self.runtime_failures = 0;
        self.runtime_retry_at = now;
        self.reload_not_before = now + self.policy.reload_interval;
    }

    /// Whether the process that was brought up is still there: its end may have been heard before it was heard to serve.
    fn came_to_stay(&mut self, pid: u32) -> bool {
        let alive = self.last_exited != Some(pid);
        self.exit = (!alive).then(|| format!("HAProxy (pid {pid}) ended as soon as it served"));
        if alive {
            self.gone.ends();
        }
        alive
    }

    fn tell_reload(&mut self, pid: u32, reasons: &[String], causes: BTreeSet<ReloadCause>, begun: Instant) {
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(self.log, "reloaded"; "pid" => pid, "took_ms" => took_ms, "reasons" => reasons.join("; "));
        for cause in &causes {
            *self.counts.reload_causes.entry(*cause).or_default() += 1;
        }
        self.counts.reload += 1;
        let event = Event::Reloaded { reasons: reasons.to_vec(), causes, pid, took_ms };
        self.peers.journal.do_send(Record(JournalEntry::new(event)));
    }

    /// The file of the last process, where that has ended and its file was not replaced since.
    fn last_file(&self) -> Option<LastFile> {
        let ended = self.running.as_ref().filter(|running| !running.alive && !self.file.is_ahead())?;
        let descriptors = ended.sections.values().filter_map(|section| section.descriptor).collect();
        Some(LastFile { descriptors, services: ended.sections.keys().cloned().collect() })
    }

    /// What ran until its process ended runs again. What the file had not been told of by then is planned anew.
    fn restarted(
        &mut self,
        restarted: RestartedProcess,
        reasons: &[String],
        causes: BTreeSet<ReloadCause>,
        begun: Instant,
    ) -> DeployFailure {
        let RestartedProcess { process, observation, failure } = restarted;
        self.tell_reload(process.pid, reasons, causes, begun);
        self.last_reload = Some((Instant::now(), reasons.to_vec()));
        self.runtime_failures = 0;
        self.runtime_retry_at = Instant::now();
        self.observe_due = observation.is_none();
        let alive = self.came_to_stay(process.pid);
        if let Some(running) = &mut self.running {
            running.alive = alive;
            running.sections.values_mut().for_each(Section::begins_anew);
            running.process = process.clone();
        }
        if let Some(observation) = observation {
            self.process_found(process, observation, None);
        }
        failure
    }

    /// Has the sockets closed that the process does not listen on.
    pub(super) fn release_sockets(&self, running: &Running) {
        let deployment = self.peers.deployment.iter();
        deployment.for_each(|peers| peers.release.do_send(ReleaseSockets { keep: running.listens_on() }));
    }

    /// Nobody waits any more for a port that no service wants. Of a launch that is under way it is said at its
    /// end, because it may yet ask for one.
    pub(super) fn end_waits_in_vain(&self) {
        let Some(peers) = self.peers.deployment.as_ref().filter(|_| self.phase != ProxyPhase::Launching) else {
            return;
        };
        let services = self.desired.services.iter();
        let wanted =
            services.filter_map(|(name, service)| Some((name.clone(), WantedSocket::of(&service.definition)?)));
        peers.wait_only_for.do_send(WaitOnlyFor { wanted: wanted.collect() });
    }

    /// Has the sockets closed that were opened for launches, where none is to be made any more.
    pub(super) fn spare_sockets(&mut self) {
        if std::mem::take(&mut self.sockets_to_spare) {
            self.running.iter().for_each(|running| self.release_sockets(running));
        }
    }

    /// No reload could bring what it was for: what runs goes on.
    fn launch_blocked(&mut self, blockers: &BTreeMap<ServiceName, Blocker>) {
        for (name, blocker) in blockers {
            info!(self.log, "no reload, it would change nothing"; "service" => %name, "problem" => blocker.text());
        }
        self.note_blockers(blockers);
        self.phase = self.phase_after_launch();
        self.dirty = self.desired.services.keys().cloned().collect();
        if let Some(running) = &self.running {
            self.dirty.extend(running.sections.keys().cloned());
            self.release_sockets(running);
        }
    }

    /// What somebody drained on the socket of the process before is drained again.
    pub(super) fn drain_again(&self, sections: &mut BTreeMap<ServiceName, Section>) {
        let Some(before) = &self.running else { return };
        let has_slots = |name: &ServiceName| {
            self.desired.services.get(name).is_some_and(|service| service.slots_in_use().is_some())
        };
        for (name, section) in sections.iter_mut() {
            let Some(known) = before.sections.get(name) else { continue };
            let again = known.drained_on_socket(&section.hosts).chain(&known.drained_before);
            // A slot that stands for another host by now was meant with the one before.
            let is_same = |server: &&ServerName| {
                let (before, now) = (known.hosts.get(*server), section.hosts.get(*server));
                now.is_some_and(|now| !has_slots(name) || before.is_some_and(|before| before.endpoint == now.endpoint))
            };
            section.drained_before = again.filter(is_same).cloned().collect();
        }
    }

    /// What a reload was made for and did not bring is not tried by a reload again.
    fn give_up_again(&self, sections: &mut BTreeMap<ServiceName, Section>, blockers: &BTreeMap<ServiceName, Blocker>) {
        let Some(before) = &self.running else { return };
        // A section with an blocker is the one before: the reload was not made with what it was made for.
        for (name, section) in sections.iter_mut().filter(|(name, _)| !blockers.contains_key(*name)) {
            if let Some(known) = before.sections.get(name)
                && Arc::ptr_eq(&known.hosts, &section.hosts)
            {
                section.hopeless = known.refused.clone();
            }
        }
    }

    /// What somebody drained on the socket of an orphaned HAProxy is drained again: what that daemon
    /// wanted ready, and what no operator chose.
    fn carry_over_drains(&mut self, sections: &mut BTreeMap<ServiceName, Section>, orphan: Option<Observation>) {
        let wanted = std::mem::take(&mut self.wanted_before);
        for (name, servers) in orphan.into_iter().flat_map(|observation| observation.services) {
            let (Some(section), Some(wanted)) = (sections.get_mut(&name), wanted.get(&name)) else { continue };
            let drained = servers.iter().filter(|(_, server)| server.in_drain() && !server.in_maintenance());
            let by_hand = drained.filter(|(server, _)| wanted.get(*server) == Some(&None));
            let has_slots = self.desired.services.get(&name).is_some_and(|service| service.slots_in_use().is_some());
            // A slot that stands for another host by now was meant with the one before.
            let is_same = |(name, server): &(&ServerName, &ObservedServer)| {
                section.hosts.get(*name).is_some_and(|host| !has_slots || server.is_at(&host.endpoint))
            };
            section.drained_before.extend(by_hand.filter(is_same).map(|(name, _)| name.clone()));
        }
    }

    fn launch_failed(
        &mut self,
        failure: DeployFailure,
        reasons: &[String],
        forced: Vec<ReloadReason>,
        tried: Arc<str>,
    ) {
        let DeployFailure { error, suspects_base, file_is_ahead } = failure;
        warn!(self.log, "the reload failed, it is tried again"; "error" => &error, "reasons" => reasons.join("; "));
        self.peers.journal.do_send(Record(JournalEntry::new(Event::Failed { error: error.clone() })));
        self.counts.reload_failed += 1;
        self.sockets_to_spare = true;
        self.reload_failures += 1;
        self.reload_error.stands(error, self.clock);
        if suspects_base && self.running.as_ref().is_some_and(|running| running.frame != tried) {
            // The next start is with what is known to be good.
            self.refused_frame = Some(tried);
        }
        if file_is_ahead {
            self.file.was_overtaken();
        } else if self.refused_frame.is_some() {
            // And so is the file until then.
            self.file.has_changed();
        }
        // Why each service needs a reload is found again by planning them all.
        self.reload_forced.extend(forced);
        self.dirty = self.desired.services.keys().cloned().collect();
        if let Some(running) = &self.running {
            self.dirty.extend(running.sections.keys().cloned());
        }
        self.phase = self.phase_after_launch();
        let serves = self.phase == ProxyPhase::Running;
        self.reload_not_before = Instant::now()
            + if serves { backoff(self.reload_failures, RELOAD_RETRY, RELOAD_RETRY_MAX) } else { RESTART_BACKOFF_MIN };
    }

    /// What stands in the way of which service. A port that came free meanwhile does not.
    fn note_blockers(&mut self, blockers: &BTreeMap<ServiceName, Blocker>) {
        for (name, blocker) in blockers {
            let came_free = matches!(blocker, Blocker::PortTaken { .. }) && self.opened_meanwhile.contains(name);
            if let Some(service) = self.desired.services.get_mut(name).filter(|_| !came_free) {
                if service.blocker.is_none() {
                    service.blocked_since_unix_ms = self.clock.unix_ms();
                }
                service.blocker = Some(blocker.clone());
            }
        }
    }

    /// A launch that brought no new process leaves what there was, which may have ended meanwhile.
    fn phase_after_launch(&self) -> ProxyPhase {
        let serves = self.running.as_ref().is_some_and(|running| running.alive);
        if serves { ProxyPhase::Running } else { ProxyPhase::Down }
    }
}

impl Handler<SocketOpened> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, SocketOpened { service: name }: SocketOpened, ctx: &mut Self::Context) {
        let Some(service) = self.desired.services.get_mut(&name) else {
            // Removed while its port was waited for. What a launch that is under way holds is released at its end.
            let running = self.running.iter().filter(|_| self.phase != ProxyPhase::Launching);
            running.for_each(|running| self.release_sockets(running));
            return;
        };
        self.opened_meanwhile.insert(name.clone());
        self.sockets_to_spare = true;
        service.blocker.take_if(|blocker| matches!(blocker, Blocker::PortTaken { .. }));
        self.touch(name, ctx);
    }
}
