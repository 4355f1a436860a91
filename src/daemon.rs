//! The daemon: chooses the adapters, starts the actors, handles signals, and cleans up at the end.

pub mod adapters;
mod annotations;
pub mod base_config_check;
pub mod base_copy;
mod certificates;
mod ending;
mod foreign_config;
pub mod host_networks;
mod live_settings;
mod lock;
mod notify;
mod process;
pub mod restart;
mod signals;
mod status_listener;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use actix::System;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::limits::RUNTIME_CONNECT_TIMEOUT;
use proxymgr_actors::model::{Certificates, ProcessInfo, ProxyManagement, ProxyVersion};
use proxymgr_actors::operator::Order;
use proxymgr_actors::port::{RuntimeApi, SavedState, TrafficReader};
use proxymgr_actors::wiring::{Actors, Orders};
use slog::{Logger, error, info, warn};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::certificates::WatchGuard;
use crate::discovery::marathon::Callback;
use crate::discovery::operator_files;
use crate::failure::Failure;
use crate::http::Servers;
use crate::logging::{self, Logging};
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::recording::{self, Header, JournalFollower, Recorder};
use crate::settings::{Settings, SettingsSources};
use crate::status::access::{Access, TokenSource};
use crate::status::certificate_report::CertificateReport;
use crate::status::listener::StatusListener;
use crate::status::page::{self, PageSettings};
use crate::status::restarts::{Restart, Restarts};
use crate::status::view::{Identity, View};
use crate::status::{self, metrics, part};
use crate::{saved_journal, saved_state};
use adapters::Discovery;
use annotations::SharedAnnotations;
use certificates::ReadCertificates;
use ending::Parts;
use live_settings::LiveSettings;
use lock::InstanceLock;
use restart::inheritance::{Inheritance, Previous, StatusSockets};
use restart::program::Program;
use restart::{Restarter, SignalThread, Step, Succession};
use signals::{Request, Signals};
use status_listener::Opening;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit of this build; `unknown` if it was built outside a repository.
pub const COMMIT: &str = env!("PROXYMGR_COMMIT");

/// The version and the commit of this build.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PROXYMGR_COMMIT"), ")");

/// The oldest supported version of HAProxy.
pub const HAPROXY_VERSION_MIN: ProxyVersion = ProxyVersion { major: 2, minor: 2 };

/// A daemon that is ready to run.
pub struct Daemon {
    settings: LiveSettings,
    /// The program to execute at a restart in place; none if that is not possible.
    program: Option<Program>,
    /// What the program from before a restart in place left.
    inheritance: Option<Inheritance>,
    logging: Logging,
    log: Logger,
    lock: InstanceLock,
}

/// Why a daemon ends.
enum Ending {
    Stop,
    /// The restart, and the new program.
    Restart(Restart, Program),
    /// The restart that failed, and the program from before.
    FallBack(Restart, Previous),
}

impl Daemon {
    /// Takes the lock of `haproxy.config_path` and prepares the process.
    pub fn prepare(
        settings: Settings,
        sources: Option<SettingsSources>,
        logging: Logging,
        inheritance: Option<Inheritance>,
    ) -> Result<Self, Failure> {
        let log = logging::component(logging.root(), "daemon");
        process::prepare(&log);
        let inherited_lock = inheritance.as_ref().map(|inheritance| &*inheritance.kept.lock);
        let lock = InstanceLock::take(&settings.haproxy.config_path, inherited_lock)?;
        let settings = LiveSettings::new(settings, sources, log.clone());
        Ok(Self { settings, program: None, inheritance, logging, log, lock })
    }

    /// Uses the copy of the last good base configuration, for these reasons.
    pub fn with_base_refused(mut self, reasons: Vec<String>) -> Self {
        self.settings.base_refused = reasons;
        self
    }

    /// Executes this program at a restart in place.
    pub fn with_program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Runs until a signal stops it. `when_ready` is called once, when HAProxy runs.
    pub fn run(self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        System::new().block_on(self.serve(when_ready))
    }

    async fn serve(mut self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        // From here on, signals are handled and no longer end the process.
        SignalThread::block_elsewhere();
        let mut signals = Signals::install()?;
        let signal_thread = SignalThread::start();
        let inherited = self.inheritance.take();
        if inherited.is_some() {
            restart::restore_name();
            restart::reap_children(&self.log);
        }
        info!(self.log, "starting"; "version" => VERSION, "commit" => COMMIT,
            "config_path" => %self.settings.current.haproxy.config_path.display(), "pid" => std::process::id());
        let binary = HaproxyBinary::of(&self.settings.current.haproxy);
        let version = match self.settings.current.haproxy.run.needs_program() {
            true => Some(supported_version(&binary).await?),
            false => self.running_version().await,
        };
        self.keep_foreign_config();
        if let Err(problem) = create_state_dir(&self.settings.current.state_dir) {
            warn!(self.log, "the last good lists will not survive a restart"; "error" => problem);
        }
        self.settings.choose_base().await;
        let settings = &self.settings.current;
        let callback = adapters::marathon_callback(settings)?;
        let discovery = Discovery::to_serve(settings, callback.clone(), self.logging.root())?;
        let kept = inherited.as_ref().map(|inherited| &inherited.kept);
        let (outside, keeping) = adapters::outside(settings, &discovery, &binary, kept, self.logging.root());
        let started_at_unix_ms = process::unix_ms_now();
        let clock = Clock::starting_at(started_at_unix_ms);
        let orders = self.orders(version, inherited.is_some());
        let journalled = orders.journal.entries.last().map_or(0, |entry| entry.sequence);
        let derived_definitions = outside.definitions.are_derived();
        let recorder = self.recorder(version, started_at_unix_ms, derived_definitions, &orders.restored)?;
        let outside = recorder.iter().fold(outside, recording::listen);
        // Before HAProxy is started, which reads the private files.
        let certificates = ReadCertificates::read(settings, version, self.logging.root()).await;
        let actors = Actors::start(outside, orders, clock, self.logging.root());
        if !self.settings.base_refused.is_empty() {
            actors.refuse_settings(self.settings.base_refused.clone());
        }
        let follower = recorder.map(|recorder| JournalFollower::start(actors.clone(), recorder, journalled));
        let report = Arc::<CertificateReport>::default();
        let core = actors.clone();
        let certificates_changed = move |certificates: Certificates| core.certificates_changed(Arc::new(certificates));
        let certificates = certificates.map(|read| read.watch(Arc::clone(&report), clock, certificates_changed));
        let within = self.settings.current.restart_timeout;
        let mut restarter = Restarter::new(self.program.take(), inherited.as_ref(), within, &actors, self.log.clone());
        let identity = self.identity(clock, started_at_unix_ms, report, Arc::clone(&restarter.restarts));
        let status_sockets = inherited.map(|inherited| inherited.kept.status).unwrap_or_default();
        let listener = self.open_listener(&actors, identity, callback, &discovery, &status_sockets)?;
        drop(status_sockets);
        actix::spawn(notify::keep_watchdog_alive(actors.clone()));
        let ready = actix::spawn(notify::when_ready(actors.clone(), self.log.clone(), when_ready));
        let is_ready = || ready.is_finished();
        let sides = Sides { listener: listener.as_deref(), certificates: certificates.as_ref() };
        let ending = self.until_ending(&mut signals, &actors, &mut restarter, sides, is_ready).await;
        ready.abort();
        let parts = Parts { actors, discovery, follower, listener, keeping, log: self.log.clone() };
        let succession = match ending {
            Ending::Stop => {
                parts.stop(&self.settings, &mut signals).await;
                return Ok(());
            }
            Ending::Restart(restart, program) => {
                let left = parts.leave(self.lock).await?;
                info!(self.log, "executing the new program"; "path" => %program.path.display());
                Succession::of_new(program, restart, left)?
            }
            Ending::FallBack(restart, previous) => {
                let left = parts.leave(self.lock).await?;
                Succession::of_previous(previous, restart, left)
            }
        };
        // Writes the remaining records.
        drop(self.logging);
        signal_thread.end();
        let stop_requested = signals.stop_is_pending().await;
        Err(succession.execute(stop_requested))
    }

    fn identity(
        &self,
        clock: Clock,
        started_at_unix_ms: u64,
        certificates: Arc<CertificateReport>,
        restarts: Arc<Restarts>,
    ) -> Identity {
        Identity {
            version: VERSION,
            commit: COMMIT,
            config_path: self.settings.current.haproxy.config_path.display().to_string(),
            started_at_unix_ms,
            clock,
            listening: Arc::default(),
            dropped_records: self.logging.dropped(),
            log_levels: self.logging.levels(),
            certificates,
            restarts,
        }
    }

    /// The status listener, which opens its sockets by itself; none if it is turned off.
    fn open_listener(
        &self,
        actors: &Actors,
        identity: Identity,
        callback: Option<Callback>,
        discovery: &Discovery,
        inherited: &StatusSockets,
    ) -> Result<Option<Rc<StatusListener>>, Failure> {
        let settings = &self.settings.current;
        let status = &settings.status;
        if status.listen.is_none() && status.socket.path.is_none() {
            return Ok(None);
        }
        let (problems, clock) = (Arc::clone(&identity.listening), identity.clock);
        let log = logging::component(self.logging.root(), "status");
        let mut access = adapters::status_access(status).map_err(Failure::CannotStart)?;
        access.log = Some(log.clone());
        access.peers = status_listener::peer_rules(&status.socket);
        // Marathon uses the host name of the callback URL.
        access.hosts.extend(settings.marathon.callback.iter().flat_map(Servers::hosts));
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
        opening.start(status.socket.clone(), status.listen, inherited);
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
        let Some(path) = &self.settings.current.record else { return Ok(None) };
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
        let haproxy = &self.settings.current.haproxy;
        if haproxy.run.management() != ProxyManagement::Delegated {
            return None;
        }
        let socket = adapters::runtime(haproxy, &logging::component(self.logging.root(), "runtime_api"));
        let answer = timeout(RUNTIME_CONNECT_TIMEOUT, socket.process()).await;
        answer.ok()?.ok().map(|process| process.version)
    }

    fn page_settings(&self, access: &Access) -> PageSettings {
        let haproxy = self.settings.current.haproxy.clone();
        let log = logging::component(self.logging.root(), "status");
        let open = move || -> Rc<dyn TrafficReader> { Rc::new(adapters::runtime(&haproxy, &log)) };
        let has_token = !matches!(access.token, TokenSource::None) || !access.tokens.is_empty();
        PageSettings { traffic: Some(Arc::new(open)), has_token }
    }

    fn keep_foreign_config(&self) {
        if self.settings.current.haproxy.run.management() == ProxyManagement::External {
            return;
        }
        match foreign_config::keep(&self.settings.current.haproxy.config_path) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                warn!(self.log, "the configuration file was not written by proxymgr; a copy is kept";
                    "copy" => %kept.display());
            }
            Err(error) => warn!(self.log, "cannot keep a copy of the previous configuration file"; "error" => error),
        }
    }

    /// What the actors begin with. After a restart in place the HAProxy processes continue.
    fn orders(&self, version: Option<ProxyVersion>, is_continued: bool) -> Orders {
        let path = adapters::saved_state_path(&self.settings.current);
        let saved = saved_state::load(&path);
        if let Some(problem) = &saved.problem {
            warn!(self.log, "{}", problem);
        }
        info!(self.log, "saved state read"; "services" => saved.state.services.len());
        let mut journal = saved_journal::load(&saved_journal::path_beside(&path));
        if let Some(last) = journal.entries.last().filter(|_| !is_continued) {
            journal.history.end_processes(last.at_unix_ms);
        }
        adapters::orders(&self.settings.current, version, saved.state, journal)
    }

    /// Handles signals and orders until one ends the daemon.
    async fn until_ending(
        &mut self,
        signals: &mut Signals,
        actors: &Actors,
        restarter: &mut Restarter,
        sides: Sides<'_>,
        is_ready: impl Fn() -> bool,
    ) -> Ending {
        let base_changed = Rc::new(Notify::new());
        let _watch = self.settings.current.haproxy.base_config.as_ref().map(|path| {
            let changed = Rc::clone(&base_changed);
            operator_files::watch(path, &self.log, move || changed.notify_one())
        });
        let mut last_seen = self.settings.base_files();
        loop {
            let request = tokio::select! {
                request = signals.next() => request,
                step = restarter.next(actors) => match step {
                    Step::Ordered(at_unix_ms) => Request::Restart { at_unix_ms },
                    Step::Ready => continue,
                    Step::NotReady(restart, previous) => return Ending::FallBack(restart, previous),
                },
                () = base_changed.notified() => {
                    let seen = self.settings.base_files();
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
                    return Ending::Stop;
                }
                Request::ReadSettings => {
                    // systemd takes the end of a reload for readiness, which must not be announced too early.
                    let announce = is_ready();
                    if announce {
                        notify::reloading();
                    }
                    self.settings.read_again(actors, &self.logging).await;
                    sides.read_again(&self.log);
                    if announce {
                        notify::ready();
                    }
                }
                Request::Refresh => {
                    info!(self.log, "reading every source again"; "signal" => "SIGUSR1");
                    // An order, so that it is in the journal and in recordings. It is never refused.
                    drop(actors.order(Order::Refresh { service: None }).await);
                }
                Request::Restart { at_unix_ms } => {
                    let tried = tokio::select! {
                        tried = restarter.tried(at_unix_ms, actors) => tried,
                        name = signals.next_stop() => {
                            info!(self.log, "stopping"; "signal" => name);
                            return Ending::Stop;
                        }
                    };
                    if let Some((restart, program)) = tried {
                        return Ending::Restart(restart, program);
                    }
                }
            }
        }
    }
}

/// What reads its files again together with the settings.
struct Sides<'a> {
    listener: Option<&'a StatusListener>,
    certificates: Option<&'a WatchGuard>,
}

impl Sides<'_> {
    fn read_again(&self, log: &Logger) {
        if let Some(certificates) = self.certificates {
            certificates.refresh();
        }
        for problem in self.listener.map(StatusListener::read_secrets_again).into_iter().flatten() {
            error!(log, "{}; the previous one stays in use", problem);
        }
    }
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
