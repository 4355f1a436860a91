//! `proxymgr host ADDRESS`: where an address serves, its state everywhere and its recent events; and orders for all of its
//! servers.

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::model::OperatorChoice;
use serde::Deserialize;

use super::daemon_args::DaemonArgs;
use super::orders::{Terms, send};
use super::output::{self, Paint};
use super::text::{now_unix_ms, override_text, printable, span};
use super::{block_on, events};
use crate::failure::Failure;
use crate::status::format::counted;

/// Events shown, the newest ones.
const EVENTS_MAX: usize = 20;

/// Arguments of `host`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct HostArgs {
    #[command(subcommand)]
    order: Option<HostOrder>,
    /// The address, with or without port, such as 10.0.0.1
    #[arg(required = true)]
    address: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Subcommand)]
enum HostOrder {
    /// Drain all of its servers, in every service.
    Drain(HostOrderArgs),
    /// Set all of its servers to maintenance, in every service.
    Maint(HostOrderArgs),
    /// End the overrides of all of its servers.
    Ready(HostOrderArgs),
}

#[derive(Debug, Args)]
struct HostOrderArgs {
    /// The address, with or without port, such as 10.0.0.1
    address: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// The answer of the daemon, as far as it is shown.
#[derive(Debug, Deserialize)]
struct HostAnswer {
    servers: Vec<HostServer>,
    journal: Vec<JournalEntry>,
}

#[derive(Debug, Deserialize)]
struct HostServer {
    service: String,
    name: String,
    state: Option<String>,
    wanted: Option<String>,
    down_since_unix_ms: Option<u64>,
    operator: Option<OperatorChoice>,
}

/// `host`.
pub fn host(args: &HostArgs) -> Result<(), Failure> {
    let (state, order) = match &args.order {
        Some(HostOrder::Drain(order)) => ("drain", order),
        Some(HostOrder::Maint(order)) => ("maint", order),
        Some(HostOrder::Ready(order)) => ("ready", order),
        None => return show(args.address.as_deref().unwrap_or_default(), &args.daemon),
    };
    send(&order.daemon, &format!("/hosts/{}/{state}", encoded(&order.address)), &order.terms.body())
}

fn show(address: &str, daemon: &DaemonArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/hosts/{}", encoded(address));
    let answer: HostAnswer = block_on(async { Ok::<_, Failure>(daemon.reader()?.get(&path).await?) })?;
    output::print(&text(address, &answer, now_unix_ms(), Paint::for_stdout()));
    Ok(())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn text(address: &str, answer: &HostAnswer, now_unix_ms: u64, paint: Paint) -> String {
    let mut services: Vec<&str> = answer.servers.iter().map(|server| server.service.as_str()).collect();
    services.dedup();
    let ready = answer.servers.iter().filter(|server| server.state.as_deref() == Some("ready")).count();
    let (servers, services) = (counted(answer.servers.len(), "server"), counted(services.len(), "service"));
    let mut text = format!("{}: {ready} of {servers} ready, in {services}\n", printable(address));
    let names = answer.servers.iter().map(|server| printable(&format!("{}/{}", server.service, server.name)));
    let names: Vec<String> = names.collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, server) in names.iter().zip(&answer.servers) {
        let state = server.state.as_deref().unwrap_or("not in HAProxy");
        let line = format!("  {name:width$} {state:<7} {}", note(server, now_unix_ms));
        let line = line.trim_end();
        text.push_str(&if state == "ready" { line.to_owned() } else { paint.bad(line) });
        text.push('\n');
    }
    if !answer.journal.is_empty() {
        text.push_str("\nlatest events:\n");
        let skipped = answer.journal.len().saturating_sub(EVENTS_MAX);
        answer.journal[skipped..].iter().for_each(|entry| text.push_str(&format!("{}\n", events::line(entry, paint))));
    }
    text
}

/// Why a server is in its state.
fn note(server: &HostServer, now_unix_ms: u64) -> String {
    let down = server.down_since_unix_ms.map(|since| format!("for {}", span(now_unix_ms.saturating_sub(since))));
    let choice = server.operator.as_ref().map(|choice| format!("override {}", override_text(choice, now_unix_ms)));
    let discovery = match server.wanted.as_deref() {
        None => Some("its host is gone from discovery".to_owned()),
        Some("ready") => None,
        Some(state) if server.operator.is_none() => Some(format!("{state} in discovery")),
        Some(_) => None,
    };
    [down, choice, discovery].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_shows_its_servers_in_all_services() {
        let answer = serde_json::json!({
            "servers": [
                {"service": "api", "name": "10.0.0.1:8080", "state": "down", "wanted": "ready",
                 "down_since_unix_ms": 20_000, "operator": null},
                {"service": "web", "name": "10.0.0.1:80", "state": "drain", "wanted": "ready", "down_since_unix_ms": null,
                 "operator": {"state": "drain", "reason": "new disk", "since_unix_ms": 0, "until_unix_ms": 120_000}},
            ],
            "journal": [],
        });
        let answer: HostAnswer = serde_json::from_value(answer).unwrap();
        assert_eq!(
            text("10.0.0.1", &answer, 60_000, Paint::none()),
            "10.0.0.1: 0 of 2 servers ready, in 2 services
  api/10.0.0.1:8080 down    for 40s
  web/10.0.0.1:80   drain   override drain for 1m, 1m left: new disk
"
        );
    }
}
