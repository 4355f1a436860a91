//! The relevant part of Marathon's JSON (`/v2/apps?embed=apps.tasks`), and the addresses of tasks.
//!
//! The place of some data depends on the version of Marathon: ports in `ports`, `portDefinitions`,
//! `container.docker.portMappings` (to 1.4) or `container.portMappings` (from 1.5), the network in
//! `container.docker.network` or in `networks`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::HostPorts;

/// The response.
#[derive(Debug, Deserialize)]
pub(super) struct AppsResponse {
    pub(super) apps: Vec<App>,
}

/// An app with its tasks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct App {
    pub(super) id: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    ports: Option<Vec<u16>>,
    #[serde(default)]
    port_definitions: Option<Vec<PortDefinition>>,
    #[serde(default)]
    container: Option<Container>,
    #[serde(default)]
    networks: Option<Vec<Network>>,
    #[serde(default)]
    pub(super) health_checks: Option<Vec<serde_json::Value>>,
    /// Required: a response without tasks does not mean that there are none.
    pub(super) tasks: Vec<Task>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct PortDefinition {
    #[serde(default)]
    port: u16,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    docker: Option<Docker>,
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Docker {
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    #[serde(default)]
    container_port: u16,
    #[serde(default)]
    host_port: Option<u16>,
    #[serde(default)]
    service_port: u16,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Network {
    #[serde(default)]
    mode: Option<String>,
}

/// A task of an app.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) id: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    ports: Option<Vec<u16>>,
    #[serde(default)]
    ip_addresses: Option<Vec<IpAddress>>,
    #[serde(default)]
    pub(super) state: Option<String>,
    #[serde(default)]
    pub(super) health_check_results: Option<Vec<Option<HealthCheckResult>>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IpAddress {
    #[serde(default)]
    ip_address: Option<String>,
}

/// The last result of one health check of a task.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct HealthCheckResult {
    pub(super) alive: bool,
}

/// The choice of a port of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortChoice {
    /// By its index, from 0.
    Index(usize),
    /// By its name.
    Name(String),
}

/// The network mode of the containers of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They share the host's network.
    Host,
    /// Ports of the host are forwarded to them.
    Bridge,
    /// They have addresses of their own.
    Container,
}

/// A port of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppPort {
    /// Its index, from 0.
    pub(super) index: usize,
    /// Its number in labels and in the service's name: the container's port, or the service port on the host's network.
    pub(super) number: u16,
    /// The service port that Marathon reserves for clients; 0 for none.
    pub(super) service_port: u16,
    /// `tcp`, `udp` or `udp,tcp`.
    pub(super) protocol: String,
    name: Option<String>,
    mode: Mode,
    /// The index of the host's port in the ports of a task, if the host forwards one.
    host_index: Option<usize>,
}

impl App {
    /// Its ports, in Marathon's order.
    pub(super) fn ports(&self) -> Vec<AppPort> {
        let mode = self.mode();
        match self.port_mappings() {
            Some(mappings) if mode != Mode::Host => mapped(mappings, mode),
            _ => self.host_ports(),
        }
    }

    /// The port that a definition chooses.
    pub(super) fn port(&self, choice: &PortChoice) -> Option<AppPort> {
        self.ports().into_iter().find(|port| match choice {
            PortChoice::Index(index) => port.index == *index,
            PortChoice::Name(name) => port.name.as_ref() == Some(name),
        })
    }

    fn mode(&self) -> Mode {
        let network = self.networks.iter().flatten().find_map(|network| network.mode.as_deref());
        let docker = self.container.as_ref().and_then(|container| container.docker.as_ref()?.network.as_deref());
        match network.or(docker) {
            Some("container/bridge" | "BRIDGE") => Mode::Bridge,
            Some("container" | "USER") => Mode::Container,
            Some("host" | "HOST") => Mode::Host,
            // Older versions have no networks: mapped ports are bridged.
            _ if self.port_mappings().is_some() => Mode::Bridge,
            _ => Mode::Host,
        }
    }

    fn port_mappings(&self) -> Option<&Vec<PortMapping>> {
        let container = self.container.as_ref()?;
        container.port_mappings.as_ref().or_else(|| container.docker.as_ref()?.port_mappings.as_ref())
    }

    fn host_ports(&self) -> Vec<AppPort> {
        let port = |index, number, protocol: Option<&String>, name: Option<&String>| AppPort {
            index,
            number,
            service_port: number,
            protocol: protocol.map_or_else(|| "tcp".to_owned(), Clone::clone),
            name: name.cloned(),
            mode: Mode::Host,
            host_index: Some(index),
        };
        match &self.port_definitions {
            Some(definitions) if !definitions.is_empty() => {
                let of = |(index, of): (usize, &PortDefinition)| {
                    port(index, of.port, of.protocol.as_ref(), of.name.as_ref())
                };
                definitions.iter().enumerate().map(of).collect()
            }
            _ => self
                .ports
                .iter()
                .flatten()
                .enumerate()
                .map(|(index, number)| port(index, *number, None, None))
                .collect(),
        }
    }
}

fn mapped(mappings: &[PortMapping], mode: Mode) -> Vec<AppPort> {
    let mut host_ports = 0..;
    let port = |(index, mapping): (usize, &PortMapping)| {
        // A container with an address of its own has a port of the host only if its mapping requests one.
        let has_host_port = mode == Mode::Bridge || mapping.host_port.is_some();
        AppPort {
            index,
            number: mapping.container_port,
            service_port: mapping.service_port,
            protocol: mapping.protocol.clone().unwrap_or_else(|| "tcp".to_owned()),
            name: mapping.name.clone(),
            mode,
            host_index: if has_host_port { host_ports.next() } else { None },
        }
    };
    mappings.iter().enumerate().map(port).collect()
}

impl Task {
    /// The address and port at which clients reach this port of the task.
    pub(super) fn endpoint(&self, port: &AppPort, host_ports: HostPorts) -> Result<(&str, u16), String> {
        let Some(host_index) = port.host_index else {
            let addresses = self.ip_addresses.iter().flatten();
            let address = addresses.filter_map(|address| address.ip_address.as_deref()).next();
            let address = address.ok_or("the task has no address on its network")?;
            return Ok((address, port.number));
        };
        let host = self.host.as_deref().ok_or("the task has no host")?;
        if port.mode == Mode::Host && host_ports == HostPorts::Service {
            return Ok((host, port.service_port));
        }
        let assigned = self.ports.as_ref().and_then(|ports| ports.get(host_index));
        let assigned = assigned.ok_or_else(|| format!("the task has no port with index {host_index}"))?;
        Ok((host, *assigned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = include_str!("../../../tests/recorded/marathon/apps.json");

    fn app(id: &str) -> App {
        let response: AppsResponse = serde_json::from_str(RECORDED).unwrap();
        response.apps.into_iter().find(|app| app.id == id).unwrap()
    }

    fn endpoints(id: &str, host_ports: HostPorts) -> Vec<String> {
        let app = app(id);
        let ports = app.ports();
        let endpoint = |task: &Task, port| match task.endpoint(port, host_ports) {
            Ok((host, port)) => format!("{host}:{port}"),
            Err(error) => error,
        };
        app.tasks.iter().flat_map(|task| ports.iter().map(move |port| endpoint(task, port))).collect()
    }

    #[test]
    fn endpoint_depends_on_the_network_mode() {
        let assigned = |id| endpoints(id, HostPorts::Assigned);
        assert_eq!(assigned("/registry"), ["10.10.10.10:31002"]);
        assert_eq!(assigned("/graphite-statsd"), ["10.10.10.11:31001", "10.10.10.11:31002", "10.10.10.11:31003"]);
        assert_eq!(assigned("/shop/web"), ["10.10.10.12:31500", "10.10.10.12:31501"]);
        assert_eq!(assigned("/shop/overlay"), ["9.0.0.7:8080", "10.10.10.13:31777"]);
        assert_eq!(assigned("/host-networking"), ["10.10.10.10:31855"]);
        assert_eq!(endpoints("/host-networking", HostPorts::Service), ["10.10.10.10:8888"]);
        assert!(app("/batch").ports().is_empty());
    }

    #[test]
    fn port_is_chosen_by_index_or_name() {
        let app = app("/shop/web");
        let number = |choice| app.port(&choice).map(|port| port.number);
        assert_eq!(number(PortChoice::Index(1)), Some(9100));
        assert_eq!(number(PortChoice::Name("metrics".into())), Some(9100));
        assert_eq!(number(PortChoice::Index(2)), None);
    }
}
