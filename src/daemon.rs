//! The daemon: chooses the adapters, starts the actors, obeys signals, and leaves nothing behind.

pub mod adapters;
mod annotations;
mod foreign_config;
pub mod head_check;
mod lock;
mod notify;
mod process;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use proxymgr_actors::clock::Clock;
use proxymgr_actors::limits::RUNTIME_CONNECT_TIMEOUT;
use proxymgr_actors::message::PolicyChanged;
use proxymgr_actors::model::{ProcessInfo, ProxyPolicy, ProxyVersion, RunBy};
use proxymgr_actors::operator::Order;
use proxymgr_actors::port::{RuntimeApi, SavedState, TrafficReader};
use proxymgr_actors::wiring::{Actors, Orders};
use slog::{Logger, error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::discovery::http::Servers;
use crate::failure::Failure;
use crate::logging::{self, Logging};
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::recording::{self, Header, JournalFollower, Recorder};
use crate::saved_state;
use crate::settings::{Settings, SettingsSources};
use crate::status::access::{Access, TokenSource};
use crate::status::listener::{self, StatusListener};
use crate::status::page::{self, PageSettings};
use crate::status::view::{Identity, View};
use crate::status::{self, metrics, part};
use adapters::Discovery;
use annotations::SharedAnnotations;
use lock::InstanceLock;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit of this build; `unknown` where it was built outside of a repository.
pub const COMMIT: &str = env!("PROXYMGR_COMMIT");

/// The oldest HAProxy that is driven.
pub const HAPROXY_VERSION_MIN: ProxyVersion = ProxyVersion { major: 2, minor: 2 };

/// How long HAProxy is waited for once it was told to end at once.
const HARD_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A daemon that is about to run.
pub struct Daemon {
    settings: Settings,
    /// Where the settings are read again at SIGHUP; none where they stand nowhere.
    sources: Option<SettingsSources>,
    logging: Logging,
    log: Logger,
    _lock: InstanceLock,
}

impl Daemon {
    /// Takes the lock of `haproxy.config_path` and prepares this process.
    pub fn prepare(settings: Settings, sources: Option<SettingsSources>, logging: Logging) -> Result<Self, Failure> {
        let log = logging::component(logging.root(), "daemon");
        process::prepare(&log);
        let lock = InstanceLock::take(&settings.haproxy.config_path)?;
        Ok(Self { settings, sources, logging, log, _lock: lock })
    }

    /// Runs until told to stop. `when_ready` is called once, with the HAProxy that runs, as soon as it does.
    pub fn run(self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        System::new().block_on(self.serve(when_ready))
    }

    async fn serve(mut self, when_ready: impl FnOnce(Option<ProcessInfo>) + 'static) -> Result<(), Failure> {
        // From here on no signal ends the process by itself.
        let mut signals = Signals::install()?;
        info!(self.log, "starting"; "version" => VERSION, "commit" => COMMIT,
            "config_path" => %self.settings.haproxy.config_path.display(), "pid" => std::process::id());
        let binary = HaproxyBinary::new(&self.settings.haproxy.binary);
        let version = match self.settings.haproxy.run.needs_program() {
            true => Some(supported_version(&binary).await?),
            false => self.running_version().await,
        };
        let socket = self.settings.status.listen.map(listener::bind).transpose().map_err(Failure::CannotStart)?;
        self.keep_foreign_config();
        let callback = adapters::marathon_callback(&self.settings)?;
        let discovery = Discovery::to_serve(&self.settings, callback.clone(), self.logging.root())?;
        let outside = adapters::outside(&self.settings, &discovery, &binary, self.logging.root());
        let started_at_unix_ms = process::unix_ms_now();
        let clock = Clock::starting_at(started_at_unix_ms);
        let orders = self.orders(version);
        let recorder = self.recorder(version, started_at_unix_ms, &orders.restored)?;
        let outside = recorder.iter().fold(outside, recording::listen);
        let actors = Actors::start(outside, orders, clock, self.logging.root());
        let follower = recorder.map(|recorder| JournalFollower::start(actors.clone(), recorder));
        let listener = socket.map(|socket| {
            let identity = Identity {
                version: VERSION,
                commit: COMMIT,
                config_path: self.settings.haproxy.config_path.display().to_string(),
                started_at_unix_ms,
                clock,
            };
            let mut access = adapters::status_access(&self.settings.status)?;
            // Marathon asks for us by the name that it was given.
            access.hosts.extend(self.settings.marathon.callback.iter().flat_map(Servers::hosts));
            let mut parts = part::own();
            let shared = discovery.annotations.clone().map(|annotations| Arc::new(SharedAnnotations(annotations)));
            parts.extend(shared.map(|annotations| status::annotations::part(annotations)));
            parts.extend(callback.map(|callback| adapters::marathon_part(&callback, &discovery.marathon)));
            parts.push(metrics::part(self.settings.status.metrics_per_service));
            let view: Arc<dyn View> = Arc::new(actors.clone());
            parts.push(page::part(Arc::clone(&view), identity.clone(), self.page_settings(&access)));
            StatusListener::start(socket, access, identity, view, parts)
        });
        let listener = listener.transpose().map_err(Failure::CannotStart)?;
        if let Some(listener) = &listener {
            info!(self.log, "status listener open"; "address" => %listener.address());
        }
        actix::spawn(notify::keep_watchdog_quiet(actors.clone()));
        let ready = actix::spawn(notify::when_ready(actors.clone(), self.log.clone(), when_ready));
        self.obey(&mut signals, &actors, listener.as_ref(), || ready.is_finished()).await;
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

    /// The recorder, where one is wanted.
    fn recorder(
        &self,
        haproxy: Option<ProxyVersion>,
        at_unix_ms: u64,
        restored: &SavedState,
    ) -> Result<Option<Recorder>, Failure> {
        let Some(path) = &self.settings.record else { return Ok(None) };
        // One that is not known is taken for the oldest.
        let haproxy = haproxy.unwrap_or(HAPROXY_VERSION_MIN);
        let header =
            Header { proxymgr_recording: recording::FORMAT, proxymgr: VERSION.to_owned(), haproxy, at_unix_ms };
        info!(self.log, "recording what discovery says"; "path" => %path.display());
        let log = logging::component(self.logging.root(), "recorder");
        let recorder = Recorder::start(path.clone(), header, log).map_err(Failure::CannotStart)?;
        recorder.restored(restored);
        Ok(Some(recorder))
    }

    /// The version of a HAProxy that runs already, by orders of ours, while its program is elsewhere: the first file is made
    /// for it. One that does not answer at once is not waited for.
    async fn running_version(&self) -> Option<ProxyVersion> {
        let haproxy = &self.settings.haproxy;
        if haproxy.run.run_by() != RunBy::OurOrder {
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
        PageSettings { traffic: Some(Arc::new(open)), has_token: !matches!(access.token, TokenSource::None) }
    }

    fn keep_foreign_config(&self) {
        if self.settings.haproxy.run.run_by() == RunBy::Others {
            return;
        }
        match foreign_config::keep(&self.settings.haproxy.config_path) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                warn!(self.log, "the configuration file was written by somebody else; it is kept beside ours";
                    "kept" => %kept.display());
            }
            Err(error) => warn!(self.log, "the configuration file of somebody else is not kept"; "error" => error),
        }
    }

    fn orders(&self, version: Option<ProxyVersion>) -> Orders {
        let saved = saved_state::load(&adapters::saved_state_path(&self.settings));
        if let Some(problem) = &saved.problem {
            warn!(self.log, "{}", problem);
        }
        if let Err(problem) = create_state_dir(&self.settings.state_dir) {
            warn!(self.log, "last good hosts will not survive a restart"; "error" => problem);
        }
        info!(self.log, "saved state read"; "services" => saved.state.services.len());
        adapters::orders(&self.settings, version, saved.state)
    }

    /// Obeys signals until one says stop.
    async fn obey(
        &mut self,
        signals: &mut Signals,
        actors: &Actors,
        listener: Option<&StatusListener>,
        ready_was_told: impl Fn() -> bool,
    ) {
        loop {
            match signals.next().await {
                Told::Stop(name) => {
                    info!(self.log, "told to stop"; "signal" => name);
                    return;
                }
                Told::ReadSettings => {
                    // systemd takes a reload's end for readiness, which must not be told before its time.
                    let announce = ready_was_told();
                    if announce {
                        notify::reloading();
                    }
                    self.read_settings_again(actors).await;
                    for problem in listener.map(StatusListener::read_secrets_again).into_iter().flatten() {
                        error!(self.log, "the one before stays in use: {}", problem);
                    }
                    if announce {
                        notify::ready();
                    }
                }
                Told::Refresh => {
                    info!(self.log, "reading every source again"; "signal" => "SIGUSR1");
                    // An order like any other, so that the journal tells of it; this one is never refused.
                    drop(actors.order(Order::Refresh { service: None }).await);
                }
            }
        }
    }

    /// Puts changed settings in force. With any mistake in them, those before stay, all of them.
    async fn read_settings_again(&mut self, actors: &Actors) {
        let Some(sources) = &self.sources else {
            info!(self.log, "there is no settings file to read again");
            return;
        };
        let newer = match Settings::load(sources) {
            Ok(loaded) => loaded.settings,
            Err(mistakes) => {
                for mistake in &mistakes.0 {
                    error!(self.log, "mistake in the settings: {}", mistake);
                }
                error!(self.log, "settings refused, those before stay in force"; "mistakes" => mistakes.0.len());
                actors.refuse_settings(mistakes.0.iter().map(ToString::to_string).collect());
                return;
            }
        };
        let refusals = head_check::mistakes(&newer, &self.log).await;
        if !refusals.is_empty() {
            refusals.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
            error!(self.log, "settings refused, those before stay in force"; "mistakes" => refusals.len());
            actors.refuse_settings(refusals.iter().map(ToString::to_string).collect());
            return;
        }
        let changed = self.settings.adopt(newer);
        info!(self.log, "settings read again"; "in_force" => names(&changed.in_force));
        if !changed.need_restart.is_empty() {
            warn!(self.log, "some changed settings wait for a restart"; "keys" => names(&changed.need_restart));
        }
        if !changed.in_force.is_empty() {
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

    /// Stops HAProxy softly; when told a second time, at once.
    async fn stop(&self, signals: &mut Signals, actors: &Actors) {
        notify::stopping();
        let stop = actors.stop();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                told = signals.next() => if let Told::Stop(name) = told {
                    warn!(self.log, "told to stop again: ending HAProxy now"; "signal" => name);
                    // A stop that leaves no time for connections, whatever process is there: even one being started.
                    let policy = self.settings.haproxy.policy.clone();
                    let policy = Arc::new(ProxyPolicy { stop_timeout: Duration::ZERO, ..policy });
                    actors.change_policy(&PolicyChanged { policy, ..self.policy() });
                    if timeout(HARD_STOP_TIMEOUT, actors.stop()).await.is_err() {
                        warn!(self.log, "HAProxy was not seen to end; leaving all the same");
                    }
                    return;
                }
            }
        }
    }
}

fn names(keys: &[&'static str]) -> String {
    if keys.is_empty() { "nothing changed".to_owned() } else { keys.join(",") }
}

/// The version of the binary, where it can be driven.
pub async fn supported_version(binary: &HaproxyBinary) -> Result<ProxyVersion, Failure> {
    let (version, text) = binary.version().await.map_err(Failure::CannotStart)?;
    if version < HAPROXY_VERSION_MIN {
        let path = binary.path().display();
        let problem = format!("{path} is HAProxy {text}; {HAPROXY_VERSION_MIN} or newer is needed (haproxy.path)");
        return Err(Failure::CannotStart(problem));
    }
    Ok(version)
}

/// Makes the directory of the saved state, for this user alone.
fn create_state_dir(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|error| format!("cannot create state_dir {}: {error}", path.display()))
}

/// What a signal means.
enum Told {
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
        let install =
            |kind| signal(kind).map_err(|error| Failure::CannotStart(format!("cannot listen to signals: {error}")));
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hang_up: install(SignalKind::hangup())?,
            user_1: install(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hang_up.recv() => Told::ReadSettings,
            _ = self.user_1.recv() => Told::Refresh,
        }
    }
}
