//! Why proxymgr ends without having done what it was asked to. `main` decides what exit code each is.

use thiserror::Error;

use crate::settings::Mistakes;
use crate::status::client::AskError;
use proxymgr_simulation::scenario::ScenarioMistakes;

/// The reason, told to the person at the terminal or in the supervisor's log.
#[derive(Debug, Error)]
pub enum Failure {
    /// The settings, or what they lead to, have mistakes.
    #[error("{0}")]
    Settings(#[from] Mistakes),
    /// `check` has told what is wrong already.
    #[error("")]
    Told,
    /// The log, which machines read, has told this already.
    #[error("{0}")]
    Logged(Box<Self>),
    /// Another daemon manages the same configuration file.
    #[error("{0}")]
    AlreadyRunning(String),
    /// Something that is needed is missing, taken or not permitted; or a daemon that was asked does not answer.
    #[error("{0}")]
    CannotStart(String),
    /// A scenario has mistakes.
    #[error("{0}")]
    Scenario(#[from] ScenarioMistakes),
    /// What a scenario expects is not so.
    #[error("{0}")]
    NotAsExpected(String),
    /// The simulation broke an invariant; the message ends with the command that does it again.
    #[error("{0}")]
    InvariantBroken(String),
    /// The running daemon refuses an order; nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// What can never happen has happened.
    #[error("{0}; this is a bug of proxymgr, please report it")]
    Internal(String),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused { status: 400 | 404 | 409, text } => Self::Refused(text),
            AskError::Refused { status: 401, text } => {
                Self::CannotStart(format!("{text} (here: --token-file, or the settings that -c names)"))
            }
            AskError::Refused { text, .. } | AskError::NoAnswer(text) => Self::CannotStart(text),
        }
    }
}
