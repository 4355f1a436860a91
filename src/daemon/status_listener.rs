//! Opens the status listener: its unix socket, and its TCP socket as soon as the port is free. HAProxy is managed in any
//! case.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::limits::STATUS_LISTEN_RETRY;
use slog::{Logger, error, info};
use tokio::time::sleep;

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
    /// Keeps trying, each socket on its own.
    pub fn start(self, unix: StatusSocket, tcp: Option<SocketAddr>) {
        let opening = Rc::new(self);
        if let Some(path) = unix.path.clone() {
            let opening = Rc::clone(&opening);
            actix::spawn(async move {
                opening
                    .until_open("status.socket", || {
                        let group = unix.group.as_deref().map(socket::group_named).transpose()?;
                        let socket = socket::bind(&path, group)?;
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
                        opening.listener.serve_tcp(listener::bind(address)?)?;
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
