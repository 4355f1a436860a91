//! Replays recorded discovery to the production actors in virtual time, with a simulated HAProxy without further
//! faults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{ProxyVersion, RawDefinition, SeenHost};
use proxymgr_actors::operator::Order;
use proxymgr_actors::port::SavedState;
use proxymgr_actors::snapshot::{ActorState, ProxyPhase};
use proxymgr_actors::wiring::Orders;
use tokio::time::{Instant, sleep, sleep_until};

use super::scripted::sources::ScriptedSources;
use super::trace::TraceLine;
use super::world::{World, in_virtual_time};

/// Pause between two reads of the journal, in virtual time, so that no entry is dropped unread.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the actors may take to finish after the last recorded event, in seconds.
const END_MAX_S: u64 = 120;

/// A recorded event and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Time since the beginning.
    pub at: Duration,
    /// The event.
    pub what: Happening,
}

/// Event from discovery or from an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// The definitions, or why they are unreadable.
    Definitions(Result<BTreeMap<Arc<str>, RawDefinition>, String>),
    /// The hosts of a service, or why they are unreadable.
    Hosts(String, Result<Vec<SeenHost>, String>),
    /// An operator gives an order.
    Ordered(Order),
    /// The daemon is killed and restarted; it knows its saved state.
    Restart,
}

/// Initial state of a playback.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The HAProxy to simulate.
    pub version: ProxyVersion,
    /// When it begins, in milliseconds since 1970: durations of restored overrides refer to that clock.
    pub at_unix_ms: u64,
    /// Whether the definitions are derived from instances.
    pub derived_definitions: bool,
    /// State that the daemon has saved in an earlier run.
    pub restored: SavedState,
}

/// Result of a playback.
#[derive(Debug, Clone)]
pub struct Played {
    /// The actors' journal, with times in milliseconds since the beginning.
    pub journal: Vec<JournalEntry>,
    /// The actors' states at the end.
    pub states: Vec<ActorState>,
    /// The trace.
    pub lines: Vec<TraceLine>,
}

/// Replays events, in order, to actors with this configuration.
///
/// # Errors
/// An actor does not answer.
pub fn play(
    heard: impl Iterator<Item = Heard>,
    beginning: Beginning,
    orders: impl Fn(SavedState) -> Orders,
) -> Result<Played, String> {
    in_virtual_time(0, async |world| {
        world.install(beginning.version);
        world.begin_at(beginning.at_unix_ms);
        let (sources, at_unix_ms) = (ScriptedSources::deriving(beginning.derived_definitions), beginning.at_unix_ms);
        let mut player = Player { world, at_unix_ms, sources, journal: Vec::new(), last: 0 };
        player.begin(orders(beginning.restored));
        let began = Instant::now();
        for Heard { at, what } in heard {
            player.wait_until(began + at).await;
            match what {
                Happening::Restart => player.restart(&orders).await,
                // With other settings the order may be refused: that is one more difference.
                Happening::Ordered(order) => drop(player.world.order(order).await),
                what => player.report(what),
            }
        }
        player.finish().await
    })
}

struct Player {
    world: World,
    /// When the world began, in milliseconds since 1970.
    at_unix_ms: u64,
    sources: ScriptedSources,
    journal: Vec<JournalEntry>,
    /// Number of the last entry that was read from this manager's journal.
    last: u64,
}

impl Player {
    fn begin(&mut self, orders: Orders) {
        self.last = 0;
        let sources = Rc::new(self.sources.clone());
        self.world.start_manager_with(orders, sources.clone(), sources);
    }

    async fn restart(&mut self, orders: impl Fn(SavedState) -> Orders) {
        self.look().await;
        self.world.kill_manager().await;
        self.sources.clear();
        let saved = self.world.with(|things| things.saved_state());
        self.begin(orders(saved));
    }

    fn report(&self, what: Happening) {
        if let Happening::Hosts(_, Ok(seen)) = &what {
            self.resolve(seen);
        }
        match what {
            Happening::Definitions(snapshot) => self.sources.report_definitions(snapshot),
            Happening::Hosts(service, snapshot) => self.sources.report_hosts(&service, snapshot),
            Happening::Restart | Happening::Ordered(_) => {}
        }
    }

    /// Makes every host name resolve, each to an address of its own.
    fn resolve(&self, seen: &[SeenHost]) {
        let named = seen.iter().filter_map(|entry| Some(entry.host()?.endpoint.host_name()?.to_string()));
        for name in named {
            self.world.with(|things| {
                let number = u32::try_from(things.names.len()).unwrap_or_default();
                // 198.18.0.0/15 is for tests (RFC 2544).
                let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes([198, 18, 0, 1]) + number));
                things.names.entry(name).or_insert(address);
            });
        }
    }

    async fn wait_until(&mut self, at: Instant) {
        while Instant::now() < at {
            sleep_until(at.min(Instant::now() + LOOK_INTERVAL)).await;
            self.look().await;
        }
    }

    /// Reads the new entries of the journal.
    async fn look(&mut self) {
        let query = ReadJournal { after: Some(self.last), ..ReadJournal::default() };
        for mut entry in self.world.journal(query).await {
            self.last = entry.sequence;
            entry.at_unix_ms = entry.at_unix_ms.saturating_sub(self.at_unix_ms);
            self.journal.push(entry);
        }
    }

    /// Waits until no reload is pending and HAProxy runs.
    async fn finish(mut self) -> Result<Played, String> {
        for _ in 0..END_MAX_S {
            sleep(Duration::from_secs(1)).await;
            self.look().await;
            let is_done = |state: &ActorState| match state {
                ActorState::HaproxyState(state) => state.phase == ProxyPhase::Running && state.reload_due.is_empty(),
                _ => true,
            };
            if self.world.states().await?.iter().all(is_done) {
                break;
            }
        }
        let states = self.world.states().await?;
        Ok(Played { journal: self.journal, states, lines: self.world.trace().lines() })
    }
}
