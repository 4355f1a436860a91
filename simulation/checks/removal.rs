//! A removed host gets no requests, whatever else is going on.
//!
//! The earlier sweep could not see that removals waited for deployments: a check took 80 ms at most, a start 60 ms and a
//! write 30 ms, nobody sent requests, and what HAProxy had was compared with discovery at rest only. Here each report of a
//! removal is followed, at its deadline, by requests to every server that takes any.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::invariant::Invariant;
use crate::processes::Process;
use crate::things::Things;
use crate::world::World;

/// How long requests may go to a host after its source reported that it is gone, and after the first answer of a process
/// that started without knowing it. Messages that are late between actors add to it.
const REMOVAL_MAX: Duration = Duration::from_millis(50);

/// How many messages a removal passes on its way through the actors.
const MESSAGES: u32 = 2;

/// The clock of the checks ticks once more than that of the actors.
const TICK: Duration = Duration::from_millis(1);

/// A request that a server got.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    pid: u32,
    service: String,
    host: u8,
}

impl World {
    /// Something changed which hosts are removed, or who serves: at the deadline, clients send requests to every server that
    /// takes any, and none may reach a removed host.
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

    /// The requests that reach a removed host after the deadline, if every server that takes requests gets one now.
    fn late_requests(&self) -> BTreeSet<Request> {
        let max = self.removal_max();
        // What HAProxy refuses is left to a reload.
        if !self.refuses.is_empty() {
            return BTreeSet::new();
        }
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
    /// Whether it takes new connections and has answered this manager for so long.
    fn can_be_told(&self, for_so_long: Duration) -> bool {
        let is_known = self.attached_at.is_some_and(|at| at + for_so_long < Instant::now());
        is_known && self.answers && !self.draining && !self.was_faulty
    }
}
