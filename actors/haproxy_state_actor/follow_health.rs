//! HAProxy's state file, which follows what HAProxy says of its servers: a process that comes after a crash finds how
//! they were. It follows at its own pace, as [`follow`](super::follow) does.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{info, warn};
use tokio::time::Instant;

use super::HaproxyStateActor;
use super::errands::Errand;
use crate::decide::state_file::{self, FileHosts};
use crate::limits::{CONFIG_WRITE_PACE, STATE_SAVE_INTERVAL};
use crate::snapshot::ProxyPhase;

/// Where the state file stands.
#[derive(Debug, Default)]
pub struct HealthFollower {
    /// Whether one is being written, or it is too early for the next.
    waiting: bool,
    /// Why the last could not be written; none when it could.
    error: Option<String>,
}

impl HaproxyStateActor {
    /// Has the state file follow before long, if HAProxy's servers are not as they were when it was last asked for it.
    pub(super) fn follow_health(&mut self, ctx: &mut Context<Self>) {
        if self.health.waiting || self.phase != ProxyPhase::Running || state_file::in_use(&self.policy.frame).is_none()
        {
            return;
        }
        let Some(running) = self.running.as_mut().filter(|running| running.health_changed) else { return };
        running.health_changed = false;
        self.health.waiting = true;
        self.come_back_after(STATE_SAVE_INTERVAL, Errand::AskHealth, ctx);
    }

    /// Asks HAProxy for what the state file is to say.
    pub(super) fn ask_health(&mut self, ctx: &mut Context<Self>) {
        let asked = (self.running.as_ref().map(|running| running.process.pid), Instant::now());
        let said = self.ports.runtime.server_states().into_actor(self);
        ctx.spawn(said.map(move |said, actor, ctx| match said {
            Ok(said) => actor.write_health(said, asked, ctx),
            // Whatever hangs there is told, and tried again, where changes are made.
            Err(_) => actor.health_not_written(),
        }));
    }

    /// Writes what was said by the process that was asked, and when. A launch writes the file itself, with what is true
    /// for the process to come; after it another serves.
    fn write_health(&mut self, said: String, (pid, asked): (Option<u32>, Instant), ctx: &mut Context<Self>) {
        let path = state_file::in_use(&self.policy.frame).filter(|_| self.phase == ProxyPhase::Running);
        let running = self.running.as_ref().filter(|running| Some(running.process.pid) == pid);
        let (Some(path), Some(file), Some(running)) = (path, &self.ports.config_file, running) else {
            return self.health_not_written();
        };
        let hosts: FileHosts =
            running.sections.iter().map(|(name, section)| (name.clone(), section.hosts.clone())).collect();
        let write = file.follow_health(path.to_owned(), said, hosts).into_actor(self);
        ctx.spawn(write.map(move |outcome, actor, ctx| {
            match outcome {
                Ok(()) if actor.health.error.take().is_some() => {
                    info!(actor.log, "the state file can be written again")
                }
                Ok(()) => {}
                Err(error) if actor.health.error.as_ref() == Some(&error) => {}
                Err(error) => {
                    warn!(actor.log, "the health of servers cannot be kept for a HAProxy process after a crash";
                        "error" => &error);
                    actor.health.error = Some(error);
                }
            }
            actor.come_back_after(asked.elapsed() * CONFIG_WRITE_PACE, Errand::FollowHealth, ctx);
        }));
    }

    /// The next one may be written.
    pub(super) fn health_may_follow(&mut self, ctx: &mut Context<Self>) {
        self.health.waiting = false;
        self.follow_health(ctx);
    }

    /// It is tried again with the next look that brings anything new.
    fn health_not_written(&mut self) {
        self.health.waiting = false;
        self.running.iter_mut().for_each(|running| running.health_changed = true);
    }
}
