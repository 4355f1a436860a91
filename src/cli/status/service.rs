//! `proxymgr status SERVICE`: all about one service, as an operator needs it to understand a problem.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::model::{BlockedChange, ServerName, ServiceName};
use proxymgr_actors::snapshot::{ActorState, ServiceState, WatcherState};

use super::Screen;
use crate::cli::block_on;
use crate::cli::daemon_args::DaemonArgs;
use crate::cli::events;
use crate::cli::text::{override_text, printable};
use crate::failure::Failure;
use crate::status::api::Entries;
use crate::status::client::{AskError, StatusClient};
use crate::status::evidence::{Evidence, Removed};
use crate::status::format::{counted, duration};
use crate::status::natural_order;
use crate::status::report::StatusReport;
use crate::status::server_counts::ServerCounts;
use crate::status::severity::Severity;
use crate::status::source_state::SourceState;

/// Events shown, the newest ones.
const EVENTS_MAX: usize = 15;

/// Reads one service from the daemon. Returns the screen and how urgently the service needs attention.
pub fn read(daemon: &DaemonArgs, name: &str, screen: Screen) -> Result<(String, Severity), Failure> {
    let (report, journal) = block_on(async {
        let client = daemon.reader()?;
        let (_, report) = client.status().await?;
        let journal = journal_of(&client, name).await?;
        Ok::<_, Failure>((report, journal))
    })?;
    let service = ServiceOf::find(&report, name).ok_or_else(|| {
        Failure::Refused(format!("there is no service {}; `proxymgr status` lists all", printable(name)))
    })?;
    Ok((service.text(screen, &journal), service.severity()))
}

/// The screen of one service; none if nothing is known of it.
pub fn text(report: &StatusReport, name: &str, screen: Screen, journal: &[JournalEntry]) -> Option<String> {
    Some(ServiceOf::find(report, name)?.text(screen, journal))
}

/// The newest journal entries of a service, oldest first.
pub async fn journal_of(client: &StatusClient, name: &str) -> Result<Vec<JournalEntry>, AskError> {
    let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let entries: Entries = client.get(&format!("/api/v1/journal?limit={EVENTS_MAX}&service={encoded}")).await?;
    Ok(entries.entries)
}

/// What a report says of one service.
struct ServiceOf<'a> {
    name: &'a str,
    report: &'a StatusReport,
    service: Option<&'a ServiceState>,
    watcher: Option<&'a WatcherState>,
}

impl<'a> ServiceOf<'a> {
    /// The service of this name; none if nothing is known of it.
    fn find(report: &'a StatusReport, name: &'a str) -> Option<Self> {
        let key = ServiceName::new(name).ok();
        let service = key.and_then(|key| report.haproxy()?.services.get(&key));
        let watcher = report.actors.iter().find_map(|state| match state {
            ActorState::Watcher(watcher) if watcher.service == name => Some(watcher),
            _ => None,
        });
        let has_problem = report.concerns.iter().any(|concern| concern.concerns(name));
        (service.is_some() || watcher.is_some() || has_problem).then_some(Self { name, report, service, watcher })
    }

    /// The severity of its worst problem, so that the exit code agrees with that of the whole status.
    fn severity(&self) -> Severity {
        let concerns = self.report.concerns.iter().filter(|concern| concern.concerns(self.name));
        concerns.map(|concern| concern.severity).max().unwrap_or_default()
    }

    fn text(&self, screen: Screen, journal: &[JournalEntry]) -> String {
        let mut text = self.headline(screen);
        let concerns: Vec<_> = self.report.concerns.iter().filter(|concern| concern.concerns(self.name)).collect();
        concerns.iter().for_each(|concern| text.push_str(&screen.concern(concern)));
        text.push('\n');
        for fact in self.facts(screen) {
            text.push_str(&format!("{}\n", printable(&fact)));
        }
        text.push_str(&self.pending(screen));
        text.push_str(&self.servers(screen));
        if !journal.is_empty() {
            text.push_str("\nlatest events:\n");
            journal.iter().for_each(|entry| text.push_str(&format!("{}\n", events::line(entry, screen.paint))));
        }
        text
    }

    fn headline(&self, screen: Screen) -> String {
        let count = self.report.concerns.iter().filter(|concern| concern.concerns(self.name)).count();
        let hosts = self.watcher.and_then(|watcher| watcher.hosts.as_deref());
        let servers = self.service.map(|service| ServerCounts::of(&service.servers, hosts)).unwrap_or_default();
        let ready = format!("{} of {} ready", servers.ready, counted(servers.total(), "server"));
        let name = printable(self.name);
        match (self.severity(), count) {
            (Severity::Ok, _) => format!("{}: {name}, {ready}.\n", screen.paint.good("OK")),
            (_, count) => format!("{}: {name}, {ready}:\n", screen.paint.bad(&counted(count, "problem"))),
        }
    }

    /// Where it is defined, where it listens, its source, how it is updated, its certificates.
    fn facts(&self, screen: Screen) -> Vec<String> {
        let mut facts = Vec::new();
        if let Some(service) = self.service {
            let defined = &service.defined;
            facts.push(format!("defined in {}", defined.origin));
            facts.push(format!("listens on {}", service.listen.as_deref().unwrap_or("no address of its own")));
            if !defined.domains.is_empty() {
                facts.push(format!("domains {}", defined.domains.join(", ")));
            }
            facts.push(format!("min_hosts {}; health checks {}", defined.min_hosts, on_off(defined.checks_health)));
            let slots = service.free_slots.map(|free| format!(", {}", counted(free, "free slot")));
            let (update, why) = (service.update.as_str(), &service.update_reason);
            facts.push(format!("update {update}{}: {why}", slots.unwrap_or_default()));
        }
        if let Some(watcher) = self.watcher {
            let state = SourceState::of(watcher).label();
            let hosts = watcher.hosts.as_ref().map_or("no list".to_owned(), |hosts| counted(hosts.len(), "host"));
            let age = watcher.confirmed_unix_ms.map(|at| format!(", confirmed {} ago", screen.ago(at)));
            facts.push(format!("source {}: {state}, {hosts}{}", watcher.source_kind, age.unwrap_or_default()));
        }
        for name in self.service.iter().flat_map(|service| &service.defined.certificates) {
            facts.push(self.certificate(name));
        }
        if let Some(last) = self.service.map(|service| &service.last).filter(|last| last.class.is_some()) {
            let class = last.class.as_deref().unwrap_or_default();
            let ago = last.applied_unix_ms.map(|at| format!("{} ago ", screen.ago(at)));
            let took = last.took_us.map(|took_us| format!(" in {}", duration(took_us)));
            facts.push(format!("last change {}{class}{}", ago.unwrap_or_default(), took.unwrap_or_default()));
        }
        facts.extend(self.service.iter().flat_map(|it| &it.warnings).map(|warning| format!("warning: {warning}")));
        facts
    }

    /// A certificate of its listeners, with its problem, if any.
    fn certificate(&self, name: &str) -> String {
        let about = format!("certificate {name}");
        let is_about = |text: &str| text.starts_with(&format!("{about} ")) || text.starts_with(&format!("{about}:"));
        let problem = self.report.concerns.iter().find(|concern| is_about(&concern.text));
        problem.map_or_else(|| format!("{about}: ok"), |concern| concern.text.clone())
    }

    /// The change that the guard blocks, host by host.
    fn pending(&self, screen: Screen) -> String {
        let Some(watcher) = self.watcher else { return String::new() };
        let one = |title: &str, change: &BlockedChange| {
            let Evidence { removes, verdict } = Evidence::of_hosts(change, self.service);
            let mut text = format!("\n{title}: {}\n", printable(&change.reason));
            text.extend(verdict.map(|verdict| format!("  {verdict}\n")));
            for Removed { name, health, down_since_unix_ms } in &removes {
                let since = down_since_unix_ms.map(|since| format!(" for {}", screen.ago(since)));
                let line = format!("  would go: {} {}{}", printable(name), health.label(), since.unwrap_or_default());
                text.push_str(&format!("{line}\n"));
            }
            let unlisted = change.removes.count.saturating_sub(removes.len());
            if unlisted > 0 {
                text.push_str(&format!("  and {unlisted} more\n"));
            }
            text.extend(change.adds.first.iter().map(|name| format!("  would come: {}\n", printable(name))));
            text
        };
        let pending = watcher.held.iter().map(|change| one("pending change", change));
        pending.chain(watcher.rejected.iter().map(|change| one("rejected change", change))).collect()
    }

    /// Its servers, one per line.
    fn servers(&self, screen: Screen) -> String {
        let Some(service) = self.service else { return String::new() };
        let hosts = self.watcher.and_then(|watcher| watcher.hosts.as_deref());
        let mut names: Vec<&ServerName> =
            service.servers.keys().chain(hosts.into_iter().flat_map(|hosts| hosts.keys())).collect();
        names.sort_unstable_by(|a, b| natural_order::compare(a.as_str(), b.as_str()));
        names.dedup();
        let width = names.iter().map(|name| name.as_str().chars().count()).max().unwrap_or(0);
        let mut text = String::from(if names.is_empty() { "" } else { "\n" });
        for name in names {
            let is_listed = hosts.is_none_or(|hosts| hosts.contains_key(name));
            let state = service.servers.get(name).map_or("not in HAProxy", |state| state.as_str());
            let line =
                format!("{:width$} {state:<7} {}", printable(name.as_str()), note(service, name, is_listed, screen));
            let line = line.trim_end();
            let is_ready = state == "ready";
            text.push_str(&format!("{}\n", if is_ready { line.to_owned() } else { screen.paint.bad(line) }));
        }
        text
    }
}

/// Why a server is in its state.
fn note(service: &ServiceState, name: &ServerName, is_listed: bool, screen: Screen) -> String {
    let exceptions = &service.exceptions;
    let mut notes = Vec::new();
    notes.extend(exceptions.down_since_unix_ms.get(name).map(|since| format!("for {}", screen.ago(*since))));
    let choice = exceptions.operator.get(name);
    notes.extend(choice.map(|choice| format!("override {}", override_text(choice, screen.now_unix_ms))));
    if exceptions.drained_on_socket.contains(name) {
        notes.push("set to drain on HAProxy's own socket".to_owned());
    }
    if !is_listed {
        notes.push("its host is gone from discovery".to_owned());
    }
    if let Some(rising) = exceptions.rising.get(name) {
        notes.push(format!("weight at {} %", rising.percent));
    }
    notes.join("; ")
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}
