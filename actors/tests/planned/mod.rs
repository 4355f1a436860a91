//! A model of HAProxy that executes plans, with the state that plans read.

// Each test file uses only some of the items.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{
    AppliedServer, AppliedService, Ground, Refusal, ServicePlan, Step, WantedService, applied_server, plan_part,
};
use proxymgr_actors::decide::scope::Scope;
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::model::{
    Address, AdminState, AgentState, Endpoint, Host, HostList, ObservedServer, ObservedServers, PersistentId,
    ProxyVersion, Removal, RuntimeCommand, ServerName, ServiceDefinition, ServiceName, SourceSpec, UpdateStrategy,
    Word,
};

pub const FORCED_MAINTENANCE: u16 = 0x01;
pub const FORCED_DRAIN: u16 = 0x08;

/// The state of HAProxy after commands, as far as plans read it.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    pub servers: ObservedServers,
    pub applied: BTreeMap<ServerName, AppliedServer>,
    /// Runtime changes that it has refused.
    pub refused: BTreeMap<ServerName, Refusal>,
    /// Section header of its file; without one, the header of the planned definition.
    header: Option<Arc<str>>,
}

impl Proxy {
    pub fn started_with(definition: &ServiceDefinition, hosts: &HostList) -> Self {
        let header = haproxy_config::section_header(definition, SectionStyle::default());
        let mut proxy = Self { header: Some(header), ..Self::default() };
        for (name, host) in hosts {
            let admin_state = if host.state == AdminState::Maint { FORCED_MAINTENANCE | 0x04 } else { 0 };
            proxy.insert(name, host, admin_state, applied_server(definition, host));
        }
        proxy
    }

    fn insert(&mut self, name: &ServerName, host: &Host, admin_state: u16, applied: AppliedServer) {
        let observed = ObservedServer {
            address: host.endpoint.ip(),
            port: host.endpoint.port(),
            fqdn: None,
            admin_state,
            operational_state: 2,
            weight: host.weight.unwrap_or(1),
            id: applied.id.map(PersistentId::get),
            agent: match applied.options.iter().any(|word| word.as_str() == "agent-check") {
                true => AgentState::Enabled,
                false => AgentState::None,
            },
        };
        self.servers.insert(name.clone(), observed);
        self.applied.insert(name.clone(), applied);
    }

    pub fn carry_out(&mut self, plan: &ServicePlan, wanted: &HostList) {
        for step in &plan.steps {
            step.commands.iter().for_each(|command| self.obey(step, command, wanted));
        }
    }

    fn obey(&mut self, step: &Step, command: &RuntimeCommand, wanted: &HostList) {
        let name = &command.server().server;
        if let RuntimeCommand::AddServer { endpoint, options, .. } = command {
            let host = &wanted[name];
            assert_eq!(*endpoint, host.endpoint);
            assert!(!self.servers.contains_key(name), "{name} is there already");
            let weight = options.windows(2).rev().find(|pair| pair[0].as_str() == "weight");
            self.insert(name, host, FORCED_MAINTENANCE, step.applies.clone().expect("a new server is given something"));
            let weight = weight.map_or(1, |pair| pair[1].as_str().parse().unwrap());
            let server = self.servers.get_mut(name).unwrap();
            server.weight = weight;
            if server.agent == AgentState::Enabled {
                server.agent = AgentState::Disabled;
            }
            return;
        }
        if matches!(command, RuntimeCommand::DeleteServer(_)) {
            let gone = self.servers.remove(name).expect("only a server that is there can be deleted");
            assert!(gone.forced_maintenance(), "only in maintenance can {name} be deleted");
            return;
        }
        let server = self.servers.get_mut(name).expect("no command for a server that is not there");
        match command {
            RuntimeCommand::SetReady(_) => server.admin_state &= !(FORCED_MAINTENANCE | FORCED_DRAIN),
            RuntimeCommand::SetDrain(_) => {
                server.admin_state = server.admin_state & !FORCED_MAINTENANCE | FORCED_DRAIN;
            }
            RuntimeCommand::SetMaintenance(_) => {
                server.admin_state = server.admin_state & !FORCED_DRAIN | FORCED_MAINTENANCE;
            }
            RuntimeCommand::SetWeight(_, weight) => server.weight = *weight,
            RuntimeCommand::EnableAgent(_) | RuntimeCommand::DisableAgent(_) => {
                assert_ne!(server.agent, AgentState::None, "{name} has no agent");
                let enabled = matches!(command, RuntimeCommand::EnableAgent(_));
                server.agent = if enabled { AgentState::Enabled } else { AgentState::Disabled };
            }
            RuntimeCommand::SetAddress(_, endpoint) => {
                assert!(server.admin_state & (FORCED_MAINTENANCE | FORCED_DRAIN) != 0, "{name} moves out of service");
                server.move_to(endpoint);
            }
            _ => {}
        }
        if let Some(applied) = self.applied.get_mut(name) {
            match command {
                RuntimeCommand::SetReady(_) => applied.disabled_by = None,
                RuntimeCommand::SetDrain(_) | RuntimeCommand::SetMaintenance(_) => {
                    applied.disabled_by = step.disabled_by
                }
                RuntimeCommand::DisableAgent(_) if step.disabled_by.is_some() => applied.disabled_by = step.disabled_by,
                RuntimeCommand::SetWeight(_, weight) => applied.weight = Some(*weight),
                _ => {}
            }
        }
    }

    /// Makes the agents of these servers report a state, and a weight in percent, where they are enabled.
    pub fn agents_report(&mut self, admin_state: u16, percent: u16) {
        for (_, server) in self.servers.iter_mut().filter(|(_, server)| server.agent == AgentState::Enabled) {
            server.admin_state = admin_state;
            server.weight = server.weight.max(1) * percent / 100;
        }
    }

    pub fn serves(&self, wanted: &HostList) -> Result<(), String> {
        for (name, host) in wanted {
            let server = self.servers.get(name).ok_or(format!("{name} is missing"))?;
            let state = if server.in_maintenance() {
                AdminState::Maint
            } else if server.in_drain() {
                AdminState::Drain
            } else {
                AdminState::Ready
            };
            let found = (server.endpoint(), server.weight, state);
            let should = (Some(host.endpoint.clone()), host.weight.unwrap_or(1), host.state);
            if found != should {
                return Err(format!("{name} is {found:?} and should be {should:?}"));
            }
        }
        match self.servers.iter().find(|(name, server)| !wanted.contains_key(*name) && !server.in_maintenance()) {
            Some((name, _)) => Err(format!("{name} is unwanted and takes traffic")),
            None => Ok(()),
        }
    }

    pub fn plan(&self, definition: &ServiceDefinition, wanted: &HostList, version: (u16, u16)) -> ServicePlan {
        let strategy = match version >= (2, 6) {
            true => UpdateStrategy::Dynamic,
            false => UpdateStrategy::Toggle,
        };
        self.plan_by(strategy, None, definition, wanted, version)
    }

    pub fn plan_by(
        &self,
        strategy: UpdateStrategy,
        slots: Option<&SlotTable>,
        definition: &ServiceDefinition,
        wanted: &HostList,
        version: (u16, u16),
    ) -> ServicePlan {
        self.plan_part(strategy, slots, definition, wanted, version, &Scope::Whole)
    }

    pub fn plan_part(
        &self,
        strategy: UpdateStrategy,
        slots: Option<&SlotTable>,
        definition: &ServiceDefinition,
        wanted: &HostList,
        version: (u16, u16),
        scope: &Scope,
    ) -> ServicePlan {
        let style = SectionStyle::default();
        let capabilities = Capabilities::of(ProxyVersion { major: version.0, minor: version.1 });
        let header = self.header.clone().unwrap_or_else(|| haproxy_config::section_header(definition, style));
        let loaded = AppliedService { header, servers: self.applied.clone(), in_base: definition.in_base.clone() };
        plan_part(
            WantedService {
                definition,
                hosts: wanted,
                ids: &ServerIds::default(),
                overlay: &Overlay::NONE,
                strategy,
                slots,
            },
            Some(&loaded),
            Some(&self.servers),
            &self.refused,
            Ground { capabilities, inherited: &[], style, is_external: false },
            scope,
        )
    }
}

pub fn definition(listen_options: &[&str], server_options: &str) -> ServiceDefinition {
    let words = |line: &str| line.split_whitespace().map(|word| Word::new(word).unwrap()).collect::<Vec<_>>();
    ServiceDefinition {
        name: ServiceName::new("web").unwrap(),
        origin: Arc::from("a test"),
        listen: None,
        section: Default::default(),
        in_base: None,
        listen_options: listen_options.iter().map(|line| words(line)).collect(),
        server_options: words(server_options),
        requests: Default::default(),
        domains_granted: false,
        life_cycle: Default::default(),
        update: Default::default(),
        source: SourceSpec::new("static", serde_json::Map::new()),
        removal: Removal::default(),
    }
}

pub fn host(address: &str) -> Host {
    Host::at(Endpoint::Tcp { address: Address::parse(address).unwrap(), port: 80.try_into().unwrap() })
}

pub fn list(names: &[&str]) -> HostList {
    names.iter().map(|name| (ServerName::new(name).unwrap(), host("10.0.0.1").into())).collect()
}

/// Returns the reasons for a reload as texts.
pub fn words(plan: &ServicePlan) -> Vec<String> {
    plan.reload.iter().map(ToString::to_string).collect()
}
