//! The daemon as a process, with the standard names of Prometheus:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::fmt;
use std::fs;

use super::exposition::Families;

/// Clock ticks per second, the unit of processor time in /proc (`USER_HZ`, a constant of the kernel interface).
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures from /proc; figures that cannot be read are left out.
pub fn write(families: &mut Families<'_>) -> fmt::Result {
    // After the name, which may hold anything, in parentheses: the fields from the third on.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let help = "User and system processor time spent";
        families.process_counter("process_cpu_seconds", help, (user + system) / TICKS_PER_SECOND)?;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    if let Some(kilobytes) = resident {
        let kilobytes: f64 = kilobytes;
        families.process_gauge("process_resident_memory_bytes", "Resident memory size", kilobytes * 1_024.0)?;
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        families.process_gauge("process_open_fds", "Open file descriptors", open.count() as f64)?;
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    if let Some(limit) = limit {
        families.process_gauge("process_max_fds", "Limit of open file descriptors", limit)?;
    }
    Ok(())
}
