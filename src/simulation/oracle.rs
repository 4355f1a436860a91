//! What the actors ought to know and do, from what the world told them; worked out here a second time and in another
//! way than in the actors.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::SavedService;
use tokio::time::{Duration, Instant};

use super::truth::{is_refused, number_of_server};
use super::world::SERVICES_REMOVAL_MAX;

/// The hosts in force, with their weights.
pub(super) type Hosts = BTreeMap<u8, u16>;

/// A level that a source told.
pub(super) type Level = Result<BTreeMap<u8, Option<u16>>, String>;

/// What ought to be known.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    services: BTreeMap<String, Expected>,
    /// The definitions as last told.
    pub(super) definitions: Option<BTreeMap<String, RawDefinition>>,
    /// Since when each service has been defined without a break.
    since: BTreeMap<String, Instant>,
    /// The services that have a definition which can be used.
    good: BTreeSet<String>,
    /// How often each service has been removed.
    lives: BTreeMap<String, u64>,
    /// The services of which a manager that starts knows a definition that HAProxy accepts; none once HAProxy
    /// serves.
    known_good: Option<BTreeSet<String>>,
    /// How late a message between two actors may be.
    pub(super) mail_delay_max: Duration,
    causes: Vec<(Instant, String)>,
    /// When the launch under way took its first step.
    launch_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct Expected {
    /// The lists in force, the newest last, with when they came to be.
    lists: Vec<(Instant, Hosts)>,
    /// Whether its source was heard of at all.
    heard: bool,
}

impl Expected {
    fn in_force(&self) -> Option<&Hosts> {
        self.lists.last().map(|(_, hosts)| hosts)
    }
}

impl Oracle {
    /// A source told this. Returns whether the list in force changed, and whether it was the first word.
    pub(super) fn heard(&mut self, service: &str, level: &Level) -> (bool, bool) {
        let expected = self.services.entry(service.to_owned()).or_default();
        let first = !std::mem::replace(&mut expected.heard, true);
        let Ok(level) = level else { return (false, first) };
        let in_force = expected.in_force();
        let readable = |(host, weight): (&u8, &Option<u16>)| {
            // A record that cannot be read stays what it was.
            Some((*host, weight.or_else(|| in_force.and_then(|hosts| hosts.get(host)).copied())?))
        };
        let seen: Hosts = level.iter().filter_map(readable).collect();
        // No service here has limits of its own: only a list that leaves nothing of something is held back.
        let held = seen.is_empty() && in_force.is_some_and(|hosts| !hosts.is_empty());
        let changes = !held && in_force != Some(&seen);
        if changes {
            expected.lists.push((Instant::now(), seen));
        }
        (changes, first)
    }

    /// The definitions were told. Services that are gone are forgotten.
    pub(super) fn defined(&mut self, definitions: &BTreeMap<String, RawDefinition>) {
        // Many services gone at once look like a source that has lost its data: that is held back.
        let gone = self.good.iter().filter(|name| !definitions.contains_key(*name)).count();
        let share = gone as f64 / self.good.len().max(1) as f64;
        let is_held = gone > 1 && share > SERVICES_REMOVAL_MAX;
        if is_held || self.definitions.as_ref() == Some(definitions) {
            return;
        }
        self.since.retain(|name, _| definitions.contains_key(name));
        for name in definitions.keys() {
            self.since.entry(name.clone()).or_insert_with(Instant::now);
        }
        self.good.retain(|name| definitions.contains_key(name));
        let readable =
            |(_, raw): &(&String, &RawDefinition)| serde_json::from_str::<serde_json::Value>(&raw.text).is_ok();
        self.good.extend(definitions.iter().filter(readable).map(|(name, _)| name.clone()));
        let (stay, gone) =
            std::mem::take(&mut self.services).into_iter().partition(|(name, _)| definitions.contains_key(name));
        self.services = stay;
        let gone: BTreeMap<String, Expected> = gone;
        gone.into_keys().for_each(|name| *self.lives.entry(name).or_default() += 1);
        self.definitions = Some(definitions.clone());
        self.cause("the definitions changed");
    }

    /// A manager starts, and knows what was saved.
    pub(super) fn restarted(&mut self, saved: &[SavedService]) {
        let good = saved.iter().filter(|service| !is_refused(&service.definition));
        let known_good = good.map(|service| service.definition.name.to_string()).collect();
        *self = Self { known_good: Some(known_good), mail_delay_max: self.mail_delay_max, ..Self::default() };
        for service in saved {
            let hosts = service.hosts.iter().flat_map(|hosts| hosts.iter());
            let hosts =
                hosts.filter_map(|(name, host)| Some((number_of_server(name.as_str())?, host.weight?))).collect();
            let lists = service.hosts.is_some().then(|| (Instant::now(), hosts)).into_iter().collect();
            let expected = Expected { lists, heard: false };
            self.good.insert(service.definition.name.to_string());
            self.services.insert(service.definition.name.to_string(), expected);
        }
        self.cause("the manager starts");
    }

    /// Tells one life of a service from its next.
    pub(super) fn life(&self, service: &str) -> u64 {
        self.lives.get(service).copied().unwrap_or_default()
    }

    /// The hosts that ought to be in force; none where none were ever seen.
    pub(super) fn in_force(&self, service: &str) -> Option<&Hosts> {
        self.services.get(service)?.in_force()
    }

    /// Whether every list that an actor may know at this instant has this host.
    pub(super) fn must_have(&self, service: &str, host: u8) -> bool {
        let Some(expected) = self.services.get(service) else { return false };
        let now = Instant::now();
        // What is told at this very instant may have arrived, or not; and what is on its way.
        let settled = expected.lists.iter().rposition(|(at, _)| *at + self.mail_delay_max < now).unwrap_or_default();
        let known = &expected.lists[settled..];
        !known.is_empty() && known.iter().all(|(_, hosts)| hosts.contains_key(&host))
    }

    /// Whether this service, once served, must be in the file of the next process.
    pub(super) fn must_stay(&self, service: &str) -> bool {
        // What was removed for a moment while the launch began may be missing once.
        let began = self.launch_began.unwrap_or_else(Instant::now);
        let defined = self.since.get(service).is_some_and(|since| *since + self.delays_of_a_launch() < began);
        let is_known_good = self.known_good.as_ref().is_none_or(|services| services.contains(service));
        defined && is_known_good && self.in_force(service).is_some()
    }

    /// Something happened for which the rules require a reload.
    pub(super) fn cause(&mut self, what: impl Into<String>) {
        self.causes.push((Instant::now(), what.into()));
    }

    /// How long before its first step, as the world sees it, a launch may have known nothing new: what is told takes one
    /// message, and the first step follows the decision by two.
    fn delays_of_a_launch(&self) -> Duration {
        3 * self.mail_delay_max
    }

    /// A launch takes its first step: from here on it knows nothing new.
    pub(super) fn launch_begins(&mut self) {
        self.launch_began.get_or_insert_with(Instant::now);
    }

    /// A process serves: what it was given is known from now on.
    pub(super) fn serves(&mut self) {
        self.known_good = None;
    }

    /// A process is started. Returns the causes for it; what came up only since its candidate was made stays a cause
    /// for the next.
    pub(super) fn started(&mut self) -> BTreeSet<String> {
        let began = self.launch_began.take().unwrap_or_else(Instant::now);
        let causes = self.causes.iter().map(|(_, what)| what.clone()).collect();
        let unknown = self.delays_of_a_launch();
        self.causes.retain(|(at, _)| *at + unknown >= began);
        causes
    }
}
