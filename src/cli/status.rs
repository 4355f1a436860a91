//! `proxymgr status`: how the running daemon is, on one screen.

use clap::Args;
use proxymgr_actors::snapshot::{ActorState, HaproxyState};

use super::output::{self, Paint};
use super::place::PlaceArgs;
use super::service_row::{self, ServiceRow, Trouble};
use super::wording::{clipped, now_unix_ms, printable, span};
use super::{block_on, terminal};
use crate::failure::Failure;
use crate::status::concern::Concern;
use crate::status::report::StatusReport;

/// Concerns that are shown; what is more is counted.
const CONCERNS_MAX: usize = 20;

/// Operators' choices that are shown; what is more is counted.
const CHOICES_MAX: usize = 10;

/// The most warnings of HAProxy that are shown.
const WARNINGS_MAX: usize = 5;

/// What is to be shown.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the whole status as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks the daemon and prints what it says.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let (text, report) = block_on(async { Ok::<_, Failure>(args.place.reader()?.status().await?) })?;
    if args.json {
        output::print(&format!("{}\n", text.trim_end()));
    } else {
        let look = Look { now_unix_ms: now_unix_ms(), paint: Paint::for_stdout(), width: terminal::width() };
        output::print(&look.screen(&report));
    }
    Ok(())
}

/// How it is to look.
#[derive(Clone, Copy)]
struct Look {
    now_unix_ms: u64,
    paint: Paint,
    /// The columns of the terminal; none where it is written to something else.
    width: Option<usize>,
}

impl Look {
    /// One sentence first; then what is not well and what to do, who is there, and every service in a line.
    fn screen(self, report: &StatusReport) -> String {
        let mut text = self.headline(report);
        let extra = report.concerns.len().saturating_sub(CONCERNS_MAX);
        report.concerns.iter().take(CONCERNS_MAX).for_each(|concern| text.push_str(&self.concern(concern)));
        if extra > 0 {
            text.push_str(&format!("  and {extra} more: see --json\n"));
        }
        text.push('\n');
        let daemon = &report.daemon;
        let up = span(daemon.uptime_s * 1_000);
        text.push_str(&format!("proxymgr {} ({}), pid {}, up {up}\n", daemon.version, daemon.commit, daemon.pid));
        if let Some(haproxy) = report.haproxy() {
            text.push_str(&self.haproxy_lines(report, haproxy));
            text.push_str(&self.choices(haproxy));
            text.push_str(&self.warnings(haproxy));
            text.push('\n');
            text.push_str(&self.service_table(&service_row::rows(report, self.now_unix_ms)));
        }
        text
    }

    fn headline(self, report: &StatusReport) -> String {
        let services = report.haproxy().map_or(0, |haproxy| haproxy.services.len());
        let known = if services == 1 { "1 service".to_owned() } else { format!("{services} services") };
        match (report.readiness.ready, report.concerns.len()) {
            (true, 0) => format!("{}: HAProxy serves {known}.\n", self.paint.good("All is well")),
            (true, 1) => format!("HAProxy serves {known}, {}:\n", self.paint.bad("but one thing is not well")),
            (true, n) => {
                format!("HAProxy serves {known}, {}:\n", self.paint.bad(&format!("but {n} things are not well")))
            }
            (false, _) => format!("{}:\n", self.paint.bad("HAProxy is not kept in step")),
        }
    }

    /// What is not well; below it since when, and what to do.
    fn concern(self, concern: &Concern) -> String {
        let since = concern.since_unix_ms.map(|since| format!("since {} ago: ", self.ago(since)));
        let serves = concern.serves_list_of_unix_ms;
        let serves = serves.map(|at| format!("served is the list confirmed {} ago; ", self.ago(at)));
        let next = format!("{}{}{}", since.unwrap_or_default(), serves.unwrap_or_default(), concern.advice);
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
                    text.push_str(&format!(", {count} old draining, the oldest for {oldest}"));
                }
                if state.crashes > 0 {
                    text.push_str(&format!(", ended unasked {} times", state.crashes));
                }
            }
        }
        let counts = &haproxy.counts;
        text.push_str(&format!(
            "\nchanges at run time: {} enabled, {} disabled, {} deleted; reloads: {}\n",
            counts.runtime_enable, counts.runtime_disable, counts.runtime_delete, counts.reload
        ));
        if let Some(at) = haproxy.last_reload_unix_ms {
            let why = haproxy.last_reload.join("; ");
            text.push_str(&self.fitting(&format!("last reload {} ago: {why}", self.ago(at))));
        }
        if !haproxy.reload_due.is_empty() {
            text.push_str(&self.fitting(&format!("a reload is due: {}", haproxy.reload_due.join("; "))));
        }
        text
    }

    /// What operators chose for servers.
    fn choices(self, haproxy: &HaproxyState) -> String {
        let services = haproxy.services.iter();
        let choices: Vec<_> =
            services.flat_map(|(service, state)| state.operator.iter().map(move |choice| (service, choice))).collect();
        let mut text = String::new();
        for (service, (server, choice)) in choices.iter().take(CHOICES_MAX) {
            let state = choice.state.as_str();
            let until = choice
                .until_unix_ms
                .map(|until| format!(", for {} more", span(until.saturating_sub(self.now_unix_ms))));
            let reason = choice.reason.as_ref().map(|reason| format!(": {reason}"));
            let since = self.ago(choice.since_unix_ms);
            let (until, reason) = (until.unwrap_or_default(), reason.unwrap_or_default());
            text.push_str(
                &self.fitting(&format!("by an operator: {service}/{server} {state} since {since} ago{until}{reason}")),
            );
        }
        if choices.len() > CHOICES_MAX {
            text.push_str(&format!("and {} more by operators: see --json\n", choices.len() - CHOICES_MAX));
        }
        text
    }

    /// What HAProxy warned of when it checked the file that runs.
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

    /// One line that fits.
    fn fitting(self, text: &str) -> String {
        format!("{}\n", clipped(&printable(text), self.width.unwrap_or(usize::MAX)))
    }

    /// The columns fit the terminal: names are clipped first, then what is less important is left out.
    fn service_table(self, rows: &[ServiceRow]) -> String {
        let columns = Columns::fitting(rows, self.width);
        let mut text = format!("{}\n", self.paint.faint(&columns.head()));
        for row in rows {
            let line = columns.line(row);
            text.push_str(&if row.trouble == Trouble::None { line } else { self.paint.bad(&line) });
            text.push('\n');
        }
        text
    }
}

/// How wide each column of the table is; 0 for those that are left out.
struct Columns {
    name: usize,
    listen: usize,
    source: usize,
    update: usize,
    last_change: usize,
    whole: usize,
}

/// What the four columns of numbers take.
const NUMBERS_WIDTH: usize = 4 * 6;

/// The narrowest that a clipped name tells anything.
const NAME_WIDTH_MIN: usize = 12;

impl Columns {
    fn fitting(rows: &[ServiceRow], width: Option<usize>) -> Self {
        let widest = |text: fn(&ServiceRow) -> &str, least: usize| {
            rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(least)
        };
        let whole = width.unwrap_or(usize::MAX);
        let mut columns = Self {
            name: widest(|row| &row.name, "SERVICE".len()),
            listen: widest(|row| &row.listen, "LISTEN".len()),
            source: widest(|row| &row.source, "SOURCE".len()),
            update: widest(|row| row.update, "UPDATE".len()),
            last_change: widest(|row| &row.last_change, "LAST CHANGE".len()),
            whole,
        };
        let excess = |columns: &Self| columns.needed().saturating_sub(whole);
        columns.name -= excess(&columns).min(columns.name.saturating_sub(NAME_WIDTH_MIN));
        if excess(&columns) > 0 {
            columns.listen = 0;
        }
        if excess(&columns) > 0 {
            columns.update = 0;
        }
        if excess(&columns) > 0 {
            columns.last_change = 0;
        }
        columns
    }

    fn needed(&self) -> usize {
        let with_blank = |width: usize| if width == 0 { 0 } else { width + 1 };
        let least = self.name + NUMBERS_WIDTH + 2 + self.source;
        [self.listen, self.update, self.last_change].into_iter().map(with_blank).sum::<usize>() + least
    }

    fn head(&self) -> String {
        self.written(["SERVICE", "LISTEN", "SOURCE", "UPDATE", "LAST CHANGE"], ["READY", "DOWN", "DRAIN", "MAINT"])
    }

    fn line(&self, row: &ServiceRow) -> String {
        let numbers = [row.ready, row.down, row.drain, row.maint].map(|number| number.to_string());
        self.written(
            [&row.name, &row.listen, &row.source, row.update, &row.last_change],
            numbers.each_ref().map(String::as_str),
        )
    }

    fn written(&self, [name, listen, source, update, last_change]: [&str; 5], numbers: [&str; 4]) -> String {
        let mut line = format!("{:width$}", clipped(&printable(name), self.name), width = self.name);
        if self.listen > 0 {
            line.push_str(&format!(" {:width$}", clipped(listen, self.listen), width = self.listen));
        }
        numbers.iter().for_each(|number| line.push_str(&format!(" {number:>5}")));
        line.push_str(&format!("  {source:width$}", width = self.source));
        if self.update > 0 {
            line.push_str(&format!(" {update:width$}", width = self.update));
        }
        if self.last_change > 0 {
            line.push_str(&format!(" {last_change}"));
        }
        clipped(line.trim_end(), self.whole)
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{
        AdminState, OperatorChoice, ProcessInfo, ProxyVersion, ServerName, ServerState, ServiceName, UpdateStrategy,
    };
    use proxymgr_actors::snapshot::{ProxyPhase, ServiceState, WatcherState};

    use super::*;
    use crate::status::report::DaemonFacts;

    fn look(width: Option<usize>) -> Look {
        Look { now_unix_ms: 75_000, paint: Paint::none(), width }
    }

    /// The watcher of a source that went away after 10 s.
    fn away() -> WatcherState {
        let mut watcher = WatcherState { service: "web".into(), hosts: Some(Default::default()), ..Default::default() };
        watcher.source.error = Some("no member\nanswers".into());
        watcher.source.since_unix_ms = 10_000;
        watcher.confirmed_unix_ms = Some(9_000);
        watcher
    }

    fn report(watcher: WatcherState) -> StatusReport {
        let mut haproxy = HaproxyState { phase: ProxyPhase::Running, ..HaproxyState::default() };
        haproxy.process = Some(ProcessInfo {
            pid: 43,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: "2.6.12".into(),
            uptime_s: 9,
            stopping: false,
        });
        haproxy.counts.reload = 1;
        haproxy.last_reload = vec!["first start".into()];
        haproxy.last_reload_unix_ms = Some(10_000);
        let servers = [("a", ServerState::Ready), ("b", ServerState::Ready), ("c", ServerState::Maint)];
        let servers = servers.map(|(name, state)| (ServerName::new(name).unwrap(), state));
        let web = ServiceState {
            listen: Some("0.0.0.0:8080".into()),
            servers: std::sync::Arc::new(servers.into()),
            update: UpdateStrategy::Slots,
            last_class: Some("runtime-disable".into()),
            last_took_us: Some(430),
            ..ServiceState::default()
        };
        haproxy.services.insert(ServiceName::new("web").unwrap(), web);
        let daemon = DaemonFacts {
            version: "0.1.0".into(),
            commit: "abc".into(),
            pid: 42,
            started_at_unix_ms: 0,
            uptime_s: 3_700,
            config_path: "/etc/haproxy/haproxy.cfg".into(),
        };
        StatusReport::of(daemon, Ok(vec![ActorState::HaproxyState(haproxy), ActorState::Watcher(watcher)].into()))
    }

    #[test]
    fn a_well_daemon_is_told_in_one_sentence_and_a_table() {
        let watcher = WatcherState { service: "web".into(), hosts: Some(Default::default()), ..Default::default() };
        assert_eq!(
            look(None).screen(&report(watcher)),
            "All is well: HAProxy serves 1 service.

proxymgr 0.1.0 (abc), pid 42, up 1h 1m
HAProxy 2.6.12, pid 43
changes at run time: 0 enabled, 0 disabled, 0 deleted; reloads: 1
last reload 1m 5s ago: first start

SERVICE LISTEN       READY  DOWN DRAIN MAINT  SOURCE UPDATE LAST CHANGE
web     0.0.0.0:8080     2     0     0     1  good   slots  runtime-disable in 0.4 ms
"
        );
    }

    #[test]
    fn what_is_not_well_comes_first_with_since_when_and_what_to_do() {
        let screen = look(None).screen(&report(away()));
        let mut lines = screen.lines();
        assert_eq!(lines.next(), Some("HAProxy serves 1 service, but one thing is not well:"));
        assert_eq!(lines.next(), Some("  web: hosts cannot be read: no member answers"));
        let next = lines.next().unwrap();
        let told = "    since 1m 5s ago: served is the list confirmed 1m 6s ago; its last good hosts are served;";
        assert!(next.starts_with(told), "{next}");
        assert!(screen.contains("  away 1m slots  runtime-disable"), "{screen}");
    }

    #[test]
    fn no_line_of_the_table_is_wider_than_the_terminal() {
        for width in [40, 60, 72, 80, 100] {
            let screen = look(Some(width)).screen(&report(away()));
            let table = screen.split("\n\n").last().unwrap();
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
            assert!(table.contains("SOURCE") && table.contains("away 1m"), "{width}:\n{table}");
        }
        let wide = look(Some(100)).screen(&report(away()));
        assert!(wide.contains("UPDATE") && wide.contains(" slots "), "{wide}");
        assert!(wide.contains("0.0.0.0:8080") && wide.contains("LAST CHANGE"), "{wide}");
    }

    #[test]
    fn an_operators_choice_is_shown_with_its_reason_and_end() {
        let mut report = report(away());
        let mut actors = (*report.actors).clone();
        let ActorState::HaproxyState(haproxy) = &mut actors[0] else { unreachable!("the first is HAProxy's") };
        let choice = OperatorChoice {
            state: AdminState::Maint,
            reason: Some("new disk".into()),
            since_unix_ms: 15_000,
            until_unix_ms: Some(375_000),
            gone_unix_ms: None,
        };
        let web = haproxy.services.values_mut().next().unwrap();
        web.operator.insert(ServerName::new("a").unwrap(), choice);
        report.actors = actors.into();
        let screen = look(None).screen(&report);
        assert!(screen.contains("by an operator: web/a maint since 1m ago, for 5m more: new disk\n"), "{screen}");
    }
}
