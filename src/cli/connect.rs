//! `proxymgr check --connect`: queries every source and HAProxy's socket.

use std::collections::BTreeMap;
use std::time::Duration;

use proxymgr_actors::decide::unknown_keys;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen, SeenHost};
use proxymgr_actors::model::{ProcessInfo, ProxyManagement};
use proxymgr_actors::port::{RuntimeApi, RuntimeError};
use slog::Logger;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::check::definitions::{Definitions, Judged, JudgedService};
use super::check::rendered;
use super::desired::{Inbox, first_good};
use super::text::printable;
use super::{block_on, output, quiet_log};
use crate::daemon::adapters::{self, Discovery};
use crate::daemon::host_networks;
use crate::failure::Failure;
use crate::logging;
use crate::proxy::haproxy_socket::HaproxySocket;
use crate::settings::{RuntimeAddress, Settings, Target};
use crate::status::format::counted;

/// The most entries of one service that are listed because they cannot be used.
const UNUSABLE_SHOWN_MAX: usize = 5;

/// Answers of the sources of one kind.
#[derive(Debug, Default)]
struct Kind {
    sources: usize,
    entries: usize,
    /// Services whose source does not answer, with errors.
    silent: Vec<(String, String)>,
    /// Services whose hosts have keys that have no effect, and which.
    remarks: Vec<(String, String)>,
}

/// Prints the answer of each, within `limit`. A silent source is a failure; a silent HAProxy may not be started yet.
pub fn connect(judged: Option<Judged>, settings: &Settings, limit: Duration) -> Result<(), Failure> {
    let logging = quiet_log(settings);
    let (sources, sockets) = block_on(async {
        let sources = ask_sources(judged, settings, limit, logging.root()).await;
        (sources, ask_sockets(settings, limit, logging.root()).await)
    });
    let (text, answers) = sources?;
    output::print(&printable_lines(&format!("{text}{sockets}")));
    match answers {
        Answers::Good => Ok(()),
        Answers::Mistaken => Err(Failure::Reported),
        Answers::NotAll => {
            let limit = humantime::format_duration(limit);
            Err(Failure::CannotStart(format!("not all sources answered within {limit}")))
        }
    }
}

/// Whether all sources answered, and without mistakes.
enum Answers {
    Good,
    Mistaken,
    NotAll,
}

/// Answers of the sources. Definitions that are not judged yet are read first.
async fn ask_sources(
    judged: Option<Judged>,
    settings: &Settings,
    limit: Duration,
    log: &Logger,
) -> Result<(String, Answers), Failure> {
    let discovery = Discovery::to_look(settings, log)?;
    let judged = match judged {
        Some(judged) => judged,
        None => {
            let (inbox, seen) = Inbox::open();
            let _definitions_open = discovery.definitions.open(inbox);
            match first_good(seen, Instant::now() + limit, |seen: DefinitionsSeen| seen.result).await {
                Ok(definitions) => {
                    let mut judged = Definitions::of(definitions).judge(settings);
                    judged.mistakes.extend(rendered::mistakes(&judged, settings, log).await);
                    judged
                }
                Err(error) => return Ok((format!("definitions: no answer: {error}\n"), Answers::NotAll)),
            }
        }
    };
    let networks = host_networks::of(settings);
    let mut text = format!("definitions: {}\n", counted(judged.services.len(), "service"));
    let mistakes = judged.mistakes.iter().map(ToString::to_string);
    mistakes.chain(judged.warnings).for_each(|problem| text.push_str(&format!("  {problem}\n")));
    // All sources are queried in parallel, with the same deadline.
    let mut queries = Vec::new();
    for JudgedService { service, .. } in &judged.services {
        let (inbox, seen) = Inbox::open();
        let (name, source) = (&service.definition.name, &service.definition.source);
        let open = discovery.hosts.open(name, source, inbox);
        queries.push((name.clone(), source.kind.clone(), seen, open));
    }
    let deadline = Instant::now() + limit;
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for (name, kind, seen, open) in queries {
        let answer = match open {
            Ok(_open) => first_good(seen, deadline, |seen: HostsSeen| seen.result).await,
            Err(error) => Err(error),
        };
        let kind = kinds.entry(kind).or_default();
        kind.sources += 1;
        match answer {
            Ok(mut seen) => {
                kind.entries += seen.len();
                networks.granted(&settings.haproxy.options.grants.hosts_of(name.as_str())).judge(&mut seen);
                kind.remarks.extend(unusable(&seen).map(|remark| (name.to_string(), remark)));
                kind.remarks.extend(unknown_keys::in_hosts(&seen).map(|remark| (name.to_string(), remark)));
            }
            Err(error) => kind.silent.push((name.to_string(), error)),
        }
    }
    kinds.iter().for_each(|(name, kind)| text.push_str(&kind.text(name)));
    let answers = match kinds.values().all(|kind| kind.silent.is_empty()) {
        _ if !judged.mistakes.is_empty() => Answers::Mistaken,
        true => Answers::Good,
        false => Answers::NotAll,
    };
    Ok((text, answers))
}

impl Kind {
    fn text(&self, name: &str) -> String {
        let answering = self.sources - self.silent.len();
        let mut text = format!(
            "hosts from {name}: {answering} of {} answer, {}\n",
            counted(self.sources, "source"),
            counted(self.entries, "host")
        );
        self.silent
            .iter()
            .chain(&self.remarks)
            .for_each(|(service, error)| text.push_str(&format!("  {service}: {error}\n")));
        text
    }
}

/// Returns what is wrong with the first entries that cannot be used.
fn unusable(seen: &[SeenHost]) -> impl Iterator<Item = String> {
    let problems = seen.iter().filter_map(|entry| Some(format!("{}: {}", entry.key, entry.record.as_ref().err()?)));
    problems.take(UNUSABLE_SHOWN_MAX)
}

/// Answers of HAProxy's socket and of the targets.
async fn ask_sockets(settings: &Settings, limit: Duration, log: &Logger) -> String {
    let haproxy = &settings.haproxy;
    let log = logging::component(log, "check");
    let own = adapters::runtime(haproxy, &log);
    let mut text = match (timeout(limit, own.process()).await, haproxy.run.management()) {
        (Ok(Err(error)), ProxyManagement::Supervised) => {
            format!("HAProxy's socket: {error}; this is expected before proxymgr has started HAProxy\n")
        }
        (answer, _) => format!("HAProxy's socket: {}\n", answer_text(answer, &haproxy.socket)),
    };
    for Target { name, address } in &haproxy.targets {
        let answer = timeout(limit, HaproxySocket::of_others(address, log.clone()).process()).await;
        text.push_str(&format!("target {name}: {}\n", answer_text(answer, address)));
    }
    text
}

fn answer_text(answer: Result<Result<ProcessInfo, RuntimeError>, Elapsed>, address: &RuntimeAddress) -> String {
    match answer {
        Ok(Ok(process)) => format!("HAProxy {} answers, pid {}", process.version_text, process.pid),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("{address} does not answer"),
    }
}

/// Removes control characters, which could move the cursor.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}
