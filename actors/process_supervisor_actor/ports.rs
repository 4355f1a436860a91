//! The ports of the supervisor: the processes, the file and the Runtime API.

use std::rc::Rc;

use crate::port::{ConfigFile, ProxyProcesses, RuntimeApi};

/// The ports of the supervisor.
#[derive(Clone)]
pub struct SupervisorPorts {
    /// haproxy.cfg and its candidate.
    pub config_file: Rc<dyn ConfigFile>,
    /// The processes.
    pub processes: Rc<dyn ProxyProcesses>,
    /// The Runtime API, to find out whether a new process answers.
    pub runtime: Rc<dyn RuntimeApi>,
}
