use proxymgr_actors::model::{
    AdminState, OperatorChoice, ProcessInfo, ProxyVersion, ServerName, ServerState, ServiceName, UpdateStrategy,
};
use proxymgr_actors::snapshot::{LastChange, ProxyPhase, ServiceState, WatcherState};

use super::*;
use crate::status::certificate_report::CertificateStates;
use crate::status::report::DaemonFacts;

fn screen(width: Option<usize>) -> Screen {
    Screen { now_unix_ms: 75_000, paint: Paint::none(), width }
}

/// The watcher of a source that is unreachable since 10 s.
fn unreachable() -> WatcherState {
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
        last: LastChange { class: Some("runtime-disable".into()), took_us: Some(430), ..LastChange::default() },
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
        restart: None,
        problems: Vec::new(),
        dropped_records: 0,
        log_loss: None,
        certificates: CertificateStates::default(),
    };
    StatusReport::of(daemon, Ok(vec![ActorState::HaproxyState(haproxy), ActorState::Watcher(watcher)].into()))
}

#[test]
fn healthy_daemon_is_one_line_and_a_table() {
    let watcher = WatcherState { service: "web".into(), hosts: Some(Default::default()), ..Default::default() };
    assert_eq!(
        screen(None).text(&report(watcher)),
        "OK: HAProxy serves 1 service.

proxymgr 0.1.0 (abc), pid 42, up 1h 1m
HAProxy 2.6.12, pid 43
runtime changes: 0 enabled, 0 disabled, 0 deleted; reloads: 1
last reload 1m 5s ago: first start

SERVICE LISTEN       READY  DOWN DRAIN MAINT  SOURCE UPDATE LAST CHANGE
web     0.0.0.0:8080     2     0     0     1  ok     slots  runtime-disable in 0.4 ms
"
    );
}

#[test]
fn problems_come_first_with_age_and_advice() {
    let text = screen(None).text(&report(unreachable()));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("1 problem; HAProxy serves 1 service:"));
    assert_eq!(lines.next(), Some("  web: hosts cannot be read: no member\\nanswers"));
    let next = lines.next().unwrap();
    let expected = "    for 1m 5s: the list in use was confirmed 1m 6s ago; its last good hosts stay in use;";
    assert!(next.starts_with(expected), "{next}");
    assert!(text.contains("  down 1m slots  runtime-disable"), "{text}");
}

#[test]
fn service_left_out_is_not_counted_as_served() {
    let mut report = report(WatcherState::default());
    for state in std::sync::Arc::make_mut(&mut report.actors) {
        if let ActorState::HaproxyState(haproxy) = state {
            let refused = ServiceState { problem_since_unix_ms: Some(1), ..ServiceState::default() };
            haproxy.services.insert(ServiceName::new("api").unwrap(), refused);
        }
    }
    assert_eq!(report.services_served(), "1 of 2 services");
}

#[test]
fn table_fits_the_terminal() {
    for width in [40, 60, 72, 80, 100] {
        let text = screen(Some(width)).text(&report(unreachable()));
        let table = text.split("\n\n").last().unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
        assert!(table.contains("SOURCE") && table.contains("down 1m"), "{width}:\n{table}");
    }
    let wide = screen(Some(100)).text(&report(unreachable()));
    assert!(wide.contains("UPDATE") && wide.contains(" slots "), "{wide}");
    assert!(wide.contains("0.0.0.0:8080") && wide.contains("LAST CHANGE"), "{wide}");
}

#[test]
fn override_is_shown_with_reason_and_end() {
    let mut report = report(unreachable());
    let mut actors = (*report.actors).clone();
    let ActorState::HaproxyState(haproxy) = &mut actors[0] else { unreachable!("the first is HAProxy's") };
    let choice = OperatorChoice {
        state: AdminState::Maint,
        reason: Some("new disk".into()),
        since_unix_ms: 15_000,
        until_unix_ms: Some(375_000),
        gone_unix_ms: None,
        by: None,
    };
    let web = haproxy.services.values_mut().next().unwrap();
    web.exceptions.operator.insert(ServerName::new("a").unwrap(), choice);
    report.actors = actors.into();
    let text = screen(None).text(&report);
    assert!(text.contains("override: web/a maint for 1m, 5m left: new disk\n"), "{text}");
}
