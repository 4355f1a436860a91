//! Queries to DNS servers. The only file that uses the resolver's crate (hickory-resolver 0.26):
//!
//! - Each of its pools has one server: a pool with several servers takes the SERVFAIL of one for the answer of all. The
//!   servers are tried here in turn, starting with the one that answered last.
//! - Its cache, search list and hosts file are not used. Its search continues after a failure, so that a server that
//!   does not answer and a name that does not exist look the same; and it treats an SRV record as an alias.
//! - Queries by UDP allow answers of 1,232 bytes (EDNS), which no network fragments.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::FirstAnswer;
use hickory_resolver::net::{DnsError, DnsHandle, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use proxymgr_actors::limits::{DNS_ALIASES_MAX, DNS_QUESTIONS_MAX, DNS_SERVER_TIMEOUT, SOURCE_READ_TIMEOUT};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::cut_answers::{Asked, CutAnswers};
use crate::discovery::backoff::Random;
use crate::http::connect_cause;

/// The type of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The hosts of a service.
    Srv,
}

/// Whether an answer may be a part of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// It is compared with the answer by TCP (see [`CutAnswers`]).
    Compared,
    /// It is used as it is: the name belongs to one host.
    Assumed,
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// An address.
    Address(IpAddr),
    /// A host of a service.
    Service {
        /// The lowest is used first.
        priority: u16,
        /// Its share among those with the same priority.
        weight: u16,
        /// Its port.
        port: u16,
        /// Its fully qualified name; none if the record says that there is no such service.
        target: Option<String>,
    },
}

/// An answer, possibly without records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The records, sorted and without duplicates.
    pub(super) found: Vec<Found>,
    /// Its TTL, if known.
    pub(super) ttl: Option<Duration>,
}

/// The TTL of a negative answer without an SOA record, which must not be cached (RFC 2308, 5).
const NO_TTL: Duration = Duration::ZERO;

type Pool = NameServerPool<TokioRuntimeProvider>;

/// The DNS servers.
pub(super) struct NameServers {
    /// If empty, those of `/etc/resolv.conf`.
    own: Vec<SocketAddr>,
    resolver: RefCell<Option<Rc<Resolver>>>,
    questions: Semaphore,
}

impl NameServers {
    /// These servers, or those of `/etc/resolv.conf`, which is read for each query.
    pub(super) fn new(own: Vec<SocketAddr>) -> Self {
        Self { own, resolver: RefCell::default(), questions: Semaphore::new(DNS_QUESTIONS_MAX) }
    }

    /// Looks up the records of a name. An error means that no server answered.
    pub(super) async fn ask(&self, name: &str, kind: RecordKind, completeness: Completeness) -> Result<Answer, String> {
        let _permit = self.questions.acquire().await.expect("the semaphore is never closed");
        let resolver = self.resolver().await?;
        let mut ttl = None;
        for name in resolver.config.candidates(name)? {
            let answer = resolver.ask(name, kind, completeness).await?;
            if !answer.found.is_empty() {
                return Ok(answer);
            }
            ttl = shorter(ttl, answer.ttl);
        }
        Ok(Answer { found: Vec::new(), ttl })
    }

    async fn resolver(&self) -> Result<Rc<Resolver>, String> {
        let config = if self.own.is_empty() { system_config().await? } else { Config::of(self.own.clone()) };
        if let Some(resolver) = self.resolver.borrow().as_ref().filter(|resolver| resolver.config == config) {
            return Ok(resolver.clone());
        }
        let resolver = Rc::new(Resolver::new(config)?);
        self.resolver.replace(Some(resolver.clone()));
        Ok(resolver)
    }
}

/// The servers and the search list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<Name>,
    /// A name with at least so many dots is first looked up as it is.
    ndots: usize,
}

impl Config {
    fn of(servers: Vec<SocketAddr>) -> Self {
        Self { servers, search: Vec::new(), ndots: 1 }
    }

    /// The candidates for a name, of which the first that exists is used.
    fn candidates(&self, text: &str) -> Result<Vec<Name>, String> {
        let unusable = |error| format!("{text:?} cannot be looked up: {error}");
        let mut name = Name::from_ascii(text).map_err(unusable)?;
        let dots = text.matches('.').count();
        let mut candidates = Vec::new();
        if !name.is_fqdn() {
            // A domain that makes the name too long cannot contain it.
            candidates.extend(self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()));
        }
        name.set_fqdn(true);
        let at = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(at, name);
        Ok(candidates)
    }
}

async fn system_config() -> Result<Config, String> {
    let cannot = |error: String| format!("cannot read the DNS servers from /etc/resolv.conf: {error}");
    let reading = timeout(SOURCE_READ_TIMEOUT, spawn_blocking(read_system_conf)).await;
    let read = reading.map_err(|_| cannot("the file system does not answer".to_owned()))?;
    let read = read.map_err(|error| cannot(error.to_string()))?;
    let (config, options) = read.map_err(|error| cannot(error.to_string()))?;
    let port = |server: &NameServerConfig| server.connections.first().map_or(53, |connection| connection.port);
    let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, port(server))).collect();
    let mut search = config.search().to_vec();
    search.iter_mut().for_each(|domain| domain.set_fqdn(true));
    Ok(Config { servers, search, ndots: options.ndots })
}

/// The connections to one server.
struct Server {
    /// UDP, and TCP for answers that are marked as truncated.
    any: Pool,
    tcp: Pool,
}

struct Resolver {
    config: Config,
    servers: Vec<Server>,
    cut: RefCell<CutAnswers>,
    /// The server that answered last.
    first: Cell<usize>,
}

impl Resolver {
    fn new(config: Config) -> Result<Self, String> {
        let mut options = ResolverOpts::default();
        options.timeout = DNS_SERVER_TIMEOUT;
        options.num_concurrent_reqs = 1;
        let tls = TlsConfig::new().map_err(|error| error.to_string())?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = |server: &SocketAddr, mut connections: Vec<ConnectionConfig>| {
            connections.iter_mut().for_each(|connection| connection.port = server.port());
            let server = NameServerConfig::new(server.ip(), true, connections);
            Pool::from_config([server], context.clone(), TokioRuntimeProvider::default())
        };
        let server = |server: &SocketAddr| Server {
            any: pool(server, vec![ConnectionConfig::udp(), ConnectionConfig::tcp()]),
            tcp: pool(server, vec![ConnectionConfig::tcp()]),
        };
        let servers: Vec<Server> = config.servers.iter().map(server).collect();
        // Daemons with the same list of servers start with different ones.
        let first = (Random::new().fraction() * servers.len() as f64) as usize;
        Ok(Self { config, servers, cut: RefCell::default(), first: Cell::new(first) })
    }

    /// Looks up a fully qualified name, following aliases.
    async fn ask(&self, name: Name, kind: RecordKind, completeness: Completeness) -> Result<Answer, String> {
        let (mut name, mut ttl) = (name, None);
        for _ in 0..=DNS_ALIASES_MAX {
            match self.ask_servers(&name, kind, completeness).await? {
                Step::Answer(answer) => return Ok(Answer { ttl: shorter(ttl, answer.ttl), ..answer }),
                Step::Alias(target, alias_ttl) => {
                    name = target;
                    ttl = shorter(ttl, Some(alias_ttl));
                }
            }
        }
        Err(format!("{} is a chain of more than {DNS_ALIASES_MAX} aliases", shown(&name)))
    }

    /// Asks one server, by TCP if its answers by UDP are cut.
    async fn ask_server(
        &self,
        index: usize,
        name: &Name,
        kind: RecordKind,
        completeness: Completeness,
    ) -> Result<Step, String> {
        let server = &self.servers[index];
        let asked = Asked { server: index, name: name.to_ascii(), kind };
        if self.cut.borrow().is_cut(&asked) {
            let step = send(&server.tcp, name, kind).await;
            return step.map_err(|reason| format!("sends only a part of the records by UDP, and by TCP {reason}"));
        }
        let step = send(&server.any, name, kind).await?;
        let (Step::Answer(by_udp), Completeness::Compared) = (&step, completeness) else { return Ok(step) };
        if !self.cut.borrow().must_compare(&asked, &by_udp.found, Instant::now()) {
            return Ok(step);
        }
        let by_tcp = match send(&server.tcp, name, kind).await {
            Ok(Step::Answer(answer)) => Some(answer),
            Ok(Step::Alias(..)) | Err(_) => None,
        };
        let found = by_tcp.as_ref().map(|answer| answer.found.as_slice());
        let is_cut = self.cut.borrow_mut().compared(asked, &by_udp.found, found, Instant::now());
        match by_tcp {
            Some(complete) if is_cut => Ok(Step::Answer(complete)),
            _ => Ok(step),
        }
    }

    /// Tries one server after the other until one answers.
    async fn ask_servers(&self, name: &Name, kind: RecordKind, completeness: Completeness) -> Result<Step, String> {
        let mut failures = Vec::new();
        let count = self.servers.len();
        for index in (0..count).map(|offset| (self.first.get() + offset) % count) {
            match self.ask_server(index, name, kind, completeness).await {
                Ok(step) => {
                    self.first.set(index);
                    return Ok(step);
                }
                Err(reason) => failures.push(format!("{} {reason}", self.config.servers[index])),
            }
        }
        // Sorted, so that the same failures give the same text.
        failures.sort_unstable();
        Err(format!("{} cannot be looked up: {}", shown(name), failures.join(", ")))
    }
}

/// Sends one query.
async fn send(pool: &Pool, name: &Name, kind: RecordKind) -> Result<Step, String> {
    let query = Query::query(name.clone(), record_type(kind));
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.recursion_desired = true;
    // The pool's own time-out applies to UDP and TCP separately.
    let asking = timeout(DNS_SERVER_TIMEOUT * 2, pool.lookup(query, options).first_answer());
    match asking.await.unwrap_or(Err(NetError::Timeout)) {
        Ok(response) => read_response(&response, name, kind),
        Err(error) => read_error(error),
    }
}

/// The result of one response.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Answer(Answer),
    /// Look up this name instead.
    Alias(Name, Duration),
}

/// Finds the records, following the aliases in the response.
fn read_response(response: &DnsResponse, name: &Name, kind: RecordKind) -> Result<Step, String> {
    let (mut name, mut ttl) = (name, None);
    for followed in 0..=DNS_ALIASES_MAX {
        let here = || response.answers.iter().filter(|record| record.name == *name);
        let mut found = Vec::new();
        for record in here().filter(|record| record.record_type() == record_type(kind)) {
            found.extend(read_record(record));
            ttl = shorter(ttl, Some(seconds(record.ttl)));
        }
        if !found.is_empty() {
            found.sort_unstable();
            found.dedup();
            return Ok(Step::Answer(Answer { found, ttl }));
        }
        let alias = here().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((&target.0, record.ttl)),
            _ => None,
        });
        match alias {
            Some((target, alias_ttl)) => {
                name = target;
                ttl = shorter(ttl, Some(seconds(alias_ttl)));
            }
            // The alias of a name that does not exist.
            None if response.response_code == ResponseCode::NXDomain => {
                return Ok(Step::Answer(Answer { found: Vec::new(), ttl: ttl.or(Some(NO_TTL)) }));
            }
            None if followed > 0 => return Ok(Step::Alias(name.clone(), ttl.unwrap_or_default())),
            None => return Err("sends an answer to another question".to_owned()),
        }
    }
    Err("sends a loop of aliases".to_owned())
}

/// The records that a message, as it is sent, has for this name.
#[cfg(any(test, fuzzing))]
pub(super) fn found_in(message: &[u8], name: &str, kind: RecordKind) -> Option<Result<Vec<Found>, String>> {
    let response = DnsResponse::from_buffer(message.to_vec()).ok()?;
    let step = read_response(&response, &Name::from_ascii(name).ok()?, kind);
    Some(step.map(|step| match step {
        Step::Answer(answer) => answer.found,
        Step::Alias(..) => Vec::new(),
    }))
}

fn read_record(record: &Record) -> Option<Found> {
    match &record.data {
        RData::A(address) => Some(Found::Address(address.0.into())),
        RData::AAAA(address) => Some(Found::Address(address.0.into())),
        RData::SRV(service) => Some(Found::Service {
            priority: service.priority,
            weight: service.weight,
            port: service.port,
            target: (!service.target.is_root()).then(|| service.target.to_ascii()),
        }),
        _ => None,
    }
}

/// A name without records is an answer; every other error is not.
fn read_error(error: NetError) -> Result<Step, String> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            soa,
            ns,
            negative_ttl,
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        })) => {
            // A referral (RFC 2308, 2.2) does not describe the name.
            if ns.is_some() && soa.is_none() {
                return Err("only refers to other servers; a recursive server is needed".to_owned());
            }
            Ok(Step::Answer(Answer { found: Vec::new(), ttl: Some(negative_ttl.map_or(NO_TTL, seconds)) }))
        }
        NetError::Timeout => Err("does not answer".to_owned()),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => Err("answers SERVFAIL".to_owned()),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Err("answers REFUSED".to_owned()),
        NetError::Truncated => Err("truncates its answer, and sends none by TCP".to_owned()),
        NetError::Dns(DnsError::ResponseCode(code)) => Err(format!("answers with the error {}", u16::from(code))),
        NetError::Io(error) => Err(format!("does not answer: {}", connect_cause(&error))),
        NetError::NoConnections => Err("does not answer: no connection can be opened".to_owned()),
        NetError::Proto(_) => Err("sends an answer that cannot be read".to_owned()),
        _ => Err("does not answer".to_owned()),
    }
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Srv => RecordType::SRV,
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}
