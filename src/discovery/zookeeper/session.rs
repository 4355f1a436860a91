//! One session with an ensemble. The only file that uses the client's package.
//!
//! The client's features (0.11.2) that are used and not used:
//!
//! - Only one-shot watches are used. Persistent ones are not set again after a reconnect.
//! - A session is never continued on another connection. After a reconnect the client sets the watches again in
//!   messages of 128 KiB with the same id, -8; if more than one is outstanding it treats the second answer as a
//!   protocol error and drops the connection, again and again, until the session expires. About 3,000 watches are
//!   enough for that. Everything must be read again anyway, and no data of ours depends on the session: a new one costs
//!   no more.
//! - A member that is silent for two fifths of the session time-out is abandoned; the client pings when idle.
//! - Dropping [`zookeeper::Client`] closes the session in the background.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::limits::ZOOKEEPER_READS_MAX;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use zookeeper::{Acls, Client, CreateMode, Error, EventType, MultiReadResult, OneshotWatcher, TlsOptions};

use super::diagnosis::{diagnose, hopeless};
use super::{DigestAuth, TlsFiles, ZookeeperOptions};

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadError {
    /// There is no such znode.
    Absent,
    /// This znode cannot be read; other znodes can.
    Refused(String),
    /// The session failed.
    Lost(String),
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::discovery) enum WriteError {
    /// There is no such znode.
    Absent,
    /// It cannot be written now, or not with our credentials.
    Away(String),
}

/// What a watch reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fired {
    /// The znode was deleted.
    Deleted,
    /// Anything else.
    Changed,
}

/// A one-shot watch. Dropping it removes it.
pub(super) struct Watch(OneshotWatcher);

impl Watch {
    /// Waits for the event. The next read is more precise than the event: a deleted znode may exist again.
    pub(super) async fn fired(self) -> Result<Fired, ReadError> {
        match self.0.changed().await.event_type {
            EventType::Session => Err(ReadError::Lost("the ZooKeeper session ended".to_owned())),
            EventType::NodeDeleted => Ok(Fired::Deleted),
            _ => Ok(Fired::Changed),
        }
    }
}

/// The most znodes in one request. An answer is limited to 1 MB by default, as is the data of one znode.
const CHILDREN_AT_ONCE_MAX: usize = 100;

/// Returns the path of a child.
pub(super) fn child_path(path: &str, child: &str) -> String {
    if path == "/" { format!("/{child}") } else { format!("{path}/{child}") }
}

/// An established session with limits on concurrent reads and their duration.
pub(super) struct Session {
    servers: Arc<str>,
    client: Client,
    reads: Semaphore,
    suspected: Notify,
    read_timeout: Duration,
    /// The permissions of new znodes: only for clients with the same credentials, or for all if none are configured.
    acls: Acls<'static>,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client.session_id())
    }
}

impl Session {
    /// Opens a session with the first server that answers; the client tries them in random order.
    pub(super) async fn connect(servers: &Arc<str>, options: &ZookeeperOptions) -> Result<Self, String> {
        let tls = match &options.tls {
            Some(files) => Some(read_tls(files).await?),
            None => None,
        };
        let uses_tls = tls.is_some();
        let establishing = async {
            match establish(servers, options, tls.clone(), None).await {
                // An ensemble that enforces authentication requires the credentials first.
                Err(Error::AuthFailed) if options.auth.is_some() => {
                    establish(servers, options, tls, options.auth.as_ref()).await
                }
                established => established,
            }
        };
        let client = tokio::select! {
            biased;
            client = establishing => client,
            why = hopeless(servers, uses_tls) => return Err(why),
        };
        let client = match client {
            Ok(client) => client,
            Err(Error::AuthFailed) => return Err(rejected(servers)),
            // The error of the attempt that happened to be last would not describe the other ones, and would differ
            // each time.
            Err(_) => return Err(diagnose(servers, uses_tls).await),
        };
        let read_timeout = client.session_timeout().max(options.session_timeout);
        let reads = Semaphore::new(ZOOKEEPER_READS_MAX);
        let acls = if options.auth.is_some() { Acls::creator_all() } else { Acls::anyone_all() };
        let session = Self { servers: servers.clone(), client, reads, suspected: Notify::new(), read_timeout, acls };
        if let Some(auth) = &options.auth {
            let proven = session.bounded(session.client.auth("digest", auth.as_bytes())).await;
            proven.map_err(|error| match error {
                Error::AuthFailed => rejected(servers),
                error => format!("{} in a new session: ZooKeeper {servers}", cause(&error)),
            })?;
        }
        // A member may lag behind the one that an earlier session read from; sync prevents older data.
        let synced = session.bounded(session.client.sync("/")).await;
        synced.map_err(|error| format!("{} in a new session: ZooKeeper {servers}", cause(&error)))?;
        Ok(session)
    }

    /// The granted time-out.
    pub(super) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Waits until the session is unusable, and returns why.
    pub(super) async fn lost(&self) -> String {
        let mut states = self.client.state_watcher();
        loop {
            // `state_watcher` treats the current state as seen.
            let state = states.peek_state();
            if !matches!(state, zookeeper::SessionState::SyncConnected) {
                let is_expired = matches!(state, zookeeper::SessionState::Expired);
                return if is_expired { "the session expired" } else { "the connection was lost" }.to_owned();
            }
            tokio::select! {
                _ = states.changed() => {}
                () = self.suspected.notified() => return "no answer to a read".to_owned(),
            }
        }
    }

    /// Returns the children of a znode, and a watch on the list.
    pub(super) async fn children(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError> {
        let _permit = self.permit().await;
        let (children, watcher) = self.read(path, self.client.list_and_watch_children(path)).await?;
        Ok((children, Watch(watcher)))
    }

    /// Returns the children of a znode with their data, read without watches in few requests; `None` where one of them
    /// cannot be read in that way. Servers before 3.6 have no such request.
    pub(super) async fn children_at_once(&self, path: &str) -> Result<Option<Vec<(String, Vec<u8>)>>, ReadError> {
        let _permit = self.permit().await;
        let children = self.read(path, self.client.list_children(path)).await?;
        let mut read = Vec::with_capacity(children.len());
        let mut children = children.into_iter();
        loop {
            let some: Vec<String> = children.by_ref().take(CHILDREN_AT_ONCE_MAX).collect();
            if some.is_empty() {
                return Ok(Some(read));
            }
            let mut reader = self.client.new_multi_reader();
            if some.iter().any(|child| reader.add_get_data(&child_path(path, child)).is_err()) {
                return Ok(None);
            }
            let Ok(results) = self.bounded(reader.commit()).await else { return Ok(None) };
            for (child, result) in some.into_iter().zip(results) {
                let MultiReadResult::Data { data, .. } = result else { return Ok(None) };
                read.push((child, data));
            }
        }
    }

    /// Returns the data of a znode, and a watch on it.
    pub(super) async fn data(&self, path: &str) -> Result<(Vec<u8>, Watch), ReadError> {
        let (data, _, watcher) = self.read(path, self.client.get_and_watch_data(path)).await?;
        Ok((data, Watch(watcher)))
    }

    /// Returns a watch for the creation of the znode; `None` if it exists.
    pub(super) async fn awaited(&self, path: &str) -> Result<Option<Watch>, ReadError> {
        let _permit = self.permit().await;
        let (stat, watcher) = self.read(path, self.client.check_and_watch_stat(path)).await?;
        Ok(stat.is_none().then(|| Watch(watcher)))
    }

    /// Waits for one of the concurrent reads. The caller of [`Session::data`] acquires it, so that thousands of waiting
    /// reads need not be created early.
    pub(super) async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.reads.acquire().await.expect("the semaphore is never closed")
    }

    async fn read<T>(&self, path: &str, reading: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
        match self.bounded(reading).await {
            Ok(read) => Ok(read),
            Err(Error::NoNode) => Err(ReadError::Absent),
            Err(error @ (Error::NoAuth | Error::BadArguments(_))) => {
                let hint = if error == Error::NoAuth { "; check its ACL and the setting zookeeper.auth" } else { "" };
                Err(ReadError::Refused(format!("{}: znode {path} of ZooKeeper {}{hint}", cause(&error), self.servers)))
            }
            Err(error) => {
                if error == Error::Timeout {
                    // The client abandons a member that sends nothing at all; this one answers pings but not this read.
                    self.suspected.notify_one();
                }
                Err(ReadError::Lost(format!("{}: znode {path} of ZooKeeper {}", cause(&error), self.servers)))
            }
        }
    }

    /// Writes the data of a znode, and creates it and its parents if necessary.
    pub(super) async fn write(&self, path: &str, data: &[u8]) -> Result<(), WriteError> {
        let options = CreateMode::Persistent.with_acls(self.acls);
        let writing = async {
            match self.client.set_data(path, data, None).await {
                Err(Error::NoNode) => {}
                done => return done.map(drop),
            }
            if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
                self.client.mkdir(parent, &options).await?;
            }
            match self.client.create(path, data, &options).await {
                Err(Error::NodeExists) => self.client.set_data(path, data, None).await.map(drop),
                done => done.map(drop),
            }
        };
        self.bounded(writing).await.map_err(|error| self.not_written(path, &error))
    }

    /// Deletes a znode.
    pub(super) async fn delete(&self, path: &str) -> Result<(), WriteError> {
        self.bounded(self.client.delete(path, None)).await.map_err(|error| self.not_written(path, &error))
    }

    fn not_written(&self, path: &str, error: &Error) -> WriteError {
        match error {
            Error::NoNode => WriteError::Absent,
            Error::Timeout => WriteError::Away(format!(
                "ZooKeeper {} did not answer in time; check the znode before retrying",
                self.servers
            )),
            error => WriteError::Away(format!(
                "znode {path} of ZooKeeper {} cannot be written: {}",
                self.servers,
                cause(error)
            )),
        }
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(self.read_timeout, call).await.unwrap_or(Err(Error::Timeout))
    }
}

/// Opens a session with the first server that answers.
///
/// Credentials are sent in the open session if possible: a server that uses Netty (as for TLS) may answer to
/// credentials sent along with the connect request before it answers to that, and the client then gives up.
async fn establish(
    servers: &str,
    options: &ZookeeperOptions,
    tls: Option<TlsOptions>,
    auth: Option<&DigestAuth>,
) -> Result<Client, Error> {
    let mut connector = Client::connector().with_session_timeout(options.session_timeout).with_fail_eagerly();
    if let Some(auth) = auth {
        connector = connector.with_auth("digest", auth.as_bytes());
    }
    let connecting = async {
        match tls {
            Some(tls) => connector.with_tls(tls).secure_connect(servers).await,
            None => connector.connect(servers).await,
        }
    };
    timeout(options.session_timeout * 2, connecting).await.unwrap_or(Err(Error::Timeout))
}

fn rejected(servers: &str) -> String {
    format!("access denied, the credentials are rejected: ZooKeeper {servers}; check the setting zookeeper.auth")
}

/// The cause that an error of the client is, in the terms of operators.
fn cause(error: &Error) -> &'static str {
    match error {
        Error::NoAuth => "access denied",
        Error::AuthFailed => "access denied, the credentials are rejected",
        Error::NoNode => "the znode does not exist",
        Error::NodeExists => "the znode exists already",
        Error::NotEmpty => "the znode has children",
        Error::NoChildrenForEphemerals => "the parent is ephemeral and cannot have children",
        Error::InvalidAcl => "the ACL is invalid",
        Error::BadArguments(_) => "the path is invalid",
        Error::Timeout => "no answer in time",
        Error::SessionExpired | Error::SessionMoved => "the session expired",
        Error::NotReadOnly => "no quorum, the server is read-only",
        Error::QuotaExceeded => "the quota is exceeded",
        Error::Throttled => "the server is overloaded",
        Error::NoHosts | Error::ConnectionLoss | Error::ClientClosed => "the connection was lost",
        _ => "the server reports an internal error",
    }
}

async fn read_tls(files: &TlsFiles) -> Result<TlsOptions, String> {
    async fn read(what: &str, path: &std::path::Path) -> Result<String, String> {
        let text = tokio::fs::read_to_string(path).await;
        text.map_err(|error| format!("cannot read ZooKeeper's TLS {what} {}: {error}", path.display()))
    }
    let ca = read("ca", &files.ca).await?;
    let bad_ca = |_| format!("ZooKeeper's TLS ca {} has no valid certificate in PEM", files.ca.display());
    let options = TlsOptions::new().with_pem_ca(&ca).map_err(bad_ca)?;
    let Some(identity) = &files.identity else { return Ok(options) };
    let certificate = read("certificate", &identity.certificate).await?;
    let key = read("key", &identity.key).await?;
    options.with_pem_identity(&certificate, &key).map_err(|_| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("ZooKeeper's TLS certificate {certificate} and key {key} are not valid PEM, or no pair")
    })
}
