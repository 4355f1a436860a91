//! Invariants that must hold at every moment, from the states that the actors report.

use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::snapshot::{ActorState, ProcessSupervisorState};
use tokio::time::Instant;

use super::{Memory, ensure};
use crate::invariant::{Invariant, Violation};
use crate::things::Things;

/// Upper bound of the reasons of one reload beyond one for each service, if no reason is repeated.
const RELOAD_REASONS_MAX: usize = 12;

/// Upper bound of the messages on their way to one actor: a few for each server of a reload.
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
                        format!("{} had revision {known} and now has {}", watcher.service, watcher.revision.0)
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
        self.routes_lead_to_backends()?;
        ensure(watchers == services, Invariant::ActorsLive, || {
            format!("{services} services have {watchers} live watchers")
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
            format!("process {} has ended, but its supervisor lists it as alive", missed.unwrap_or_default())
        })
    }
}
