//! Prediction of HAProxy's state after a command, so that the next change need not wait for an observation.

use super::server_options::{DEFAULT_WEIGHT, contains, value_of};
use crate::model::{AgentState, ObservedServer, ObservedServers, PersistentId, RuntimeCommand};

/// `srv_admin_state`: forced maintenance.
const MAINTENANCE: u16 = 0x01;
/// `srv_admin_state`: forced drain.
const DRAIN: u16 = 0x08;

/// Changes the servers of one section as HAProxy does when it accepts the command. The results of health checks are not
/// predicted.
pub fn predict(servers: &mut ObservedServers, command: &RuntimeCommand) {
    let name = &command.server().server;
    match command {
        RuntimeCommand::AddServer { endpoint, id, options, .. } => {
            let added = ObservedServer {
                address: endpoint.address.ip(),
                port: Some(endpoint.port),
                fqdn: None,
                admin_state: MAINTENANCE,
                operational_state: 0,
                weight: value_of(options, "weight").and_then(|weight| weight.parse().ok()).unwrap_or(DEFAULT_WEIGHT),
                id: id.map(PersistentId::get).or_else(|| value_of(options, "id")?.parse().ok()),
                agent: match contains(options, "agent-check") {
                    true => AgentState::Disabled,
                    false => AgentState::None,
                },
            };
            servers.insert(name.clone(), added);
        }
        RuntimeCommand::DeleteServer(_) => drop(servers.remove(name)),
        _ => {
            if let Some(server) = servers.get_mut(name) {
                change(server, command);
            }
        }
    }
}

fn change(server: &mut ObservedServer, command: &RuntimeCommand) {
    match command {
        RuntimeCommand::SetReady(_) => {
            server.admin_state &= !(MAINTENANCE | DRAIN);
            server.operational_state = 2;
        }
        RuntimeCommand::SetDrain(_) => server.admin_state = server.admin_state & !MAINTENANCE | DRAIN,
        RuntimeCommand::SetMaintenance(_) => server.admin_state = server.admin_state & !DRAIN | MAINTENANCE,
        RuntimeCommand::SetWeight(_, weight) => server.weight = *weight,
        RuntimeCommand::SetAddress(_, endpoint) => server.move_to(endpoint),
        RuntimeCommand::EnableAgent(_) if server.agent == AgentState::Disabled => server.agent = AgentState::Enabled,
        RuntimeCommand::DisableAgent(_) if server.agent == AgentState::Enabled => server.agent = AgentState::Disabled,
        _ => {}
    }
}
