//! Orders to the daemon: `server drain|maint|ready`, `accept`, `reject`, `refresh`, `reload`. Each is one request.

use std::time::Duration;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::daemon_args::DaemonArgs;
use super::text::printable;
use super::{block_on, output};
use crate::failure::Failure;
use crate::status::api::Done;

/// Arguments of `server`.
#[derive(Debug, Args)]
pub struct ServerArgs {
    #[command(subcommand)]
    order: ServerOrder,
}

#[derive(Debug, Subcommand)]
enum ServerOrder {
    /// Drain it: it takes no new sessions. Discovery does not end the override.
    Drain(OverrideArgs),
    /// Set it to maintenance. Discovery does not end the override.
    Maint(OverrideArgs),
    /// End the override: discovery decides again.
    Ready(OverrideArgs),
}

#[derive(Debug, Args)]
struct OverrideArgs {
    /// The service.
    service: String,
    /// The server within it, such as 10.0.0.1:8080
    server: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Terms of an override.
#[derive(Debug, Args)]
pub struct Terms {
    /// Duration of the override, such as 10m; unlimited by default.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// The reason, shown to other operators.
    #[arg(long)]
    reason: Option<String>,
    /// Do it even if no server of a service would take traffic any more.
    #[arg(long)]
    force: bool,
}

impl Terms {
    /// The body of the order.
    pub fn body(&self) -> Value {
        let duration = self.duration.map(|duration| humantime::format_duration(duration).to_string());
        let force = self.force.then_some(true);
        without_nulls(json!({"duration": duration, "reason": self.reason, "force": force}))
    }
}

/// Arguments of `accept` and `reject`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The service whose change of hosts is blocked.
    #[arg(required_unless_present = "definitions")]
    service: Option<String>,
    /// The change of the service definitions, instead of the hosts of a service.
    #[arg(long, conflicts_with = "service")]
    definitions: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// The service whose source is read; by default all sources are read.
    service: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The reason, for the journal.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// `server`.
pub fn server(args: &ServerArgs) -> Result<(), Failure> {
    let (state, target) = match &args.order {
        ServerOrder::Drain(target) => ("drain", target),
        ServerOrder::Maint(target) => ("maint", target),
        ServerOrder::Ready(target) => ("ready", target),
    };
    let (service, server) = (encoded(&target.service), encoded(&target.server));
    send(&target.daemon, &format!("/services/{service}/servers/{server}/{state}"), &target.terms.body())
}

/// `accept`.
pub fn accept(args: &GuardArgs) -> Result<(), Failure> {
    decide(args, "accept")
}

/// `reject`.
pub fn reject(args: &GuardArgs) -> Result<(), Failure> {
    decide(args, "reject")
}

fn decide(args: &GuardArgs, word: &str) -> Result<(), Failure> {
    let path = match &args.service {
        Some(service) => format!("/holds/{}/{word}", encoded(service)),
        None => format!("/holds/{word}"),
    };
    send(&args.daemon, &path, &json!({}))
}

/// `refresh`.
pub fn refresh(args: &RefreshArgs) -> Result<(), Failure> {
    let path = match &args.service {
        Some(service) => format!("/refresh/{}", encoded(service)),
        None => "/refresh".to_owned(),
    };
    send(&args.daemon, &path, &json!({}))
}

/// `reload`.
pub fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    send(&args.daemon, "/reload", &without_nulls(json!({"reason": args.reason})))
}

/// Sends an order and prints what was done.
pub(super) fn send(daemon: &DaemonArgs, path: &str, body: &Value) -> Result<(), Failure> {
    let done: Done = block_on(async {
        let client = daemon.writer()?;
        Ok::<_, Failure>(client.post(&format!("/api/v1{path}"), body).await?)
    })?;
    output::print(&format!("{}\n", printable(&done.done)));
    Ok(())
}

/// Sends an order to end something, and prints what was done.
pub(super) fn remove(daemon: &DaemonArgs, path: &str) -> Result<(), Failure> {
    let done: Done = block_on(async {
        let client = daemon.writer()?;
        Ok::<_, Failure>(client.delete(&format!("/api/v1{path}")).await?)
    })?;
    output::print(&format!("{}\n", printable(&done.done)));
    Ok(())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn without_nulls(mut body: Value) -> Value {
    if let Some(map) = body.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    body
}
