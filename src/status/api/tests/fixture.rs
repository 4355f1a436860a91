//! A daemon with complete snapshots and some problems.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::haproxy_config::SectionStyle;
use proxymgr_actors::decide::proxy_plan::{ServicePlan, Step};
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::message::{ConfigState, PlanPiece, ReadJournal, RunningConfig};
use proxymgr_actors::model::{
    AdminState, BlockedChange, ChangeId, Endpoint, Host, HostList, NameSample, OperatorChoice, PlanClass, ProcessInfo,
    ProxyVersion, ReloadCause, RuntimeCommand, ServerId, ServerName, ServerState, ServiceName,
};
use proxymgr_actors::operator::{Order, OrderRefused};
use proxymgr_actors::snapshot::{
    ActorState, DrainingProcess, HaproxyState, LastChange, ProcessSupervisorState, ProxyPhase, ServerExceptions,
    ServiceConfigState, ServiceState, SourceHealth, WatcherState,
};

use crate::status::annotations::{AnnotationStore, Stored};
use crate::status::problem::Problem;
use crate::status::view::{Asked, Plan, States, View};

/// The token for orders.
pub const TOKEN: &str = "correct-horse-battery";

pub struct Fixture;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn host(last: u8) -> (ServerName, Arc<Host>) {
    let endpoint: Endpoint = Endpoint::Tcp {
        address: proxymgr_actors::model::Address::Ip([10, 0, 0, last].into()),
        port: 80.try_into().unwrap(),
    };
    (server(&format!("10.0.0.{last}:80")), Arc::new(Host { weight: Some(5), ..Host::at(endpoint) }))
}

fn held() -> BlockedChange {
    BlockedChange {
        reason: "all 2 hosts are gone".into(),
        since_unix_ms: 1,
        entries: 0,
        adds: NameSample::default(),
        removes: NameSample::of(&["10.0.0.1:80", "10.0.0.2:80"]),
    }
}

fn haproxy() -> HaproxyState {
    // The last one is gone from discovery.
    let states =
        [("10.0.0.1:80", ServerState::Ready), ("10.0.0.2:80", ServerState::Maint), ("10.0.0.9:80", ServerState::Maint)];
    let choice = OperatorChoice { reason: Some("a new kernel".into()), ..choice() };
    let web = ServiceState {
        listen: Some("127.0.0.1:8080".into()),
        desired: 2,
        servers: Arc::new(states.map(|(name, state)| (server(name), state)).into()),
        exceptions: ServerExceptions {
            operator: BTreeMap::from([(server("10.0.0.2:80"), choice)]),
            ..ServerExceptions::default()
        },
        last: LastChange { applied_unix_ms: Some(7), class: Some("runtime-disable".into()), took_us: Some(430) },
        ..ServiceState::default()
    };
    HaproxyState {
        phase: ProxyPhase::Running,
        process: Some(ProcessInfo {
            pid: 43,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: "2.6.12".into(),
            uptime_s: 9,
            stopping: false,
        }),
        services: BTreeMap::from([(service("web"), web), (service("api"), ServiceState::default())]),
        last_reload: vec!["the daemon starts".into()],
        last_reload_unix_ms: Some(5_000),
        ..HaproxyState::default()
    }
}

fn choice() -> OperatorChoice {
    let json = serde_json::json!({"state": "maint", "reason": null, "since_unix_ms": 3, "until_unix_ms": 90});
    serde_json::from_value(json).unwrap()
}

fn states() -> Vec<ActorState> {
    let away = SourceHealth { error: Some("connection refused".into()), ..SourceHealth::default() };
    let definitions = ServiceConfigState {
        annotations: Some(away.clone()),
        services: vec![service("api"), service("web")],
        held: Some(held()),
        ..ServiceConfigState::default()
    };
    let web = WatcherState {
        service: "web".into(),
        source_kind: "file".into(),
        hosts: Some(Arc::new(HostList::from_iter([host(1), host(2)]))),
        held: Some(held()),
        rejected: None,
        ..WatcherState::default()
    };
    let api = WatcherState {
        service: "api".into(),
        source_kind: "zookeeper".into(),
        source: away,
        rejected: Some(held()),
        ..WatcherState::default()
    };
    let draining = DrainingProcess { pid: 41, since_unix_ms: 4_000, connections: Some(3), memory_bytes: None };
    let supervisor =
        ProcessSupervisorState { current_pid: Some(43), draining: vec![draining], ..ProcessSupervisorState::default() };
    vec![
        ActorState::ServiceConfig(definitions),
        ActorState::HaproxyState(haproxy()),
        ActorState::ProcessSupervisor(supervisor),
        ActorState::Watcher(web),
        ActorState::Watcher(api),
    ]
}

fn journal_entries() -> Vec<JournalEntry> {
    let (web, two) = (service("web"), server("10.0.0.2:80"));
    let entry = |event| JournalEntry::new(event).service(&web).change(ChangeId(1));
    let command = "set server web/10.0.0.2:80 state maint".to_owned();
    vec![
        entry(Event::HostsChanged { added: 0, removed: 1, changed: 0 }),
        entry(Event::Decided { class: PlanClass::RuntimeDisable, reason: "it left".into() }).server(&two),
        entry(Event::Commanded { command, answer: String::new(), accepted: true }).server(&two),
        entry(Event::Applied { class: PlanClass::RuntimeDisable, took_us: 430 }),
    ]
}

impl View for Fixture {
    fn states(&self) -> Asked<'_, States> {
        Box::pin(async { Ok(Arc::new(states())) })
    }

    fn journal(&self, query: ReadJournal) -> Asked<'_, Vec<JournalEntry>> {
        if query.limit.is_none() {
            return Box::pin(async { journal_entries() });
        }
        let entry = JournalEntry::new(Event::InputRefused { problem: format!("{query:?}") });
        Box::pin(async move { vec![JournalEntry { sequence: 9, ..entry }] })
    }

    fn config(&self) -> Asked<'_, Result<ConfigState, String>> {
        let section = "listen web\n    mode http\n";
        let base_config: Arc<str> = "global\n    stats auth admin:pass\n".into();
        let running = RunningConfig {
            pieces: vec![base_config.clone(), section.into()],
            base_config,
            sections: BTreeMap::from([(service("web"), section.into())]),
            frontends: Vec::new(),
        };
        let state = ConfigState {
            running: Some(running),
            next_base: "global\n    stats auth admin:word\n".into(),
            next_style: SectionStyle::default(),
            map_path: "/x".into(),
            next: Vec::new(),
        };
        Box::pin(async { Ok(state) })
    }

    fn plan(&self) -> Asked<'_, Plan> {
        let id = ServerId { service: service("web"), server: server("a") };
        let step = Step {
            server: server("a"),
            in_slot: None,
            class: PlanClass::RuntimeDisable,
            reason: "the host is gone from discovery".into(),
            commands: vec![RuntimeCommand::SetMaintenance(id)],
            applies: None,
            disabled_by: None,
        };
        let web = ServicePlan { steps: vec![step], reload: Vec::new() };
        let api =
            ServicePlan { steps: Vec::new(), reload: vec![ReloadCause::ServiceNew.because("the service is new")] };
        let first = PlanPiece {
            phase: ProxyPhase::Running,
            services: vec![(service("web"), web)],
            next: Some(service("web")),
            ..PlanPiece::default()
        };
        let second = PlanPiece { services: vec![(service("api"), api)], ..PlanPiece::default() };
        Box::pin(async { Ok(Arc::new(vec![first, second])) })
    }

    fn order(&self, order: Order) -> Asked<'_, Result<String, OrderRefused>> {
        let refused = match &order {
            Order::Refresh { service: Some(name) } if name.as_str() == "unknown" => {
                Some(OrderRefused::UnknownService(name.clone()))
            }
            Order::Accept { service: Some(name) } if name.as_str() == "api" => {
                Some(OrderRefused::NothingBlocked(name.to_string()))
            }
            Order::SetServer(choice) if choice.server.as_str() == "unknown" => {
                Some(OrderRefused::UnknownServer { service: choice.service.clone(), server: choice.server.clone() })
            }
            Order::SetServer(choice) if choice.server.as_str() == "busy" => {
                Some(OrderRefused::NotNow("not now".into()))
            }
            Order::SetServer(choice) if choice.state == AdminState::Drain && choice.for_ms == Some(0) => {
                Some(OrderRefused::Invalid("no time".into()))
            }
            _ => None,
        };
        Box::pin(async move { refused.map_or_else(|| Ok(format!("{order:?}")), Err) })
    }
}

/// All services have an annotation, except those with names that begin with `no` and `unknown`.
impl AnnotationStore for Fixture {
    fn read(&self, service: Option<ServiceName>) -> Asked<'_, Result<BTreeMap<String, Stored>, Problem>> {
        let name = service.unwrap_or_else(|| self::service("web"));
        let stored = Stored { text: r#"{"domains": ["a.example"]}"#.into(), origin: "znode /annotations/web".into() };
        Box::pin(async move { there(&name).map(|()| BTreeMap::from([(name.to_string(), stored)])) })
    }

    fn write(&self, _: ServiceName, _: String) -> Asked<'_, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    fn delete(&self, service: ServiceName) -> Asked<'_, Result<(), Problem>> {
        Box::pin(async move { there(&service) })
    }
}

fn there(service: &ServiceName) -> Result<(), Problem> {
    let is_there = !service.as_str().starts_with("no") && service.as_str() != "unknown";
    if is_there { Ok(()) } else { Err(Problem::not_found(format!("{service} has none"))) }
}
