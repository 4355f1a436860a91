//! Idle connections by origin.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use proxymgr_actors::limits::HTTP_CONNECTION_IDLE_MAX;
use tokio::time::{Instant, sleep};

use super::connection::{Connection, Origin};

/// Idle connections. A connection is reused until [`HTTP_CONNECTION_IDLE_MAX`] after its last answer.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    has_sweeper: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    origin: Origin,
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Returns a connection to this origin that was open a moment ago.
    pub(super) async fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut connection = self.pop(origin, Instant::now())?;
            if connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for further requests.
    pub(super) fn put(self: &Rc<Self>, origin: Origin, connection: Connection) {
        let since = Instant::now();
        if connection.is_old(since) {
            return;
        }
        self.idle.borrow_mut().push(Idle { origin, connection, since });
        if !self.has_sweeper.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
    }

    /// Returns the connection that was used last, so that the other ones grow old and are closed.
    fn pop(&self, origin: &Origin, now: Instant) -> Option<Connection> {
        self.close_old(now);
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().rposition(|idle| idle.origin == *origin)?;
        Some(idle.remove(at).connection)
    }

    fn close_old(&self, now: Instant) {
        let is_fresh = |idle: &mut Idle| now.duration_since(idle.since) < HTTP_CONNECTION_IDLE_MAX;
        self.idle.borrow_mut().retain_mut(|idle| is_fresh(idle) && !idle.connection.is_old(now));
    }
}

/// Closes connections that have been idle for too long, until none is left.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(HTTP_CONNECTION_IDLE_MAX).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.close_old(Instant::now());
        if pool.idle.borrow().is_empty() {
            pool.has_sweeper.set(false);
            return;
        }
    }
}
