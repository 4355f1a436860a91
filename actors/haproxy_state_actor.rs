//! Keeps one HAProxy in sync: a thin shell around the [reconciler](crate::reconcile). Messages become inputs, effects
//! become requests, and their answers become inputs again.

use std::rc::Rc;
use std::time::Instant;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, ResponseActFuture, SpawnHandle,
    WrapFuture,
};
use send_wrapper::SendWrapper;
use slog::Logger;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::clock::Clock;
use crate::decide::deployment::DeployFailure;
use crate::journal::{Event, JournalEntry};
use crate::log_line::write;
use crate::message::{
    BeginShutdown, CertificatesChanged, DefinitionsGuardChanged, DefinitionsLoaded, Deploy, GetConfig, GetState,
    GuardChanged, HostsChanged, HostsUnknown, NameResolves, NamesUnresolved, OrphanAdopted, OverridesChanged,
    PolicyChanged, PreviewPlan, ProxyAnswers, ProxyExited, ProxyStarted, Record, Refresh, ReleaseSockets, ReloadProxy,
    SaveState, ServerHealthReported, ServiceDefined, ServiceRemoved, SettingsRefused, SocketOpened, WaitOnlyFor,
};
use crate::model::{ProxyPolicy, ProxyVersion};
use crate::operator::{Order, OrderRefused, printable};
use crate::port::{ConfigFile, RuntimeApi, RuntimeError, SavedService};
use crate::reconcile::{Effect, Input, Observed, Reconciler};
use crate::snapshot::{ActorState, TargetState};

/// The recipients of the HaproxyStateActor's messages.
pub struct HaproxyPeers {
    /// Deploys new processes; `None` for an external HAProxy.
    pub deployment: Option<HaproxyDeployment>,
    /// Saves the state for a restart of the daemon; `None` where another actor saves it.
    pub saves: Option<Recipient<SaveState>>,
    /// Records events.
    pub journal: Recipient<Record>,
}

/// The recipients of requests about HAProxy's processes and files.
#[derive(Clone)]
pub struct HaproxyDeployment {
    /// Deploys a new process.
    pub deploy: Recipient<Deploy>,
    /// Closes sockets that are no longer in use.
    pub release: Recipient<ReleaseSockets>,
    /// Ends waits for ports that no service uses.
    pub wait_only_for: Recipient<WaitOnlyFor>,
    /// haproxy.cfg, which is written after every change.
    pub config_file: Rc<dyn ConfigFile>,
    /// Looks up host names that HAProxy could not resolve.
    pub names: Recipient<NamesUnresolved>,
}

/// The identity of a HAProxy.
pub struct HaproxyIdentity {
    /// Its Runtime API.
    pub runtime: Rc<dyn RuntimeApi>,
    /// Its name among `haproxy.targets`; `None` for the primary one.
    pub target: Option<String>,
    /// The version of the HAProxy binary, where it is known before the first start.
    pub binary: Option<ProxyVersion>,
}

/// How many batches of commands were sent, and how many of them answered.
#[derive(Default)]
struct Batches {
    sent: u64,
    answered: u64,
}

/// Keeps one HAProxy in sync.
pub struct HaproxyStateActor {
    reconciler: Reconciler,
    runtime: Rc<dyn RuntimeApi>,
    /// The new process of a deployment, until the deployment ends.
    successor: Option<Rc<dyn RuntimeApi>>,
    /// The batches of commands to it.
    successor_batches: watch::Sender<Batches>,
    /// Notifies exchanges with the process that serves when another one does.
    replaced: watch::Sender<()>,
    target: Option<String>,
    timer: Option<(Instant, SpawnHandle)>,
    /// Whether it continues in another turn of the thread, with work that did not fit into one.
    continues: bool,
    peers: HaproxyPeers,
    clock: Clock,
    log: Logger,
}

impl HaproxyStateActor {
    /// Creates an actor without services and without a process. `restored` is what an earlier run of the daemon saved.
    pub fn new(
        policy: ProxyPolicy,
        haproxy: HaproxyIdentity,
        restored: &[SavedService],
        peers: HaproxyPeers,
        clock: Clock,
        log: Logger,
    ) -> Self {
        let HaproxyIdentity { runtime, target, binary } = haproxy;
        let reconciler = Reconciler::new(policy, target.is_some(), binary, restored, clock.now().instant);
        Self {
            reconciler,
            runtime,
            successor: None,
            successor_batches: watch::Sender::default(),
            replaced: watch::Sender::default(),
            target,
            timer: None,
            continues: false,
            peers,
            clock,
            log,
        }
    }

    /// Passes an input to the reconciler and executes its effects.
    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        self.reconciler.on(input, now);
        self.proceed(ctx);
    }

    fn proceed(&mut self, ctx: &mut Context<Self>) {
        for effect in self.reconciler.next_effects(self.clock.now()) {
            self.execute(effect, ctx);
        }
        self.set_timer(ctx);
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let deadline = self.reconciler.deadline(now);
        if deadline == Some(now.instant) {
            return self.continue_later(ctx);
        }
        match (self.timer.take(), deadline) {
            (Some((at, timer)), Some(deadline)) if at == deadline => self.timer = Some((at, timer)),
            (timer, deadline) => {
                if let Some((_, timer)) = timer {
                    ctx.cancel_future(timer);
                }
                self.timer = deadline.map(|at| {
                    let wait = at.saturating_duration_since(now.instant);
                    let due = |actor: &mut Self, ctx: &mut Context<Self>| {
                        actor.timer = None;
                        actor.proceed(ctx);
                    };
                    (at, ctx.run_later(wait, due))
                });
            }
        }
    }

    /// Continues in another turn of the thread. A notification would continue before anything else runs.
    fn continue_later(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.continues, true) {
            ctx.spawn(yield_now().into_actor(self).map(|(), actor, ctx| {
                actor.continues = false;
                actor.proceed(ctx);
            }));
        }
    }

    /// Passes the answer of a request to the reconciler.
    fn answer<T: 'static>(
        &self,
        request: impl Future<Output = T> + 'static,
        input: impl FnOnce(T) -> Input + 'static,
        ctx: &mut Context<Self>,
    ) {
        ctx.spawn(request.into_actor(self).map(|answer, actor, ctx| {
            let input = input(answer);
            if matches!(input, Input::Deployed(_)) {
                actor.successor = None;
            }
            actor.feed(input, ctx);
        }));
    }

    /// Passes the answer of HAProxy to the reconciler. It is not waited for once another process serves: the previous
    /// one may never answer.
    fn exchange<T: 'static>(
        &self,
        request: impl Future<Output = Result<T, RuntimeError>> + 'static,
        input: impl FnOnce(Result<T, RuntimeError>) -> Input + 'static,
        ctx: &mut Context<Self>,
    ) {
        let mut replaced = self.replaced.subscribe();
        let answer = async move {
            tokio::select! {
                biased;
                answer = request => answer,
                Ok(()) = replaced.changed() => Err(RuntimeError::Replaced),
            }
        };
        self.answer(answer, input, ctx);
    }

    fn execute(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let runtime = self.runtime.clone();
        match effect {
            Effect::Record(entry) => self.peers.journal.do_send(Record(entry)),
            Effect::Log(line) => write(&self.log, &line),
            Effect::Disconnect => {
                self.replaced.send_replace(());
                runtime.disconnect();
            }
            Effect::RunCommands(commands) => {
                let clock = self.clock;
                let exchange = async move { Ok((runtime.run(commands).await?, clock.now().instant)) };
                self.exchange(exchange, Input::CommandsAnswered, ctx);
            }
            Effect::ChangeBackends(commands) => {
                self.exchange(runtime.change_backends(commands), Input::BackendsAnswered, ctx);
            }
            Effect::ChangeRoutes { map, commands } => {
                self.exchange(runtime.change_routes(map, commands), Input::RoutesAnswered, ctx);
            }
            Effect::Observe { services, map } => {
                let observe = async move {
                    let process = runtime.process().await?;
                    let servers = runtime.observe(services).await?;
                    let routes = match map {
                        // A process without a map has no routes.
                        Some(map) => Some(runtime.routes(map).await?.unwrap_or_default()),
                        None => None,
                    };
                    Ok(Observed { process, servers, routes })
                };
                self.exchange(observe, Input::Observed, ctx);
            }
            Effect::ReadSessions(services) => self.exchange(runtime.sessions(services), Input::SessionsRead, ctx),
            Effect::WatchLiveness => self.answer(runtime.silence(), Input::Silent, ctx),
            Effect::ReadServerStates { pid } => {
                self.exchange(runtime.server_states(), move |states| Input::ServerStatesRead((pid, states)), ctx);
            }
            Effect::ChangeCertificate(change) => {
                self.answer(runtime.change_certificate(change), Input::CertificateChanged, ctx);
            }
            Effect::CommandUnmanaged(commands) => {
                let commands = async move { drop(runtime.run(commands).await) };
                ctx.spawn(commands.into_actor(self));
            }
            Effect::CommandSuccessor { pid, commands } => {
                if let Some(successor) = self.successor.clone() {
                    self.successor_batches.send_modify(|batches| batches.sent += 1);
                    let commands = async move { drop(successor.run(commands).await) };
                    ctx.spawn(commands.into_actor(self).map(move |(), actor, ctx| {
                        actor.feed(Input::SuccessorAnswered { pid }, ctx);
                        // After what follows from it, so that those who wait see that, too.
                        actor.successor_batches.send_modify(|batches| batches.answered += 1);
                    }));
                }
            }
            Effect::SaveState(state) => {
                if let Some(saves) = self.peers.saves.clone() {
                    let save = async move {
                        saves.send(SaveState(state)).await.unwrap_or_else(|error| Err(error.to_string()))
                    };
                    self.answer(save, Input::StateSaved, ctx);
                }
            }
            effect => self.execute_for_our_process(effect, ctx),
        }
    }

    /// Executes effects that only exist for a HAProxy that this daemon deploys.
    fn execute_for_our_process(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(deployment) = self.peers.deployment.clone() else { return };
        let file = deployment.config_file;
        match effect {
            Effect::Deploy(order) => {
                let deploy = async move {
                    let gone = |error: actix::MailboxError| Err(DeployFailure::from(error.to_string()));
                    deployment.deploy.send(Deploy(*order)).await.unwrap_or_else(gone)
                };
                self.answer(deploy, Input::Deployed, ctx);
            }
            Effect::ReleaseSockets { keep, base } => deployment.release.do_send(ReleaseSockets { keep, base }),
            Effect::LookUpNames(names) => deployment.names.do_send(NamesUnresolved { names }),
            Effect::WaitOnlyFor { wanted, base } => {
                deployment.wait_only_for.do_send(WaitOnlyFor { wanted, base });
            }
            Effect::WriteConfigFile(text) => {
                let (clock, begun) = (self.clock, self.clock.now());
                let written = move |result| Input::ConfigFileWritten { result, took: clock.now().since(begun) };
                self.answer(file.write(text), written, ctx);
            }
            Effect::ReadFiles { with_map } => {
                let read = async move {
                    let map = if with_map { file.read_map().await } else { Ok(None) };
                    Input::FilesRead { config: file.read().await, map }
                };
                self.answer(read, |input| input, ctx);
            }
            Effect::WriteStateFile { path, states, hosts } => {
                self.answer(file.follow_health(path, states, hosts), |result| Input::StateFileWritten { result }, ctx);
            }
            _ => {}
        }
    }
}

impl Actor for HaproxyStateActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.set_timer(ctx);
    }
}

/// Implements handlers for messages that are inputs.
macro_rules! feeds {
    ($($message:ty: $pattern:pat => $input:expr;)*) => {$(
        impl Handler<$message> for HaproxyStateActor {
            type Result = ();

            fn handle(&mut self, $pattern: $message, ctx: &mut Self::Context) {
                self.feed($input, ctx);
            }
        }
    )*};
}

feeds! {
    ServiceDefined: ServiceDefined { definition } => Input::ServiceDefined(definition);
    ServiceRemoved: ServiceRemoved { service } => Input::ServiceRemoved(service);
    DefinitionsLoaded: DefinitionsLoaded => Input::DefinitionsLoaded;
    HostsChanged: HostsChanged { change, service, revision, diff, hosts, seen_at, shown_unix_ms } =>
        Input::HostsChanged {
            change, service, revision, diff, hosts, seen_at: seen_at.into_std(), shown_unix_ms
        };
    HostsUnknown: HostsUnknown { service } => Input::HostsUnknown(service);
    OverridesChanged: OverridesChanged { service, choices, ordered } =>
        Input::OverridesChanged { service, overrides: choices, ordered };
    GuardChanged: GuardChanged { service, memory } => Input::GuardChanged(service, memory);
    DefinitionsGuardChanged: DefinitionsGuardChanged { memory } => Input::DefinitionsGuardChanged(memory);
    PolicyChanged: PolicyChanged { policy, .. } => Input::PolicyChanged(policy);
    SettingsRefused: SettingsRefused { mistakes } => Input::SettingsRefused(mistakes);
    CertificatesChanged: CertificatesChanged { certificates } => Input::CertificatesChanged(certificates);
    Refresh: Refresh => Input::Refresh;
    SocketOpened: SocketOpened { service } => Input::SocketOpened(service);
    NameResolves: NameResolves { name } => Input::NameResolves(name);
    OrphanAdopted: OrphanAdopted { observation } => Input::OrphanAdopted(observation);
    ProxyExited: ProxyExited { pid, exit } => Input::ProcessExited { pid, exit };
    ServerHealthReported: ServerHealthReported { pid, service, .. } => Input::ServerHealthReported { pid, service };
}

impl Handler<ProxyStarted> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, ProxyStarted { pid, runtime, servers }: ProxyStarted, ctx: &mut Self::Context) {
        self.successor = runtime.map(SendWrapper::take);
        let takes_commands = self.successor.is_some();
        self.feed(Input::ProcessStarted { pid, takes_commands, servers }, ctx);
    }
}

impl Handler<ProxyAnswers> for HaproxyStateActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: ProxyAnswers, _: &mut Self::Context) -> Self::Result {
        let mut batches = self.successor_batches.subscribe();
        let sent = batches.borrow().sent;
        // The batch that follows contains what changed while the last one was answered.
        let is_caught_up = move |batches: &Batches| batches.answered == batches.sent || batches.answered > sent;
        let caught_up = async move { drop(batches.wait_for(is_caught_up).await) };
        Box::pin(caught_up.into_actor(self).map(|(), actor, ctx| actor.feed(Input::SuccessorTakesOver, ctx)))
    }
}

impl Handler<ReloadProxy> for HaproxyStateActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, ReloadProxy { reason }: ReloadProxy, ctx: &mut Self::Context) -> Self::Result {
        if self.reconciler.is_stopping() {
            return Err(OrderRefused::NotNow("proxymgr is stopping".to_owned()));
        }
        if self.reconciler.is_external() {
            return Err(OrderRefused::NotNow(
                "haproxy.run is none: proxymgr cannot reload an external HAProxy".to_owned(),
            ));
        }
        let order = Order::Reload { reason: reason.clone() };
        let words = printable(reason)?;
        let why =
            words.map_or_else(|| "an operator asked for it".to_owned(), |words| format!("an operator asked: {words}"));
        let what = format!("reload ({why})");
        self.peers.journal.do_send(Record(JournalEntry::new(Event::Ordered { what, order })));
        self.feed(Input::ReloadOrdered(why), ctx);
        Ok("HAProxy will be reloaded as soon as haproxy.reload_interval allows".to_owned())
    }
}

impl Handler<BeginShutdown> for HaproxyStateActor {
    type Result = ResponseActFuture<Self, bool>;

    /// Answers when all pending writes are done.
    fn handle(&mut self, _: BeginShutdown, ctx: &mut Self::Context) -> Self::Result {
        let (state, text) = self.reconciler.unwritten();
        let is_settled = self.reconciler.is_settled();
        self.feed(Input::Stop, ctx);
        let saves = self.peers.saves.clone();
        let file = self.peers.deployment.as_ref().map(|deployment| deployment.config_file.clone());
        let log = self.log.clone();
        let write_all = async move {
            let saved = match state.zip(saves) {
                Some((state, saves)) => {
                    saves.send(SaveState(state)).await.unwrap_or_else(|error| Err(error.to_string()))
                }
                None => Ok(()),
            };
            let written = match text.zip(file) {
                Some((text, file)) => file.write(text).await,
                None => Ok(()),
            };
            let is_current = is_settled && written.is_ok();
            for error in [saved, written].into_iter().filter_map(Result::err) {
                slog::warn!(log, "the last change could not be written at shutdown"; "error" => error);
            }
            is_current
        };
        Box::pin(write_all.into_actor(self))
    }
}

impl Handler<PreviewPlan> for HaproxyStateActor {
    type Result = MessageResult<PreviewPlan>;

    fn handle(&mut self, PreviewPlan { after }: PreviewPlan, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.reconciler.plan(after, self.clock.now()))
    }
}

impl Handler<GetState> for HaproxyStateActor {
    type Result = MessageResult<GetState>;

    fn handle(&mut self, _: GetState, _: &mut Self::Context) -> Self::Result {
        let haproxy = self.reconciler.snapshot(self.clock.now());
        MessageResult(match self.target.clone() {
            None => ActorState::HaproxyState(haproxy),
            Some(name) => ActorState::Target(TargetState { name, haproxy }),
        })
    }
}

impl Handler<GetConfig> for HaproxyStateActor {
    type Result = MessageResult<GetConfig>;

    fn handle(&mut self, _: GetConfig, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.reconciler.config())
    }
}
