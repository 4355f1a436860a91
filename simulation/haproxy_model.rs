//! Model of HAProxy's Runtime API: which commands each version accepts, its answers, and the state that it shows.
//!
//! `tests/haproxy_model/` sends the same random commands to this model and to every installed HAProxy, and compares.
//! Not modelled, or only as far as the simulation needs it:
//!
//! - Traffic, health checks and agents: a server is up until [`HaproxyModel::set_health`] changes that, idle until
//!   [`HaproxyModel::set_connections`] does, and its agent silent until [`HaproxyModel::agent_reports`] is called.
//! - DNS at run time (`resolvers`) and state files. Names are looked up once, in the table passed at the start.
//! - `track`: a tracked server cannot be deleted, but a tracking one does not follow it, and none can be added.
//! - Uniqueness of `guid`; values of options beyond durations, weights and fixed words; the guess at what
//!   was meant that real HAProxy adds to `unknown keyword`.
//! - Backends that other lines name, or that have streams, which cannot be deleted.
//! - HAProxy's own limits on lines, which the adapter never reaches.

mod agent;
mod backends;
mod config_reader;
mod references;
mod server;
mod server_options;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use proxymgr_actors::limits::{LINE_WORDS_MAX, RUNTIME_ANSWER_TEXT_BYTES_MAX, RUNTIME_LINE_BYTES_MAX};
use proxymgr_actors::model::{
    AgentState, Endpoint, Observation, ObservedServers, PersistentId, ProxyVersion, RuntimeCommand, ServerId,
    ServerName, ServiceName, Word,
};
use proxymgr_actors::port::{Answer, ConfigMessage};

pub use agent::AgentReport;
use config_reader::ReadConfig;
use server::{ip_text, lowest_free};
use server_options::{Reading, ServerOptions};

/// Addresses of host names while HAProxy reads its configuration. A name that is missing does not resolve.
pub type NameTable = BTreeMap<String, IpAddr>;

// The bits of `srv_admin_state`.
const FORCED_MAINTENANCE: u16 = 0x01;
const CONFIGURED_MAINTENANCE: u16 = 0x04;
const FORCED_DRAIN: u16 = 0x08;
const RESOLUTION_MAINTENANCE: u16 = 0x20;
/// Forced, inherited or by resolution; the bit from the configuration is informative only.
const ANY_MAINTENANCE: u16 = 0x23;

const DYNAMIC_SERVERS: ProxyVersion = ProxyVersion { major: 2, minor: 6 };
/// From this version on (3.3 was not tried), `add server` checks the name before the options.
const NAME_CHECKED_FIRST: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

/// From this version on (3.3 was not tried), the refusal of `add server` names the backend.
const NAMES_BACKEND: ProxyVersion = ProxyVersion { major: 3, minor: 4 };
/// From this version on (3.3 was not tried), `disabled` in `add server` is a forced maintenance.
const DISABLED_IS_FORCED: ProxyVersion = ProxyVersion { major: 3, minor: 4 };
/// Before this version (3.3 was not tried), the agent of a server that was added counts as down until it reports `up`.
const ADDED_AGENTS_ARE_UP: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

/// Before this version, a server that is added without an id gets its places before its id (HAProxy issue 3413).
const PLACED_BY_ID: ProxyVersion = ProxyVersion { major: 2, minor: 8 };
const ADDRESSES_SET_LATER: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

const WEIGHT_MAX: u16 = 256;

/// One simulated HAProxy process, as its Runtime API shows it.
///
/// ```
/// use proxymgr_simulation::haproxy_model::HaproxyModel;
/// use proxymgr_actors::model::{ProxyVersion, RuntimeCommand, ServerId, ServerName, ServiceName};
///
/// let config = "listen web\n    balance roundrobin\n    server a 10.0.0.1:80 disabled\n";
/// let mut haproxy = HaproxyModel::start(ProxyVersion { major: 3, minor: 0 }, config).unwrap();
/// let a = ServerId { service: ServiceName::new("web").unwrap(), server: ServerName::new("a").unwrap() };
/// assert!(haproxy.run(&RuntimeCommand::SetReady(a.clone())).accepted);
/// let refused = haproxy.run(&RuntimeCommand::DeleteServer(a));
/// assert_eq!(refused.text, "Only servers in maintenance mode can be deleted.");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyModel {
    version: ProxyVersion,
    /// Unless the global section says `ssl-server-verify none`.
    verify_by_default: bool,
    addresses_lag: bool,
    sections: BTreeMap<ServiceName, Section>,
    /// The named `defaults` sections, each with a backend that has all its properties.
    defaults: BTreeMap<String, Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    /// Whether its balance algorithm lets weights and servers change.
    dynamic: bool,
    /// Whether requests are distributed by a consistent hash, in which each server has places by its id.
    hashes: bool,
    http: bool,
    is_listen: bool,
    is_published: bool,
    servers: BTreeMap<ServerName, Server>,
    /// The servers as last shown, and those that may have changed since: most are the same at the next query.
    shown: RefCell<Shown>,
}

/// Last state that a section showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    servers: Arc<ObservedServers>,
    changed: Vec<ServerName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    /// `None` if its name did not resolve.
    address: Option<IpAddr>,
    port: Option<NonZeroU16>,
    /// An address that was set and is not shown yet.
    next: Option<(IpAddr, NonZeroU16)>,
    fqdn: Option<Arc<str>>,
    admin: u16,
    weight: u16,
    initial_weight: u16,
    checked: bool,
    up: bool,
    /// Whether another line of the configuration refers to it.
    referenced: bool,
    has_connections: bool,
    id: u32,
    /// The number that determines its places in a consistent hash.
    place: u32,
    agent: AgentState,
    /// Whether HAProxy counts the agent as up.
    agent_is_up: bool,
}

/// HAProxy's answer; `Err` if it refused.
type Said = Result<String, String>;

impl HaproxyModel {
    /// Starts with a configuration, without any resolvable host name.
    ///
    /// # Errors
    /// HAProxy's messages about the configuration, each with its line if it has one.
    pub fn start(version: ProxyVersion, config_text: &str) -> Result<Self, Vec<ConfigMessage>> {
        Self::start_resolving(version, config_text, &NameTable::new())
    }

    /// Starts with a configuration whose host names resolve to the addresses in `names`.
    ///
    /// # Errors
    /// HAProxy's messages about the configuration, each with its line if it has one.
    pub fn start_resolving(
        version: ProxyVersion,
        config_text: &str,
        names: &NameTable,
    ) -> Result<Self, Vec<ConfigMessage>> {
        let ReadConfig { verify_by_default, sections, defaults } =
            config_reader::read_config(version, config_text, names)?;
        Ok(Self { version, verify_by_default, addresses_lag: false, sections, defaults })
    }

    /// Returns the version that is modelled.
    pub fn version(&self) -> ProxyVersion {
        self.version
    }

    /// Executes or refuses one command, and returns the answer as the adapter of the real socket would.
    pub fn run(&mut self, command: &RuntimeCommand) -> Answer {
        let said = match not_sent(command) {
            Some(reason) => Err(reason),
            None => self.obey(command),
        };
        let accepted = said.is_ok();
        let mut text = said.unwrap_or_else(|refusal| refusal);
        if text.len() > RUNTIME_ANSWER_TEXT_BYTES_MAX {
            let fits = (0..=RUNTIME_ANSWER_TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(fits.unwrap_or(0));
        }
        Answer { accepted, text }
    }

    /// Returns the servers of these sections, or of all. A section that HAProxy does not have is absent.
    pub fn observe(&self, services: Option<&[ServiceName]>) -> Observation {
        let shown = |(name, section): (&ServiceName, &Section)| (name.clone(), section.shown());
        let services = match services {
            Some(names) => names.iter().filter_map(|name| self.sections.get_key_value(name)).map(shown).collect(),
            None => self.sections.iter().map(shown).collect(),
        };
        Observation { services }
    }

    /// Returns whether the server exists.
    pub fn has(&self, server: &ServerId) -> bool {
        self.sections.get(&server.service).is_some_and(|section| section.servers.contains_key(&server.server))
    }

    /// Returns whether the server exists and is neither in maintenance nor in drain.
    pub fn takes_traffic(&self, server: &ServerId) -> bool {
        let section = self.sections.get(&server.service);
        let server = section.and_then(|section| section.servers.get(&server.server));
        server.is_some_and(Server::takes_traffic)
    }

    /// Returns the ready servers that get no request: of servers with the same places in a consistent hash, only the
    /// first and the last are found.
    pub fn starving(&self) -> Vec<ServerId> {
        let mut starving = Vec::new();
        for (service, section) in self.sections.iter().filter(|(_, section)| section.hashes) {
            let mut places: BTreeMap<u32, Vec<&ServerName>> = BTreeMap::new();
            for (name, server) in section.servers.iter().filter(|(_, server)| server.takes_traffic()) {
                places.entry(server.place).or_default().push(name);
            }
            let unfound = places.values().flat_map(|names| names.iter().skip(1).rev().skip(1));
            starving.extend(unfound.map(|name| ServerId { service: service.clone(), server: (*name).clone() }));
        }
        starving
    }

    /// Lets a health check find the server up or down; without `check`, it stays up. Returns whether the server exists.
    pub fn set_health(&mut self, server: &ServerId, up: bool) -> bool {
        self.server(server).map(|server| server.up = up || !server.checked).is_ok()
    }

    /// Sets whether connections are attached to the server, which then cannot be deleted. Returns whether the server
    /// exists.
    pub fn set_connections(&mut self, server: &ServerId, attached: bool) -> bool {
        self.server(server).map(|server| server.has_connections = attached).is_ok()
    }

    /// Delays changes of addresses: from 3.0 on HAProxy sets addresses in a separate task, so for a moment after its
    /// answer it still shows, and compares with, the old one. With `lag` that moment lasts until
    /// [`HaproxyModel::settle`].
    pub fn let_addresses_lag(&mut self, lag: bool) {
        self.addresses_lag = lag && self.version >= ADDRESSES_SET_LATER;
        if !self.addresses_lag {
            self.settle();
        }
    }

    /// Shows every address that was set.
    pub fn settle(&mut self) {
        for section in self.sections.values_mut() {
            section.change_all(Server::settle);
        }
    }

    fn server(&mut self, id: &ServerId) -> Result<&mut Server, String> {
        let section = self.sections.get_mut(&id.service).ok_or("No such backend.")?;
        section.changing(&id.server).ok_or_else(|| "No such server.".to_owned())
    }

    fn obey(&mut self, command: &RuntimeCommand) -> Said {
        match command {
            RuntimeCommand::AddServer { server, endpoint, id, options } => self.add(server, endpoint, *id, options),
            RuntimeCommand::EnableHealth(server) => self.enable_health(server),
            RuntimeCommand::EnableAgent(server) => self.enable_agent(server),
            RuntimeCommand::DisableAgent(server) => self.disable_agent(server),
            RuntimeCommand::SetReady(server) => self.set_admin(server, 0),
            RuntimeCommand::SetDrain(server) => self.set_admin(server, FORCED_DRAIN),
            RuntimeCommand::SetMaintenance(server) => self.set_admin(server, FORCED_MAINTENANCE),
            RuntimeCommand::SetWeight(server, weight) => self.set_weight(server, *weight),
            RuntimeCommand::SetAddress(server, endpoint) => self.set_address(server, endpoint),
            RuntimeCommand::DeleteServer(server) => self.delete(server),
        }
    }

    fn add(&mut self, id: &ServerId, endpoint: &Endpoint, number: Option<PersistentId>, words: &[Word]) -> Said {
        let version = self.version;
        if version < DYNAMIC_SERVERS {
            return Err("Unknown command".to_owned());
        }
        let section = self.sections.get_mut(&id.service).ok_or("No such backend.")?;
        if !section.dynamic {
            return Err(match version < NAMES_BACKEND {
                true => "Backend must use a dynamic load balancing to support dynamic servers.".to_owned(),
                false => {
                    let (backend, why) = (&id.service, "uses a non dynamic load balancing method");
                    format!("Backend does not support dynamic servers : backend '{backend}' {why}.")
                }
            });
        }
        let name_taken = || Err("Already exists a server with the same name in backend.".to_owned());
        if version >= NAME_CHECKED_FIRST && section.servers.contains_key(&id.server) {
            return name_taken();
        }
        let mut options = ServerOptions::default();
        let taken: BTreeSet<u32> = section.servers.values().map(|server| server.id).collect();
        let server = id.server.as_str();
        let reading = Reading { version, at_run_time: true, http: section.http, server, taken: &taken };
        let word = |text: &str| Word::new(text).expect("a keyword or a number is a word");
        let number: Vec<Word> = number.iter().flat_map(|number| [word("id"), word(&number.to_string())]).collect();
        options.read(&number, reading)?;
        options.read(words, reading)?;
        options.finish(id.server.as_str(), self.verify_by_default)?;
        if options.track.is_some() {
            return Err("the model does not know how to track servers that are added at run time".to_owned());
        }
        if section.servers.contains_key(&id.server) {
            return name_taken();
        }
        let admin = match options.disabled {
            None => FORCED_MAINTENANCE,
            Some(true) if version < DISABLED_IS_FORCED => FORCED_MAINTENANCE | CONFIGURED_MAINTENANCE,
            Some(true) => FORCED_MAINTENANCE,
            Some(false) => 0,
        };
        if endpoint.host_name().is_some() {
            return Err(format!("invalid address: {endpoint}"));
        }
        let mut server = Server::new(endpoint.ip(), endpoint.port(), None, admin, &options);
        server.id = options.id.unwrap_or_else(|| lowest_free(&taken));
        server.place = options.id.unwrap_or(if version < PLACED_BY_ID { 0 } else { server.id });
        if server.agent == AgentState::Enabled {
            server.agent = AgentState::Disabled;
            server.agent_is_up = version >= ADDED_AGENTS_ARE_UP;
        }
        section.insert(id.server.clone(), server);
        let warning = if options.cookie && !section.http { "Ignoring cookie as HTTP mode is disabled.\n" } else { "" };
        Ok(format!("{warning}New server registered."))
    }

    fn delete(&mut self, id: &ServerId) -> Said {
        if self.version < DYNAMIC_SERVERS {
            return Err("Unknown command".to_owned());
        }
        let server = self.server(id)?;
        let refusal = if server.referenced {
            "This server cannot be removed at runtime due to other configuration elements pointing to it."
        } else if server.admin & ANY_MAINTENANCE == 0 {
            "Only servers in maintenance mode can be deleted."
        } else if server.has_connections {
            "Server still has connections attached to it, cannot remove it."
        } else {
            let section = self.sections.get_mut(&id.service).expect("the server was found in its section");
            section.remove(&id.server);
            return Ok("Server deleted.".to_owned());
        };
        Err(refusal.to_owned())
    }

    fn enable_health(&mut self, id: &ServerId) -> Said {
        let version = self.version;
        // 2.2 accepts it for every server.
        if self.server(id)?.checked || version < DYNAMIC_SERVERS {
            return Ok(String::new());
        }
        Err("Health check was not configured on this server, cannot enable.".to_owned())
    }

    /// Sets one of the two forced states, and clears the other.
    fn set_admin(&mut self, id: &ServerId, forced: u16) -> Said {
        let server = self.server(id)?;
        let admin = server.admin & !(FORCED_MAINTENANCE | FORCED_DRAIN) | forced;
        server.change_admin(admin);
        Ok(String::new())
    }

    fn set_weight(&mut self, id: &ServerId, weight: u16) -> Said {
        let dynamic = self.sections.get(&id.service).is_some_and(|section| section.dynamic);
        let server = self.server(id)?;
        if weight > WEIGHT_MAX {
            return Err("Absolute weight can only be between 0 and 256 inclusive.".to_owned());
        }
        if !dynamic && weight != 0 && weight != server.initial_weight {
            return Err("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.".to_owned());
        }
        server.weight = weight;
        Ok(String::new())
    }

    fn set_address(&mut self, id: &ServerId, endpoint: &Endpoint) -> Said {
        const OTHER_FAMILY: &str =
            "Update for the current server address family is only supported through configuration file";
        const BY: &str = "by 'stats socket command'";
        let (in_two_parts, lag) = (self.version < ADDRESSES_SET_LATER, self.addresses_lag);
        let server = self.server(id)?;
        let (Some(new), Some(new_port)) = (endpoint.ip(), endpoint.port()) else {
            return Err(format!("Invalid addr '{}'", endpoint.address()));
        };
        if server.port.is_none() {
            return Err(if in_two_parts { format!("{OTHER_FAMILY} {BY}") } else { format!("{OTHER_FAMILY}.") });
        }
        let Some(old) = server.address else {
            if !in_two_parts {
                return Err(format!("{OTHER_FAMILY}."));
            }
            // 2.x considers the server resolved nevertheless: it is up, without an address.
            server.change_admin(server.admin & !RESOLUTION_MAINTENANCE);
            return Err(format!("{OTHER_FAMILY} {BY}"));
        };
        let old_port = server.port.map_or(0, NonZeroU16::get);
        // 2.x repeats the new address as it was sent.
        let written = if in_two_parts { new.to_string() } else { ip_text(new) };
        let address = (old != new).then(|| format!("IP changed from '{}' to '{written}'", ip_text(old)));
        let port = (old_port != new_port.get()).then(|| format!("port changed from '{old_port}' to '{new_port}'"));
        if address.is_some() || port.is_some() {
            server.next = Some((new, new_port));
        }
        if !lag {
            server.settle();
        }
        Ok(match (address, port) {
            (address, port) if in_two_parts => format!(
                "{}, {} {BY}",
                address.as_deref().unwrap_or("no need to change the addr"),
                port.as_deref().unwrap_or("no need to change the port")
            ),
            (None, None) => "nothing changed".to_owned(),
            (address, port) => {
                let changes: Vec<String> = address.into_iter().chain(port).collect();
                format!("{} {BY}", changes.join(", "))
            }
        })
    }
}

impl Section {
    fn new(dynamic: bool, hashes: bool, http: bool, servers: BTreeMap<ServerName, Server>) -> Self {
        let shown = servers.iter().map(|(name, server)| (name.clone(), server.observed())).collect();
        let shown = Shown { servers: Arc::new(shown), changed: Vec::new() };
        let (is_listen, is_published) = (false, true);
        Self { dynamic, hashes, http, is_listen, is_published, servers, shown: RefCell::new(shown) }
    }

    fn shown(&self) -> Arc<ObservedServers> {
        let Shown { servers, changed } = &mut *self.shown.borrow_mut();
        if !changed.is_empty() {
            let servers = Arc::make_mut(servers);
            for name in changed.drain(..) {
                match self.servers.get(&name) {
                    Some(server) => servers.insert(name, server.observed()),
                    None => servers.remove(&name),
                };
            }
        }
        servers.clone()
    }

    /// Returns a server for a change.
    fn changing(&mut self, name: &ServerName) -> Option<&mut Server> {
        let server = self.servers.get_mut(name)?;
        self.shown.get_mut().changed.push(name.clone());
        Some(server)
    }

    fn change_all(&mut self, change: impl Fn(&mut Server)) {
        self.servers.values_mut().for_each(change);
        self.shown.get_mut().changed.extend(self.servers.keys().cloned());
    }

    fn insert(&mut self, name: ServerName, server: Server) {
        self.shown.get_mut().changed.push(name.clone());
        self.servers.insert(name, server);
    }

    fn remove(&mut self, name: &ServerName) {
        self.shown.get_mut().changed.push(name.clone());
        self.servers.remove(name);
    }
}

/// Returns why the adapter does not send this command, if so.
fn not_sent(command: &RuntimeCommand) -> Option<String> {
    if let RuntimeCommand::AddServer { endpoint, .. } | RuntimeCommand::SetAddress(_, endpoint) = command
        && let Some(name) = endpoint.host_name()
    {
        return Some(format!(
            "not sent: HAProxy resolves a host name like {name} only when it reads its configuration"
        ));
    }
    // Two names and an address fit in any case.
    let RuntimeCommand::AddServer { id, options, .. } = command else { return None };
    let words = 4 + 2 * usize::from(id.is_some()) + options.len();
    if words > LINE_WORDS_MAX {
        return Some(format!("not sent: the command has {words} words"));
    }
    let mut line = String::new();
    let written = command.write(&mut line, |line, option| {
        let escaped = |c: char| matches!(c, '\\' | ' ' | ';' | '#' | '"' | '\'' | '<' | '$');
        option.as_str().chars().for_each(|c| {
            line.extend(escaped(c).then_some('\\'));
            line.push(c);
        });
        Ok(())
    });
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    (line.len() > RUNTIME_LINE_BYTES_MAX).then(|| format!("not sent: the command is {} bytes long", line.len()))
}
