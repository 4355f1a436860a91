//! The orders: `server drain|maint|ready`, `accept`, `reject`, `refresh`, `reload`. Each is one request to the daemon, and
//! what it answers is printed.

use std::time::Duration;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::place::PlaceArgs;
use super::wording::printable;
use super::{block_on, output};
use crate::failure::Failure;
use crate::status::api::Done;

/// Which server, and what becomes of it.
#[derive(Debug, Args)]
pub struct ServerArgs {
    #[command(subcommand)]
    state: ServerState,
}

#[derive(Debug, Subcommand)]
enum ServerState {
    /// Let it finish what it has; it takes nothing new. Discovery does not undo it.
    Drain(ChoiceArgs),
    /// Take it out of service: HAProxy's maintenance. Discovery does not undo it.
    Maint(ChoiceArgs),
    /// Leave it to discovery again.
    Ready(ChoiceArgs),
}

#[derive(Debug, Args)]
struct ChoiceArgs {
    /// The service.
    service: String,
    /// The server within it, such as 10.0.0.1:8080
    server: String,
    /// For how long, such as 10m; without it until another order.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Why, for those who see it later.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Whose list.
#[derive(Debug, Args)]
pub struct BlockedArgs {
    /// The service whose list of hosts is blocked by the guard.
    #[arg(required_unless_present = "definitions")]
    service: Option<String>,
    /// The list of definitions, instead of a service's hosts.
    #[arg(long, conflicts_with = "service")]
    definitions: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is to be read again.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// The service whose source is to be read; without it everything is.
    service: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Why HAProxy is to be reloaded.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Why, for the journal.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// `server`.
pub fn server(args: &ServerArgs) -> Result<(), Failure> {
    let (word, choice) = match &args.state {
        ServerState::Drain(choice) => ("drain", choice),
        ServerState::Maint(choice) => ("maint", choice),
        ServerState::Ready(choice) => ("ready", choice),
    };
    let (service, server) = (encoded(&choice.service), encoded(&choice.server));
    let duration = choice.duration.map(|duration| humantime::format_duration(duration).to_string());
    let body = without_nulls(json!({"duration": duration, "reason": choice.reason}));
    give(&choice.place, &format!("/services/{service}/servers/{server}/{word}"), &body)
}

/// `accept`.
pub fn accept(args: &BlockedArgs) -> Result<(), Failure> {
    decide(args, "accept")
}

/// `reject`.
pub fn reject(args: &BlockedArgs) -> Result<(), Failure> {
    decide(args, "reject")
}

fn decide(args: &BlockedArgs, word: &str) -> Result<(), Failure> {
    let path = match &args.service {
        Some(service) => format!("/holds/{}/{word}", encoded(service)),
        None => format!("/holds/{word}"),
    };
    give(&args.place, &path, &json!({}))
}

/// `refresh`.
pub fn refresh(args: &RefreshArgs) -> Result<(), Failure> {
    let path = match &args.service {
        Some(service) => format!("/refresh/{}", encoded(service)),
        None => "/refresh".to_owned(),
    };
    give(&args.place, &path, &json!({}))
}

/// `reload`.
pub fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    give(&args.place, "/reload", &without_nulls(json!({"reason": args.reason})))
}

fn give(place: &PlaceArgs, path: &str, body: &Value) -> Result<(), Failure> {
    let done: Done = block_on(async {
        let client = place.orderer()?;
        Ok::<_, Failure>(client.post(&format!("/api/v1{path}"), body).await?)
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
