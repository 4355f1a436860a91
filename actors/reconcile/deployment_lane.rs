//! A deployment that is under way, and the new process that it has started.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::desired::DesiredService;
use crate::decide::base::BaseLayout;
use crate::decide::haproxy_config::has_agent;
use crate::decide::proxy_plan::Refusal;
use crate::model::{
    AdminState, AgentState, CertificateName, ChangeId, Endpoint, Host, HostList, Observation, ObservedServer,
    ReloadCause, ReloadReason, RuntimeCommand, ServerId, ServerName, ServiceName,
};

/// A deployment that is under way.
#[derive(Debug)]
pub struct Deployment {
    /// The reasons for it.
    pub reasons: Vec<String>,
    /// The kinds of these reasons.
    pub causes: BTreeSet<ReloadCause>,
    /// The general reasons, which are queued again if it fails.
    pub general: Vec<ReloadReason>,
    /// When it was begun.
    pub begun: Instant,
    /// The newest change that its file contains.
    pub newest: Option<ChangeId>,
    /// The base of its file.
    pub base: Arc<BaseLayout>,
    /// The certificates in the files when it began.
    pub certificates: BTreeMap<CertificateName, Arc<str>>,
    /// The runtime changes that HAProxy refused and that its file applies.
    pub refused: BTreeMap<ServiceName, BTreeMap<ServerName, Refusal>>,
    /// Services whose port became free during the deployment.
    pub opened: BTreeSet<ServiceName>,
    /// The last process that exited during the deployment.
    pub exited: Option<u32>,
    /// Whether the new process takes over the socket of the one that serves.
    pub takes_over: bool,
    /// The new process, and what its file lacks.
    pub successor: CatchUp,
}

/// The changes since a file was rendered, and those of them that the process was sent.
///
/// A new process accepts connections before its Runtime API answers, and its file lacks every change since it was
/// rendered. So servers that must not get traffic any more are disabled in it first, on a connection that was opened
/// before its start.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// The servers of each service in the file.
    rendered: BTreeMap<ServiceName, Arc<HostList>>,
    /// Services that changed since.
    changed: BTreeSet<ServiceName>,
    /// The process, once it was started.
    pub pid: Option<u32>,
    takes_commands: bool,
    /// Whether commands are unanswered: what changes meanwhile is sent as one batch after that.
    pub is_answering: bool,
    /// Whether the process before it no longer answers. The socket's path leads to either of them now, so that a command for
    /// one may reach the other.
    pub is_taking_over: bool,
    /// The servers that were disabled in it, and how.
    disabled: BTreeMap<ServiceName, BTreeMap<ServerName, AdminState>>,
}

impl CatchUp {
    /// Creates the record of an orphaned process, by its reported state. The lists of these services were read since
    /// the daemon started, so they may differ.
    pub fn orphan(observation: &Observation, changed: BTreeSet<ServiceName>) -> Self {
        // Its agent may end a maintenance, and others end a drain.
        let may_serve = |server: &ObservedServer| !server.in_maintenance() || server.agent == AgentState::Enabled;
        let host = |(name, server): (&ServerName, &ObservedServer)| {
            let state = if server.in_drain() { AdminState::Drain } else { AdminState::Ready };
            Some((name.clone(), Arc::new(Host { state, ..server.host().filter(|_| may_serve(server))? })))
        };
        let services = observation.services.iter();
        let rendered =
            services.map(|(name, servers)| (name.clone(), Arc::new(servers.iter().filter_map(host).collect())));
        Self { rendered: rendered.collect(), changed, takes_commands: true, ..Self::default() }
    }

    /// Creates the record of a process that serves the file of an earlier run: all of these servers may have changed
    /// since.
    pub fn on_earlier_file(servers: BTreeMap<ServiceName, Arc<HostList>>) -> Self {
        let changed = servers.keys().cloned().collect();
        Self { rendered: servers, changed, takes_commands: true, ..Self::default() }
    }

    /// Records the start of the process, with these servers in its file: those of the last good sections of blocked
    /// services differ from the desired ones.
    pub fn started(
        &mut self,
        pid: u32,
        takes_commands: bool,
        servers: BTreeMap<ServiceName, Arc<HostList>>,
        desired: &BTreeMap<ServiceName, DesiredService>,
    ) {
        let differs = |(name, hosts): &(&ServiceName, &Arc<HostList>)| {
            desired.get(*name).is_some_and(|service| !Arc::ptr_eq(hosts, &service.servers))
        };
        self.changed.extend(servers.iter().filter(differs).map(|(name, _)| name.clone()));
        self.rendered = servers;
        self.pid = Some(pid);
        self.takes_commands = takes_commands;
    }

    /// Records that this service changed since the file was rendered.
    pub fn service_changed(&mut self, service: &ServiceName) {
        self.changed.insert(service.clone());
    }

    /// Returns the services that changed since the file was rendered.
    pub fn changed(&self) -> &BTreeSet<ServiceName> {
        &self.changed
    }

    /// Returns the servers that were disabled in it.
    pub fn disabled(&self) -> &BTreeMap<ServiceName, BTreeMap<ServerName, AdminState>> {
        &self.disabled
    }

    /// Returns the commands that disable servers which must not get traffic: those of the changed services, or of
    /// `only` one of them. Empty while the process accepts no commands, or has some to answer.
    pub fn catch_up(
        &mut self,
        services: &BTreeMap<ServiceName, DesiredService>,
        only: Option<&ServiceName>,
    ) -> Vec<RuntimeCommand> {
        if !self.takes_commands || self.is_answering {
            return Vec::new();
        }
        let mut commands = Vec::new();
        for name in self.changed.iter().filter(|name| only.is_none_or(|only| only == *name)) {
            let (Some(rendered), Some(service)) = (self.rendered.get(name), services.get(name)) else { continue };
            let disabled = self.disabled.entry(name.clone()).or_default();
            let by_endpoint = OnceCell::new();
            for (server, host) in rendered.iter().filter(|(_, host)| host.state != AdminState::Maint) {
                let same = service.servers.get(server).filter(|now| now.endpoint == host.endpoint);
                // A process of an earlier run may have another server for the same host.
                let same = same
                    .or_else(|| by_endpoint.get_or_init(|| hosts_by_endpoint(service)).get(&host.endpoint).copied());
                // As it was; also a drain that others set.
                let wanted = match same {
                    Some(now) if now.state == AdminState::Ready || now.state == host.state => None,
                    Some(now) => Some(now.state),
                    None if service.life.is_draining(server) => Some(AdminState::Drain),
                    None => Some(AdminState::Maint),
                };
                if wanted == disabled.get(server).copied() {
                    continue;
                }
                let id = ServerId { service: name.clone(), server: server.clone() };
                if wanted.is_some() && has_agent(&service.definition, host) {
                    commands.push(RuntimeCommand::DisableAgent(id.clone()));
                }
                commands.push(command(wanted.unwrap_or(host.state), id));
                match wanted {
                    Some(state) => drop(disabled.insert(server.clone(), state)),
                    None => drop(disabled.remove(server)),
                }
            }
        }
        commands
    }
}

fn hosts_by_endpoint(service: &DesiredService) -> BTreeMap<&Endpoint, &Arc<Host>> {
    service.servers.values().map(|host| (&host.endpoint, host)).collect()
}

fn command(state: AdminState, server: ServerId) -> RuntimeCommand {
    match state {
        AdminState::Ready => RuntimeCommand::SetReady(server),
        AdminState::Drain => RuntimeCommand::SetDrain(server),
        AdminState::Maint => RuntimeCommand::SetMaintenance(server),
    }
}
