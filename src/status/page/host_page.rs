//! The page of one host: its servers in all services, and their recent story.

use proxymgr_actors::model::ServerName;
use serde::Serialize;

use super::board::Board;
use super::lines::{self, Line};
use super::service_page::ServerLine;
use crate::status::known::{Known, entries_about};
use crate::status::natural_order;

/// One host.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HostView {
    /// Its address.
    pub address: String,
    /// Its servers, each with its service.
    pub servers: Vec<(String, ServerLine)>,
    /// Number of those that take traffic.
    pub ready: usize,
    /// Journal entries about them, newest first.
    pub lines: Vec<Line>,
}

/// Collects the page of one host; none if no service has a server at this address.
pub async fn gather(board: &Board, address: &str) -> Option<HostView> {
    let report = board.read(|shown| shown.report.clone())?;
    let known = Known::of(&report.actors);
    let mut names = known.servers_at(address);
    names.sort_by(|a, b| natural_order::compare(a.0, b.0).then_with(|| natural_order::compare(a.1, b.1)));
    let line = |(service, server): &(&str, &str)| {
        let known = known.service(service)?;
        let name = ServerName::new(server).ok()?;
        Some(((*service).to_owned(), ServerLine::of(&name, known.haproxy?, known.watcher)))
    };
    let servers: Vec<_> = names.iter().filter_map(line).collect();
    if servers.is_empty() {
        return None;
    }
    let entries = entries_about(&*board.view, &names).await;
    Some(HostView {
        address: address.to_owned(),
        ready: servers.iter().filter(|(_, line)| line.state == "ready").count(),
        servers,
        lines: entries.iter().rev().map(lines::line).collect(),
    })
}
