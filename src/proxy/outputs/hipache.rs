//! Writes Hipache's lists `frontend:<domain>` to Redis, each with the service's name and a URL for each host.
//!
//! A set beside the lists names those that proxymgr owns, so that lists of other writers are never changed and owned
//! lists are removed even after a restart. All lists change in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::model::AdminState;
use proxymgr_actors::port::{Applied, PortFuture, PublishedService, ServiceOutput};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncCommands, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError,
    TlsCertificates,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::settings::HipacheSettings;
use crate::tls::TlsFiles;

/// The time limit for Redis's answer, including the connect.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of attempts at a transaction when other writers change the same lists at the same time.
const ROUNDS_MAX: usize = 5;

/// Hipache's lists in one Redis.
pub struct HipacheOutput {
    name: String,
    settings: Rc<HipacheSettings>,
    /// The connection kept between changes; `None` before the first change and after a failure.
    connection: Rc<Mutex<Option<MultiplexedConnection>>>,
}

/// The desired list of each key, and the keys that stay unchanged because their hosts are not known.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lists {
    wanted: BTreeMap<String, Vec<String>>,
    unknown: BTreeSet<String>,
}

impl HipacheOutput {
    /// Returns the output of these settings. It connects at the first change.
    pub fn new(settings: HipacheSettings) -> Self {
        let name = format!("hipache {}", settings.server);
        Self { name, settings: Rc::new(settings), connection: Rc::default() }
    }
}

impl ServiceOutput for HipacheOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let (settings, connection) = (self.settings.clone(), self.connection.clone());
        Box::pin(async move {
            let lists = lists(&services)?;
            let mut kept = connection.lock().await;
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => connect(&settings).await?,
            };
            let owned_key = format!("{}:frontends", settings.owner);
            let applied = write(&mut connection, &owned_key, &lists).await?;
            *kept = Some(connection);
            Ok(applied)
        })
    }
}

fn lists(services: &[PublishedService]) -> Result<Lists, String> {
    let mut lists = Lists::default();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    // Hipache knows domains only: a service with further conditions would get every request.
    for service in services.iter().filter(|service| service.definition.requests.conditions.is_empty()) {
        let name = service.definition.name.to_string();
        for domain in &service.definition.requests.domains {
            let key = format!("frontend:{domain}");
            if let Some(other) = owners.insert(key.clone(), name.clone()) {
                return Err(format!("the services {other} and {name} both have the domain {domain}: assign it to one"));
            }
            let Some(hosts) = &service.hosts else {
                lists.unknown.insert(key);
                continue;
            };
            // Hipache connects over TCP only.
            let ready = hosts.values().filter(|host| host.state == AdminState::Ready && host.endpoint.port().is_some());
            let urls = ready.map(|host| format!("http://{}", host.endpoint));
            lists.wanted.insert(key, std::iter::once(name.clone()).chain(urls).collect());
        }
    }
    Ok(lists)
}

async fn connect(settings: &HipacheSettings) -> Result<MultiplexedConnection, String> {
    let (host, port) = settings.server.rsplit_once(':').unwrap_or((&settings.server, "6379"));
    let port = port.parse().map_err(|_| format!("{} is not host:port", settings.server))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if let Some(password) = &settings.password {
        login = login.set_password(password.reveal());
    }
    let address = match settings.tls {
        None => ConnectionAddr::Tcp(host, port),
        // The server's certificate is verified, by name and by authority.
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let info =
        address.into_connection_info().map(|info| info.set_redis_settings(login)).map_err(|error| reported(&error))?;
    let client = match &settings.tls {
        None => redis::Client::open(info),
        Some(files) => redis::Client::build_with_tls(info, certificates(files).await?),
    };
    let client = client.map_err(|error| reported(&error))?;
    in_time(client.get_multiplexed_async_connection()).await
}

/// The files are read with each connection, so that renewed certificates are used.
async fn certificates(files: &TlsFiles) -> Result<TlsCertificates, String> {
    // Fails if the process has already chosen a provider, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root_cert = match &files.ca {
        Some(ca) => Some(pem("ca", ca).await?),
        None => None,
    };
    let client_tls = match &files.identity {
        Some((certificate, key)) => {
            let (client_cert, client_key) = (pem("certificate", certificate).await?, pem("key", key).await?);
            Some(ClientTlsConfig { client_cert, client_key })
        }
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

async fn pem(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("{key}: {} cannot be read: {error}", path.display()))
}

/// Synchronizes the lists. The keys that were read are watched: Redis refuses the transaction if any of them has
/// changed since.
async fn write(redis: &mut MultiplexedConnection, owned_key: &str, lists: &Lists) -> Result<Applied, String> {
    for _ in 0..ROUNDS_MAX {
        let mut watch = redis::cmd("WATCH");
        watch.arg(owned_key).arg(lists.wanted.keys().collect::<Vec<_>>());
        in_time(watch.query_async::<()>(redis)).await?;
        let transaction = match plan(redis, owned_key, lists).await? {
            Plan::Done => {
                in_time(redis::cmd("UNWATCH").query_async::<()>(redis)).await?;
                return Ok(Applied::Unchanged);
            }
            Plan::Foreign(key) => {
                in_time(redis::cmd("UNWATCH").query_async::<()>(redis)).await?;
                let advice = "delete it in Redis, or remove the domain from the service";
                return Err(format!("the list {key} was made by another program and is not changed: {advice}"));
            }
            Plan::Change(transaction) => transaction,
        };
        let done: Option<redis::Value> = in_time(transaction.query_async(redis)).await?;
        if done.is_some_and(|done| done != redis::Value::Nil) {
            return Ok(Applied::Changed);
        }
    }
    Err(format!("other writers changed the same lists {ROUNDS_MAX} times in a row"))
}

enum Plan {
    Done,
    Foreign(String),
    Change(Box<Pipeline>),
}

async fn plan(redis: &mut MultiplexedConnection, owned_key: &str, lists: &Lists) -> Result<Plan, String> {
    let owned: BTreeSet<String> = in_time(redis.smembers(owned_key)).await?;
    let mut transaction = redis::pipe();
    transaction.atomic();
    let mut changes = false;
    for (key, list) in &lists.wanted {
        let present: Vec<String> = in_time(redis.lrange(key, 0, -1)).await?;
        let is_owned = owned.contains(key);
        if !is_owned && !present.is_empty() {
            return Ok(Plan::Foreign(key.clone()));
        }
        if !is_owned || present != *list {
            transaction.del(key).ignore().rpush(key, list).ignore().sadd(owned_key, key).ignore();
            changes = true;
        }
    }
    for key in owned.iter().filter(|key| !lists.wanted.contains_key(*key) && !lists.unknown.contains(*key)) {
        transaction.del(key).ignore().srem(owned_key, key).ignore();
        changes = true;
    }
    Ok(if changes { Plan::Change(Box::new(transaction)) } else { Plan::Done })
}

async fn in_time<T>(call: impl Future<Output = Result<T, RedisError>>) -> Result<T, String> {
    match timeout(ANSWER_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| reported(&error)),
        Err(_) => Err(format!("Redis did not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn reported(error: &RedisError) -> String {
    format!("Redis: {error}")
}
