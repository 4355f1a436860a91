//! Handover of server health across a reload or a crash: it is read from the previous process, or from its state file,
//! and the valid part is passed to the next process.

use slog::info;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::DeploymentPeers;
use super::candidate::Candidate;
use crate::decide::deployment::HealthSource;
use crate::decide::state_file::{CarriedHealth, NOTHING_KNOWN, Sections};
use crate::limits::{STATE_FILE_LINES_AT_ONCE_MAX, STATE_FILE_PATIENCE};

/// Returns the text of the state file for the process that is started with the candidate; without a source, or if the
/// source does not answer in time, it contains no servers.
pub async fn state_file_text(source: Option<HealthSource>, candidate: &Candidate, peers: &DeploymentPeers) -> String {
    let (read, before) = match source {
        None => return NOTHING_KNOWN.to_owned(),
        Some(HealthSource::Process { sections }) => {
            let answer = timeout(STATE_FILE_PATIENCE, peers.runtime.server_states()).await;
            (answer.map(|answer| answer.map_err(|error| error.to_string())), sections)
        }
        Some(HealthSource::File { path, sections }) => {
            (timeout(STATE_FILE_PATIENCE, peers.config_file.read_state_file(path)).await, sections)
        }
    };
    let text = read.unwrap_or_else(|_| Err("no answer in time".to_owned())).unwrap_or_else(|error| {
        info!(peers.log, "the next process starts without the health of its servers"; "error" => error);
        String::new()
    });
    let next: Sections =
        candidate.sections.iter().map(|(name, section)| (name.clone(), section.section.spec.clone())).collect();
    let mut carried = CarriedHealth::new(&before, &next, candidate.context.style);
    for (number, line) in text.lines().enumerate() {
        carried.read(line);
        if number % STATE_FILE_LINES_AT_ONCE_MAX == STATE_FILE_LINES_AT_ONCE_MAX - 1 {
            yield_now().await;
        }
    }
    carried.finish()
}
