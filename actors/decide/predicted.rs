//! Prediction of HAProxy's state after a command, so that the next change need not wait for an observation.

use std::str::FromStr;

use crate::model::{AgentState, ObservedServer, ObservedServers, PersistentId, RuntimeCommand, Word};

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
                weight: number_after("weight", options).unwrap_or(1),
                id: id.map(PersistentId::get).or_else(|| number_after("id", options)),
                agent: match options.iter().any(|word| word.as_str() == "agent-check") {
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

/// Returns the number that the last option with this name sets. HAProxy's default weight is 1.
fn number_after<N: FromStr>(option: &str, options: &[Word]) -> Option<N> {
    let mut named = options.windows(2).filter(|pair| pair[0].as_str() == option);
    named.next_back().and_then(|pair| pair[1].as_str().parse().ok())
}
