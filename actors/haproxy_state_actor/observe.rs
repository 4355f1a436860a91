//! Looks at what HAProxy and its file really are, from time to time and whenever it is not known.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use slog::warn;

use super::HaproxyStateActor;
use tokio::time::Instant;

use crate::journal::{Event, JournalEntry};
use crate::limits::RUNTIME_RETRY_MAX;
use crate::message::{Record, Refresh};
use crate::model::{Blocker, Observation, ObservedRoutes, ProcessInfo, ReloadCause, ServiceName};
use crate::port::RuntimeError;

/// What a look found.
struct Findings {
    /// The process, its servers, and its map, where it was asked for that.
    observed: Result<(ProcessInfo, Observation, Option<ObservedRoutes>), RuntimeError>,
    /// Its files; none where they are not ours.
    files: Option<Files>,
}

/// The files as they were found.
struct Files {
    /// The text of haproxy.cfg.
    config: Result<String, String>,
    /// The text of the map, where there is one.
    map: Result<Option<String>, String>,
}

impl HaproxyStateActor {
    /// Looks, if a look is due. Returns whether one is under way.
    pub(super) fn begin_observation(&mut self, ctx: &mut Context<Self>) -> bool {
        if !std::mem::take(&mut self.observe_due) {
            return false;
        }
        let runtime = self.ports.runtime.clone();
        let config_file = self.ports.config_file.clone();
        let has_frontends = self.running.as_ref().is_some_and(|running| !running.frontends.is_empty());
        let map_path = has_frontends.then(|| self.policy.frame.map_path.clone());
        let look = async move {
            let observed = async {
                let process = runtime.process().await?;
                let observation = runtime.observe(None).await?;
                let routes = match map_path {
                    // One that has no map has none of the routes.
                    Some(map) => Some(runtime.routes(map).await?.unwrap_or_default()),
                    None => None,
                };
                Ok((process, observation, routes))
            };
            let observed = observed.await;
            let files = match config_file {
                Some(file) => {
                    let map = if has_frontends { file.read_map().await } else { Ok(None) };
                    Some(Files { config: file.read().await, map })
                }
                None => None,
            };
            Findings { observed, files }
        };
        self.busy_since = Some(Instant::now());
        ctx.spawn(look.into_actor(self).map(|findings: Findings, actor, ctx| {
            actor.busy_since = None;
            let Findings { observed, files } = findings;
            match observed {
                Ok((process, observation, routes)) => actor.process_found(process, observation, routes),
                Err(error) => {
                    actor.observe_due = true;
                    actor.runtime_failed(&error);
                }
            }
            files.into_iter().for_each(|files| actor.files_found(files, ctx));
            actor.advance(ctx);
        }));
        true
    }

    pub(super) fn process_found(
        &mut self,
        process: ProcessInfo,
        mut observation: Observation,
        routes: Option<ObservedRoutes>,
    ) {
        let of_others = self.is_run_by_others();
        let Some(running) = &mut self.running else { return };
        if process.pid != running.process.pid && of_others {
            self.attach(process, observation);
            return;
        }
        if process.pid != running.process.pid {
            let (found, known) = (process.pid, running.process.pid);
            warn!(self.log, "another HAProxy answers on the socket"; "pid" => found, "expected" => known);
            // Nothing may be asked of a stranger: what ours has is unknown until it answers again.
            self.ports.runtime.disconnect();
            running.sections.values_mut().for_each(|section| section.stale = true);
            let stranger = format!("HAProxy process {found} answers on the socket, not ours ({known})");
            self.runtime_error.stands(stranger, self.clock);
            self.runtime_retry_at = Instant::now() + RUNTIME_RETRY_MAX;
            let why = format!("process {found} answers on the socket, not ours ({known})");
            self.reload_forced = vec![ReloadCause::Stranger.because(why)];
            return;
        }
        running.process = process;
        let was_stale = running.sections.iter().filter(|(_, section)| section.stale).map(|(name, _)| name.clone());
        let was_stale: Vec<_> = was_stale.collect();
        if was_stale.is_empty() {
            // Otherwise a batch went unanswered, and only one that is answered shows that all is well again.
            self.runtime_failures = 0;
            self.runtime_error.ends();
        }
        if of_others {
            let is_ours = |name: &ServiceName| running.sections.contains_key(name);
            let (ours, unclaimed) = observation.services.into_iter().partition(|(name, _)| is_ours(name));
            running.unclaimed = unclaimed;
            let is_wanted = |name: &&ServiceName| self.desired.services.contains_key(*name);
            self.dirty.extend(running.unclaimed.keys().filter(is_wanted).cloned());
            observation.services = ours;
        }
        let different = running.observed(None, observation);
        self.drifted.extend(different.keys().filter(|name| !was_stale.contains(name)).cloned());
        self.dirty.extend(different.into_keys());
        self.dirty.extend(was_stale);
        self.routes_found(routes);
    }

    /// The file that is not what was last written was changed by somebody else, and is written again.
    fn files_found(&mut self, Files { config, map }: Files, ctx: &mut Context<Self>) {
        let Some(text) = self.file_text() else { return };
        let is_as_left = config.is_ok_and(|found| text.is(&found));
        let map_is_as_left = map.is_ok_and(|found| found.as_deref() == text.map.as_deref());
        if self.file.is_behind() || (is_as_left && map_is_as_left) {
            return;
        }
        warn!(self.log, "the configuration file is not as it was left, writing it again");
        self.counts.drift += 1;
        let what = "the configuration file was changed or removed by somebody else".to_owned();
        self.peers.journal.do_send(Record(JournalEntry::new(Event::DriftFound { what })));
        self.file.has_changed();
        self.follow_file(ctx);
    }
}

impl Handler<Refresh> for HaproxyStateActor {
    type Result = ();

    /// What was refused may have been so for reasons outside: everything gets another try.
    fn handle(&mut self, _: Refresh, ctx: &mut Self::Context) {
        for (name, service) in &mut self.desired.services {
            service.blocker.take_if(|blocker| matches!(blocker, Blocker::Rejected { .. }));
            self.dirty.insert(name.clone());
        }
        for section in self.running.iter_mut().flat_map(|running| running.sections.values_mut()) {
            section.forgive();
        }
        self.observe_due = true;
        self.routes_due = true;
        self.advance(ctx);
    }
}
