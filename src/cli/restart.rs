//! `restart`: orders a restart in place, and waits for its result.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::daemon_args::DaemonArgs;
use super::text::printable;
use super::{block_on, output};
use crate::failure::Failure;
use crate::status::report::DaemonFacts;
use crate::status::restarts::{Ordered, Outcome, Restart};

/// The interval at which the daemon is asked for the result.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// `restart`.
pub fn restart(args: &RestartArgs) -> Result<(), Failure> {
    let (daemon, restart) = block_on(async {
        let client = args.daemon.writer()?;
        let ordered: Ordered = client.post("/api/v1/restart", &json!({})).await?;
        let deadline = Instant::now() + Duration::from_millis(ordered.within_ms);
        loop {
            // While the programs change, requests wait at the socket, or are interrupted.
            let answer = client.status().await;
            if let Ok((_, status)) = &answer
                && let Some(restart) = ended(&status.daemon, &ordered)
            {
                return Ok::<_, Failure>((status.daemon.clone(), restart));
            }
            if Instant::now() >= deadline {
                return Err(match answer {
                    Err(error) => error.into(),
                    Ok(_) => Failure::CannotStart("the restart has not ended in time; see the log".to_owned()),
                });
            }
            sleep(ASK_INTERVAL).await;
        }
    })?;
    match restart.outcome {
        Outcome::Failed { why } => {
            Err(Failure::Refused(printable(&format!("the restart failed, proxymgr {} runs: {why}", restart.from))))
        }
        Outcome::Done | Outcome::UnderWay => {
            let to = restart.to.unwrap_or_default();
            output::print(&printable(&format!("proxymgr {to} runs in place of {}, pid {}", restart.from, daemon.pid)));
            output::print("\n");
            Ok(())
        }
    }
}

/// The ordered restart, if it has ended.
fn ended(daemon: &DaemonFacts, ordered: &Ordered) -> Option<Restart> {
    daemon
        .restart
        .clone()
        .filter(|restart| restart.at_unix_ms == ordered.at_unix_ms && restart.outcome != Outcome::UnderWay)
}
