//! The observed state of a running HAProxy, as its Runtime API reports it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::{Address, Endpoint, Host, ServerName, ServerState, ServiceName, Word};

/// A server, by its section and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId {
    /// The section.
    pub service: ServiceName,
    /// The server within it.
    pub server: ServerName,
}

impl fmt::Display for ServerId {
    /// Writes `section/server`, as the Runtime API does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.server)
    }
}

/// HAProxy's version, as far as its capabilities depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProxyVersion {
    /// 2 in 2.6.12.
    pub major: u16,
    /// 6 in 2.6.12.
    pub minor: u16,
}

impl ProxyVersion {
    /// Reads `2.6.12-1+deb12u1` as 2.6; returns `None` for other texts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(['.', '-', '+']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The process that answers on the Runtime API socket (`show info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: ProxyVersion,
    /// The version as HAProxy reports it.
    pub version_text: String,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// Whether it is stopping and only drains.
    pub stopping: bool,
}

/// One server, as in `show servers state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedServer {
    /// `srv_addr`; `None` where it is `-`: a host name that does not resolve, or a Unix socket.
    pub address: Option<IpAddr>,
    /// `srv_port`; `None` where it is 0: a Unix socket, or HAProxy uses the port that the client connected to.
    pub port: Option<NonZeroU16>,
    /// `srv_fqdn`: the host name the server was configured with, where it was.
    pub fqdn: Option<Arc<str>>,
    /// `srv_admin_state`, a bit field.
    pub admin_state: u16,
    /// `srv_op_state`: 0 stopped, 1 starting, 2 running, 3 soft-stopping.
    pub operational_state: u8,
    /// `srv_uweight`: the weight as configured or set, 0 to 256.
    pub weight: u16,
    /// `srv_id`; `None` where HAProxy assigns it and it was not observed since.
    pub id: Option<u32>,
    /// `srv_agent_state`, as far as it is used.
    pub agent: AgentState,
}

/// The agent check of a server (`agent-check`), which can set its state and weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgentState {
    /// The server has no agent.
    #[default]
    None,
    /// Its reports take effect.
    Enabled,
    /// The agent check is disabled.
    Disabled,
}

impl AgentState {
    /// Decodes the bit field `srv_agent_state` (management.txt 9.3, `show servers state`): 0x02 is "configured", 0x04
    /// "enabled".
    pub fn of_bits(bits: u16) -> Self {
        match (bits & 0x02 != 0, bits & 0x04 != 0) {
            (false, _) => Self::None,
            (true, true) => Self::Enabled,
            (true, false) => Self::Disabled,
        }
    }
}

impl ObservedServer {
    /// Returns the host that it stands for: by its name where it was configured with one. `None` where it has no port or
    /// address.
    pub fn host(&self) -> Option<Host> {
        let options = match self.agent {
            AgentState::None => Vec::new(),
            AgentState::Enabled | AgentState::Disabled => vec![Word::new("agent-check").expect("it is a word")],
        };
        Some(Host { options, ..Host::at(self.endpoint()?) })
    }

    /// Returns whether it has this address and port. HAProxy does not report the path of a unix socket.
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Tcp { address, port } => {
                self.port == Some(*port) && self.address.map(Address::Ip).as_ref() == Some(address)
            }
            Endpoint::Unix(_) => self.is_unix(),
        }
    }

    /// Returns whether it has a unix socket in place of an address and port.
    pub fn is_unix(&self) -> bool {
        self.address.is_none() && self.port.is_none() && self.fqdn.is_none()
    }

    /// Sets the address and port.
    pub fn move_to(&mut self, endpoint: &Endpoint) {
        (self.address, self.port) = (endpoint.ip(), endpoint.port());
    }

    /// Returns its endpoint as configured: with its host name, where it has one, instead of the resolved address. `None`
    /// for a unix socket, whose path HAProxy does not report.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let name = self.fqdn.clone().map(Address::Name);
        Some(Endpoint::Tcp { address: name.or(self.address.map(Address::Ip))?, port: self.port? })
    }

    /// Returns its state.
    pub fn state(&self) -> ServerState {
        if self.in_maintenance() {
            ServerState::Maint
        } else if self.in_drain() {
            ServerState::Drain
        } else if self.operational_state == 0 {
            ServerState::Down
        } else {
            ServerState::Ready
        }
    }

    /// Returns whether it is in maintenance by a command on the socket.
    pub fn forced_maintenance(&self) -> bool {
        self.admin_state & 0x01 != 0
    }

    /// Returns whether it is in maintenance: forced, inherited, or because its name does not resolve.
    pub fn in_maintenance(&self) -> bool {
        self.admin_state & 0x23 != 0
    }

    /// Returns whether it is in maintenance because HAProxy could not resolve its host name.
    pub fn is_unresolved(&self) -> bool {
        self.admin_state & 0x20 != 0
    }

    /// Returns whether it is in drain by a command, of the daemon or on HAProxy's own socket, and not by an agent.
    pub fn drained_by_order(&self) -> bool {
        self.in_drain() && !self.in_maintenance() && self.agent != AgentState::Enabled
    }

    /// Returns whether it is in drain, forced or inherited.
    pub fn in_drain(&self) -> bool {
        self.admin_state & 0x18 != 0
    }
}

/// The traffic of a section, from the line of its frontend in `show stat`, or of its backend where the frontend is
/// shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// `scur`: sessions open now.
    pub sessions: u64,
    /// `rate`: sessions opened within the last second.
    pub rate: u64,
}

/// The traffic and health of a server, or of all servers of a section, from its line in `show stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerTraffic {
    /// Its sessions.
    pub traffic: Traffic,
    /// Its figures since the start of the process.
    pub figures: TrafficFigures,
    /// `check_desc` and `last_chk`: the result of its last check; `None` where it is not checked.
    pub check: Option<String>,
    /// `check_duration`: how long that check took, in milliseconds.
    pub check_ms: Option<u64>,
    /// `lastchg`: the time since its last change of state, in seconds.
    pub unchanged_s: Option<u64>,
    /// `downtime`: how long it was down since the start of the process, in seconds.
    pub downtime_s: Option<u64>,
}

/// Figures of a server, or of all servers of a section: totals since the start of the process, except the queue and the
/// response time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficFigures {
    /// `stot`: the sessions.
    pub sessions: u64,
    /// `qcur`: the requests that wait for it now.
    pub queued: u64,
    /// `hrsp_2xx` to `hrsp_5xx`: the responses by the first digit of their status, from 2 to 5; `None` in mode tcp.
    pub responses: Option<[u64; 4]>,
    /// `econ`: the failed connections.
    pub connect_errors: u64,
    /// `eresp`: the failed or aborted responses.
    pub response_errors: u64,
    /// `wretr` and `wredis`: the retries, and the sessions that another server got.
    pub retries: u64,
    /// `rtime`: the average response time of the last 1,024 requests, in milliseconds; in mode tcp that of the
    /// connections (`ctime`). `None` without any.
    pub response_ms: Option<u64>,
    /// `bin` and `bout`: the bytes from clients, and to them.
    pub bytes: (u64, u64),
}

/// The traffic of one section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SectionTraffic {
    /// Its servers, by their names in HAProxy.
    pub servers: BTreeMap<ServerName, ServerTraffic>,
    /// All of them together.
    pub total: ServerTraffic,
}

/// The servers of one section.
pub type ObservedServers = LiteMap<ServerName, ObservedServer>;

/// All servers of the requested sections. A section that HAProxy does not have is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The sections and their servers.
    pub services: BTreeMap<ServiceName, Arc<ObservedServers>>,
}
