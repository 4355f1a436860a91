//! The limits beyond which the guard blocks a change in discovery, the quotas of what is used of it, and the limits of
//! draining servers and processes.

use std::time::Duration;

use proxymgr_actors::model::{DiscoveryPolicy, LifeCyclePolicy, MaxRemoval, OldProcessLimits, Quotas, Removal};

use super::reader::Reader;

/// Reads the guard's limits for the hosts of a service, which its definition can override.
pub fn read_removal(reader: &mut Reader) -> Option<Removal> {
    let min_hosts = reader.number("guards.min_hosts");
    let max_removal = MaxRemoval::from(reader.share("guards.max_removal"));
    let window = reader.duration("guards.window");
    Some(Removal { min_hosts: usize::try_from(min_hosts?).ok()?, max_removal, window: window? })
}

/// Reads how discovery is read, and how much of it is used.
pub fn read_discovery(reader: &mut Reader) -> Option<DiscoveryPolicy> {
    let confirm_interval = reader.duration("discovery.confirm_interval");
    let damping = reader.switch("discovery.damping");
    let mut quota = |key| usize::try_from(reader.number(key)?).ok();
    let (services, hosts_per_service) = (quota("quotas.services"), quota("quotas.hosts_per_service"));
    let (hosts, slots) = (quota("quotas.hosts"), quota("quotas.slots"));
    let quotas = Quotas { services: services?, hosts_per_service: hosts_per_service?, hosts: hosts?, slots: slots? };
    Some(DiscoveryPolicy { confirm_interval: confirm_interval?, damping: damping?, quotas })
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
