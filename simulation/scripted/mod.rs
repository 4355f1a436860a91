//! Tests of the actors with scripted input: definitions as text, lists of hosts, and single faults, against the same
//! simulated HAProxy, processes, sockets and files as in the runs of the simulation.
//!
//! ```
//! use proxymgr_simulation::scripted::{in_virtual_time, wait};
//!
//! in_virtual_time(async |world| {
//!     world.start();
//!     world.define(&[("web", r#"{"type": "static", "port": 8080}"#)]).await;
//!     world.hosts("web", &[1, 2]).await;
//!     assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 1));
//!     world.kill_haproxy();
//!     wait(1).await;
//!     assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 2));
//! });
//! ```
//!
//! Every operation is short unless the test changes it with [`ScriptedWorld::takes`].

mod faults;
mod observations;
pub(crate) mod sources;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{DefinitionsSeen, PolicyChanged, SeenHost};
use proxymgr_actors::model::{Address, Endpoint, Host, ProxyManagement, ProxyPolicy, Quotas, RawDefinition};
use proxymgr_actors::port::{SavedService, SavedState};
use proxymgr_actors::wiring::Actors;
use tokio::time::sleep;

pub use self::observations::{config_state, haproxy_state, journal, watcher_state};
use self::sources::ScriptedSources;
use crate::durations::Work;
use crate::managers::orders;
pub use crate::mishaps::CONFIRM_INTERVAL;
use crate::tampering::default_policy;
use crate::world::{self, SERVICES_REMOVAL_MAX, World};

/// Default duration of every operation, in milliseconds.
const SHORT_MS: u64 = 1;

/// A world in which a test decides what discovery reports. Clones share the same world.
#[derive(Clone)]
pub struct ScriptedWorld {
    world: World,
    sources: ScriptedSources,
    quotas: Rc<Cell<Quotas>>,
}

/// Runs a test in a new world and in virtual time.
pub fn in_virtual_time(test: impl AsyncFnOnce(ScriptedWorld)) {
    world::in_virtual_time(1, async |world| test(ScriptedWorld::of(world)).await);
}

impl ScriptedWorld {
    fn of(world: World) -> Self {
        for work in Work::ALL {
            world.set_duration(work, SHORT_MS, SHORT_MS);
        }
        world.with(|things| {
            things.sent = Some(Vec::new());
            things.sessions = Some(BTreeMap::new());
        });
        world.begin_at(1_000_000);
        Self { world, sources: ScriptedSources::default(), quotas: Rc::default() }
    }

    /// Returns another machine in the same virtual time: no HAProxy runs there, and nothing is saved.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(World::new(self.world.seed()))
    }

    /// Derives the definitions from instances, from the next manager on.
    pub fn derives_definitions(&self) {
        self.sources.derive();
    }

    /// Sets the quotas of the next manager.
    pub fn limit(&self, quotas: Quotas) {
        self.quotas.set(quotas);
    }

    /// Starts a manager without saved state.
    pub fn start(&self) -> Actors {
        self.start_from(SavedState::default())
    }

    /// Starts a manager with these saved services.
    pub fn start_with(&self, services: Vec<SavedService>) -> Actors {
        self.start_from(SavedState { services, ..SavedState::default() })
    }

    /// Starts a manager with this saved state.
    pub fn start_from(&self, restored: SavedState) -> Actors {
        self.start_as(policy(&[]), restored)
    }

    /// Starts a manager with these settings and without saved state.
    pub fn start_under(&self, policy: ProxyPolicy) -> Actors {
        self.start_as(policy, SavedState::default())
    }

    /// Starts a manager with these settings and this saved state.
    pub fn start_as(&self, policy: ProxyPolicy, restored: SavedState) -> Actors {
        let orders = orders(policy, self.quotas.get(), restored);
        let sources = Rc::new(self.sources.clone());
        self.world.start_manager_with(orders, sources.clone(), sources);
        self.world.actors().expect("a manager was started just now")
    }

    /// Reports these definitions: name and JSON.
    pub async fn define(&self, services: &[(&str, &str)]) {
        let raw = |json: &str| RawDefinition::new(json, "a test");
        self.definitions_seen(Ok(services.iter().map(|(name, json)| (Arc::from(*name), raw(json))).collect())).await;
    }

    /// Reports these definitions, or why they are unreadable.
    pub async fn definitions_seen(&self, result: Result<BTreeMap<Arc<str>, RawDefinition>, String>) {
        self.report_definitions(DefinitionsSeen::plain(result)).await;
    }

    /// Reports these definitions and the health of their annotations.
    pub async fn report_definitions(&self, seen: DefinitionsSeen) {
        settle().await;
        assert!(self.sources.definitions_are_watched(), "the definitions are being watched");
        self.sources.report_definitions_with(seen);
        settle().await;
    }

    /// Reports these hosts of a service, each at 10.0.0.N:80.
    pub async fn hosts(&self, service: &str, hosts: &[u8]) {
        self.hosts_seen(service, Ok(hosts.iter().map(|number| seen_host(*number)).collect())).await;
    }

    /// Has the source of a service show these hosts without an event.
    pub async fn hosts_change_silently(&self, service: &str, hosts: &[u8]) {
        self.sources.change_silently(service, hosts.iter().map(|number| seen_host(*number)).collect());
        settle().await;
    }

    /// Has the source of a service answer nothing from now on, or answer again.
    pub fn silence_source(&self, service: &str, is_silent: bool) {
        self.sources.silence(service, is_silent);
    }

    /// Reports these hosts of a service, or why they are unreadable.
    pub async fn hosts_seen(&self, service: &str, result: Result<Vec<SeenHost>, String>) {
        assert!(self.sources.is_watched(service), "the hosts of {service} are being watched");
        self.sources.report_hosts(service, result);
        settle().await;
    }
}

/// Returns the settings of a manager, with these lines in `global`.
pub fn policy(global: &[&str]) -> ProxyPolicy {
    let mut policy = default_policy();
    policy.base_config.global = global.iter().map(|line| (*line).to_owned()).collect();
    policy
}

/// Returns the settings of a manager that updates an external HAProxy.
pub fn external_policy() -> ProxyPolicy {
    let mut policy = policy(&[]);
    policy.base_config.management = ProxyManagement::External;
    policy
}

/// Returns the message about settings that were read again.
pub fn changed(policy: ProxyPolicy) -> PolicyChanged {
    PolicyChanged {
        policy: Arc::new(policy),
        options: OptionPolicy::default(),
        services_removal_max: SERVICES_REMOVAL_MAX,
    }
}

/// Lets every message that is on its way arrive.
pub async fn settle() {
    sleep(Duration::from_millis(100)).await;
}

/// Lets this many seconds pass.
pub async fn wait(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Returns a host at 10.0.0.N:80.
pub fn host(number: u8) -> Host {
    let address = Address::parse(&format!("10.0.0.{number}")).expect("four numbers are an address");
    Host::at(Endpoint::Tcp { address, port: 80.try_into().expect("80 is a port") })
}

fn seen_host(number: u8) -> SeenHost {
    SeenHost::new(number.to_string(), Ok(host(number)))
}
