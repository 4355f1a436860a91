//! Simulated discovery: sources that report the state of the world, delayed and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Recipient, spawn};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::{RawDefinition, ServiceName, SourceSpec};
use proxymgr_actors::port::{DefinitionSource, HostSources, OpenSource};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::{Instant, sleep, sleep_until};

use super::durations::Work;
use super::invariant::Invariant;
use super::mishaps::Mishap;
use super::planted_bug::PlantedBug;
use super::things::Things;
use super::truth::{ShownDefinitions, ShownHosts, Snapshot, definitions_seen, hosts_seen};
use super::world::World;

/// Further delay of a report whose result depends on messages that are on their way.
const UNDECIDED: Duration = Duration::from_millis(1);

/// Links from the sources to the actors.
#[derive(Default)]
pub(super) struct Links {
    definitions: Option<Link<ShownDefinitions>>,
    hosts: BTreeMap<String, Link<Snapshot>>,
    /// What happens to the next event of a service's source.
    pub(super) mishaps: BTreeMap<String, Mishap>,
    /// What happens to the next event of the definitions.
    pub(super) definitions_mishap: Option<Mishap>,
    last_id: u64,
    /// The services whose source was ever opened by this manager.
    opened: BTreeSet<String>,
}

struct Link<L> {
    id: u64,
    queue: UnboundedSender<(Instant, L)>,
    /// The last list that was sent.
    sent: Option<L>,
    /// Since when the recipient has an older list than it should.
    lost: Option<Instant>,
}

impl<L: Clone> Link<L> {
    fn new(id: u64, queue: UnboundedSender<(Instant, L)>) -> Self {
        Self { id, queue, sent: None, lost: None }
    }

    fn send(&mut self, delay_ms: u64, snapshot: L) {
        (self.sent, self.lost) = (Some(snapshot.clone()), None);
        // The receiver may be gone; then the message is not needed.
        let _ = self.queue.send((Instant::now() + Duration::from_millis(delay_ms), snapshot));
    }

    /// Sends the last list again.
    fn repeat(&self) {
        self.sent.iter().for_each(|sent| drop(self.queue.send((Instant::now(), sent.clone()))));
    }

    /// Sends a change, to which something may happen. Returns whether the recipient has an older list now.
    fn send_with(&mut self, mishap: Option<Mishap>, delay_ms: u64, snapshot: L) -> bool {
        match mishap {
            None => self.send(delay_ms, snapshot),
            Some(Mishap::Twice) => {
                self.send(delay_ms, snapshot.clone());
                self.send(delay_ms, snapshot);
            }
            Some(Mishap::Past) => {
                if let Some(before) = self.sent.clone() {
                    self.send(delay_ms, before);
                }
                self.lost = Some(Instant::now());
            }
            Some(Mishap::Lost) => self.lost = Some(Instant::now()),
        }
        self.lost.is_some()
    }
}

/// Starts a task that delivers each message when it is due, in the order of sending, and later if its result depends on
/// messages that are on their way to the receiver.
fn courier<L: 'static>(
    is_undecided: impl Fn(&L) -> bool + 'static,
    deliver: impl Fn(L) + 'static,
) -> UnboundedSender<(Instant, L)> {
    let (queue, mut waiting) = mpsc::unbounded_channel();
    spawn(async move {
        while let Some((at, snapshot)) = waiting.recv().await {
            sleep_until(at).await;
            while is_undecided(&snapshot) {
                sleep(UNDECIDED).await;
            }
            deliver(snapshot);
        }
    });
    queue
}

impl World {
    /// Makes the source of the definitions report their current state.
    pub(super) fn show_definitions(&self) {
        let delay_ms = self.duration_ms(Work::Definitions);
        let is_lost = self.with(|things| {
            let annotations = things.read_annotations();
            let mishap = things.links.definitions_mishap.take();
            let Some(link) = &mut things.links.definitions else { return false };
            let defined = things.services.iter().filter(|(_, service)| service.defined);
            let services = if things.session_lost {
                Err("the session is lost".to_owned())
            } else if things.definitions_gone {
                Ok(BTreeMap::new())
            } else {
                Ok(defined.map(|(name, service)| (name.clone(), service.definition())).collect())
            };
            let mishap = mishap.filter(|_| services.is_ok());
            link.send_with(mishap, delay_ms, ShownDefinitions { services, annotations })
        });
        if is_lost {
            self.expect_confirmation(None);
        }
    }

    /// Makes the source of the definitions report their current state whatever its watch reported.
    fn confirm_definitions(&self) {
        if self.has(PlantedBug::ConfirmsFromMemory) {
            return self.with(|things| things.links.definitions.iter().for_each(Link::repeat));
        }
        self.with(|things| things.links.definitions_mishap = None);
        self.show_definitions();
    }

    /// Makes the source of this service report its current hosts, unless it is frozen.
    pub(super) fn show_hosts(&self, name: &str) {
        let delay_ms = self.duration_ms(Work::Hosts);
        let is_lost = self.with(|things| {
            let Some(service) = things.services.get(name) else { return false };
            if service.frozen && !things.session_lost {
                return false;
            }
            let snapshot = service.snapshot(things.session_lost);
            let Some(link) = things.links.hosts.get_mut(name) else { return false };
            let mishap = things.links.mishaps.remove(name).filter(|_| snapshot.is_ok());
            link.send_with(mishap, delay_ms, snapshot)
        });
        if is_lost {
            self.expect_confirmation(Some(name));
        }
    }

    /// Makes the source of this service report its current hosts whatever its watch reported.
    fn confirm_hosts(&self, name: &str) {
        if self.has(PlantedBug::ConfirmsFromMemory) {
            return self.with(|things| things.links.hosts.get(name).into_iter().for_each(Link::repeat));
        }
        self.with(|things| {
            things.links.mishaps.remove(name);
            if things.services.get(name).is_some_and(|service| service.frozen)
                && let Some(link) = things.links.hosts.get_mut(name)
            {
                // A source that does not answer is reported as an error.
                link.lost = None;
            }
        });
        self.show_hosts(name);
    }

    /// Makes every source report its snapshot.
    pub(super) fn show_everything(&self) {
        self.show_definitions();
        let names: Vec<String> = self.with(|things| things.services.keys().cloned().collect());
        names.iter().for_each(|name| self.show_hosts(name));
    }

    fn deliver_definitions(&self, id: u64, shown: &ShownDefinitions, reader: &Recipient<DefinitionsSeen>) {
        if !self.with(|things| things.is_definitions_link(id)) {
            return;
        }
        let what = match &shown.services {
            Ok(services) => {
                self.with(|things| things.oracle.defined(services));
                self.expect_good_services();
                self.schedule_removal(id);
                let words = |(name, raw): (&String, &RawDefinition)| {
                    let annotation = raw.annotation.as_ref().map(|annotation| format!(" + {}", annotation.text));
                    format!("{name} {}{}", raw.text, annotation.unwrap_or_default())
                };
                services.iter().map(words).collect::<Vec<_>>().join(", ")
            }
            Err(error) => {
                self.with(|things| things.oracle.definitions_lost());
                error.clone()
            }
        };
        let annotations = shown.annotations.as_ref().err().map(|error| format!("; annotations: {error}"));
        let what = format!("DefinitionsSeen: {what}{}", annotations.unwrap_or_default());
        self.note("definitions", "ServiceConfigActor", what);
        reader.do_send(definitions_seen(shown));
    }

    /// Has the next grace period of a missing definition end.
    fn schedule_removal(&self, id: u64) {
        let Some(end) = self.with(|things| things.oracle.next_removal()) else { return };
        let world = self.clone();
        spawn(async move {
            sleep_until(end).await;
            if world.with(|things| things.is_definitions_link(id)) {
                world.with(|things| things.oracle.grace_ended());
                world.schedule_removal(id);
            }
        });
    }

    fn deliver_hosts(&self, id: u64, name: &str, snapshot: &Snapshot, watcher: &Recipient<HostsSeen>) {
        if !self.with(|things| things.is_hosts_link(id, name)) {
            return;
        }
        let mut reported = snapshot.clone();
        let mut removes = false;
        let loses = self.with(|things| {
            let is_known = things.oracle.is_known(name);
            let (changed, first) = if is_known { things.oracle.heard(name, snapshot) } else { (false, false) };
            things.note_hosts(name, first, changed);
            removes = changed;
            if things.planted == Some(PlantedBug::FailureTakesAHost) && snapshot.is_err() {
                let mut hosts = things.oracle.applied(name).cloned().unwrap_or_default();
                hosts.numbers().iter().take(1).for_each(|first| hosts.remove(first));
                reported = Ok(ShownHosts { hosts: Arc::new(hosts), ..ShownHosts::default() });
            }
            things.planted == Some(PlantedBug::LosesAChange) && changed && !first
        });
        let what: &dyn fmt::Display = match &reported {
            Ok(shown) => shown,
            Err(error) => error,
        };
        let (source, watcher_of) = (format_args!("source of {name}"), format_args!("WatcherActor ({name})"));
        self.note(source, watcher_of, format_args!("HostsSeen: {what}"));
        if !loses {
            watcher.do_send(hosts_seen(&reported));
        }
        if self.has(PlantedBug::ForgetsTheWindow) {
            self.ignore_the_window(name);
        }
        if self.has(PlantedBug::CountsMaintenance) {
            self.ignore_states(name);
        }
        if removes {
            self.expect_removals();
        }
    }
}

/// A source that is being watched.
struct Watched {
    world: World,
    id: u64,
    service: Option<String>,
}

impl OpenSource for Watched {
    fn refresh(&self) {
        match &self.service {
            Some(service) => self.world.show_hosts(service),
            None => self.world.show_definitions(),
        }
    }

    fn confirm(&self) {
        match &self.service {
            Some(service) => self.world.confirm_hosts(service),
            None => self.world.confirm_definitions(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.world.with(|things| match &self.service {
            Some(service) => {
                if things.links.hosts.get(service).is_some_and(|link| link.id == self.id) {
                    things.links.hosts.remove(service);
                }
            }
            None => things.links.definitions = None,
        });
    }
}

impl DefinitionSource for World {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let world = self.clone();
        let id = self.with(|things| things.links.next_id());
        let undecided = self.clone();
        let is_undecided = move |_: &ShownDefinitions| {
            undecided.with(|things| things.oracle.are_definitions_undecided() && things.is_definitions_link(id))
        };
        let queue = courier(is_undecided, move |shown| world.deliver_definitions(id, &shown, &reader));
        self.with(|things| things.links.definitions = Some(Link::new(id, queue)));
        self.show_definitions();
        Box::new(Watched { world: self.clone(), id, service: None })
    }
}

impl HostSources for World {
    fn open(
        &self,
        service: &ServiceName,
        _: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        let name = service.to_string();
        let again = self.with(|things| !things.links.opened.insert(name.clone()));
        if again && self.has(PlantedBug::Panics) {
            self.note("the world", "", format!("{} is about to break: planted", Invariant::ActorsLive));
            panic!("planted: the source of {name} was opened before");
        }
        let world = self.clone();
        let id = self.with(|things| things.links.next_id());
        let (of, undecided) = (name.clone(), (self.clone(), name.clone()));
        let is_undecided = move |snapshot: &Snapshot| {
            let (world, service) = &undecided;
            world.with(|things| things.is_hosts_link(id, service) && things.oracle.is_undecided(service, snapshot))
        };
        let queue = courier(is_undecided, move |snapshot| world.deliver_hosts(id, &of, &snapshot, &watcher));
        self.with(|things| things.links.hosts.insert(name.clone(), Link::new(id, queue)));
        self.show_hosts(&name);
        Ok(Box::new(Watched { world: self.clone(), id, service: Some(name) }))
    }
}

impl Things {
    /// Returns whether this link is the current one of the definitions.
    fn is_definitions_link(&self, id: u64) -> bool {
        self.links.definitions.as_ref().is_some_and(|link| link.id == id)
    }

    /// Returns whether this link is the current one of this service's hosts.
    fn is_hosts_link(&self, id: u64, service: &str) -> bool {
        self.links.hosts.get(service).is_some_and(|link| link.id == id)
    }

    /// Reads the annotations. After an error the last ones stay applied.
    fn read_annotations(&mut self) -> Result<(), String> {
        if self.session_lost || self.annotations_lost {
            return Err("their ZooKeeper is away".to_owned());
        }
        self.services.values_mut().for_each(|service| service.note_read = service.note);
        Ok(())
    }
}

impl Links {
    /// Returns since when the hosts of a service, or the definitions, that were reported are older than they should be.
    pub(super) fn lost(&self, service: Option<&str>) -> Option<Instant> {
        match service {
            Some(service) => self.hosts.get(service)?.lost,
            None => self.definitions.as_ref()?.lost,
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
