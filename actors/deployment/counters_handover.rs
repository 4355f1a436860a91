//! Handover of counters across a reload: those of the previous process are passed to the next one. After a crash they
//! start at zero, which is what programs that read them take a smaller value for.

use slog::info;
use tokio::time::timeout;

use super::DeploymentPeers;
use crate::limits::COUNTERS_PATIENCE;

/// Returns the counters of the process that serves; none where there is no such process, or it does not answer in time.
pub async fn stats_file_text(a_process_serves: bool, peers: &DeploymentPeers) -> String {
    if !a_process_serves {
        return String::new();
    }
    let read = match timeout(COUNTERS_PATIENCE, peers.runtime.counters()).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    // A process of a version before 3.0 does not know the command.
    read.map(|text| if text.starts_with('#') { text } else { String::new() }).unwrap_or_else(|error| {
        info!(peers.log, "the counters of the next process start at zero"; "error" => error);
        String::new()
    })
}

/// Returns whether a warning is about the file with counters, whose path 3.0 does not name.
pub fn is_about_its_file(warning: &str) -> bool {
    warning.contains("stats file") || warning.contains("stats-file")
}
