//! Opens the status listener: its unix socket, and its TCP socket as soon as the port is free. HAProxy is managed in any
//! case.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::limits::STATUS_LISTEN_RETRY;
use slog::{Logger, error, info};
use tokio::time::sleep;

use super::restart::inheritance::StatusSockets;
use crate::settings::StatusSocket;
use crate::status::gate::peer::PeerRules;
use crate::status::listener::{self, StatusListener};
use crate::status::socket;
use crate::status::view::ListeningProblems;

/// Opens what the settings ask for, and reports what cannot be opened.
pub struct Opening {
    /// The listener.
    pub listener: Rc<StatusListener>,
    /// Where problems are reported.
    pub problems: Arc<ListeningProblems>,
    /// The clock of the daemon.
    pub clock: Clock,
    /// The log.
    pub log: Logger,
}

/// The rules for peers of the unix socket. A group that does not exist is left out and reported when the socket is opened.
pub fn peer_rules(settings: &StatusSocket) -> PeerRules {
    PeerRules { group: settings.group.as_deref().and_then(|name| socket::group_named(name).ok()) }
}

impl Opening {
    /// Keeps trying, each socket on its own. Sockets from before a restart in place are used where they are the right ones.
    pub fn start(self, unix: StatusSocket, tcp: Option<SocketAddr>, inherited: &StatusSockets) {
        let unix_before = inherited.unix.as_ref().and_then(|socket| Some(UnixListener::from(socket.try_clone().ok()?)));
        let unix_before = Cell::new(unix_before.filter(|socket| socket::is_bound_for(socket, unix.path.as_deref())));
        let tcp_before = inherited.tcp.as_ref().and_then(|socket| Some(TcpListener::from(socket.try_clone().ok()?)));
        let tcp_before = Cell::new(tcp_before.filter(|socket| socket.local_addr().ok() == tcp));
        let opening = Rc::new(self);
        if let Some(path) = unix.path.clone() {
            let opening = Rc::clone(&opening);
            actix::spawn(async move {
                opening
                    .until_open("status.socket", || {
                        let group = unix.group.as_deref().map(socket::group_named).transpose()?;
                        let socket = unix_before.take().map_or_else(|| socket::bind(&path, group), Ok)?;
                        opening.listener.serve_unix(socket, path.clone())?;
                        Ok(path.display().to_string())
                    })
                    .await;
            });
        }
        if let Some(address) = tcp {
            actix::spawn(async move {
                opening
                    .until_open("status.listen", || {
                        let socket = tcp_before.take().map_or_else(|| listener::bind(address), Ok)?;
                        opening.listener.serve_tcp(socket)?;
                        Ok(address.to_string())
                    })
                    .await;
            });
        }
    }

    async fn until_open(&self, key: &'static str, open: impl Fn() -> Result<String, String>) {
        loop {
            match open() {
                Ok(address) => {
                    self.problems.set(key, None, self.clock.unix_ms());
                    info!(self.log, "status listener open"; "address" => address);
                    return;
                }
                Err(problem) => {
                    if self.problems.set(key, Some(&problem), self.clock.unix_ms()) {
                        error!(self.log, "{}; HAProxy is managed regardless", problem;
                            "retried_every" => format!("{} s", STATUS_LISTEN_RETRY.as_secs()));
                    }
                }
            }
            sleep(STATUS_LISTEN_RETRY).await;
        }
    }
}
