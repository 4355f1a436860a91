//! The limits beyond which the guard blocks a change in discovery, and the limits of draining servers and processes.

use std::time::Duration;

use proxymgr_actors::model::{LifeCyclePolicy, MaxRemoval, OldProcessLimits, Removal};

use super::reader::Reader;

/// Reads the guard's limits for the hosts of a service, which its definition can override.
pub fn read_removal(reader: &mut Reader) -> Option<Removal> {
    let min_hosts = reader.number("guards.min_hosts");
    let max_removal = MaxRemoval::from(reader.share("guards.max_removal"));
    let window = reader.duration("guards.window");
    Some(Removal { min_hosts: usize::try_from(min_hosts?).ok()?, max_removal, window: window? })
}

/// Reads how servers are drained and ramped up.
pub fn read_life_cycle(reader: &mut Reader) -> Option<LifeCyclePolicy> {
    let drain_timeout = reader.duration("haproxy.drain_timeout");
    let ramp_up = reader.duration("haproxy.ramp_up");
    Some(LifeCyclePolicy { drain_timeout: drain_timeout?, ramp_up: ramp_up? })
}

/// Reads the limits for draining processes.
pub fn read_old_processes(reader: &mut Reader) -> Option<OldProcessLimits> {
    let count_max = reader.number("haproxy.max_old_processes");
    let age_max = reader.duration("haproxy.old_process_timeout");
    let age_max = Some(age_max?).filter(|age| *age > Duration::ZERO);
    Some(OldProcessLimits { count_max: usize::try_from(count_max?).ok()?, age_max })
}
