//! Runtime commands. The adapter formats them for the Runtime API; simulation executes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Endpoint, PersistentId, ServerId, Word};

/// One command for the Runtime API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeCommand {
    /// `add server`: the server starts in maintenance and inherits nothing, so all its options are included.
    AddServer {
        /// The new server.
        server: ServerId,
        /// Its address and port.
        endpoint: Endpoint,
        /// Its `id`; `None` where its options contain one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<PersistentId>,
        /// All its options, including those inherited in the file, weight, backup and cookie.
        options: Vec<Word>,
    },
    /// `enable health`: starts the checks of a server that was added with `check`.
    EnableHealth(ServerId),
    /// `enable agent`: enables the server's agent check, which may set state and weight.
    EnableAgent(ServerId),
    /// `disable agent`: disables the server's agent check.
    DisableAgent(ServerId),
    /// `set server ... state ready`.
    SetReady(ServerId),
    /// `set server ... state drain`.
    SetDrain(ServerId),
    /// `set server ... state maint`.
    SetMaintenance(ServerId),
    /// `set server ... weight N`, 0 to 256.
    SetWeight(ServerId, u16),
    /// `set server ... addr IP port N`.
    SetAddress(ServerId, Endpoint),
    /// `del server`: only in maintenance and idle.
    DeleteServer(ServerId),
}

impl RuntimeCommand {
    /// Returns the server of the command.
    pub fn server(&self) -> &ServerId {
        match self {
            Self::AddServer { server, .. }
            | Self::EnableHealth(server)
            | Self::EnableAgent(server)
            | Self::DisableAgent(server)
            | Self::SetReady(server)
            | Self::SetDrain(server)
            | Self::SetMaintenance(server)
            | Self::SetWeight(server, _)
            | Self::SetAddress(server, _)
            | Self::DeleteServer(server) => server,
        }
    }

    /// Writes the command for the Runtime API. Options may contain any characters and are written by `write_option`;
    /// names and endpoints need no escapes.
    pub fn write<W: fmt::Write>(
        &self,
        out: &mut W,
        mut write_option: impl FnMut(&mut W, &Word) -> fmt::Result,
    ) -> fmt::Result {
        match self {
            Self::AddServer { server, endpoint, id, options } => {
                write!(out, "add server {server} {endpoint}")?;
                if let Some(id) = id {
                    write!(out, " id {id}")?;
                }
                options.iter().try_for_each(|option| {
                    out.write_char(' ')?;
                    write_option(out, option)
                })
            }
            Self::EnableHealth(server) => write!(out, "enable health {server}"),
            Self::EnableAgent(server) => write!(out, "enable agent {server}"),
            Self::DisableAgent(server) => write!(out, "disable agent {server}"),
            Self::SetReady(server) => write!(out, "set server {server} state ready"),
            Self::SetDrain(server) => write!(out, "set server {server} state drain"),
            Self::SetMaintenance(server) => write!(out, "set server {server} state maint"),
            Self::SetWeight(server, weight) => write!(out, "set server {server} weight {weight}"),
            Self::SetAddress(server, endpoint) => {
                write!(out, "set server {server} addr {}", endpoint.address())?;
                endpoint.port().map_or(Ok(()), |port| write!(out, " port {port}"))
            }
            Self::DeleteServer(server) => write!(out, "del server {server}"),
        }
    }
}

impl fmt::Display for RuntimeCommand {
    /// Writes the command for people, without the escapes for the socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |f, option| f.write_str(option.as_str()))
    }
}
