//! Reloads: what a new process is brought up with, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use slog::{info, warn};
use tokio::time::Instant;

use super::candidate::{Chosen, Entrant, Ingredients};
use super::desired::{DesiredService, Obstacle};
use super::health::Witness;
use super::launch::{self, Failure, LaunchOrder, LaunchPeers, Launched, LiveFile, Outcome, Revived};
use super::running::{Running, Section};
use super::{HaproxyStateActor, backoff};
use crate::decide::capabilities::Capabilities;
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::state_file;
use crate::journal::{Event, JournalEntry};
use crate::limits::{RELOAD_RETRY, RELOAD_RETRY_MAX, RESTART_BACKOFF_MIN};
use crate::message::{Record, ReleaseSockets, SocketOpened, WaitOnlyFor, WantedSocket};
use crate::model::{
    ChangeId, Observation, ObservedServer, PlanClass, ProxyVersion, ReloadCause, ReloadReason, ServerName, ServiceName,
};
use crate::snapshot::ProxyPhase;

impl HaproxyStateActor {
    /// Brings up a new process with everything that is known.
    pub(super) fn begin_launch(&mut self, peers: LaunchPeers, ctx: &mut Context<Self>) {
        if self.file.is_writing() {
            // The candidate must not be overtaken by an older text; the end of the write comes back here.
            return;
        }
        self.desired.services.values_mut().for_each(DesiredService::shrink_slots);
        let reasons = self.reload_reasons();
        let causes = self.reload_causes();
        let (frame, style) = self.head_of_file();
        let tried = frame.clone();
        let order = LaunchOrder {
            witness: self.witness(&frame),
            state_file: state_file::in_use(&self.policy.frame).map(Path::to_owned),
            frame,
            style,
            map_path: self.policy.frame.map_path.clone(),
            had: self.running.as_ref().map(|running| running.routing.routes.clone()).unwrap_or_default(),
            entrants: self.entrants(),
            only_for: (self.reload_forced.is_empty() && self.exit.is_none())
                .then(|| self.reload_due.keys().cloned().collect()),
            first: !std::mem::replace(&mut self.launched_before, true),
            live_file: self.live_file(),
        };
        info!(self.log, "reload"; "reasons" => reasons.join("; "), "services" => order.entrants.len());
        self.busy_since = Some(Instant::now());
        self.phase = ProxyPhase::Launching;
        self.reload_due.clear();
        self.reload_due_since = None;
        let forced = std::mem::take(&mut self.reload_forced);
        self.dirty.clear();
        self.opened_meanwhile.clear();
        let begun = Instant::now();
        let newest = self.desired.newest_change();
        let launch = launch::launch(order, peers, self.log.clone()).into_actor(self);
        ctx.spawn(launch.map(move |outcome, actor, ctx| {
            actor.busy_since = None;
            if actor.phase == ProxyPhase::Stopping {
                return;
            }
            match outcome {
                Ok(Outcome::Serving(launched)) => actor.launched(*launched, reasons, causes, (begun, newest)),
                Ok(Outcome::Revived(revived)) => {
                    let failure = actor.revived(*revived, &reasons, causes, begun);
                    actor.launch_failed(failure, &reasons, forced, tried);
                }
                Ok(Outcome::Blocked(obstacles)) => actor.launch_blocked(&obstacles),
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

    /// Who can say how servers are: the process that serves, where it answers, or what it left. None where it had other
    /// `global` or `defaults`: its servers may have been checked otherwise.
    fn witness(&self, frame: &Arc<str>) -> Option<Witness> {
        let path = state_file::in_use(&self.policy.frame)?;
        let running = self.running.as_ref().filter(|running| running.frame == *frame)?;
        let loaded = running.sections.iter().map(|(name, section)| (name.clone(), section.loaded.clone())).collect();
        Some(match running.alive && self.runtime_failures == 0 {
            true => Witness::Process { loaded },
            false => Witness::File { path: path.to_owned(), loaded },
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

    pub(super) fn entrants(&self) -> BTreeMap<ServiceName, Entrant> {
        let entrant = |(name, service): (&ServiceName, &DesiredService)| {
            let section = self.running.as_ref().and_then(|running| running.sections.get(name));
            // After the first start a new service is brought in once its hosts have been looked for.
            if section.is_none() && self.running.is_some() && !service.known {
                return None;
            }
            let last_good = match section {
                Some(section) => {
                    let definition = section.definition.clone();
                    Some((Ingredients { definition, hosts: section.hosts.clone() }, section.descriptor))
                }
                // Of an earlier run; its socket has yet to be held.
                None => service
                    .before
                    .as_ref()
                    .map(|before| (Ingredients { definition: before.clone(), hosts: service.servers.clone() }, None)),
            };
            let definition = match section {
                // A port that is taken is asked for again each time; what was refused is not.
                Some(section) if service.is_rejected(Some(&section.definition)) => &section.definition,
                _ => &service.definition,
            };
            let wanted = Ingredients { definition: definition.clone(), hosts: service.servers.clone() };
            Some((name.clone(), Entrant { wanted, last_good }))
        };
        self.desired.services.iter().filter_map(entrant).collect()
    }

    /// What was begun, when, and with which change as the newest, is done.
    fn launched(
        &mut self,
        launched: Launched,
        reasons: Vec<String>,
        causes: BTreeSet<ReloadCause>,
        (begun, newest): (Instant, Option<ChangeId>),
    ) {
        let Launched { process, frame, style, sections, frontends, routing, obstacles, observation, outlived } =
            launched;
        let now = Instant::now();
        self.tell_reload(process.pid, &reasons, causes, begun);
        let section = |chosen: Chosen| {
            Section::new(chosen.ingredients.definition, chosen.descriptor, chosen.ingredients.hosts, style)
        };
        let mut sections: BTreeMap<_, _> = sections.into_iter().map(|(name, chosen)| (name, section(chosen))).collect();
        self.drain_again(&mut sections);
        self.give_up_again(&mut sections, &obstacles);
        self.carry_over_drains(&mut sections, outlived);
        let alive = self.came_to_stay(process.pid);
        let loaded = routing.routes.iter().map(|(key, service)| (key.clone(), service.to_string()));
        let mut running = Running {
            alive,
            capabilities: Capabilities::of(process.version),
            process,
            frame,
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
        self.note_obstacles(&obstacles);
        for (name, service) in &mut self.desired.services {
            let is_in_force =
                running.sections.get(name).is_some_and(|section| section.definition == service.definition);
            if is_in_force && !obstacles.contains_key(name) {
                service.obstacle = None;
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

    /// What the live file should say, where nothing serves and it was not replaced since.
    fn live_file(&self) -> Option<LiveFile> {
        let ended = self.running.as_ref().filter(|running| !running.alive && !self.file.is_ahead())?;
        let descriptors = ended.sections.values().filter_map(|section| section.descriptor).collect();
        Some(LiveFile { descriptors, services: ended.sections.keys().cloned().collect() })
    }

    /// What ran until its process ended runs again. What the file had not been told of by then is planned anew.
    fn revived(
        &mut self,
        revived: Revived,
        reasons: &[String],
        causes: BTreeSet<ReloadCause>,
        begun: Instant,
    ) -> Failure {
        let Revived { process, observation, failure } = revived;
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
        let launch = self.peers.launch.iter();
        launch.for_each(|peers| peers.release.do_send(ReleaseSockets { keep: running.listens_on() }));
    }

    /// Nobody waits any more for a port that no service wants. Of a launch that is under way it is said at its
    /// end, because it may yet ask for one.
    pub(super) fn end_waits_in_vain(&self) {
        let Some(peers) = self.peers.launch.as_ref().filter(|_| self.phase != ProxyPhase::Launching) else { return };
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
    fn launch_blocked(&mut self, obstacles: &BTreeMap<ServiceName, Obstacle>) {
        for (name, obstacle) in obstacles {
            info!(self.log, "no reload, it would change nothing"; "service" => %name, "problem" => obstacle.text());
        }
        self.note_obstacles(obstacles);
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
    fn give_up_again(
        &self,
        sections: &mut BTreeMap<ServiceName, Section>,
        obstacles: &BTreeMap<ServiceName, Obstacle>,
    ) {
        let Some(before) = &self.running else { return };
        // A section with an obstacle is the one before: the reload was not made with what it was made for.
        for (name, section) in sections.iter_mut().filter(|(name, _)| !obstacles.contains_key(*name)) {
            if let Some(known) = before.sections.get(name)
                && Arc::ptr_eq(&known.hosts, &section.hosts)
            {
                section.hopeless = known.refused.clone();
            }
        }
    }

    /// What somebody drained on the socket of a process that outlived the last daemon is drained again: what that daemon
    /// wanted ready, and what no operator chose.
    fn carry_over_drains(&mut self, sections: &mut BTreeMap<ServiceName, Section>, outlived: Option<Observation>) {
        let wanted = std::mem::take(&mut self.wanted_before);
        for (name, servers) in outlived.into_iter().flat_map(|observation| observation.services) {
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

    fn launch_failed(&mut self, failure: Failure, reasons: &[String], forced: Vec<ReloadReason>, tried: Arc<str>) {
        let Failure { error, suspects_head, file_is_ahead } = failure;
        warn!(self.log, "the reload failed, it is tried again"; "error" => &error, "reasons" => reasons.join("; "));
        self.peers.journal.do_send(Record(JournalEntry::new(Event::Failed { error: error.clone() })));
        self.counts.reload_failed += 1;
        self.sockets_to_spare = true;
        self.reload_failures += 1;
        self.reload_error.stands(error, self.clock);
        if suspects_head && self.running.as_ref().is_some_and(|running| running.frame != tried) {
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
    fn note_obstacles(&mut self, obstacles: &BTreeMap<ServiceName, Obstacle>) {
        for (name, obstacle) in obstacles {
            let came_free = matches!(obstacle, Obstacle::PortTaken { .. }) && self.opened_meanwhile.contains(name);
            if let Some(service) = self.desired.services.get_mut(name).filter(|_| !came_free) {
                if service.obstacle.is_none() {
                    service.obstacle_since_unix_ms = self.clock.unix_ms();
                }
                service.obstacle = Some(obstacle.clone());
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
        service.obstacle.take_if(|obstacle| matches!(obstacle, Obstacle::PortTaken { .. }));
        self.touch(name, ctx);
    }
}
