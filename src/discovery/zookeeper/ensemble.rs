//! One session per ensemble, shared by all its readers and replaced whenever it is lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use proxymgr_actors::limits::{ZOOKEEPER_LOSS_GRACE, ZOOKEEPER_RETRY_MAX, ZOOKEEPER_RETRY_MIN, ZOOKEEPER_SETTLED};
use slog::{Logger, info, o, warn};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::diagnosis::diagnose;
use super::session::Session;
use super::{ConnectString, ZookeeperOptions};
use crate::discovery::backoff::Backoff;

/// All ensembles in use. Clones share them.
#[derive(Clone)]
pub struct Ensembles {
    inner: Rc<Inner>,
}

struct Inner {
    options: Rc<ZookeeperOptions>,
    open: RefCell<BTreeMap<Arc<str>, Weak<Ensemble>>>,
    log: Logger,
}

impl Ensembles {
    /// Returns an empty set; sessions will be opened with these options.
    pub fn new(options: ZookeeperOptions, log: &Logger) -> Self {
        let log = log.new(o!("component" => "zookeeper"));
        Self { inner: Rc::new(Inner { options: Rc::new(options), open: RefCell::default(), log }) }
    }

    /// The number of sessions that are open or being opened.
    pub fn open_count(&self) -> usize {
        self.inner.open.borrow().values().filter(|ensemble| ensemble.strong_count() > 0).count()
    }

    /// Returns the ensemble of this connect string. Its session is closed when the last user drops it.
    pub(super) fn join(&self, connect: &ConnectString) -> Rc<Ensemble> {
        let mut open = self.inner.open.borrow_mut();
        if let Some(ensemble) = open.get(connect.servers()).and_then(Weak::upgrade) {
            return ensemble;
        }
        open.retain(|_, ensemble| ensemble.strong_count() > 0);
        let log = self.inner.log.new(o!("ensemble" => connect.servers().to_string()));
        let ensemble = Rc::new(Ensemble::start(connect.servers().clone(), self.inner.options.clone(), log));
        open.insert(connect.servers().clone(), Rc::downgrade(&ensemble));
        ensemble
    }
}

/// The state of the connection to the ensemble.
#[derive(Clone)]
pub(super) enum Link {
    /// Not known yet.
    Connecting,
    /// The ensemble cannot be read, with the reason.
    Away(Arc<str>),
    /// The ensemble can be read. Readers must read everything again in each new session.
    Ready(Rc<Session>),
}

/// An ensemble with the task that keeps a session open.
pub(super) struct Ensemble {
    link: watch::Receiver<Link>,
    hurry: Rc<Notify>,
    keeper: AbortHandle,
}

impl Ensemble {
    fn start(servers: Arc<str>, options: Rc<ZookeeperOptions>, log: Logger) -> Self {
        let (sender, link) = watch::channel(Link::Connecting);
        let hurry = Rc::new(Notify::new());
        let keeper = Keeper { servers, options, link: sender, hurry: hurry.clone(), log };
        let keeper = tokio::task::spawn_local(keeper.run()).abort_handle();
        Self { link, hurry, keeper }
    }

    /// Returns a receiver of the link that treats the current state as not yet seen.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        let mut link = self.link.clone();
        link.mark_changed();
        link
    }

    /// Ends the pause before the next attempt.
    pub(super) fn hurry(&self) {
        self.hurry.notify_waiters();
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        // The task owns the client, which closes the session in the background when dropped.
        self.keeper.abort();
    }
}

struct Keeper {
    servers: Arc<str>,
    options: Rc<ZookeeperOptions>,
    link: watch::Sender<Link>,
    hurry: Rc<Notify>,
    log: Logger,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::new(ZOOKEEPER_RETRY_MIN, ZOOKEEPER_RETRY_MAX);
        let mut lost_at = None;
        loop {
            match self.connect(lost_at).await {
                Ok(session) => {
                    let established = Instant::now();
                    let (id, timeout_ms) = (session.to_string(), session.timeout().as_millis() as u64);
                    info!(self.log, "ZooKeeper session established"; "id" => &id, "timeout_ms" => timeout_ms);
                    let session = Rc::new(session);
                    self.link.send_replace(Link::Ready(session.clone()));
                    let reason = session.lost().await;
                    warn!(self.log, "ZooKeeper session lost, opening a new one"; "id" => &id, "reason" => reason);
                    lost_at = Some(Instant::now());
                    if established.elapsed() >= ZOOKEEPER_SETTLED {
                        backoff.reset();
                        continue;
                    }
                }
                Err(error) => {
                    let in_grace = lost_at.is_some_and(|lost_at| lost_at.elapsed() < ZOOKEEPER_LOSS_GRACE);
                    if !in_grace {
                        self.away(&error);
                    }
                }
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// Makes one attempt to connect, which may take as long as a silent member is tolerated. If the grace period after
    /// the loss of the last session ends before that, the loss is reported.
    async fn connect(&self, lost_at: Option<Instant>) -> Result<Session, String> {
        let mut attempt = std::pin::pin!(Session::connect(&self.servers, &self.options));
        let Some(lost_at) = lost_at else { return attempt.await };
        tokio::select! {
            biased;
            result = &mut attempt => return result,
            () = sleep_until(lost_at + ZOOKEEPER_LOSS_GRACE) => {}
        }
        if matches!(*self.link.borrow(), Link::Ready(_)) {
            tokio::select! {
                biased;
                result = &mut attempt => return result,
                why = diagnose(&self.servers, self.options.tls.is_some()) => self.away(&why),
            }
        }
        attempt.await
    }

    /// Notifies all readers that the ensemble is unreachable, once per reason.
    fn away(&self, error: &str) {
        let reported = self.link.send_if_modified(|link| {
            let known = matches!(link, Link::Away(known) if **known == *error);
            if !known {
                *link = Link::Away(error.into());
            }
            !known
        });
        if reported {
            warn!(self.log, "ZooKeeper is not reachable, retrying"; "error" => error);
        }
    }
}
