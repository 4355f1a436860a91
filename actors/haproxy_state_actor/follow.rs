//! What is written behind every change: haproxy.cfg and the saved state. Both at their own pace, the newest text
//! only, so that neither holds up a change.

use std::rc::Rc;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use slog::{info, warn};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use super::HaproxyStateActor;
use super::errands::Errand;
use super::running::Running;
use super::trouble::Trouble;
use crate::limits::{CONFIG_WRITE_PACE, CONFIG_WRITE_RETRY, STATE_SAVE_INTERVAL};
use crate::message::BeginShutdown;
use crate::port::{ConfigText, SavedState, StateStore};
use crate::snapshot::ProxyPhase;

/// Where the file stands against the running state.
#[derive(Debug, Default)]
pub struct FileFollower {
    behind: bool,
    ahead: bool,
    writing: bool,
    /// Why the last write failed; none when it did not.
    pub error: Trouble,
}

impl FileFollower {
    /// The text has changed since it was last written.
    pub fn has_changed(&mut self) {
        self.behind = true;
    }

    /// The file was made the live one for a process that does not serve.
    pub fn was_overtaken(&mut self) {
        self.behind = true;
        self.ahead = true;
    }

    /// Whether the file says what no process serves.
    pub fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// The file was just replaced as a whole.
    pub fn is_in_step(&mut self) {
        self.behind = false;
        self.ahead = false;
        self.error.ends();
    }

    /// Whether a newer text waits to be written.
    pub fn is_behind(&self) -> bool {
        self.behind || self.writing
    }

    /// Whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.writing
    }
}

/// Where the saved state stands.
#[derive(Debug, Default)]
pub struct StateSaver {
    saving: bool,
    behind: bool,
    /// Whose turn it is to save: of two at once, the older must not be the last.
    turn: Rc<Mutex<()>>,
    /// Why the last save failed; none when it did not.
    pub error: Trouble,
}

impl StateSaver {
    /// Saves this once what is being saved has been.
    fn save(&self, store: Rc<dyn StateStore>, state: SavedState) -> impl Future<Output = Result<(), String>> + use<> {
        let turn = self.turn.clone();
        async move {
            let _turn = turn.lock().await;
            store.save(state).await
        }
    }

    /// What is wanted has changed since it was last saved.
    pub fn has_changed(&mut self) {
        self.behind = true;
    }
}

impl HaproxyStateActor {
    /// The text that describes what runs.
    pub(super) fn file_text(&self) -> Option<ConfigText> {
        self.ports.config_file.as_ref()?;
        self.running.as_ref().map(Running::text)
    }

    /// Writes the file if it is behind and no write is under way.
    pub(super) fn follow_file(&mut self, ctx: &mut Context<Self>) {
        let FileFollower { behind, writing, .. } = self.file;
        let waits = self.errands.has(Errand::FollowFile);
        // A launch replaces the file; what is behind then follows when it has ended.
        if !behind || writing || waits || self.phase == ProxyPhase::Launching {
            return;
        }
        let (Some(text), Some(file)) = (self.file_text(), self.ports.config_file.clone()) else { return };
        self.file.behind = false;
        self.file.writing = true;
        let begun = Instant::now();
        let write = file.write(text).into_actor(self);
        ctx.spawn(write.map(move |outcome, actor, ctx| {
            actor.file.writing = false;
            actor.file_written(outcome, begun.elapsed(), ctx);
            // A launch may have been waiting for the end of this write.
            actor.advance(ctx);
        }));
    }

    fn file_written(&mut self, outcome: Result<(), String>, took: Duration, ctx: &mut Context<Self>) {
        let pause = match outcome {
            Ok(()) => {
                self.file.ahead = false;
                if self.file.error.ends() {
                    info!(self.log, "the configuration file can be written again");
                }
                took * CONFIG_WRITE_PACE
            }
            Err(error) => {
                if self.file.error.text() != Some(&error) {
                    warn!(self.log, "the configuration file cannot be written, the running HAProxy is up to date";
                        "error" => &error, "retry_after_s" => CONFIG_WRITE_RETRY.as_secs());
                }
                self.file.error.stands(error, self.clock);
                self.file.behind = true;
                CONFIG_WRITE_RETRY
            }
        };
        self.come_back_after(pause, Errand::FollowFile, ctx);
    }

    /// Writes what has not been written yet, before the daemon ends.
    pub(super) fn write_last_words(&mut self) -> impl Future<Output = ()> + use<> {
        let state = self.saver.behind.then(|| self.state_to_save());
        let text = self.file.behind.then(|| self.file_text()).flatten();
        let store = self.ports.state_store.clone();
        let save = state.zip(store).map(|(state, store)| self.saver.save(store, state));
        let write = text.zip(self.ports.config_file.as_ref()).map(|(text, file)| file.write(text));
        let log = self.log.clone();
        async move {
            let saved = match save {
                Some(save) => save.await,
                None => Ok(()),
            };
            let written = match write {
                Some(write) => write.await,
                None => Ok(()),
            };
            for error in [saved, written].into_iter().filter_map(Result::err) {
                warn!(log, "the last change could not be written before the end"; "error" => error);
            }
        }
    }

    /// What the next run of the daemon is to know. Of definitions it is those in force: what cannot be put in force, or is
    /// not yet, may meet a taken port there, and the service is served all the same.
    fn state_to_save(&self) -> SavedState {
        let sections = self.running.as_ref().map(|running| &running.sections);
        let mut state = self.desired.to_save(|service| {
            let section = sections.and_then(|sections| sections.get(&service.definition.name));
            let in_force = section.map(|section| &section.definition).or(service.before.as_ref());
            // Whoever runs HAProxy decides how it is served; its hosts and limits are as its newest definition says.
            in_force.filter(|_| !self.is_run_by_others()).unwrap_or(&service.definition).clone()
        });
        if self.desired.loaded_at.is_none() {
            // Of services that are not told yet the earlier run knew more than this one.
            state.services.extend(self.left_behind.values().filter_map(|left| left.saved.clone()));
        }
        state
    }

    /// Saves the desired state before long.
    pub(super) fn save_later(&mut self, ctx: &mut Context<Self>) {
        self.saver.behind = self.ports.state_store.is_some();
        if self.saver.behind && !self.errands.has(Errand::Save) {
            self.come_back_after(STATE_SAVE_INTERVAL, Errand::Save, ctx);
        }
    }

    /// Saves the desired state, unless it is saved or being saved.
    pub(super) fn save_now(&mut self, ctx: &mut Context<Self>) {
        let Some(store) = self.ports.state_store.clone() else { return };
        if self.saver.saving || !self.saver.behind {
            return;
        }
        self.saver.saving = true;
        self.saver.behind = false;
        let state = self.state_to_save();
        let save = self.saver.save(store, state).into_actor(self);
        ctx.spawn(save.map(|outcome, actor, ctx| {
            actor.saver.saving = false;
            match outcome {
                Ok(()) => drop(actor.saver.error.ends()),
                Err(error) => {
                    if actor.saver.error.text() != Some(&error) {
                        warn!(actor.log, "the last good state cannot be saved, a restart would not know it";
                            "error" => &error);
                    }
                    actor.saver.error.stands(error, actor.clock);
                    actor.saver.behind = true;
                }
            }
            if actor.saver.behind {
                actor.save_later(ctx);
            }
        }));
    }
}

impl Handler<BeginShutdown> for HaproxyStateActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: BeginShutdown, _: &mut Self::Context) -> Self::Result {
        self.phase = ProxyPhase::Stopping;
        Box::pin(self.write_last_words().into_actor(self))
    }
}
