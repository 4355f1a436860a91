//! Effects that the reconciler requests. The actor executes them and passes the answers back as
//! [`Input`](super::Input)s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::decide::deployment::DeployOrder;
use crate::decide::state_file::FileHosts;
use crate::journal::{Event, JournalEntry};
use crate::message::WantedSockets;
use crate::model::{BackendCommand, CertificateChange, ListenAddress, RouteCommand, RuntimeCommand, ServiceName};
use crate::port::{ConfigText, SavedState};

/// One request to the actor.
#[derive(Debug)]
pub enum Effect {
    /// Runtime lane: send these commands to the process that serves, in this order. Answered by
    /// [`Input::CommandsAnswered`](super::Input::CommandsAnswered).
    RunCommands(Vec<RuntimeCommand>),
    /// Runtime lane: change backends. Answered by [`Input::BackendsAnswered`](super::Input::BackendsAnswered).
    ChangeBackends(Vec<BackendCommand>),
    /// Runtime lane: change the map of domains. Answered by [`Input::RoutesAnswered`](super::Input::RoutesAnswered).
    ChangeRoutes {
        /// The file that the map was loaded from.
        map: PathBuf,
        /// The commands, in order of execution.
        commands: Vec<RouteCommand>,
    },
    /// Runtime lane: read the servers of the process. Answered by [`Input::Observed`](super::Input::Observed).
    Observe {
        /// Only these services; `None` for all.
        services: Option<Vec<ServiceName>>,
        /// The file that the map was loaded from, where the map is to be read as well.
        map: Option<PathBuf>,
    },
    /// Runtime lane: read the sessions of the servers of these services. Answered by
    /// [`Input::SessionsRead`](super::Input::SessionsRead).
    ReadSessions(Vec<ServiceName>),
    /// Look up exactly these host names, and report those that resolve by
    /// [`Input::NameResolves`](super::Input::NameResolves).
    LookUpNames(BTreeSet<Arc<str>>),
    /// Close the persistent connection: another process serves from now on, or none.
    Disconnect,
    /// Change the certificates of the process that serves. Answered by
    /// [`Input::CertificateChanged`](super::Input::CertificateChanged).
    ChangeCertificate(CertificateChange),
    /// Report it when HAProxy stops answering, by [`Input::Silent`](super::Input::Silent).
    WatchLiveness,

    /// Deployment lane: bring up a new process. Answered by [`Input::Deployed`](super::Input::Deployed).
    Deploy(Box<DeployOrder>),
    /// Deployment lane: send these commands to the new process, which may not answer yet. Followed by
    /// [`Input::SuccessorAnswered`](super::Input::SuccessorAnswered), whatever the answers are: everything is observed and
    /// planned again once that process serves.
    CommandSuccessor {
        /// The process.
        pid: u32,
        /// The commands.
        commands: Vec<RuntimeCommand>,
    },
    /// Deployment lane: send these commands to a process that serves unmanaged, if there is one. The answers are not
    /// awaited: it is observed before it is managed.
    CommandUnmanaged(Vec<RuntimeCommand>),
    /// Keep the sockets that these services listen on, and close every other one.
    ReleaseSockets {
        /// Those of services.
        keep: BTreeMap<ServiceName, WantedSockets>,
        /// Those of the base configuration.
        base: BTreeSet<ListenAddress>,
    },
    /// End the waits for ports, except those of these services.
    WaitOnlyFor {
        /// Those of services.
        wanted: BTreeMap<ServiceName, WantedSockets>,
        /// Those of the base configuration.
        base: BTreeSet<ListenAddress>,
    },

    /// Write haproxy.cfg. Answered by [`Input::ConfigFileWritten`](super::Input::ConfigFileWritten).
    WriteConfigFile(ConfigText),
    /// Read haproxy.cfg and the map. Answered by [`Input::FilesRead`](super::Input::FilesRead).
    ReadFiles {
        /// Whether there is a map.
        with_map: bool,
    },
    /// Read the state of all servers in the form of the state file. Answered by
    /// [`Input::ServerStatesRead`](super::Input::ServerStatesRead).
    ReadServerStates {
        /// The process that is asked.
        pid: Option<u32>,
    },
    /// Write the state file. Answered by [`Input::StateFileWritten`](super::Input::StateFileWritten).
    WriteStateFile {
        /// The path of the file.
        path: PathBuf,
        /// The answer to `show servers state`.
        states: String,
        /// The hosts of each section in haproxy.cfg.
        hosts: FileHosts,
    },
    /// Save what a restart of the daemon needs. Answered by [`Input::StateSaved`](super::Input::StateSaved).
    SaveState(SavedState),

    /// Record this in the journal.
    Record(JournalEntry),
    /// Write this to the log.
    Log(LogLine),
}

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For tracing one decision.
    Debug,
    /// Normal operation.
    Info,
    /// Something an operator should know.
    Warning,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How severe it is.
    pub severity: Severity,
    /// What happened.
    pub message: &'static str,
    /// The values that belong to it.
    pub fields: Vec<(&'static str, String)>,
}

impl LogLine {
    /// Creates a line of this severity.
    pub fn new(severity: Severity, message: &'static str) -> Self {
        Self { severity, message, fields: Vec::new() }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.fields.push((key, value.to_string()));
        self
    }

    /// Adds a value that may be missing.
    #[must_use]
    pub fn with_some(self, key: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

/// The effects that wait to be carried out, in order.
#[derive(Debug, Default)]
pub struct Outbox(Vec<Effect>);

impl Outbox {
    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Adds a log line.
    pub fn log(&mut self, line: LogLine) {
        self.0.push(Effect::Log(line));
    }

    /// Adds a journal entry.
    pub fn record(&mut self, entry: JournalEntry) {
        self.0.push(Effect::Record(entry));
    }

    /// Adds a journal entry for an event of a service.
    pub fn record_of(&mut self, service: &ServiceName, event: Event) {
        self.record(JournalEntry::new(event).service(service));
    }

    /// Takes out all waiting effects.
    pub fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.0)
    }
}

/// Creates a line of severity `Info`.
pub fn info(message: &'static str) -> LogLine {
    LogLine::new(Severity::Info, message)
}

/// Creates a line of severity `Warning`.
pub fn warn(message: &'static str) -> LogLine {
    LogLine::new(Severity::Warning, message)
}

/// Creates a line of severity `Debug`.
pub fn debug(message: &'static str) -> LogLine {
    LogLine::new(Severity::Debug, message)
}
