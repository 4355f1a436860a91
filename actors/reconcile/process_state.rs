//! Whether a HAProxy process serves, and which one.

use super::observed::Running;

/// The life of the HAProxy that is kept in sync. A deployment may be under way in each of these states.
#[derive(Debug)]
pub enum ProcessState {
    /// None was started or found yet.
    Waiting,
    /// This one serves.
    Serving(Box<Running>),
    /// None serves.
    Down {
        /// The one that served last: its sections are still the last good ones.
        last: Option<Box<Running>>,
        /// How it ended; none where it is only out of reach.
        exit: Option<ProcessEnd>,
    },
    /// The daemon is stopping.
    Stopping {
        /// The one that served last.
        last: Option<Box<Running>>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// What happened.
    pub text: String,
    /// When no process served any more, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

impl ProcessState {
    /// The process that serves, or that served last.
    pub fn running(&self) -> Option<&Running> {
        match self {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last.as_deref(),
        }
    }

    /// The same, to be changed.
    pub fn running_mut(&mut self) -> Option<&mut Running> {
        match self {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last.as_deref_mut(),
        }
    }

    /// The process that serves.
    pub fn serving(&self) -> Option<&Running> {
        match self {
            Self::Serving(running) => Some(running),
            _ => None,
        }
    }

    /// Whether one serves.
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Serving(_))
    }

    /// Whether the daemon is stopping.
    pub fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping { .. })
    }

    /// How the last process ended, while none serves.
    pub fn exit(&self) -> Option<&ProcessEnd> {
        match self {
            Self::Down { exit, .. } => exit.as_ref(),
            _ => None,
        }
    }

    /// Takes the process out, for the one that takes its place.
    pub fn take_running(&mut self) -> Option<Box<Running>> {
        match std::mem::replace(self, Self::Waiting) {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last,
        }
    }

    /// This process serves from now on.
    pub fn serve(&mut self, running: Box<Running>) {
        *self = Self::Serving(running);
    }

    /// The process does not serve any more. The first end counts until another process serves.
    pub fn end(&mut self, exit: Option<ProcessEnd>) {
        let first = self.exit().cloned();
        let exit = match (first, exit) {
            (Some(first), Some(exit)) => Some(ProcessEnd { since_unix_ms: first.since_unix_ms, ..exit }),
            (first, exit) => exit.or(first),
        };
        let last = self.take_running();
        *self = Self::Down { last, exit };
    }

    /// The daemon is stopping.
    pub fn stop(&mut self) {
        let last = self.take_running();
        *self = Self::Stopping { last };
    }
}
