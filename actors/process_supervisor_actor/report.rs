//! The snapshot of the processes for the status.

use actix::{Handler, MessageResult};

use super::{ProcessSupervisorActor, millis};
use crate::message::GetState;
use crate::snapshot::{ActorState, DrainingProcess, ProcessSupervisorState};

impl Handler<GetState> for ProcessSupervisorActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let draining = self.draining().into_iter().map(|(since, pid)| {
            let usage = self.processes.get(&pid).and_then(|process| process.usage);
            DrainingProcess {
                pid,
                since_unix_ms: self.clock.unix_ms_at(since),
                connections: usage.map(|usage| usage.connections),
                memory_bytes: usage.map(|usage| usage.memory_bytes),
            }
        });
        let draining = draining.collect();
        MessageResult(ActorState::ProcessSupervisor(ProcessSupervisorState {
            current_pid: self.current,
            draining,
            crashes: self.backoff.crashes(),
            backoff_ms: millis(self.backoff.delay()),
        }))
    }
}
