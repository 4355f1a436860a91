//! `proxymgr status`: the status of the running daemon, or of one service, on one screen.

mod service;
mod table;
#[cfg(test)]
mod tests;

use clap::Args;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::snapshot::{ActorState, HaproxyState};

pub use service::journal_of;

use super::daemon_args::DaemonArgs;
use super::text::{clipped, now_unix_ms, override_text, printable, span};
use super::{block_on, service_row};
use crate::failure::Failure;
use crate::status::concern::Concern;
use crate::status::format::counted;
use crate::status::report::StatusReport;
use crate::status::severity::Severity;
use crate::terminal::{self, Paint};

/// Problems shown; the rest is counted.
const CONCERNS_MAX: usize = 20;

/// Services named with a problem that they share; the rest is counted.
const SERVICES_MAX: usize = 5;

/// Overrides shown; the rest is counted.
const OVERRIDES_MAX: usize = 10;

/// Warnings of HAProxy shown; the rest is counted.
const WARNINGS_MAX: usize = 5;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Show all about this service: definition, source, hosts, pending change, certificates, events.
    service: Option<String>,
    /// Show only the problems, all of them.
    #[arg(long, conflicts_with = "service")]
    problems: bool,
    /// Print JSON: the whole status, or only the problems.
    #[arg(long, conflicts_with = "service")]
    json: bool,
}

/// Prints the status of the daemon, or of one service. Problems are a failure.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let screen = Screen { now_unix_ms: now_unix_ms(), paint: Paint::for_stdout(), width: terminal::width() };
    let (text, severity) = match &args.service {
        Some(name) => service::read(&args.daemon, name, screen)?,
        None => {
            let (json, report) = block_on(async { Ok::<_, Failure>(args.daemon.reader()?.status().await?) })?;
            let text = match (args.problems, args.json) {
                (false, false) => screen.text(&report),
                (false, true) => format!("{}\n", json.trim_end()),
                (true, false) => screen.problems(&report, usize::MAX),
                (true, true) => format!("{}\n", serde_json::json!(report.concerns)),
            };
            (text, report.severity)
        }
    };
    terminal::print(&text);
    if severity == Severity::Ok { Ok(()) } else { Err(Failure::Problems(severity)) }
}

/// All about one service as plain text; none if nothing is known of it.
pub fn service_text(report: &StatusReport, name: &str, journal: &[JournalEntry], now_unix_ms: u64) -> Option<String> {
    service::text(report, name, Screen { now_unix_ms, paint: Paint::none(), width: None }, journal)
}

/// The services of a problem of several: the first of them, and how many more.
fn services(concern: &Concern) -> Option<String> {
    let [_, _, ..] = concern.services.as_slice() else { return None };
    let listed = &concern.services[..concern.services.len().min(SERVICES_MAX)];
    let more = concern.services.len() - listed.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{}{more}", listed.join(", ")))
}

/// Layout of the screen.
#[derive(Clone, Copy)]
struct Screen {
    now_unix_ms: u64,
    paint: Paint,
    /// Width of the terminal; none if the output is not a terminal.
    width: Option<usize>,
}

impl Screen {
    /// The whole screen: headline, problems with advice, daemon and HAProxy, one line per service.
    fn text(self, report: &StatusReport) -> String {
        let mut text = self.problems(report, CONCERNS_MAX);
        text.push('\n');
        let daemon = &report.daemon;
        let up = span(daemon.uptime_s * 1_000);
        text.push_str(&format!("proxymgr {} ({}), pid {}, up {up}\n", daemon.version, daemon.commit, daemon.pid));
        if let Some(haproxy) = report.haproxy() {
            text.push_str(&self.haproxy_lines(report, haproxy));
            text.push_str(&self.overrides(haproxy));
            text.push_str(&self.warnings(haproxy));
            text.push('\n');
            text.push_str(&table::text(&service_row::rows(report, self.now_unix_ms), self.width, self.paint));
        }
        text
    }

    /// Headline and problems.
    fn problems(self, report: &StatusReport, problems_max: usize) -> String {
        let mut text = self.headline(report);
        let extra = report.concerns.len().saturating_sub(problems_max);
        report.concerns.iter().take(problems_max).for_each(|concern| text.push_str(&self.concern(concern)));
        if extra > 0 {
            text.push_str(&format!("  and {extra} more: see --problems\n"));
        }
        text
    }

    fn headline(self, report: &StatusReport) -> String {
        let serves = format!("HAProxy serves {}", report.services_served());
        match (report.readiness.ready, report.concerns.len()) {
            (true, 0) => format!("{}: {serves}.\n", self.paint.good("OK")),
            (true, n) => format!("{}; {serves}:\n", self.paint.bad(&counted(n, "problem"))),
            (false, n) => format!("{}, {}:\n", self.paint.bad("Not ready"), counted(n, "problem")),
        }
    }

    /// A problem; below it its age and the advice.
    fn concern(self, concern: &Concern) -> String {
        let since = concern.since_unix_ms.map(|since| format!("for {}: ", self.ago(since)));
        let serves = concern.serves_list_of_unix_ms;
        let serves = serves.map(|at| format!("the list in use was confirmed {} ago; ", self.ago(at)));
        let services = services(concern).map(|names| format!("{names}; "));
        let next = [since, serves, services].into_iter().flatten().collect::<String>() + &concern.advice;
        format!("  {}\n    {}\n", self.paint.bad(&printable(&concern.text)), self.paint.faint(&printable(&next)))
    }

    fn ago(self, unix_ms: u64) -> String {
        span(self.now_unix_ms.saturating_sub(unix_ms))
    }

    fn haproxy_lines(self, report: &StatusReport, haproxy: &HaproxyState) -> String {
        let mut text = match &haproxy.process {
            Some(process) => format!("HAProxy {}, pid {}", process.version_text, process.pid),
            None => "HAProxy is not running".to_owned(),
        };
        for state in report.actors.iter() {
            if let ActorState::ProcessSupervisor(state) = state {
                if let Some(oldest) = state.draining.iter().map(|process| process.since_unix_ms).min() {
                    let (count, oldest) = (state.draining.len(), self.ago(oldest));
                    text.push_str(&format!(", {count} draining, the oldest for {oldest}"));
                }
                if state.crashes > 0 {
                    text.push_str(&format!(", exited unexpectedly {} times", state.crashes));
                }
            }
        }
        let counts = &haproxy.counts;
        text.push_str(&format!(
            "\nruntime changes: {} enabled, {} disabled, {} deleted; reloads: {}\n",
            counts.runtime_enable, counts.runtime_disable, counts.runtime_delete, counts.reload
        ));
        if let Some(at) = haproxy.last_reload_unix_ms {
            let why = haproxy.last_reload.join("; ");
            text.push_str(&self.fitting(&format!("last reload {} ago: {why}", self.ago(at))));
        }
        if !haproxy.reload_due.is_empty() {
            text.push_str(&self.fitting(&format!("reload pending: {}", haproxy.reload_due.join("; "))));
        }
        text
    }

    /// Overrides of server states by operators.
    fn overrides(self, haproxy: &HaproxyState) -> String {
        let services = haproxy.services.iter();
        let overrides: Vec<_> = services
            .flat_map(|(service, state)| state.exceptions.operator.iter().map(move |choice| (service, choice)))
            .collect();
        let mut text = String::new();
        for (service, (server, choice)) in overrides.iter().take(OVERRIDES_MAX) {
            let terms = override_text(choice, self.now_unix_ms);
            text.push_str(&self.fitting(&format!("override: {service}/{server} {terms}")));
        }
        if overrides.len() > OVERRIDES_MAX {
            text.push_str(&format!("and {} more overrides: see --json\n", overrides.len() - OVERRIDES_MAX));
        }
        text
    }

    /// Warnings of HAProxy's check of the running configuration.
    fn warnings(self, haproxy: &HaproxyState) -> String {
        let of_services = haproxy.services.iter().flat_map(|(service, state)| {
            state.warnings.iter().map(move |warning| format!("HAProxy warns about {service}: {warning}"))
        });
        let warnings: Vec<String> =
            haproxy.warnings.iter().map(|warning| format!("HAProxy warns: {warning}")).chain(of_services).collect();
        let mut text: String = warnings.iter().take(WARNINGS_MAX).map(|warning| self.fitting(warning)).collect();
        if warnings.len() > WARNINGS_MAX {
            text.push_str(&format!("and {} more warnings: see --json\n", warnings.len() - WARNINGS_MAX));
        }
        text
    }

    /// One line, clipped to the width.
    fn fitting(self, text: &str) -> String {
        format!("{}\n", clipped(&printable(text), self.width.unwrap_or(usize::MAX)))
    }
}
