//! The state of the HAProxy process: waiting, serving, down or stopping.

use super::observed::Running;

/// The state of the managed HAProxy. A deployment may be under way in each of these states.
#[derive(Debug)]
pub enum ProcessState {
    /// No process was started or found yet.
    Waiting,
    /// This process serves.
    Serving(Box<Running>),
    /// No process serves.
    Down {
        /// The process that served last: its sections are still the last good ones.
        last: Option<Box<Running>>,
        /// How it ended; `None` where it is only out of reach.
        exit: Option<ProcessEnd>,
    },
    /// The daemon is stopping.
    Stopping {
        /// The process that served last.
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
    /// Returns the process that serves, or that served last.
    pub fn running(&self) -> Option<&Running> {
        match self {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last.as_deref(),
        }
    }

    /// Returns the process that serves, or that served last, mutably.
    pub fn running_mut(&mut self) -> Option<&mut Running> {
        match self {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last.as_deref_mut(),
        }
    }

    /// Returns the process that serves.
    pub fn serving(&self) -> Option<&Running> {
        match self {
            Self::Serving(running) => Some(running),
            _ => None,
        }
    }

    /// Returns whether a process serves.
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Serving(_))
    }

    /// Returns whether the daemon is stopping.
    pub fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping { .. })
    }

    /// Returns how the last process ended, while none serves.
    pub fn exit(&self) -> Option<&ProcessEnd> {
        match self {
            Self::Down { exit, .. } => exit.as_ref(),
            _ => None,
        }
    }

    /// Takes the process out, before another one replaces it.
    pub fn take_running(&mut self) -> Option<Box<Running>> {
        match std::mem::replace(self, Self::Waiting) {
            Self::Waiting => None,
            Self::Serving(running) => Some(running),
            Self::Down { last, .. } | Self::Stopping { last } => last,
        }
    }

    /// Sets the process that serves.
    pub fn serve(&mut self, running: Box<Running>) {
        *self = Self::Serving(running);
    }

    /// Records that the process no longer serves. The first reason is kept until another process serves.
    pub fn end(&mut self, exit: Option<ProcessEnd>) {
        let first = self.exit().cloned();
        let exit = match (first, exit) {
            (Some(first), Some(exit)) => Some(ProcessEnd { since_unix_ms: first.since_unix_ms, ..exit }),
            (first, exit) => exit.or(first),
        };
        let last = self.take_running();
        *self = Self::Down { last, exit };
    }

    /// Records that the daemon is stopping.
    pub fn stop(&mut self) {
        let last = self.take_running();
        *self = Self::Stopping { last };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(text: &str, since_unix_ms: u64) -> ProcessEnd {
        ProcessEnd { text: text.to_owned(), since_unix_ms }
    }

    #[test]
    fn outage_begins_with_the_first_exit() {
        let mut process = ProcessState::Waiting;
        process.end(Some(ended("signal 9", 5)));
        process.end(Some(ended("signal 11", 7)));
        assert_eq!(process.exit(), Some(&ended("signal 11", 5)));
        process.end(None);
        assert_eq!(process.exit(), Some(&ended("signal 11", 5)), "the reason is kept");
        assert!(!process.is_serving() && process.running().is_none());
    }

    #[test]
    fn stop_is_final() {
        let mut process = ProcessState::Waiting;
        assert!(!process.is_stopping());
        process.stop();
        assert!(process.is_stopping() && process.exit().is_none() && process.running_mut().is_none());
    }
}
