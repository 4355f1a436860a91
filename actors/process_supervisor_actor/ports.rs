//! What the supervisor works with outside of the actors.

use std::rc::Rc;

use crate::port::{ConfigFile, ProxyProcesses, RuntimeApi};

/// The ports of the supervisor.
#[derive(Clone)]
pub struct SupervisorPorts {
    /// haproxy.cfg and its candidate.
    pub config_file: Rc<dyn ConfigFile>,
    /// The processes.
    pub processes: Rc<dyn ProxyProcesses>,
    /// Asked whether a new process answers.
    pub runtime: Rc<dyn RuntimeApi>,
}
