//! Looks at what HAProxy and its file really are, from time to time and whenever it is not known.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::warn;

use super::HaproxyStateActor;
use tokio::time::Instant;

use crate::journal::{Event, JournalEntry};
use crate::limits::RUNTIME_RETRY_MAX;
use crate::message::Record;
use crate::model::{Observation, ProcessInfo, ReloadCause, ServiceName};
use crate::port::RuntimeError;

/// What a look found: the process, its servers, and the text of its file.
type Findings = (Result<(ProcessInfo, Observation), RuntimeError>, Option<Result<String, String>>);

impl HaproxyStateActor {
    /// Comes back for the next look.
    pub(super) fn observe_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.policy.observe_interval, |actor, ctx| {
            actor.observe_due = true;
            actor.advance(ctx);
            actor.observe_later(ctx);
        });
    }

    /// Looks, if a look is due. Returns whether one is under way.
    pub(super) fn begin_observation(&mut self, ctx: &mut Context<Self>) -> bool {
        if !std::mem::take(&mut self.observe_due) {
            return false;
        }
        let runtime = self.ports.runtime.clone();
        let config_file = self.ports.config_file.clone();
        let look = async move {
            let observed = async { Ok((runtime.process().await?, runtime.observe(None).await?)) };
            let file = match config_file {
                Some(file) => Some(file.read().await),
                None => None,
            };
            (observed.await, file)
        };
        self.busy = true;
        ctx.spawn(look.into_actor(self).map(|(observed, file): Findings, actor, ctx| {
            actor.busy = false;
            match observed {
                Ok((process, observation)) => actor.process_found(process, observation),
                Err(error) => {
                    actor.observe_due = true;
                    actor.runtime_failed(&error);
                }
            }
            file.into_iter().for_each(|file| actor.file_found(file, ctx));
            actor.advance(ctx);
        }));
        true
    }

    pub(super) fn process_found(&mut self, process: ProcessInfo, mut observation: Observation) {
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
            observation.services = ours;
        }
        let different = running.observed(None, observation);
        self.drifted.extend(different.keys().filter(|name| !was_stale.contains(name)).cloned());
        self.dirty.extend(different.into_keys());
        self.dirty.extend(was_stale);
    }

    /// The file that is not what was last written was changed by somebody else, and is written again.
    fn file_found(&mut self, file: Result<String, String>, ctx: &mut Context<Self>) {
        let Some(text) = self.file_text() else { return };
        if self.file.is_behind() || file.is_ok_and(|found| text.is(&found)) {
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
