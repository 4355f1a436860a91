use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::model::{PlanClass, ServerName, ServerState, ServiceName};
use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, JournalState, ServiceConfigState, ServiceState, SourceHealth, WatcherState,
};

use super::exposition::{Format, text};
use super::{DaemonFacts, Scrape};
use crate::status::certificate_report::{CertificateState, CertificateStates};

fn scrape(states: Vec<ActorState>, per_service: bool) -> Scrape {
    let daemon = DaemonFacts {
        version: "0.1.0".into(),
        commit: "abc".into(),
        pid: 1,
        started_at_unix_ms: 1_500,
        uptime_s: 60,
        config_path: "/x".into(),
        restart: None,
        problems: Vec::new(),
        dropped_records: 0,
        log_loss: None,
        certificates: CertificateStates::default(),
    };
    Scrape { daemon, now_unix_ms: 61_500, states: Ok(Arc::new(states)), per_service }
}

/// A service with a server in each state and a source that has been unreachable for 60 s.
fn service(name: &str) -> [ActorState; 2] {
    let servers = [("a", ServerState::Ready), ("b", ServerState::Maint)];
    let servers = BTreeMap::from(servers.map(|(name, state)| (ServerName::new(name).unwrap(), state)));
    let state = ServiceState { desired: 1, servers: servers.into(), ..ServiceState::default() };
    let services = [(ServiceName::new(name).unwrap(), state)].into();
    let mut watcher = WatcherState { service: name.into(), source_kind: "zookeeper".into(), ..WatcherState::default() };
    watcher.source.error = Some("away".into());
    watcher.source.since_unix_ms = 1_500;
    [ActorState::HaproxyState(HaproxyState { services, ..HaproxyState::default() }), ActorState::Watcher(watcher)]
}

#[test]
fn figures_have_names_and_labels() {
    let mut journal = JournalState::default();
    journal.counts.applied.entry(PlanClass::RuntimeEnable).or_default().observe(2_000);
    let mut states = Vec::from(service("web"));
    states.push(ActorState::Journal(journal));
    let text = text(scrape(states, true), Format::Prometheus).unwrap();
    for line in [
        "proxymgr_build_info{version=\"0.1.0\",commit=\"abc\"} 1.0",
        "proxymgr_start_time_seconds 1.5",
        "proxymgr_servers{state=\"maint\"} 1.0",
        "proxymgr_service_servers{service=\"web\",state=\"ready\"} 1.0",
        "proxymgr_service_source_up{service=\"web\"} 0.0",
        "proxymgr_sources{kind=\"zookeeper\",state=\"away\"} 1.0",
        "proxymgr_source_away_max_seconds 60.0",
        "# TYPE proxymgr_reload_causes_total counter",
        "proxymgr_reload_causes_total{cause=\"server\"} 0",
        "# TYPE proxymgr_apply_latency_seconds histogram",
        "proxymgr_apply_latency_seconds_bucket{le=\"0.001\",class=\"runtime-enable\"} 0",
        "proxymgr_apply_latency_seconds_bucket{le=\"0.0025\",class=\"runtime-enable\"} 1",
        "proxymgr_apply_latency_seconds_bucket{le=\"+Inf\",class=\"runtime-enable\"} 1",
        "proxymgr_apply_latency_seconds_sum{class=\"runtime-enable\"} 0.002",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("# EOF") && text.ends_with('\n'));
}

#[test]
fn annotations_have_their_own_source() {
    let with = |annotations| {
        let state = ServiceConfigState { annotations, ..ServiceConfigState::default() };
        text(scrape(vec![ActorState::ServiceConfig(state)], true), Format::Prometheus).unwrap()
    };
    let away = SourceHealth {
        error: Some("away".into()),
        since_unix_ms: 1_500,
        read_at_unix_ms: Some(500),
        ..SourceHealth::default()
    };
    let text = with(Some(away));
    for line in [
        "proxymgr_annotations_source_up 0.0",
        "proxymgr_annotations_away_seconds 60.0",
        "proxymgr_annotations_last_read_timestamp_seconds 0.5",
        "proxymgr_definitions_source_up 1.0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    assert!(!with(None).contains("proxymgr_annotations_"));
}

#[test]
fn sums_include_services_without_series() {
    let text = text(scrape(service("web").into(), false), Format::Prometheus).unwrap();
    assert!(!text.contains("proxymgr_service_") && !text.contains("web"), "{text}");
    assert!(text.contains("proxymgr_servers{state=\"ready\"} 1.0"), "{text}");
    assert!(text.contains("proxymgr_services_without_series 1.0"), "{text}");
}

#[test]
fn certificates_have_expiry_and_problem() {
    let mut scraped = scrape(Vec::new(), true);
    let state = |name: &str, expires_in_s| CertificateState { name: name.into(), expires_in_s, ..Default::default() };
    let certificates = vec![state("shop", Some(-5)), state("none", None)];
    scraped.daemon.certificates = CertificateStates { certificates, problems: Vec::new() };
    let text = text(scraped, Format::Prometheus).unwrap();
    for line in [
        "proxymgr_certificate_expiry_seconds{certificate=\"shop\"} -5.0",
        "proxymgr_certificate_problem{certificate=\"shop\"} 0.0",
        "proxymgr_certificate_problem{certificate=\"none\"} 0.0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("expiry_seconds{certificate=\"none\"}"), "{text}");
}

#[test]
fn silent_actor_leaves_daemon_metrics() {
    let mut silent = scrape(Vec::new(), true);
    silent.states = Err("JournalActor does not answer".into());
    let text = text(silent, Format::Prometheus).unwrap();
    assert!(text.contains("proxymgr_actors_answering 0.0") && text.contains("proxymgr_ready 0.0"), "{text}");
}

#[test]
fn format_follows_accept_header() {
    for (accept, format) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::OpenMetrics),
        ("text/plain, application/openmetrics-text; q=0.4", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
    let open = text(scrape(service("web").into(), true), Format::OpenMetrics).unwrap();
    assert!(open.contains("# TYPE proxymgr_reloads counter\n") && open.ends_with("# EOF\n"), "{open}");
}
