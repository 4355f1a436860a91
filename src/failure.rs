//! Failures of commands. `main` assigns an exit code to each.

use thiserror::Error;

use crate::settings::Mistakes;
use crate::status::client::AskError;
use crate::status::severity::Severity;
use proxymgr_simulation::scenario::ScenarioMistakes;

/// Why a command failed; printed to the terminal or the log of the supervisor.
#[derive(Debug, Error)]
pub enum Failure {
    /// The settings, or files they refer to, are invalid.
    #[error("{0}")]
    Settings(#[from] Mistakes),
    /// The command has printed the problems already.
    #[error("")]
    Reported,
    /// The command has printed the problems of the daemon, or of one service; this is the worst of them.
    #[error("")]
    Problems(Severity),
    /// The failure is in the JSON log already.
    #[error("{0}")]
    Logged(Box<Self>),
    /// Another daemon manages the same configuration file.
    #[error("{0}")]
    AlreadyRunning(String),
    /// Something required is missing, in use or not permitted; or no daemon answers.
    #[error("{0}")]
    CannotStart(String),
    /// A scenario is invalid.
    #[error("{0}")]
    Scenario(#[from] ScenarioMistakes),
    /// An expectation of a scenario failed.
    #[error("{0}")]
    NotAsExpected(String),
    /// The simulation violated an invariant; the message ends with the command that reproduces it.
    #[error("{0}")]
    InvariantBroken(String),
    /// The running daemon refused an order, and nothing has changed; or a restart failed, and the previous version runs.
    #[error("{0}")]
    Refused(String),
    /// A bug in proxymgr.
    #[error("{0}; this is a bug in proxymgr, please report it")]
    Internal(String),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused { status: 400 | 404 | 409, text } => Self::Refused(text),
            AskError::Refused { status: 401, text } => {
                Self::CannotStart(format!("{text} (pass it with --token-file, or the settings with -c)"))
            }
            AskError::Refused { text, .. } | AskError::NoAnswer(text) => Self::CannotStart(text),
        }
    }
}
