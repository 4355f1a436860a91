//! The trial of a new program before a restart in place: it runs once as a child, with the same arguments, reads
//! everything that it would read and changes nothing.

use std::process::Stdio;

use proxymgr_actors::limits::RESTART_TRIAL_TIMEOUT;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::inheritance;
use super::program::Program;
use crate::daemon::{BUILD, adapters, supported_version};
use crate::failure::Failure;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::saved_state;
use crate::settings::Settings;

/// The flag of `run` for a trial.
pub const FLAG: &str = "--trial";

/// What a program says of itself at the end of a good trial.
#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    /// Its version and its commit.
    build: String,
    /// The formats of an inheritance that it can read.
    reads: Vec<u32>,
}

/// Tries a new program. Returns its version.
///
/// # Errors
/// Why it must not replace this one.
pub async fn of(program: &Program) -> Result<String, String> {
    let path = program.path.display();
    let mut command = Command::new(&program.path);
    command.args(program.after_name()).arg(FLAG).env_remove("NOTIFY_SOCKET").kill_on_drop(true);
    command.stdin(Stdio::null());
    let output = match timeout(RESTART_TRIAL_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{path} cannot be executed: {error}")),
        Err(_) => return Err(format!("the trial of {path} did not end within {} s", RESTART_TRIAL_TIMEOUT.as_secs())),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = printed.lines().last().and_then(|line| serde_json::from_str::<Passed>(line).ok());
    let Some(Passed { build, reads }) = passed.filter(|_| output.status.success()) else {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN_MAX)..].join("; ");
        return Err(format!("the trial of {path} failed ({}): {last}", output.status));
    };
    if !reads.contains(&inheritance::FORMAT) {
        return Err(format!("{path} is proxymgr {build}, which cannot take over from this version; stop and start it"));
    }
    Ok(build)
}

/// How many of the last lines of a failed trial are reported.
const LINES_SHOWN_MAX: usize = 5;

/// The trial itself, in the new program. Returns what it prints.
///
/// # Errors
/// Why this program could not run with these settings and the saved state.
pub async fn passed(settings: &Settings) -> Result<String, Failure> {
    if settings.haproxy.run.needs_program() {
        supported_version(&HaproxyBinary::of(&settings.haproxy)).await?;
    }
    if let Some(problem) = saved_state::look(&adapters::saved_state_path(settings)).problem {
        return Err(Failure::CannotStart(problem));
    }
    let passed = Passed { build: BUILD.to_owned(), reads: vec![inheritance::FORMAT] };
    serde_json::to_string(&passed).map_err(|error| Failure::Internal(error.to_string()))
}
