//! The daemon: chooses the adapters, starts the actors, handles signals, and cleans up at the end.

pub mod adapters;
mod annotations;
pub mod base_config_check;
pub mod base_copy;
mod certificates;
mod foreign_config;
pub mod host_networks;
mod lock;
mod notify;
mod process;
mod status_listener;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::limits::RUNTIME_CONNECT_TIMEOUT;
use proxymgr_actors::message::PolicyChanged;
use proxymgr_actors::model::{BaseFile, Certificates, ProcessInfo, ProxyManagement, ProxyPolicy, ProxyVersion};
use proxymgr_actors::operator::Order;
use proxymgr_actors::port::{RuntimeApi, SavedState, TrafficReader};
use proxymgr_actors::wiring::{Actors, Orders};
use slog::{Logger, error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::base_files;
use crate::certificates::WatchGuard;
use crate::discovery::marathon::Callback;
use crate::discovery::operator_files;
use crate::failure::Failure;
use crate::http::Servers;
use crate::logging::{self, Logging};
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::recording::{self, Header, JournalFollower, Recorder};
use crate::saved_state;
use crate::settings::{Settings, SettingsSources};
use crate::status::access::{Access, TokenSource};
use crate::status::certificate_report::CertificateReport;
use crate::status::listener::StatusListener;
use crate::status::page::{self, PageSettings};
use crate::status::view::{Identity, ListeningProblems, View};
use crate::status::{self, metrics, part};
use adapters::Discovery;
use annotations::SharedAnnotations;
use certificates::ReadCertificates;
use lock::InstanceLock;
use status_listener::Opening;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit of this build; `unknown` if it was built outside a repository.
pub const COMMIT: &str = env!("PROXYMGR_COMMIT");

/// The oldest supported version of HAProxy.
pub const HAPROXY_VERSION_MIN: ProxyVersion = ProxyVersion { major: 2, minor: 2 };

/// Time-out for the immediate stop of HAProxy.
const HARD_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A daemon that is ready to run.
pub struct Daemon {
    settings: Settings,
    /// Sources of the settings, read again at SIGHUP; none if they cannot be read again.
    sources: Option<SettingsSources>,
    /// Why the files of `haproxy.base_config` are not used, and the copy of the last good ones is.
    base_refused: Vec<String>,
    logging: Logging,
    log: Logger,
    _lock: InstanceLock,
}

impl Daemon {
    /// Takes the lock of `haproxy.config_path` and prepares the process.
    pub fn prepare(settings: Settings, sources: Option<SettingsSources>, logging: Logging) -> Result<Self, Failure> {
        let log = logging::component(logging.root(), "daemon");
        process::prepare(&log);
        let lock = InstanceLock::take(&settings.haproxy.config_path)?;
        Ok(Self { settings, sources, base_refused: Vec::new(), logging, log, _lock: lock })
    }

    /// Uses the copy of the last good base configuration, for these reasons.
    pub fn with_base_refused(mut self, reasons: Vec<String>) -> Self {
        self.base_refused = reasons;
        self
    }

    /// Runs until a signal stops it. `when_ready` is called once, when HAProxy runs.
    pub fn run(self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        System::new().block_on(self.serve(when_ready))
    }

    async fn serve(mut self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        // From here on, signals are handled and no longer end the process.
        let mut signals = Signals::install()?;
        info!(self.log, "starting"; "version" => VERSION, "commit" => COMMIT,
            "config_path" => %self.settings.haproxy.config_path.display(), "pid" => std::process::id());
        let binary = HaproxyBinary::of(&self.settings.haproxy);
        let version = match self.settings.haproxy.run.needs_program() {
            true => Some(supported_version(&binary).await?),
            false => self.running_version().await,
        };
        self.keep_foreign_config();
        if let Err(problem) = create_state_dir(&self.settings.state_dir) {
            warn!(self.log, "the last good lists will not survive a restart"; "error" => problem);
        }
        self.choose_base().await;
        let callback = adapters::marathon_callback(&self.settings)?;
        let discovery = Discovery::to_serve(&self.settings, callback.clone(), self.logging.root())?;
        let outside = adapters::outside(&self.settings, &discovery, &binary, self.logging.root());
        let started_at_unix_ms = process::unix_ms_now();
        let clock = Clock::starting_at(started_at_unix_ms);
        let orders = self.orders(version);
        let derived_definitions = outside.definitions.are_derived();
        let recorder = self.recorder(version, started_at_unix_ms, derived_definitions, &orders.restored)?;
        let outside = recorder.iter().fold(outside, recording::listen);
        // Before HAProxy is started, which reads the private files.
        let certificates = ReadCertificates::read(&self.settings, self.logging.root()).await;
        let actors = Actors::start(outside, orders, clock, self.logging.root());
        if !self.base_refused.is_empty() {
            actors.refuse_settings(self.base_refused.clone());
        }
        let follower = recorder.map(|recorder| JournalFollower::start(actors.clone(), recorder));
        let report = Arc::<CertificateReport>::default();
        let core = actors.clone();
        let certificates_changed = move |certificates: Certificates| core.certificates_changed(Arc::new(certificates));
        let certificates = certificates.map(|read| read.watch(Arc::clone(&report), clock, certificates_changed));
        let listener = self.open_listener(&actors, clock, started_at_unix_ms, callback, &discovery, report)?;
        actix::spawn(notify::keep_watchdog_alive(actors.clone()));
        let ready = actix::spawn(notify::when_ready(actors.clone(), self.log.clone(), when_ready));
        let is_ready = || ready.is_finished();
        self.handle_signals(&mut signals, &actors, listener.as_deref(), certificates.as_ref(), is_ready).await;
        ready.abort();
        tokio::join!(self.stop(&mut signals, &actors), discovery.marathon.leave());
        if let Some(follower) = follower {
            follower.finish().await;
        }
        if let Some(listener) = listener {
            listener.stop().await;
        }
        info!(self.log, "stopped");
        Ok(())
    }

    /// The status listener, which opens its sockets by itself; none if it is turned off.
    fn open_listener(
        &self,
        actors: &Actors,
        clock: Clock,
        started_at_unix_ms: u64,
        callback: Option<Callback>,
        discovery: &Discovery,
        certificates: Arc<CertificateReport>,
    ) -> Result<Option<Rc<StatusListener>>, Failure> {
        let status = &self.settings.status;
        if status.listen.is_none() && status.socket.path.is_none() {
            return Ok(None);
        }
        let problems = Arc::<ListeningProblems>::default();
        let identity = Identity {
            version: VERSION,
            commit: COMMIT,
            config_path: self.settings.haproxy.config_path.display().to_string(),
            started_at_unix_ms,
            clock,
            listening: Arc::clone(&problems),
            dropped_records: self.logging.dropped(),
            certificates,
        };
        let log = logging::component(self.logging.root(), "status");
        let mut access = adapters::status_access(status).map_err(Failure::CannotStart)?;
        access.log = Some(log.clone());
        access.peers = status_listener::peer_rules(&status.socket);
        // Marathon uses the host name of the callback URL.
        access.hosts.extend(self.settings.marathon.callback.iter().flat_map(Servers::hosts));
        let mut parts = part::own();
        let shared = discovery.annotations.clone().map(|annotations| Arc::new(SharedAnnotations(annotations)));
        parts.extend(shared.map(|annotations| status::annotations::part(annotations)));
        parts.extend(callback.map(|callback| adapters::marathon_part(&callback, &discovery.marathon)));
        parts.push(metrics::part(status.metrics_per_service));
        let view: Arc<dyn View> = Arc::new(actors.clone());
        parts.push(page::part(Arc::clone(&view), identity.clone(), self.page_settings(&access)));
        let listener = StatusListener::new(status.listen, access, identity, view, parts);
        let listener = Rc::new(listener.map_err(Failure::CannotStart)?);
        let opening = Opening { listener: Rc::clone(&listener), problems, clock, log };
        opening.start(status.socket.clone(), status.listen);
        Ok(Some(listener))
    }

    /// The recorder, if one is configured.
    fn recorder(
        &self,
        haproxy: Option<ProxyVersion>,
        at_unix_ms: u64,
        derived_definitions: bool,
        restored: &SavedState,
    ) -> Result<Option<Recorder>, Failure> {
        let Some(path) = &self.settings.record else { return Ok(None) };
        // An unknown version is recorded as the oldest supported one.
        let haproxy = haproxy.unwrap_or(HAPROXY_VERSION_MIN);
        let proxymgr = VERSION.to_owned();
        let header =
            Header { proxymgr_recording: recording::FORMAT, proxymgr, haproxy, at_unix_ms, derived_definitions };
        info!(self.log, "recording discovery events"; "path" => %path.display());
        let log = logging::component(self.logging.root(), "recorder");
        let recorder = Recorder::start(path.clone(), header, log).map_err(Failure::CannotStart)?;
        recorder.restored(restored);
        Ok(Some(recorder))
    }

    /// The version of a running HAProxy whose binary is not on this machine; the first file is written for it. None if it
    /// does not answer at once.
    async fn running_version(&self) -> Option<ProxyVersion> {
        let haproxy = &self.settings.haproxy;
        if haproxy.run.management() != ProxyManagement::Delegated {
            return None;
        }
        let socket = adapters::runtime(haproxy, &logging::component(self.logging.root(), "runtime_api"));
        let answer = timeout(RUNTIME_CONNECT_TIMEOUT, socket.process()).await;
        answer.ok()?.ok().map(|process| process.version)
    }

    fn page_settings(&self, access: &Access) -> PageSettings {
        let haproxy = self.settings.haproxy.clone();
        let log = logging::component(self.logging.root(), "status");
        let open = move || -> Rc<dyn TrafficReader> { Rc::new(adapters::runtime(&haproxy, &log)) };
        let has_token = !matches!(access.token, TokenSource::None) || !access.tokens.is_empty();
        PageSettings { traffic: Some(Arc::new(open)), has_token }
    }

    fn keep_foreign_config(&self) {
        if self.settings.haproxy.run.management() == ProxyManagement::External {
            return;
        }
        match foreign_config::keep(&self.settings.haproxy.config_path) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                warn!(self.log, "the configuration file was not written by proxymgr; a copy is kept";
                    "copy" => %kept.display());
            }
            Err(error) => warn!(self.log, "cannot keep a copy of the previous configuration file"; "error" => error),
        }
    }

    /// Uses the copy of the last good base configuration where HAProxy refuses the files.
    async fn choose_base(&mut self) {
        if base_copy::files_of(&self.settings).is_empty() || !self.base_refused.is_empty() {
            self.base_refused.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
            return;
        }
        let refusals = base_config_check::mistakes(&self.settings, &self.log).await;
        if refusals.is_empty() {
            return self.keep_base();
        }
        refusals.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
        let copy = self.sources.as_ref().and_then(|sources| base_copy::with_copy(sources, &self.settings));
        if let Some(copy) = copy {
            error!(self.log, "base configuration rejected, the last good one is used"; "mistakes" => refusals.len());
            self.settings = copy.settings;
        }
        self.base_refused = refusals;
    }

    /// Keeps a copy of a good base configuration.
    fn keep_base(&self) {
        if !base_copy::files_of(&self.settings).is_empty()
            && let Err(problem) = base_copy::save(&self.settings)
        {
            warn!(self.log, "a bad base configuration at the next start would have no substitute"; "error" => problem);
        }
    }

    /// The files of the base configuration as they are now.
    fn base_files(&self) -> Option<Result<Vec<BaseFile>, String>> {
        self.settings.haproxy.base_config.as_deref().map(base_files::read)
    }

    fn orders(&self, version: Option<ProxyVersion>) -> Orders {
        let saved = saved_state::load(&adapters::saved_state_path(&self.settings));
        if let Some(problem) = &saved.problem {
            warn!(self.log, "{}", problem);
        }
        info!(self.log, "saved state read"; "services" => saved.state.services.len());
        adapters::orders(&self.settings, version, saved.state)
    }

    /// Handles signals until one stops the daemon.
    async fn handle_signals(
        &mut self,
        signals: &mut Signals,
        actors: &Actors,
        listener: Option<&StatusListener>,
        certificates: Option<&WatchGuard>,
        is_ready: impl Fn() -> bool,
    ) {
        let base_changed = Rc::new(Notify::new());
        let _watch = self.settings.haproxy.base_config.as_ref().map(|path| {
            let changed = Rc::clone(&base_changed);
            operator_files::watch(path, &self.log, move || changed.notify_one())
        });
        let mut last_seen = self.base_files();
        loop {
            let request = tokio::select! {
                request = signals.next() => request,
                () = base_changed.notified() => {
                    let seen = self.base_files();
                    if std::mem::replace(&mut last_seen, seen.clone()) == seen {
                        continue;
                    }
                    info!(self.log, "the base configuration changed");
                    Request::ReadSettings
                }
            };
            match request {
                Request::Stop(name) => {
                    info!(self.log, "stopping"; "signal" => name);
                    return;
                }
                Request::ReadSettings => {
                    // systemd takes the end of a reload for readiness, which must not be announced too early.
                    let announce = is_ready();
                    if announce {
                        notify::reloading();
                    }
                    self.read_settings_again(actors).await;
                    if let Some(certificates) = certificates {
                        certificates.refresh();
                    }
                    for problem in listener.map(StatusListener::read_secrets_again).into_iter().flatten() {
                        error!(self.log, "{}; the previous one stays in use", problem);
                    }
                    if announce {
                        notify::ready();
                    }
                }
                Request::Refresh => {
                    info!(self.log, "reading every source again"; "signal" => "SIGUSR1");
                    // An order, so that it is in the journal and in recordings. It is never refused.
                    drop(actors.order(Order::Refresh { service: None }).await);
                }
            }
        }
    }

    /// Applies changed settings. If they contain a mistake, none of them is applied.
    async fn read_settings_again(&mut self, actors: &Actors) {
        let Some(sources) = &self.sources else {
            info!(self.log, "no settings file to read again");
            return;
        };
        let newer = match Settings::load(sources) {
            Ok(loaded) => loaded.settings,
            Err(mistakes) => {
                for mistake in &mistakes.0 {
                    error!(self.log, "mistake in the settings: {}", mistake);
                }
                error!(self.log, "settings rejected, the previous ones stay in use"; "mistakes" => mistakes.0.len());
                actors.refuse_settings(mistakes.0.iter().map(ToString::to_string).collect());
                return;
            }
        };
        let refusals = base_config_check::mistakes(&newer, &self.log).await;
        if !refusals.is_empty() {
            refusals.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
            error!(self.log, "settings rejected, the previous ones stay in use"; "mistakes" => refusals.len());
            actors.refuse_settings(refusals.iter().map(ToString::to_string).collect());
            return;
        }
        let changed = self.settings.adopt(newer);
        self.keep_base();
        info!(self.log, "settings read again"; "applied" => names(&changed.applied));
        if !changed.need_restart.is_empty() {
            warn!(self.log, "some changed settings need a restart"; "keys" => names(&changed.need_restart));
        }
        if !changed.applied.is_empty() {
            self.logging.set_levels(&self.settings.log);
        }
        actors.change_policy(&self.policy());
    }

    fn policy(&self) -> PolicyChanged {
        let haproxy = &self.settings.haproxy;
        PolicyChanged {
            policy: Arc::new(haproxy.policy.clone()),
            options: haproxy.options.clone(),
            services_removal_max: haproxy.services_removal_max,
        }
    }

    /// Stops HAProxy gracefully; at a second signal, at once.
    async fn stop(&self, signals: &mut Signals, actors: &Actors) {
        let on_stop = self.settings.haproxy.policy.on_stop;
        notify::stopping(on_stop);
        let stop = actors.stop(on_stop);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                request = signals.next() => if let Request::Stop(name) = request {
                    warn!(self.log, "second signal: stopping HAProxy at once"; "signal" => name);
                    // A stop time-out of zero ends every process, including one that is being started.
                    let policy = self.settings.haproxy.policy.clone();
                    let policy = Arc::new(ProxyPolicy { stop_timeout: Duration::ZERO, ..policy });
                    actors.change_policy(&PolicyChanged { policy, ..self.policy() });
                    if timeout(HARD_STOP_TIMEOUT, actors.stop(on_stop)).await.is_err() {
                        warn!(self.log, "HAProxy did not exit in time; exiting anyway");
                    }
                    return;
                }
            }
        }
    }
}

fn names(keys: &[&'static str]) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(",") }
}

/// The version of the binary; fails if it is not supported.
pub async fn supported_version(binary: &HaproxyBinary) -> Result<ProxyVersion, Failure> {
    let (version, text) = binary.version().await.map_err(Failure::CannotStart)?;
    if version < HAPROXY_VERSION_MIN {
        let path = binary.path().display();
        let problem = format!("{path} is HAProxy {text}; {HAPROXY_VERSION_MIN} or newer is required (haproxy.path)");
        return Err(Failure::CannotStart(problem));
    }
    Ok(version)
}

/// Creates the directory of the saved state, with mode 750.
fn create_state_dir(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|error| format!("cannot create state_dir {}: {error}", path.display()))
}

/// The request behind a signal.
enum Request {
    /// SIGTERM, SIGINT.
    Stop(&'static str),
    /// SIGHUP.
    ReadSettings,
    /// SIGUSR1.
    Refresh,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        let install = |kind| {
            signal(kind).map_err(|error| Failure::CannotStart(format!("cannot install signal handlers: {error}")))
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hang_up: install(SignalKind::hangup())?,
            user_1: install(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.hang_up.recv() => Request::ReadSettings,
            _ = self.user_1.recv() => Request::Refresh,
        }
    }
}
