//! What the daemon says of itself over HTTP, and how the command line asks for it.
//!
//! | file | what |
//! | --- | --- |
//! | [`listener`] | the socket, its one thread, its limits |
//! | [`access`], [`tls`] | who may reach it: token and certificate |
//! | [`gate`] | what every request passes first |
//! | [`part`] | who answers which paths; where other parts register theirs |
//! | [`health`], [`api`], [`metrics`], [`page`], [`annotations`], [`callbacks`] | the endpoints |
//! | [`report`], [`concern`], [`standing`], [`telling`], [`story`] | what all of them tell, and in which words |
//! | [`view`], [`rendered`] | whom they ask, and what they need not make twice |
//! | [`config_text`] | the configuration as they show it |
//! | [`problem`] | how they refuse |
//! | [`client`] | how the command line asks |

pub mod access;
pub mod annotations;
pub mod api;
pub mod callbacks;
pub mod client;
pub mod concern;
pub mod config_text;
pub mod gate;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod page;
pub mod part;
pub mod problem;
pub mod rendered;
pub mod report;
pub mod standing;
pub mod story;
pub mod telling;
pub mod tls;
pub mod view;

#[cfg(test)]
mod tests;
