//! Creation and wiring of all actors.
//!
//! ```text
//! ServiceConfigActor --starts, Redefine, Refresh, StopWatching--> WatcherActor (one per service)
//! ServiceConfigActor --ServiceDefined, ServiceRemoved, DefinitionsLoaded, DefinitionsGuardChanged--> HaproxyStateActor
//! WatcherActor       --HostsChanged, HostsUnknown, GuardChanged--> HaproxyStateActor
//! HaproxyStateActor (one more for each target), OutputActor (one for each further output) receive the same messages
//!                    about services and hosts
//! operator           --ChooseServerState--> OverridesActor --OverridesChanged--> all of these
//! HaproxyStateActor  --SaveState--> StateStoreActor <--SaveJournal-- JournalActor
//! HaproxyStateActor  --ReleaseSockets, WaitOnlyFor--> SocketHolderActor
//! SocketHolderActor  --SocketOpened--> HaproxyStateActor
//! HaproxyStateActor  --Deploy--> ProcessSupervisorActor --HoldSockets, AdoptSockets, ReleaseSockets, CloseSockets-->
//!                    SocketHolderActor
//! ProcessSupervisorActor --OrphanAdopted, ProxyStarted, ProxyAnswers, ServerHealthReported, ProxyExited-->
//!                    HaproxyStateActor
//! operator           --RefreshService, DecideBlocked--> ServiceConfigActor --DecideBlocked--> WatcherActor
//! operator           --ReloadProxy--> HaproxyStateActor
//! main               --PolicyChanged, CertificatesChanged, SettingsRefused--> HaproxyStateActor
//! all of them        --Record--> JournalActor
//! ```

mod hearers;

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Message, Recipient};
use slog::{Logger, o};
use tokio::time::timeout;

use self::hearers::Hearers;
use crate::clock::Clock;
use crate::deployment::SocketPeers;
use crate::haproxy_state_actor::{HaproxyDeployment, HaproxyIdentity, HaproxyPeers, HaproxyStateActor};
use crate::history::History;
use crate::host_quota::HostQuota;
use crate::inbox::{Direct, Inbox, Post};
use crate::journal::{Event, JournalEntry};
use crate::journal_actor::JournalActor;
use crate::limits::STATE_ANSWER_TIMEOUT;
use crate::message::{
    BeginShutdown, CertificatesChanged, ChooseServerState, ConfigState, DecideBlocked, GetConfig, GetState,
    ListWatchers, OverridesChanged, PlanPiece, PolicyChanged, PreviewPlan, ReadHistory, ReadJournal, Record, Refresh,
    RefreshService, ReloadProxy, SettingsRefused, StopProxy, WatcherHandle,
};
use crate::model::{Certificates, OnStop, ProxyManagement, ProxyPolicy, ServiceName};
use crate::name_lookup_actor::NameLookupActor;
use crate::operator::{GuardDecision, Order, OrderRefused};
use crate::output_actor::OutputActor;
pub use crate::outside::{Orders, Outside, RuntimeTarget};
use crate::overrides_actor::OverridesActor;
use crate::port::{SavedService, ServiceOutput};
use crate::process_supervisor_actor::{ProcessSupervisorActor, SupervisorPeers, SupervisorPorts};
use crate::service_config_actor::{
    ServiceConfigActor, ServiceConfigPeers, ServiceConfigPorts, ServicePolicy, StartWatcher,
};
use crate::snapshot::ActorState;
use crate::socket_holder_actor::SocketHolderActor;
use crate::state_store_actor::StateStoreActor;
use crate::target_journal_actor::TargetJournalActor;
use crate::watcher_actor::{ChangeNumbers, WatcherActor, WatcherPeers, WatcherSources};

/// The running actors, as used by the API, the page and the CLI.
#[derive(Clone)]
pub struct Actors {
    states: Vec<(&'static str, Recipient<GetState>)>,
    watchers: Recipient<ListWatchers>,
    journal: Recipient<ReadJournal>,
    history: Recipient<ReadHistory>,
    save_journal: Recipient<BeginShutdown>,
    config: Recipient<GetConfig>,
    preview: Recipient<PreviewPlan>,
    refresh: Vec<Recipient<Refresh>>,
    operator: OperatorPeers,
    policy: Vec<Recipient<PolicyChanged>>,
    settings_refused: Recipient<SettingsRefused>,
    certificates: Recipient<CertificatesChanged>,
    shutdown: Vec<Recipient<BeginShutdown>>,
    stop: Recipient<StopProxy>,
}

/// The recipients of operators' orders.
#[derive(Clone)]
struct OperatorPeers {
    refresh: Recipient<RefreshService>,
    decide: Recipient<DecideBlocked>,
    reload: Recipient<ReloadProxy>,
    choose: Recipient<ChooseServerState>,
    journal: Recipient<Record>,
}

impl Actors {
    /// Starts every actor on the current arbiter. Must be called within a running `actix` system.
    pub fn start(outside: Outside, orders: Orders, clock: Clock, log: &Logger) -> Self {
        Self::start_by(&Direct, outside, orders, clock, log)
    }

    /// Like [`Actors::start`], with messages between actors delivered by `post`.
    pub fn start_by<P: Post>(post: &P, outside: Outside, orders: Orders, clock: Clock, log: &Logger) -> Self {
        let store = StateStoreActor::new(outside.state_store.clone()).start();
        let journal = JournalActor::new(orders.journal, store.clone().recipient(), clock).start();
        let supervisor_ctx = Context::new();
        let sockets_ctx = Context::new();
        let names_ctx = Context::new();
        let record: Recipient<Record> = post.inbox("JournalActor", None).way(journal.clone().recipient());
        let outputs = start_outputs(&outside, &orders.restored.services, &record, clock, log);
        let targets = start_targets(&outside, &orders.policy, &orders.restored.services, &record, clock, log);
        let to_haproxy = post.inbox("HaproxyStateActor", None);
        let is_ours = orders.policy.base_config.management != ProxyManagement::External;
        let (to_sockets, sockets) = (post.inbox("SocketHolderActor", None), sockets_ctx.address());
        let deployment = is_ours.then(|| HaproxyDeployment {
            deploy: post.inbox("ProcessSupervisorActor", None).way(supervisor_ctx.address().recipient()),
            release: to_sockets.way(sockets.clone().recipient()),
            wait_only_for: to_sockets.way(sockets.clone().recipient()),
            config_file: outside.config_file.clone(),
            names: names_ctx.address().recipient(),
        });
        let haproxy = HaproxyStateActor::new(
            orders.policy.clone(),
            HaproxyIdentity { runtime: outside.runtime.clone(), target: None, binary: orders.binary },
            &orders.restored.services,
            HaproxyPeers { deployment, saves: Some(store.recipient()), journal: record.clone() },
            clock,
            component(log, "haproxy"),
        )
        .start();
        let overridden = std::iter::once(to_haproxy.way(haproxy.clone().recipient()));
        let overrides = OverridesActor::new(
            &orders.restored.services,
            overridden.chain(also_overridden(&targets, &outputs)).collect(),
            record.clone(),
            clock,
            component(log, "overrides"),
        )
        .start();
        let supervisor = supervisor_ctx.run(ProcessSupervisorActor::new(
            supervisor_ports(&outside),
            SocketPeers {
                hold: to_sockets.way(sockets.clone().recipient()),
                adopt: to_sockets.way(sockets.clone().recipient()),
                release: to_sockets.way(sockets.clone().recipient()),
                close: to_sockets.way(sockets.recipient()),
            },
            &orders.policy,
            SupervisorPeers {
                started: to_haproxy.way(haproxy.clone().recipient()),
                adopted: to_haproxy.way(haproxy.clone().recipient()),
                answers: to_haproxy.way(haproxy.clone().recipient()),
                exited: to_haproxy.way(haproxy.clone().recipient()),
                health: to_haproxy.way(haproxy.clone().recipient()),
                journal: record.clone(),
            },
            clock,
            component(log, "supervisor"),
        ));
        names_ctx.run(NameLookupActor::new(outside.names.clone(), to_haproxy.way(haproxy.clone().recipient())));
        let sockets = sockets_ctx.run(SocketHolderActor::new(
            outside.sockets.clone(),
            to_haproxy.way(haproxy.clone().recipient()),
            component(log, "sockets"),
        ));
        let hearers = Hearers {
            haproxy: (haproxy.clone(), to_haproxy),
            targets: targets.clone(),
            outputs: outputs.clone(),
            overrides: overrides.clone(),
        };
        let services = ServiceConfigActor::new(
            ServiceConfigPorts { definitions: outside.definitions.clone(), host_sources: outside.host_sources.clone() },
            ServicePolicy {
                options: orders.options,
                removal_max: orders.services_removal_max,
                discovery: orders.discovery,
            },
            orders.restored,
            watcher_starter(
                post,
                WatcherSources {
                    sources: outside.host_sources.clone(),
                    policy: orders.discovery,
                    quota: HostQuota::new(&orders.discovery.quotas),
                    networks: Rc::new(orders.host_networks),
                    grant: Default::default(),
                },
                &hearers,
                &record,
                clock,
                &component(log, "watcher"),
            ),
            ServiceConfigPeers {
                defined: hearers.all(),
                removed: hearers.all(),
                loaded: hearers.of(),
                guard: hearers.haproxy.1.way(haproxy.clone().recipient()),
                journal: record.clone(),
            },
            clock,
            component(log, "services"),
        )
        .start();
        let mut states: Vec<(&'static str, Recipient<GetState>)> = vec![
            ("ServiceConfigActor", services.clone().recipient()),
            ("HaproxyStateActor", haproxy.clone().recipient()),
            ("ProcessSupervisorActor", supervisor.clone().recipient()),
            ("SocketHolderActor", sockets.recipient()),
            ("JournalActor", journal.clone().recipient()),
        ];
        states.extend(outputs.iter().map(|output| ("an OutputActor", output.clone().recipient())));
        states.extend(targets.iter().map(|target| ("the HaproxyStateActor of a target", target.clone().recipient())));
        let mut refresh = vec![haproxy.clone().recipient(), services.clone().recipient()];
        refresh.extend(targets.iter().map(|target| target.clone().recipient()));
        refresh.extend(outputs.iter().map(|output| output.clone().recipient()));
        let mut policy =
            vec![haproxy.clone().recipient(), supervisor.clone().recipient(), services.clone().recipient()];
        policy.extend(targets.iter().map(|target| target.clone().recipient()));
        let mut shutdown = vec![overrides.clone().recipient(), haproxy.clone().recipient()];
        shutdown.extend(targets.iter().map(|target| target.clone().recipient()));
        Self {
            states,
            watchers: services.clone().recipient(),
            journal: journal.clone().recipient(),
            history: journal.clone().recipient(),
            save_journal: journal.recipient(),
            config: haproxy.clone().recipient(),
            preview: haproxy.clone().recipient(),
            refresh,
            operator: OperatorPeers {
                refresh: services.clone().recipient(),
                decide: services.clone().recipient(),
                reload: haproxy.clone().recipient(),
                choose: overrides.recipient(),
                journal: record,
            },
            policy,
            settings_refused: haproxy.clone().recipient(),
            certificates: haproxy.recipient(),
            shutdown,
            stop: supervisor.recipient(),
        }
    }

    /// Returns every actor's snapshot. The error names an actor that does not answer within [`STATE_ANSWER_TIMEOUT`].
    pub async fn states(&self) -> Result<Vec<ActorState>, String> {
        let mut states = Vec::new();
        for (name, actor) in &self.states {
            states.push(ask(actor, name).await?);
        }
        let watchers = timeout(STATE_ANSWER_TIMEOUT, self.watchers.send(ListWatchers)).await;
        let Ok(Ok(watchers)) = watchers else { return Err("ServiceConfigActor does not answer".to_owned()) };
        // All requests are sent before the first answer is awaited: a thousand answers take one turn of the thread, not
        // a thousand. A watcher that was stopped since it was listed is skipped.
        let asked: Vec<_> = watchers.iter().filter(|watcher| watcher.connected()).map(|w| w.send(GetState)).collect();
        for answer in asked {
            match timeout(STATE_ANSWER_TIMEOUT, answer).await {
                Ok(Ok(state)) => states.push(state),
                Ok(Err(_)) => {}
                Err(_) => return Err("a WatcherActor does not answer".to_owned()),
            }
        }
        Ok(states)
    }

    /// Returns entries of the journal.
    pub async fn journal(&self, query: ReadJournal) -> Vec<JournalEntry> {
        self.journal.send(query).await.unwrap_or_default()
    }

    /// Returns the history of the last hours; empty where the JournalActor does not answer.
    pub async fn history(&self) -> History {
        timeout(STATE_ANSWER_TIMEOUT, self.history.send(ReadHistory))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }

    /// Returns the plans of the services after this one.
    pub async fn preview_plan(&self, after: Option<ServiceName>) -> Result<PlanPiece, String> {
        match timeout(STATE_ANSWER_TIMEOUT, self.preview.send(PreviewPlan { after })).await {
            Ok(Ok(piece)) => Ok(piece),
            _ => Err("HaproxyStateActor does not answer".to_owned()),
        }
    }

    /// Returns the running configuration and the inputs of the next one.
    pub async fn config(&self) -> Result<ConfigState, String> {
        match timeout(STATE_ANSWER_TIMEOUT, self.config.send(GetConfig)).await {
            Ok(Ok(state)) => Ok(state),
            _ => Err("HaproxyStateActor does not answer".to_owned()),
        }
    }

    /// Reads every source again now.
    pub fn refresh(&self) {
        for actor in &self.refresh {
            actor.do_send(Refresh);
        }
    }

    /// Executes an operator's order. Returns its effect, or the refusal, as one sentence.
    pub async fn order(&self, order: Order) -> Result<String, OrderRefused> {
        let OperatorPeers { refresh, decide, reload, choose, .. } = &self.operator;
        match order {
            Order::Refresh { service: Some(service) } => {
                let done = answer(refresh, RefreshService { service: service.clone() }).await;
                done.inspect(|_| self.note_refresh(Some(service)))
            }
            Order::Refresh { service: None } => {
                self.refresh();
                self.note_refresh(None);
                Ok("every source is being read again".to_owned())
            }
            Order::Reload { reason } => answer(reload, ReloadProxy { reason }).await,
            Order::Accept { service } => answer(decide, DecideBlocked::of(service, GuardDecision::Accept)).await,
            Order::Reject { service } => answer(decide, DecideBlocked::of(service, GuardDecision::Reject)).await,
            Order::SetServer(choice) => answer(choose, ChooseServerState(choice)).await,
        }
    }

    fn note_refresh(&self, service: Option<ServiceName>) {
        let of = service.as_ref().map_or("every source".to_owned(), |service| format!("the source of {service}"));
        let order = Order::Refresh { service: service.clone() };
        let event = Event::Ordered { what: format!("refresh of {of}"), order };
        self.record(JournalEntry { service, ..JournalEntry::new(event) });
    }

    /// Applies settings that were read again.
    pub fn change_policy(&self, changed: &PolicyChanged) {
        for actor in &self.policy {
            actor.do_send(changed.clone());
        }
    }

    /// Adds an entry to the journal.
    pub fn record(&self, entry: JournalEntry) {
        self.operator.journal.do_send(Record(entry));
    }

    /// Reports changed certificates in the operator's directory.
    pub fn certificates_changed(&self, certificates: Arc<Certificates>) {
        self.certificates.do_send(CertificatesChanged { certificates });
    }

    /// Reports the mistakes of settings that were read again; the previous settings stay active.
    pub fn refuse_settings(&self, mistakes: Vec<String>) {
        self.settings_refused.do_send(SettingsRefused { mistakes });
    }

    /// Ends the work of the actors. Resolves when no HAProxy process is left, unless they are left running. Returns
    /// whether haproxy.cfg is what the process that serves runs.
    pub async fn stop(&self, on_stop: OnStop) -> bool {
        let written = async {
            let mut is_current = true;
            for actor in &self.shutdown {
                // An actor that has ended has nothing left to write or to stop.
                is_current &= actor.send(BeginShutdown).await.unwrap_or(false);
            }
            is_current
        };
        let (is_current, _) = tokio::join!(written, self.stop.send(StopProxy { on_stop }));
        // With what was recorded meanwhile.
        let _ = self.save_journal.send(BeginShutdown).await;
        is_current
    }
}

async fn answer<M>(actor: &Recipient<M>, order: M) -> Result<String, OrderRefused>
where
    M: Message<Result = Result<String, OrderRefused>> + Send + 'static,
{
    match timeout(STATE_ANSWER_TIMEOUT, actor.send(order)).await {
        Ok(Ok(answer)) => answer,
        _ => Err(OrderRefused::NotNow("the actor for this order does not answer".to_owned())),
    }
}

async fn ask(actor: &Recipient<GetState>, name: &str) -> Result<ActorState, String> {
    match timeout(STATE_ANSWER_TIMEOUT, actor.send(GetState)).await {
        Ok(Ok(state)) => Ok(state),
        _ => Err(format!("{name} does not answer")),
    }
}

fn component(log: &Logger, name: &'static str) -> Logger {
    log.new(o!("component" => name))
}

fn start_outputs(
    outside: &Outside,
    restored: &[SavedService],
    journal: &Recipient<Record>,
    clock: Clock,
    log: &Logger,
) -> Vec<Addr<OutputActor>> {
    let start = |output: &Rc<dyn ServiceOutput>| {
        let log = component(log, "output").new(o!("output" => output.name().to_owned()));
        OutputActor::new(output.clone(), restored, journal.clone(), clock, log).start()
    };
    outside.outputs.iter().map(start).collect()
}

/// Starts an actor for each target, so that no HAProxy waits for another.
fn start_targets(
    outside: &Outside,
    policy: &ProxyPolicy,
    restored: &[SavedService],
    journal: &Recipient<Record>,
    clock: Clock,
    log: &Logger,
) -> Vec<Addr<HaproxyStateActor>> {
    let start = |target: &RuntimeTarget| {
        let RuntimeTarget { name, runtime } = target.clone();
        let log = component(log, "target").new(o!("target" => name.clone()));
        let journal = TargetJournalActor::new(name.clone(), journal.clone()).start().recipient();
        let haproxy = HaproxyIdentity { runtime, target: Some(name), binary: None };
        let peers = HaproxyPeers { deployment: None, saves: None, journal };
        HaproxyStateActor::new(policy.clone(), haproxy, restored, peers, clock, log).start()
    };
    outside.targets.iter().map(start).collect()
}

/// Returns the recipients of overrides besides the primary HAProxy.
fn also_overridden<'a>(
    targets: &'a [Addr<HaproxyStateActor>],
    outputs: &'a [Addr<OutputActor>],
) -> impl Iterator<Item = Recipient<OverridesChanged>> + 'a {
    let outputs = outputs.iter().map(|output| output.clone().recipient());
    targets.iter().map(|target| target.clone().recipient()).chain(outputs)
}

fn supervisor_ports(outside: &Outside) -> SupervisorPorts {
    SupervisorPorts {
        config_file: outside.config_file.clone(),
        processes: outside.processes.clone(),
        runtime: outside.runtime.clone(),
    }
}

/// Returns the function with which the ServiceConfigActor starts watchers, so that it does not depend on their type.
fn watcher_starter<P: Post>(
    post: &P,
    sources: WatcherSources,
    hearers: &Hearers<P::Inbox>,
    journal: &Recipient<Record>,
    clock: Clock,
    log: &Logger,
) -> StartWatcher {
    let changes = ChangeNumbers::default();
    let (haproxy, inbox) = &hearers.haproxy;
    let guard = inbox.way(haproxy.clone().recipient());
    let peers = WatcherPeers { changed: hearers.all(), unknown: hearers.of(), guard, journal: journal.clone() };
    let (post, log) = (post.clone(), log.clone());
    Box::new(move |definition, grant, restored| {
        let (changes, peers) = (changes.clone(), peers.clone());
        let sources = WatcherSources { grant, ..sources.clone() };
        let inbox = post.inbox("WatcherActor", Some(&definition.name));
        let watcher = WatcherActor::new(definition, restored, sources, changes, peers, clock, &log).start();
        WatcherHandle {
            redefine: inbox.way(watcher.clone().recipient()),
            refresh: inbox.way(watcher.clone().recipient()),
            decide: inbox.way(watcher.clone().recipient()),
            state: watcher.clone().recipient(),
            stop: inbox.way(watcher.recipient()),
        }
    })
}
