//! `proxymgr status`: how the running daemon is, on one screen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceState};

use super::block_on;
use super::output::{self, Paint};
use crate::failure::Failure;
use crate::status::client::{Place, StatusClient};
use crate::status::report::StatusReport;
use crate::status::standing::SourceStanding;

/// Concerns that are shown; what is more is counted.
const CONCERNS_MAX: usize = 20;

/// Asks the daemon at this place and prints what it says.
pub fn status(place: Place, json: bool) -> Result<(), Failure> {
    let asked = block_on(async { StatusClient::new(place)?.status().await });
    let (text, report) = asked.map_err(Failure::CannotStart)?;
    if json {
        output::print(&format!("{}\n", text.trim_end()));
    } else {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        output::print(&screen(&report, now_unix_ms, Paint::for_stdout()));
    }
    Ok(())
}

/// One sentence first; then who is there, and every service in a line.
fn screen(report: &StatusReport, now_unix_ms: u64, paint: Paint) -> String {
    let mut text = headline(report, paint);
    let extra = report.concerns.len().saturating_sub(CONCERNS_MAX);
    for concern in report.concerns.iter().take(CONCERNS_MAX) {
        text.push_str(&format!("  {}\n", paint.bad(&printable(concern))));
    }
    if extra > 0 {
        text.push_str(&format!("  and {extra} more: see --json\n"));
    }
    text.push('\n');
    let daemon = &report.daemon;
    let up = ago(daemon.uptime_s * 1_000);
    text.push_str(&format!("proxymgr {} ({}), pid {}, up {up}\n", daemon.version, daemon.commit, daemon.pid));
    if let Some(haproxy) = report.haproxy() {
        text.push_str(&haproxy_lines(report, haproxy, now_unix_ms));
        text.push('\n');
        text.push_str(&service_table(report, haproxy, paint));
    }
    text
}

fn headline(report: &StatusReport, paint: Paint) -> String {
    let services = report.haproxy().map_or(0, |haproxy| haproxy.services.len());
    let known = if services == 1 { "1 service".to_owned() } else { format!("{services} services") };
    match (report.readiness.ready, report.concerns.len()) {
        (true, 0) => format!("{}: HAProxy serves {known}.\n", paint.good("All is well")),
        (true, 1) => format!("HAProxy serves {known}, {}:\n", paint.bad("but one thing is not well")),
        (true, n) => format!("HAProxy serves {known}, {}:\n", paint.bad(&format!("but {n} things are not well"))),
        (false, _) => format!("{}:\n", paint.bad("HAProxy is not kept in step")),
    }
}

fn haproxy_lines(report: &StatusReport, haproxy: &HaproxyState, now_unix_ms: u64) -> String {
    let mut text = match &haproxy.process {
        Some(process) => format!("HAProxy {}, pid {}", process.version_text, process.pid),
        None => "HAProxy is not running".to_owned(),
    };
    for state in report.actors.iter() {
        if let ActorState::ProcessSupervisor(state) = state {
            if !state.draining.is_empty() {
                text.push_str(&format!(", {} old draining", state.draining.len()));
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
        let why = printable(&haproxy.last_reload.join("; "));
        text.push_str(&format!("last reload {} ago: {}\n", ago(now_unix_ms.saturating_sub(at)), clipped(&why, 60)));
    }
    if !haproxy.reload_due.is_empty() {
        text.push_str(&format!("a reload is due: {}\n", clipped(&printable(&haproxy.reload_due.join("; ")), 60)));
    }
    text
}

/// The columns fit 80 characters as long as names do.
fn service_table(report: &StatusReport, haproxy: &HaproxyState, paint: Paint) -> String {
    let watcher_of = |name: &str| {
        report.actors.iter().find_map(|state| match state {
            ActorState::Watcher(watcher) if watcher.service == name => Some(watcher),
            _ => None,
        })
    };
    let width = haproxy.services.keys().map(|name| name.as_str().len()).max().unwrap_or(0).clamp(7, 28);
    let listen_width = haproxy
        .services
        .values()
        .map(|service| service.listen.as_deref().unwrap_or("-").len())
        .max()
        .unwrap_or(0)
        .clamp(6, 24);
    let head = format!(
        "{:width$} {:listen_width$} {:>5} {:>5} {:>5} {:>5}  {:<10} LAST CHANGE",
        "SERVICE", "LISTEN", "READY", "DOWN", "DRAIN", "MAINT", "SOURCE"
    );
    let mut text = format!("{}\n", paint.faint(&head));
    for (name, service) in &haproxy.services {
        let name = name.as_str();
        let count = |wanted: &str| service.servers.values().filter(|state| *state == wanted).count();
        let line = format!(
            "{:width$} {:listen_width$} {:>5} {:>5} {:>5} {:>5}  {:<10} {}",
            clipped(name, width),
            clipped(service.listen.as_deref().unwrap_or("-"), listen_width),
            count("ready"),
            count("down"),
            count("drain"),
            count("maint"),
            watcher_of(name).map_or("-", |watcher| SourceStanding::of(watcher).as_str()),
            last_change(service)
        );
        let well = service.problem.is_none()
            && watcher_of(name).is_none_or(|watcher| SourceStanding::of(watcher) == SourceStanding::Good);
        text.push_str(&if well { line } else { paint.bad(&line) });
        text.push('\n');
    }
    text
}

fn last_change(service: &ServiceState) -> String {
    match (&service.last_class, service.last_took_us) {
        (Some(class), Some(took_us)) => format!("{class} in {}", span(took_us)),
        (Some(class), None) => class.clone(),
        _ => "-".to_owned(),
    }
}

/// Microseconds as people read them: `0.4 ms`, `12 ms`, `3.1 s`.
fn span(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// A time ago in its two largest units.
fn ago(millis: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(millis / 1_000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A text from outside must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{ProcessInfo, ProxyVersion, ServerName, ServiceName};
    use proxymgr_actors::snapshot::{ProxyPhase, WatcherState};

    use super::*;
    use crate::status::report::DaemonFacts;

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
        let servers = [("a", "ready"), ("b", "ready"), ("c", "maint")];
        let servers = servers.map(|(name, state)| (ServerName::new(name).unwrap(), state.to_owned()));
        let web = ServiceState {
            listen: Some("0.0.0.0:8080".into()),
            servers: std::sync::Arc::new(servers.into()),
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
            screen(&report(watcher), 75_000, Paint::none()),
            "All is well: HAProxy serves 1 service.

proxymgr 0.1.0 (abc), pid 42, up 1h 1m
HAProxy 2.6.12, pid 43
changes at run time: 0 enabled, 0 disabled, 0 deleted; reloads: 1
last reload 1m 5s ago: first start

SERVICE LISTEN       READY  DOWN DRAIN MAINT  SOURCE     LAST CHANGE
web     0.0.0.0:8080     2     0     0     1  good       runtime-disable in 0.4 ms
"
        );
    }

    #[test]
    fn what_is_not_well_comes_first() {
        let mut watcher = WatcherState { service: "web".into(), hosts: Some(Default::default()), ..Default::default() };
        watcher.source.error = Some("no member\nanswers".into());
        let screen = screen(&report(watcher), 75_000, Paint::none());
        let mut lines = screen.lines();
        assert_eq!(lines.next(), Some("HAProxy serves 1 service, but one thing is not well:"));
        assert_eq!(lines.next(), Some("  web: hosts cannot be read: no member answers"));
        assert!(screen.contains(" away "), "{screen}");
    }

    #[test]
    fn spans_are_readable() {
        for (micros, text) in [(40, "0.0 ms"), (430, "0.4 ms"), (12_345, "12 ms"), (3_140_000, "3.1 s")] {
            assert_eq!(span(micros), text);
        }
    }
}
