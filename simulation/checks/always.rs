//! What must hold at every moment, as the actors report it.

use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::snapshot::{ActorState, ProcessSupervisorState};
use tokio::time::Instant;

use super::{Memory, ensure};
use crate::invariant::{Invariant, Violation};
use crate::things::Things;

/// The most reasons that one reload has beside one for each service, when none is told twice, with room to spare.
const RELOAD_REASONS_MAX: usize = 12;

/// The most messages that are under way to one actor, with room to spare: a few for each server of a reload.
const MAIL_MAX: usize = 500;

impl Things {
    pub(super) fn always(&self, states: &[ActorState], memory: &mut Memory) -> Result<(), Violation> {
        let mut watchers = 0;
        let mut services = 0;
        for state in states {
            match state {
                ActorState::Watcher(watcher) => {
                    watchers += 1;
                    let life = self.oracle.life(&watcher.service);
                    let known = memory.revisions.entry((self.generation, life, watcher.service.clone())).or_default();
                    ensure(*known <= watcher.revision.0, Invariant::RevisionsGrow, || {
                        format!("{} had revision {known} and has {}", watcher.service, watcher.revision.0)
                    })?;
                    *known = watcher.revision.0;
                }
                ActorState::ServiceConfig(config) => services = config.services.len(),
                ActorState::Journal(journal) => {
                    ensure(journal.entries <= JOURNAL_ENTRIES_MAX, Invariant::BoundsHold, || {
                        format!("it has {} entries", journal.entries)
                    })?;
                    let newest = memory.journal.entry(self.generation).or_default();
                    ensure(*newest <= journal.newest, Invariant::RevisionsGrow, || {
                        "the journal lost entries".to_owned()
                    })?;
                    *newest = journal.newest;
                }
                ActorState::ProcessSupervisor(supervisor) => self.exits_are_noticed(supervisor)?,
                ActorState::HaproxyState(haproxy) => {
                    let reasons = haproxy.reload_due.len();
                    ensure(reasons <= RELOAD_REASONS_MAX + self.services.len(), Invariant::BoundsHold, || {
                        format!("the next reload has {reasons} reasons")
                    })?;
                }
                _ => {}
            }
        }
        self.mail_is_read()?;
        self.domains_stay(&mut memory.holders)?;
        ensure(watchers == services, Invariant::ActorsLive, || {
            format!("{services} services have {watchers} watchers that live")
        })
    }

    fn mail_is_read(&self) -> Result<(), Violation> {
        let now = Instant::now();
        for mail in &self.mail {
            let (unread, in_all) = (mail.unread(now), mail.len());
            ensure(unread == 0 && in_all <= MAIL_MAX, Invariant::MailIsRead, || {
                format!("{in_all} messages wait for {}, {unread} of them unread in its mailbox", mail.owner())
            })?;
        }
        Ok(())
    }

    fn exits_are_noticed(&self, supervisor: &ProcessSupervisorState) -> Result<(), Violation> {
        let draining = supervisor.draining.iter().map(|process| process.pid);
        let now = Instant::now();
        let missed = draining.chain(supervisor.current_pid).find(|pid| self.ended.get(pid).is_some_and(|at| *at < now));
        ensure(missed.is_none(), Invariant::NoProcessIsForgotten, || {
            format!("process {} has ended, and its supervisor thinks it lives", missed.unwrap_or_default())
        })
    }
}
