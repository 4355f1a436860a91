//! Checks that a removed host gets no requests, regardless of other work. An earlier version of the sweep did not find
//! that removals waited for deployments: a check took 80 ms at most, a start 60 ms and a write 30 ms, there were no
//! requests, and HAProxy was compared with discovery only at rest. Now each reported removal is followed, at its
//! deadline, by requests to every server that takes traffic.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::invariant::Invariant;
use crate::processes::Process;
use crate::things::Things;
use crate::world::World;

/// How long requests may reach a host after its source reported the removal, and after the first answer of a process
/// that started without knowing it. Delays of messages between actors are added.
const REMOVAL_MAX: Duration = Duration::from_millis(50);

/// Number of messages that a removal passes on its way through the actors.
const MESSAGES: u32 = 2;

/// Margin of one tick of the clock, so that the check happens after the deadline.
const TICK: Duration = Duration::from_millis(1);

/// A request that reached a server.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    pid: u32,
    service: String,
    host: u8,
}

impl World {
    /// Schedules the check after a change of removed hosts or of the serving process: at the deadline, clients send
    /// requests to every server that takes traffic, and none may reach a removed host.
    pub(crate) fn expect_removals(&self) {
        if !self.with(|things| things.looks_for(Invariant::RemovedHostsGetNoRequests)) {
            return;
        }
        let world = self.clone();
        self.naturally(async move {
            sleep(world.with(|things| things.removal_max()) + TICK).await;
            let late = world.with(|things| things.late_requests().pop_first());
            if let Some(Request { pid, service, host }) = late {
                let max_ms = world.with(|things| things.removal_max()).as_millis();
                let what = format!(
                    "a request went to host {host} of {service} in HAProxy ({pid}), more than {max_ms} ms after its removal \
                     was reported"
                );
                world.violate(Invariant::RemovedHostsGetNoRequests, what);
            }
        });
    }
}

impl Things {
    fn removal_max(&self) -> Duration {
        REMOVAL_MAX + MESSAGES * self.oracle.mail_delay_max
    }

    /// Returns the requests that would reach a removed host after the deadline, one to every server that takes traffic.
    fn late_requests(&self) -> BTreeSet<Request> {
        let max = self.removal_max();
        let mut late = BTreeSet::new();
        for process in self.processes.values().filter(|process| process.can_be_told(max)) {
            for (service, hosts) in process.ready_servers() {
                let removed = hosts.into_keys().filter(|host| self.oracle.must_be_removed(&service, *host, max));
                late.extend(removed.map(|host| Request { pid: process.pid, service: service.clone(), host }));
            }
        }
        late
    }
}

impl Process {
    /// Returns whether it takes new connections and has obeyed this manager for so long.
    fn can_be_told(&self, for_so_long: Duration) -> bool {
        let is_known = self.attached_at.is_some_and(|at| at + for_so_long < Instant::now());
        is_known && self.answers && !self.draining && !self.was_faulty && !self.has_refused
    }
}
