//! Limits the number and the age of draining processes. Each reload adds one, with the memory of a whole HAProxy, which
//! stays as long as a single client is connected.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::warn;
use tokio::time::Instant;

use super::ProcessSupervisorActor;
use crate::journal::{Event, JournalEntry};
use crate::limits::{OLD_PROCESS_GRACE, OLD_PROCESS_LOOK_INTERVAL};
use crate::message::Record;
use crate::port::ProcessSignal;

impl ProcessSupervisorActor {
    /// Returns the draining processes, the oldest first, and since when they drain.
    pub(super) fn draining(&self) -> Vec<(Instant, u32)> {
        let others = self.processes.iter().filter(|(pid, _)| self.current != Some(**pid));
        let mut draining: Vec<_> = others.filter_map(|(pid, process)| Some((process.draining_since?, *pid))).collect();
        draining.sort_unstable();
        draining
    }

    /// Ends the processes beyond the limits, and sets a timer for the next that reaches the maximum age.
    pub(super) fn govern(&mut self, ctx: &mut Context<Self>) {
        if self.progress.stopping.borrow().is_some() {
            return;
        }
        let draining = self.draining();
        for (pid, reason) in self.governor.beyond_limits(&draining) {
            self.end_old(pid, reason, ctx);
        }
        if let Some(timer) = self.governor.timer.take() {
            ctx.cancel_future(timer);
        }
        let is_left = |pid: &u32| self.processes.get(pid).is_some_and(|process| !process.ending);
        let next = draining.iter().find(|(_, pid)| is_left(pid)).and_then(|(since, _)| self.governor.time_left(*since));
        self.governor.timer = next.map(|time_left| {
            ctx.run_later(time_left, |supervisor, ctx| {
                supervisor.governor.timer = None;
                supervisor.govern(ctx);
            })
        });
    }

    /// Sends SIGUSR1 once more, in case the first was lost, and then kills it.
    fn end_old(&mut self, pid: u32, why: String, ctx: &mut Context<Self>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if std::mem::replace(&mut process.ending, true) {
            return;
        }
        let connections = process.usage.map(|usage| usage.connections);
        warn!(self.log, "ending an old HAProxy process"; "pid" => pid, "why" => &why, "connections" => connections);
        self.peers.journal.do_send(Record(JournalEntry::new(Event::OldProxyStopped { pid, why, connections })));
        self.signal(pid, ProcessSignal::SoftStop);
        ctx.run_later(OLD_PROCESS_GRACE, move |supervisor, _| {
            if supervisor.processes.get(&pid).is_some_and(|process| process.ending) {
                supervisor.signal(pid, ProcessSignal::Kill);
            }
        });
    }

    /// Measures the usage of the old processes regularly, for as long as there are any.
    pub(super) fn watch_old(&mut self, ctx: &mut Context<Self>) {
        let pids: Vec<u32> = self.draining().into_iter().map(|(_, pid)| pid).collect();
        if pids.is_empty() || std::mem::replace(&mut self.governor.is_measuring, true) {
            return;
        }
        let look = self.ports.processes.usage(pids).into_actor(self);
        ctx.spawn(look.map(|usage, supervisor, ctx| {
            for (pid, usage) in usage {
                supervisor.processes.get_mut(&pid).into_iter().for_each(|process| process.usage = Some(usage));
            }
            ctx.run_later(OLD_PROCESS_LOOK_INTERVAL, |supervisor, ctx| {
                supervisor.governor.is_measuring = false;
                supervisor.watch_old(ctx);
            });
        }));
    }
}
