//! The status listener: health, API, metrics and page over HTTP, and the client of the command line.
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`], [`socket`] | the TCP and the unix socket, their threads and limits |
//! | [`access`], [`tls`] | token and certificate |
//! | [`gate`] | checks that every request passes: host, rate, token, size |
//! | [`part`] | registration of endpoints |
//! | [`health`], [`api`], [`metrics`], [`page`], [`annotations`], [`callbacks`] | the endpoints |
//! | [`report`], [`readiness`], [`concern`], [`severity`] | status, readiness, problems |
//! | [`source_state`], [`server_counts`] | the state of a source, servers by state |
//! | [`evidence`] | what speaks for or against a blocked change |
//! | [`restarts`] | orders of a restart in place, and the last result |
//! | [`certificate_report`] | the operator's certificates, without their keys |
//! | [`event_text`], [`server_history`], [`mod@format`] | events, the history of a server, numbers and times as text |
//! | [`known`] | the snapshots by service, the servers at one address |
//! | [`natural_order`] | order of names with numbers |
//! | [`view`], [`rendered`] | access to the actors, with caches |
//! | [`config_text`], [`masking`] | the configuration, with secrets hidden |
//! | [`problem`] | error answers |
//! | [`client`] | client for a running daemon |

pub mod access;
pub mod annotations;
pub mod api;
pub mod callbacks;
pub mod certificate_report;
pub mod client;
pub mod concern;
pub mod config_text;
pub mod event_text;
pub mod evidence;
pub mod format;
pub mod gate;
pub mod health;
pub mod known;
pub mod listener;
pub mod masking;
pub mod metrics;
pub mod natural_order;
pub mod page;
pub mod part;
pub mod problem;
pub mod readiness;
pub mod rendered;
pub mod report;
pub mod restarts;
pub mod server_counts;
pub mod server_history;
pub mod severity;
pub mod socket;
pub mod source_state;
pub mod tls;
pub mod view;

#[cfg(test)]
mod tests;
