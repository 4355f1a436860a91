//! The health of servers across a reload or a crash: the process before is asked for it, or the state file that it left is
//! read, and the next process gets what is still true.

use slog::info;
use tokio::time::timeout;

use super::DeploymentPeers;
use super::candidate::Candidate;
use crate::decide::deployment::{HealthSource, SectionSpec};
use crate::decide::state_file::{NOTHING_KNOWN, carried_over};
use crate::limits::STATE_FILE_PATIENCE;
use crate::model::ServiceName;

/// The text of the state file for the process that is started on the candidate. A source that does not answer at once is
/// not waited for.
pub async fn state_file_text(source: Option<HealthSource>, candidate: &Candidate, peers: &DeploymentPeers) -> String {
    let (read, loaded) = match source {
        None => return NOTHING_KNOWN.to_owned(),
        Some(HealthSource::Process { loaded }) => {
            let answer = timeout(STATE_FILE_PATIENCE, peers.runtime.server_states()).await;
            (answer.map(|answer| answer.map_err(|error| error.to_string())), loaded)
        }
        Some(HealthSource::File { path, loaded }) => {
            (timeout(STATE_FILE_PATIENCE, peers.config_file.read_state_file(path)).await, loaded)
        }
    };
    let text = read.unwrap_or_else(|_| Err("no answer in time".to_owned())).unwrap_or_else(|error| {
        info!(peers.log, "the next process starts without the health of its servers"; "error" => error);
        String::new()
    });
    let next = |name: &ServiceName| {
        let SectionSpec { definition, hosts } = &candidate.sections.get(name)?.section.spec;
        Some((&**definition, &**hosts))
    };
    carried_over(&text, &loaded, next, candidate.context.style)
}
