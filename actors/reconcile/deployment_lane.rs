//! A deployment that is under way, and the new process that it has started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::desired::DesiredService;
use crate::decide::haproxy_config::has_agent;
use crate::decide::proxy_plan::Refusal;
use crate::model::{
    AdminState, ChangeId, HostList, ReloadCause, ReloadReason, RuntimeCommand, ServerId, ServerName, ServiceName,
};

/// A deployment that is under way.
#[derive(Debug)]
pub struct Deployment {
    /// Why it was begun.
    pub reasons: Vec<String>,
    /// The kinds of these reasons.
    pub causes: BTreeSet<ReloadCause>,
    /// The reasons that are due again if it fails.
    pub general: Vec<ReloadReason>,
    /// When it was begun.
    pub begun: Instant,
    /// The newest change that its file contains.
    pub newest: Option<ChangeId>,
    /// The base of its file.
    pub base: Arc<str>,
    /// The runtime changes that it is to bring because HAProxy had refused them.
    pub refused: BTreeMap<ServiceName, BTreeMap<ServerName, Refusal>>,
    /// Services whose port became free meanwhile.
    pub opened: BTreeSet<ServiceName>,
    /// The process that was last reported to have exited meanwhile.
    pub exited: Option<u32>,
    /// The new process, and what its file lacks.
    pub successor: CatchUp,
}

/// What changed since a file was rendered, and what a process was sent of it.
///
/// A new process accepts connections before it has answered anything, and starts from a file that lacks every change
/// since it was rendered. So servers that must not get traffic any more are disabled in it first of all, on a connection
/// that was opened before its start.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// The servers of each service in the file.
    rendered: BTreeMap<ServiceName, Arc<HostList>>,
    /// Services that changed since.
    changed: BTreeSet<ServiceName>,
    /// The process, once it was started.
    pub pid: Option<u32>,
    takes_commands: bool,
    /// The servers that were disabled in it, and how.
    disabled: BTreeMap<ServiceName, BTreeMap<ServerName, AdminState>>,
}

impl CatchUp {
    /// A process to come, with these servers in its file.
    pub fn rendered(servers: BTreeMap<ServiceName, Arc<HostList>>) -> Self {
        Self { rendered: servers, ..Self::default() }
    }

    /// A process that serves already, with these servers, as far as is known.
    pub fn serving(servers: BTreeMap<ServiceName, Arc<HostList>>) -> Self {
        Self { rendered: servers, takes_commands: true, ..Self::default() }
    }

    /// A process that serves the file of an earlier run, with these servers: all of them may have changed since.
    pub fn on_earlier_file(servers: BTreeMap<ServiceName, Arc<HostList>>) -> Self {
        let changed = servers.keys().cloned().collect();
        Self { changed, ..Self::serving(servers) }
    }

    /// The process was started.
    pub fn started(&mut self, pid: u32, takes_commands: bool) {
        self.pid = Some(pid);
        self.takes_commands = takes_commands;
    }

    /// This service changed since the file was rendered.
    pub fn service_changed(&mut self, service: &ServiceName) {
        if self.rendered.contains_key(service) {
            self.changed.insert(service.clone());
        }
    }

    /// The services that changed since the file was rendered.
    pub fn changed(&self) -> &BTreeSet<ServiceName> {
        &self.changed
    }

    /// The servers that were disabled in it.
    pub fn disabled(&self) -> &BTreeMap<ServiceName, BTreeMap<ServerName, AdminState>> {
        &self.disabled
    }

    /// The commands that keep the process from sending traffic to servers that must not get any: those of the services
    /// that changed, or of `only` one of them. Empty as long as it takes no commands.
    pub fn catch_up(
        &mut self,
        services: &BTreeMap<ServiceName, DesiredService>,
        only: Option<&ServiceName>,
    ) -> Vec<RuntimeCommand> {
        if !self.takes_commands {
            return Vec::new();
        }
        let mut commands = Vec::new();
        for name in self.changed.iter().filter(|name| only.is_none_or(|only| only == *name)) {
            let (Some(rendered), Some(service)) = (self.rendered.get(name), services.get(name)) else { continue };
            let disabled = self.disabled.entry(name.clone()).or_default();
            for (server, host) in rendered.iter().filter(|(_, host)| host.state == AdminState::Ready) {
                let wanted = match service.servers.get(server) {
                    Some(now) if now.endpoint == host.endpoint => now.state,
                    Some(_) => AdminState::Maint,
                    None if service.life.is_draining(server) => AdminState::Drain,
                    None => AdminState::Maint,
                };
                let before = disabled.get(server).copied().unwrap_or(AdminState::Ready);
                if wanted != before {
                    let id = ServerId { service: name.clone(), server: server.clone() };
                    if wanted != AdminState::Ready && has_agent(&service.definition, host) {
                        commands.push(RuntimeCommand::DisableAgent(id.clone()));
                    }
                    commands.push(command(wanted, id));
                    disabled.insert(server.clone(), wanted);
                }
            }
        }
        commands
    }
}

fn command(state: AdminState, server: ServerId) -> RuntimeCommand {
    match state {
        AdminState::Ready => RuntimeCommand::SetReady(server),
        AdminState::Drain => RuntimeCommand::SetDrain(server),
        AdminState::Maint => RuntimeCommand::SetMaintenance(server),
    }
}
