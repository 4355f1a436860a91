//! The health of servers across a reload or a crash: the process before is asked for it, or the state file that it left is
//! read, and the next process gets what is still true.

use std::future::poll_fn;
use std::task::Poll;

use slog::info;
use tokio::time::timeout;

use super::DeploymentPeers;
use super::candidate::Candidate;
use crate::decide::deployment::HealthSource;
use crate::decide::state_file::{CarriedHealth, NOTHING_KNOWN, Sections};
use crate::limits::{STATE_FILE_LINES_AT_ONCE_MAX, STATE_FILE_PATIENCE};

/// The text of the state file for the process that is started on the candidate. A source that does not answer at once is
/// not waited for.
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
            let_others_go_on().await;
        }
    }
    carried.finish()
}

/// Lets what waits on the actors' thread go first.
async fn let_others_go_on() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
