//! One session with an ensemble. The only file that names the client's package.
//!
//! What is used of it, and what is not (0.11.2):
//!
//! - One-shot watches only. Persistent ones are not set again after a reconnect.
//! - A session is never continued on another connection. After a reconnect the client sets the watches again in
//!   messages of 128 KiB that all bear the number -8; with more than one of them under way it takes the second answer
//!   for a protocol error and drops the connection, again and again, until the session expires. Some 3,000 watches are
//!   enough. Everything has to be read again anyway, and nothing of ours lives in a session: a new one costs no more.
//! - A member that is silent for two fifths of the session time-out is left; the client pings by itself when idle.
//! - Dropping [`zookeeper::Client`] closes the session in the background.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::limits::ZOOKEEPER_READS_MAX;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use zookeeper::{Acls, Client, CreateMode, Error, EventType, OneshotWatcher, TlsOptions};

use super::{DigestAuth, TlsFiles, ZookeeperOptions};

/// Why a read brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadError {
    /// There is no such znode.
    Absent,
    /// This znode cannot be read; others can.
    Refused(String),
    /// The session is in trouble.
    Lost(String),
}

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::discovery) enum WriteError {
    /// There is no such znode.
    Absent,
    /// It cannot be written now, or not by us.
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

/// A one-shot watch that is set. Dropping it removes it.
pub(super) struct Watch(OneshotWatcher);

impl Watch {
    /// Waits for the event. What it was says less than the next read: a deleted znode may be there again.
    pub(super) async fn fired(self) -> Result<Fired, ReadError> {
        match self.0.changed().await.event_type {
            EventType::Session => Err(ReadError::Lost("the ZooKeeper session ended".to_owned())),
            EventType::NodeDeleted => Ok(Fired::Deleted),
            _ => Ok(Fired::Changed),
        }
    }
}

/// A session that was established, with bounds on what is asked of it.
pub(super) struct Session {
    servers: Arc<str>,
    client: Client,
    reads: Semaphore,
    suspected: Notify,
    read_timeout: Duration,
    /// Who may do what with znodes that we make: whoever proves the same as we do, or everybody.
    acls: Acls<'static>,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client.session_id())
    }
}

impl Session {
    /// Makes a session with the first server that answers; the client tries them in random order.
    pub(super) async fn connect(servers: &Arc<str>, options: &ZookeeperOptions) -> Result<Self, String> {
        let tls = match &options.tls {
            Some(files) => Some(read_tls(files).await?),
            None => None,
        };
        let client = match establish(servers, options, tls.clone(), None).await {
            // An ensemble that enforces authentication wants it before anything else.
            Err(Error::AuthFailed) if options.auth.is_some() => {
                establish(servers, options, tls, options.auth.as_ref()).await
            }
            established => established,
        };
        let client = client.map_err(|error| match error {
            Error::AuthFailed => format!("ZooKeeper {servers} refuses the credentials"),
            // Which attempt it was that failed last says nothing about the others, and would differ each time.
            Error::NoHosts | Error::Timeout | Error::ConnectionLoss => no_answer(servers, options),
            error => format!("cannot connect to ZooKeeper {servers}: {error}"),
        })?;
        let read_timeout = client.session_timeout().max(options.session_timeout);
        let reads = Semaphore::new(ZOOKEEPER_READS_MAX);
        let acls = if options.auth.is_some() { Acls::creator_all() } else { Acls::anyone_all() };
        let session = Self { servers: servers.clone(), client, reads, suspected: Notify::new(), read_timeout, acls };
        if let Some(auth) = &options.auth {
            let proven = session.bounded(session.client.auth("digest", auth.as_bytes())).await;
            proven.map_err(|error| format!("ZooKeeper {servers} does not take the credentials: {error}"))?;
        }
        // A member may lag behind the one that an earlier session read from: never go back in time.
        let synced = session.bounded(session.client.sync("/")).await;
        synced.map_err(|error| format!("ZooKeeper {servers} accepted a session and did not go on: {error}"))?;
        Ok(session)
    }

    /// The granted time-out.
    pub(super) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Waits until the session is of no use any longer, and says why.
    pub(super) async fn lost(&self) -> String {
        let mut states = self.client.state_watcher();
        loop {
            // `state_watcher` regards what is the case now as seen.
            let state = states.peek_state();
            if !matches!(state, zookeeper::SessionState::SyncConnected) {
                return format!("the connection was lost ({state})");
            }
            tokio::select! {
                _ = states.changed() => {}
                () = self.suspected.notified() => return "a read got no answer".to_owned(),
            }
        }
    }

    /// The children of a znode, and a watch on the list.
    pub(super) async fn children(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError> {
        let _permit = self.permit().await;
        let (children, watcher) = self.read(path, self.client.list_and_watch_children(path)).await?;
        Ok((children, Watch(watcher)))
    }

    /// The data of a znode, and a watch on it.
    pub(super) async fn data(&self, path: &str) -> Result<(Vec<u8>, Watch), ReadError> {
        let (data, _, watcher) = self.read(path, self.client.get_and_watch_data(path)).await?;
        Ok((data, Watch(watcher)))
    }

    /// A watch that tells when the znode comes; none when it exists.
    pub(super) async fn awaited(&self, path: &str) -> Result<Option<Watch>, ReadError> {
        let _permit = self.permit().await;
        let (stat, watcher) = self.read(path, self.client.check_and_watch_stat(path)).await?;
        Ok(stat.is_none().then(|| Watch(watcher)))
    }

    /// One of the reads that may be under way at once. [`Session::data`] leaves it to the caller to have one, so that
    /// thousands of reads that have to wait need not exist yet.
    pub(super) async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.reads.acquire().await.expect("the semaphore is never closed")
    }

    async fn read<T>(&self, path: &str, reading: impl Future<Output = Result<T, Error>>) -> Result<T, ReadError> {
        match self.bounded(reading).await {
            Ok(read) => Ok(read),
            Err(Error::NoNode) => Err(ReadError::Absent),
            Err(error @ (Error::NoAuth | Error::BadArguments(_))) => {
                Err(ReadError::Refused(format!("znode {path} of {} cannot be read: {error}", self.servers)))
            }
            Err(Error::Timeout) => {
                // The client leaves a member that sends nothing at all; this one answers pings and not this read.
                self.suspected.notify_one();
                Err(ReadError::Lost(format!("reading znode {path} of {} took too long", self.servers)))
            }
            Err(error) => Err(ReadError::Lost(format!("cannot read znode {path} of {}: {error}", self.servers))),
        }
    }

    /// Writes the data of a znode, which is made, with those above it, where it does not exist.
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
                "ZooKeeper {} did not answer in time; look before it is tried again",
                self.servers
            )),
            error => WriteError::Away(format!("znode {path} of ZooKeeper {} cannot be written: {error}", self.servers)),
        }
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(self.read_timeout, call).await.unwrap_or(Err(Error::Timeout))
    }
}

/// Makes a session with the first server that answers.
///
/// Credentials follow in the session where they can: a server that speaks Netty (as it does for TLS) may answer to
/// credentials that come along with the connect request before it answers to that, and the client then gives up.
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

/// That nothing answers, in the same words whenever it is said.
pub(super) fn no_answer(servers: &str, options: &ZookeeperOptions) -> String {
    let hint = if options.tls.is_some() { " by TLS, or none whose certificate and ours are accepted" } else { "" };
    format!("no server of ZooKeeper {servers} answers{hint}")
}

async fn read_tls(files: &TlsFiles) -> Result<TlsOptions, String> {
    async fn read(what: &str, path: &std::path::Path) -> Result<String, String> {
        let text = tokio::fs::read_to_string(path).await;
        text.map_err(|error| format!("cannot read ZooKeeper's TLS {what} {}: {error}", path.display()))
    }
    let ca = read("ca", &files.ca).await?;
    let bad_ca = |error| format!("ZooKeeper's TLS ca {}: {error}", files.ca.display());
    let options = TlsOptions::new().with_pem_ca(&ca).map_err(bad_ca)?;
    let Some(identity) = &files.identity else { return Ok(options) };
    let certificate = read("certificate", &identity.certificate).await?;
    let key = read("key", &identity.key).await?;
    options.with_pem_identity(&certificate, &key).map_err(|error| {
        let (certificate, key) = (identity.certificate.display(), identity.key.display());
        format!("ZooKeeper's TLS certificate {certificate} with key {key}: {error}")
    })
}
