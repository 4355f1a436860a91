//! Prediction of HAProxy's state after a command, so that the next change need not wait for an observation.

use super::applied_service::AppliedServer;
use super::server_options::{DEFAULT_WEIGHT, contains, value_of};
use crate::model::{AgentState, ObservedServer, ObservedServers, PersistentId, RuntimeCommand};

/// `srv_admin_state`: forced maintenance.
const MAINTENANCE: u16 = 0x01;
/// `srv_admin_state`: forced drain.
const DRAIN: u16 = 0x08;

/// Returns the state of a server in a process that was just started, by its line in the file and what was sent since.
pub fn as_started(applied: &AppliedServer) -> ObservedServer {
    ObservedServer {
        address: applied.endpoint.ip(),
        port: applied.endpoint.port(),
        fqdn: None,
        admin_state: if applied.disabled_by.is_some() { MAINTENANCE } else { 0 },
        operational_state: 2,
        weight: applied.weight.unwrap_or(DEFAULT_WEIGHT),
        id: applied.id.map(PersistentId::get),
        agent: if contains(&applied.options, "agent-check") { AgentState::Enabled } else { AgentState::None },
    }
}

/// Changes the servers of one section as HAProxy does when it accepts the command. The results of health checks are not
/// predicted.
pub fn predict(servers: &mut ObservedServers, command: &RuntimeCommand) {
    let name = &command.server().server;
    match command {
        RuntimeCommand::AddServer { endpoint, id, options, .. } => {
            let added = ObservedServer {
                address: endpoint.ip(),
                port: endpoint.port(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Endpoint, ServerId, ServerName, ServiceName, Word};

    fn id() -> ServerId {
        ServerId { service: ServiceName::new("web").unwrap(), server: ServerName::new("s").unwrap() }
    }

    fn endpoint() -> Endpoint {
        Endpoint::Tcp { address: Address::parse("10.0.0.7").unwrap(), port: 81.try_into().unwrap() }
    }

    fn added(options: &str) -> ObservedServers {
        let options = options.split_whitespace().map(|word| Word::new(word).unwrap()).collect();
        let mut servers = ObservedServers::new();
        predict(&mut servers, &RuntimeCommand::AddServer { server: id(), endpoint: endpoint(), id: None, options });
        servers
    }

    fn after(mut servers: ObservedServers, command: RuntimeCommand) -> ObservedServer {
        predict(&mut servers, &command);
        servers[&id().server].clone()
    }

    fn in_state(admin_state: u16) -> ObservedServers {
        let mut servers = added("");
        servers.get_mut(&id().server).unwrap().admin_state = admin_state;
        servers
    }

    #[test]
    fn added_server_is_in_maintenance_with_its_options() {
        let server = added("weight 5 id 9 check weight 7")[&id().server].clone();
        assert_eq!((server.endpoint(), server.admin_state), (Some(endpoint()), MAINTENANCE));
        assert_eq!((server.weight, server.id, server.agent), (7, Some(9), AgentState::None));
        let server = added("agent-check")[&id().server].clone();
        assert_eq!((server.weight, server.id, server.agent), (1, None, AgentState::Disabled));
    }

    #[test]
    fn state_command_keeps_other_flags() {
        const BY_FILE: u16 = 0x04;
        for (before, command, expected) in [
            (BY_FILE | MAINTENANCE | DRAIN, RuntimeCommand::SetReady(id()), BY_FILE),
            (BY_FILE, RuntimeCommand::SetReady(id()), BY_FILE),
            (BY_FILE | MAINTENANCE, RuntimeCommand::SetDrain(id()), BY_FILE | DRAIN),
            (BY_FILE | DRAIN, RuntimeCommand::SetDrain(id()), BY_FILE | DRAIN),
            (BY_FILE | DRAIN, RuntimeCommand::SetMaintenance(id()), BY_FILE | MAINTENANCE),
            (BY_FILE | MAINTENANCE, RuntimeCommand::SetMaintenance(id()), BY_FILE | MAINTENANCE),
        ] {
            assert_eq!(after(in_state(before), command.clone()).admin_state, expected, "{before:#x} {command}");
        }
    }

    #[test]
    fn ready_server_is_up_until_a_check_fails() {
        assert_eq!(after(added(""), RuntimeCommand::SetReady(id())).operational_state, 2);
        assert_eq!(after(added(""), RuntimeCommand::SetDrain(id())).operational_state, 0);
    }

    #[test]
    fn weight_and_address_are_as_set() {
        assert_eq!(after(added("weight 5"), RuntimeCommand::SetWeight(id(), 6)).weight, 6);
        let moved = Endpoint::Tcp { address: Address::parse("10.0.0.8").unwrap(), port: 82.try_into().unwrap() };
        let server = after(added(""), RuntimeCommand::SetAddress(id(), moved.clone()));
        assert_eq!(server.endpoint(), Some(moved));
    }

    #[test]
    fn agent_is_enabled_only_where_there_is_one() {
        let agent = |options, command| after(added(options), command).agent;
        assert_eq!(agent("agent-check", RuntimeCommand::EnableAgent(id())), AgentState::Enabled);
        assert_eq!(agent("", RuntimeCommand::EnableAgent(id())), AgentState::None);
        let mut enabled = added("agent-check");
        predict(&mut enabled, &RuntimeCommand::EnableAgent(id()));
        assert_eq!(after(enabled, RuntimeCommand::DisableAgent(id())).agent, AgentState::Disabled);
        assert_eq!(agent("", RuntimeCommand::DisableAgent(id())), AgentState::None);
    }

    #[test]
    fn deleted_server_is_gone() {
        let mut servers = added("");
        predict(&mut servers, &RuntimeCommand::DeleteServer(id()));
        assert!(servers.is_empty());
        predict(&mut servers, &RuntimeCommand::SetReady(id()));
        assert!(servers.is_empty(), "a command adds no server");
    }
}
