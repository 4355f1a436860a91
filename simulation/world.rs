//! The world around the actors, in memory and in virtual time.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::spawn;
use proxymgr_actors::model::ProxyVersion;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::sleep;

use super::chronicle::Chronicle;
use super::invariant::{Invariant, Violation};
use super::managers::Manager;
use super::planted_bug::PlantedBug;
use super::random::Random;
use super::things::Things;
use super::trace::{Trace, VIOLATION};
use super::truth::SERVICE_PERCENT;

/// Default time at which the world begins, in milliseconds since 1970.
const STARTED_AT_UNIX_MS: u64 = 1_700_000_000_000;

/// Largest share of the services that may be missing within the window of the guard.
pub(super) const SERVICES_REMOVAL_MAX: f64 = SERVICE_PERCENT as f64 / 100.0;

/// A task that is independent of the manager.
type Natural = Pin<Box<dyn Future<Output = ()>>>;

/// The world. Clones share the same world.
#[derive(Clone)]
pub struct World(Rc<Shared>);

struct Shared {
    seed: u64,
    started_at_unix_ms: Cell<u64>,
    trace: Trace,
    things: RefCell<Things>,
    manager: RefCell<Option<Manager>>,
    nature: UnboundedSender<Natural>,
}

/// Runs a test in a new world and in virtual time: hours take milliseconds, and every run is the same.
pub fn in_virtual_time<T>(seed: u64, story: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing of the system")
    };
    actix::System::with_tokio_rt(runtime).block_on(async {
        let world = World::new(seed);
        let result = story(world.clone()).await;
        world.end_manager().await;
        result
    })
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let (nature, mut begun) = mpsc::unbounded_channel::<Natural>();
        spawn(async move {
            while let Some(natural) = begun.recv().await {
                spawn(natural);
            }
        });
        let (manager, started_at_unix_ms) = (RefCell::default(), Cell::new(STARTED_AT_UNIX_MS));
        let things = RefCell::new(Things::new());
        Self(Rc::new(Shared { seed, started_at_unix_ms, trace: Trace::new(), things, manager, nature }))
    }

    /// Returns the slot of the running manager.
    pub(super) fn manager_slot(&self) -> &RefCell<Option<Manager>> {
        &self.0.manager
    }

    /// Reads or changes the content of the world. Must not be nested.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Things) -> T) -> T {
        look(&mut self.0.things.borrow_mut())
    }

    /// Returns the trace.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Returns the seed of the latencies.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Starts to record a chronicle. Each change of hosts from here on is one that HAProxy must follow.
    pub fn keep_chronicle(&self) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| {
            let mut chronicle = Chronicle::default();
            for (name, service) in &things.services {
                chronicle.begins_with(name, service.registered(), now_ms);
            }
            things.chronicle = Some(chronicle);
        });
    }

    /// Returns the chronicle so far; empty if none is recorded.
    pub fn chronicle(&self) -> Chronicle {
        let mut chronicle = self.with(|things| things.chronicle.clone()).unwrap_or_default();
        chronicle.ended_ms = self.0.trace.now_ms();
        chronicle
    }

    /// Adds the current state to the chronicle, if one is recorded.
    pub(super) fn chronicled(&self, note: impl FnOnce(&mut Chronicle, u64)) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| things.chronicle.as_mut().map(|chronicle| note(chronicle, now_ms)));
    }

    /// Records which hosts take traffic, after the serving process has changed.
    pub(super) fn chronicle_all(&self) {
        let now_ms = self.0.trace.now_ms();
        self.with(|things| {
            let Some(mut chronicle) = things.chronicle.take() else { return };
            let serving = things.serving().and_then(|pid| things.processes.get(&pid));
            let ready = serving.map(|process| process.ready_servers()).unwrap_or_default();
            chronicle.all_enabled(&ready, now_ms);
            things.chronicle = Some(chronicle);
        });
    }

    /// Adds an event between two parties to the trace.
    pub(super) fn note(&self, from: impl Display, to: impl Display, what: impl Display) {
        self.0.trace.note(from, to, what);
    }

    /// Draws a number from `low` to `high` from the stream of this purpose.
    pub(super) fn draw(&self, purpose: &'static str, low: u64, high: u64) -> u64 {
        let seed = self.0.seed;
        self.with(|things| {
            let dice = if things.planted == Some(PlantedBug::Dice) { super::run::dice() } else { 0 };
            let random = things.randoms.entry(purpose).or_insert_with(|| Random::of_purpose(seed, purpose));
            random.between(low, high) + dice
        })
    }

    /// Waits for a time drawn from the stream of this purpose, in milliseconds.
    pub(super) async fn latency(&self, purpose: &'static str, low_ms: u64, high_ms: u64) {
        sleep(Duration::from_millis(self.draw(purpose, low_ms, high_ms))).await;
    }

    /// Spawns a task that is independent of the manager.
    pub(super) fn naturally(&self, natural: impl Future<Output = ()> + 'static) {
        // The receiver lives as long as the world's runtime.
        let _ = self.0.nature.send(Box::pin(natural));
    }

    /// Records the violation of an invariant. Only the first violation counts.
    pub(super) fn violate(&self, invariant: Invariant, what: impl Into<String>) {
        let violation = Violation { invariant, what: what.into() };
        self.note("the world", "", format!("{VIOLATION}: {violation}"));
        self.with(|things| things.violation.get_or_insert(violation).invariant);
    }

    /// Returns the first violation.
    pub fn violation(&self) -> Option<Violation> {
        self.with(|things| things.violation.clone())
    }

    /// Sets the installed version of HAProxy, which the next process uses.
    pub fn install(&self, version: ProxyVersion) {
        self.with(|things| things.version = version);
    }

    /// Plants a bug.
    pub fn plant(&self, bug: PlantedBug) {
        self.with(|things| things.planted = Some(bug));
    }

    /// Returns whether this bug is planted.
    pub(super) fn has(&self, bug: PlantedBug) -> bool {
        self.with(|things| things.planted == Some(bug))
    }

    /// Sets the time at which the world begins, in milliseconds since 1970, before the first manager reads the clock.
    pub(super) fn begin_at(&self, unix_ms: u64) {
        self.0.started_at_unix_ms.set(unix_ms);
    }

    /// Returns the time, in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        self.0.started_at_unix_ms.get() + self.trace().now_ms()
    }

    /// Lets every message that is on its way arrive.
    pub async fn settle(&self) {
        sleep(Duration::from_millis(300)).await;
    }

    /// Lets time pass.
    pub async fn wait(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Returns the hosts of this service that take traffic in the serving HAProxy.
    pub fn ready(&self, service: &str) -> Vec<u8> {
        self.with(|things| things.ready(service).unwrap_or_default().into_keys().collect())
    }

    /// Returns how often HAProxy was started or reloaded.
    pub fn starts(&self) -> usize {
        self.with(|things| things.started_at.len())
    }

    /// Returns the number of runtime commands that HAProxy received.
    pub fn commands(&self) -> usize {
        self.with(|things| things.commands)
    }

    /// Returns the current haproxy.cfg.
    pub fn file(&self) -> String {
        self.with(|things| things.live_file.joined())
    }
}
