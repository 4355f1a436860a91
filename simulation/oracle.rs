//! What the actors ought to know and do, from what the world told them; worked out here a second time and in another
//! way than in the actors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxymgr_actors::model::{AdminState, RawDefinition, Removal};
use proxymgr_actors::port::SavedService;
use tokio::time::{Duration, Instant};

use super::choices::Choices;
use super::hosts::{Hosts, Shown};
use super::truth::{Level, Limits, NO_LIMITS, ShownHosts, is_refused, number_of_server};
use super::world::SERVICES_REMOVAL_MAX;

/// How long a list that is no longer in force may matter: what it showed is still on its way, or leaves slowly.
const LISTS_KEPT: Duration = Duration::from_secs(600);

/// What ought to be known.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    services: BTreeMap<String, Expected>,
    limits: BTreeMap<String, KnownLimits>,
    /// The definitions as last told.
    pub(super) definitions: Option<BTreeMap<String, RawDefinition>>,
    /// Since when each service has been defined without a break.
    since: BTreeMap<String, Instant>,
    /// The services that have a definition which can be used.
    good: BTreeSet<String>,
    /// The hosts in force when a service was removed that is not heard of since.
    left: BTreeMap<String, Arc<Hosts>>,
    /// How often each service has been removed.
    lives: BTreeMap<String, u64>,
    /// The services of which a manager that starts knows a definition that HAProxy accepts; none once HAProxy
    /// serves.
    known_good: Option<BTreeSet<String>>,
    /// What operators chose.
    pub(super) choices: Choices,
    /// How late a message between two actors may be.
    pub(super) mail_delay_max: Duration,
    causes: Vec<(Instant, String)>,
    /// What is a cause only for a launch that began before it was known.
    late_causes: Vec<(Instant, String)>,
    /// The newest definitions that were told, in force or held back.
    told_definitions: Option<BTreeMap<String, RawDefinition>>,
    /// Whether the next process is started on a file made for it.
    has_new_file: bool,
    /// When the launch under way took its first step.
    launch_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct Expected {
    /// The lists in force, the newest last, with when they came to be.
    lists: Vec<(Instant, Arc<Hosts>)>,
    /// The newest list that was told.
    told: Arc<Hosts>,
    /// The list in force when the service was last removed: as long as the first one is on its way, the next that is known.
    of_life_before: Option<Arc<Hosts>>,
    /// Whether its source was heard of at all.
    heard: bool,
    /// Whether an operator accepts what is held back, and is not answered yet.
    accepting: bool,
    /// Whether a list was told while the watcher may have had the limits before, or those after, a change that judge it
    /// differently.
    unsure: bool,
}

/// The limits of a service, and those before the last change.
#[derive(Debug, Clone, Copy)]
struct KnownLimits {
    now: Limits,
    before: Limits,
    since: Instant,
}

impl Expected {
    fn in_force(&self) -> Option<&Arc<Hosts>> {
        self.lists.last().map(|(_, hosts)| hosts)
    }

    fn put_in_force(&mut self, hosts: Arc<Hosts>) {
        let now = Instant::now();
        // The first of those that may still be asked for, and the one before it, which was in force until then.
        let asked_for = self.lists.partition_point(|(at, _)| *at + LISTS_KEPT < now).saturating_sub(1);
        self.lists.drain(..asked_for);
        self.lists.push((now, hosts));
    }
}

impl Oracle {
    /// A source told this. Returns whether the list in force changed, and whether it was the first word.
    pub(super) fn heard(&mut self, service: &str, level: &Level) -> (bool, bool) {
        let limits = self.limits.get(service).copied();
        let left = &mut self.left;
        let next_life = || Expected { of_life_before: left.remove(service), ..Expected::default() };
        let expected = self.services.entry(service.to_owned()).or_insert_with(next_life);
        let first = !std::mem::replace(&mut expected.heard, true);
        let Ok(level) = level else { return (false, first) };
        let in_force = expected.in_force();
        let ShownHosts { hosts: mut seen, unreadable } = level.clone();
        for host in unreadable.iter() {
            // A record that cannot be read stays what it was.
            if let Some(before) = in_force.and_then(|hosts| hosts.get(host)) {
                Arc::make_mut(&mut seen).insert(host, before);
            }
        }
        let holds = |limits: Limits| in_force.is_some_and(|hosts| is_held(hosts, &seen, limits));
        let held = holds(limits.map_or(NO_LIMITS, |known| known.now));
        let may_be_late = limits.filter(|known| known.since + self.mail_delay_max >= Instant::now());
        let unsure = may_be_late.is_some_and(|known| holds(known.before) != held);
        let changes = !held && in_force != Some(&seen);
        expected.unsure = unsure || (expected.unsure && held);
        expected.told = seen.clone();
        if changes {
            self.choices.hosts_changed(service, &seen);
            expected.put_in_force(seen);
        }
        (changes, first)
    }

    /// An operator accepts the list of this service that is held back: until the answer, it may be in force or not.
    pub(super) fn accept(&mut self, service: &str) {
        self.services.entry(service.to_owned()).or_default().accepting = true;
    }

    /// The operator was answered. What was accepted is the newest list.
    pub(super) fn accepted(&mut self, service: &str, is_done: bool) {
        let Some(expected) = self.services.get_mut(service) else { return };
        expected.accepting = false;
        if is_done {
            expected.unsure = false;
            self.choices.hosts_changed(service, &expected.told);
            expected.put_in_force(expected.told.clone());
        }
    }

    /// Whether an order about this service would meet it: it does not come or go at this very moment.
    pub(super) fn is_settled(&self, service: &str) -> bool {
        let since = self.since.get(service);
        since.map_or(self.definitions.is_none(), |since| *since + self.delays_of_a_launch() < Instant::now())
    }

    /// Whether this service is defined, as far as anything was told.
    pub(super) fn is_known(&self, service: &str) -> bool {
        self.definitions.as_ref().is_none_or(|services| services.contains_key(service))
    }

    /// An operator's order about a server was answered: with a state where it was carried out.
    pub(super) fn chosen(&mut self, service: &str, host: u8, order: Option<(AdminState, Option<Duration>)>) {
        let in_force = self.services.get(service).and_then(Expected::in_force).map(Arc::as_ref);
        self.choices.answered(service, host, order, in_force);
    }

    /// The definitions were told.
    pub(super) fn defined(&mut self, definitions: &BTreeMap<String, RawDefinition>) {
        self.told_definitions = Some(definitions.clone());
        let is_held = !self.held_back(|name| definitions.contains_key(name)).is_empty();
        if is_held || self.definitions.as_ref() == Some(definitions) {
            return;
        }
        self.are_defined(definitions);
    }

    /// An operator has put in force what was held back: the newest that was told.
    pub(super) fn definitions_accepted(&mut self) {
        if let Some(told) = self.told_definitions.clone() {
            self.are_defined(&told);
        }
    }

    /// These definitions are in force. Services that are gone are forgotten.
    fn are_defined(&mut self, definitions: &BTreeMap<String, RawDefinition>) {
        self.since.retain(|name, _| definitions.contains_key(name));
        self.limits.retain(|name, _| definitions.contains_key(name));
        self.choices.retain(|name| definitions.contains_key(name));
        for (name, raw) in definitions {
            let Some(now) = limits_of(raw) else { continue };
            let known = self.limits.get(name);
            if known.map_or(NO_LIMITS, |known| known.now) != now {
                let before = known.map_or(NO_LIMITS, |known| known.now);
                self.limits.insert(name.clone(), KnownLimits { now, before, since: Instant::now() });
            }
        }
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
        for (name, Expected { mut lists, .. }) in gone {
            *self.lives.entry(name.clone()).or_default() += 1;
            self.left.extend(lists.pop().map(|(_, hosts)| (name, hosts)));
        }
        self.definitions = Some(definitions.clone());
        self.cause("the definitions changed");
    }

    /// The services that would go at once with these definitions, where they are so many that it is held back: it looks
    /// like a source that has lost its data.
    pub(super) fn held_back(&self, is_defined: impl Fn(&String) -> bool) -> BTreeSet<String> {
        let gone: BTreeSet<_> = self.good.iter().filter(|name| !is_defined(name)).cloned().collect();
        let share = gone.len() as f64 / self.good.len().max(1) as f64;
        if gone.len() > 1 && share > SERVICES_REMOVAL_MAX { gone } else { BTreeSet::new() }
    }

    /// A manager starts, and knows what was saved.
    pub(super) fn restarted(&mut self, saved: &[SavedService], unix_ms: u64) {
        let good = saved.iter().filter(|service| !is_refused(&service.definition));
        let known_good = good.map(|service| service.definition.name.to_string()).collect();
        let choices = std::mem::take(&mut self.choices).restarted(saved, unix_ms);
        let mail_delay_max = self.mail_delay_max;
        *self = Self { known_good: Some(known_good), mail_delay_max, choices, ..Self::default() };
        for service in saved {
            let hosts = service.hosts.iter().flat_map(|hosts| hosts.iter());
            let hosts = hosts.filter_map(|(name, host)| {
                let shown = Shown { weight: host.weight?, state: host.state };
                Some((number_of_server(name.as_str())?, shown))
            });
            let hosts = Arc::new(hosts.collect());
            let lists = service.hosts.is_some().then(|| (Instant::now(), hosts)).into_iter().collect();
            let expected = Expected { lists, ..Expected::default() };
            let now = limits_from(&service.definition.removal);
            let name = service.definition.name.to_string();
            self.limits.insert(name, KnownLimits { now, before: now, since: Instant::now() });
            self.good.insert(service.definition.name.to_string());
            self.services.insert(service.definition.name.to_string(), expected);
        }
        self.cause("the manager starts");
    }

    /// Tells one life of a service from its next.
    pub(super) fn life(&self, service: &str) -> u64 {
        self.lives.get(service).copied().unwrap_or_default()
    }

    /// The hosts that were in force within so long, and are not the newest.
    pub(super) fn lately_in_force(&self, service: &str, within: Duration) -> BTreeSet<u8> {
        let Some((_, before)) = self.services.get(service).and_then(|expected| expected.lists.split_last()) else {
            return BTreeSet::new();
        };
        let last = before.len().saturating_sub(1);
        // A list was in force until the next.
        let first = before.iter().rposition(|(at, _)| *at + within < Instant::now()).unwrap_or_default().min(last);
        before[first..].iter().flat_map(|(_, hosts)| hosts.numbers().iter()).collect()
    }

    /// The hosts that ought to be in force; none where none were ever seen.
    pub(super) fn in_force(&self, service: &str) -> Option<&Hosts> {
        self.services.get(service)?.in_force().map(Arc::as_ref)
    }

    /// Whether every list that an actor may know at this instant has this host.
    pub(super) fn must_have(&self, service: &str, host: u8) -> bool {
        let Some(expected) = self.services.get(service) else { return false };
        let now = Instant::now();
        // What is told at this very instant may have arrived, or not; and what is on its way.
        let settled = expected.lists.iter().rposition(|(at, _)| *at + self.mail_delay_max < now).unwrap_or_default();
        let known = &expected.lists[settled..];
        let of_life_before = expected.of_life_before.as_ref().filter(|_| known.len() == expected.lists.len());
        let is_new = known.first().is_some_and(|(at, _)| *at + self.mail_delay_max >= now);
        let of_life_before = of_life_before.filter(|_| is_new);
        let is_ready = |hosts: &Hosts| hosts.get(host).is_some_and(|shown| shown.state == AdminState::Ready);
        let may_be_kept = self.choices.may_keep(service, host);
        !may_be_kept
            && !expected.accepting
            && !expected.unsure
            && !known.is_empty()
            && known.iter().map(|(_, hosts)| hosts).chain(of_life_before).all(|hosts| is_ready(hosts))
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

    /// Something happened that is a cause for another reload if a launch is under way already that does not know it.
    pub(super) fn came_before_a_launch(&mut self, what: String) {
        let unknown = self.delays_of_a_launch();
        self.late_causes.retain(|(at, _)| *at + unknown >= Instant::now());
        self.late_causes.push((Instant::now(), what));
    }

    /// How long before its first step, as the world sees it, a launch may have known nothing new: what is told takes one
    /// message, and the first step follows the decision by two.
    fn delays_of_a_launch(&self) -> Duration {
        3 * self.mail_delay_max
    }

    /// A launch takes its first step: from here on it knows nothing new.
    pub(super) fn launch_begins(&mut self) {
        if self.launch_began.is_none() {
            self.launch_began = Some(Instant::now());
            let unknown = self.delays_of_a_launch();
            let late = std::mem::take(&mut self.late_causes).into_iter();
            self.causes.extend(late.filter(|(at, _)| *at + unknown >= Instant::now()));
        }
    }

    /// Whether a launch has begun and HAProxy has not been started.
    pub(super) fn is_launching(&self) -> bool {
        self.launch_began.is_some()
    }

    /// A process serves: what it was given is known from now on. Returns whether it is the manager's first.
    pub(super) fn serves(&mut self) -> bool {
        self.known_good.take().is_some()
    }

    /// The candidate became the live file.
    pub(super) fn promoted(&mut self) {
        self.has_new_file = true;
    }

    /// A process is started. Returns the causes for it; what came up only since its candidate was made stays a cause
    /// for the next.
    pub(super) fn started(&mut self) -> BTreeSet<String> {
        let began = self.launch_began.take().unwrap_or_else(Instant::now);
        let causes = self.causes.iter().map(|(_, what)| what.clone()).collect();
        let unknown = self.delays_of_a_launch();
        if std::mem::take(&mut self.has_new_file) {
            self.causes.retain(|(at, _)| *at + unknown >= began);
        } else {
            // There is a process again, and nothing else that was due is in force with it.
            self.causes.retain(|(_, what)| !what.ends_with(" ended"));
        }
        causes
    }
}

/// Whether a list is held back, by the rule that the README promises.
fn is_held(in_force: &Hosts, seen: &Hosts, limits: Limits) -> bool {
    let gone = in_force.numbers().without(seen.numbers()).len() as usize;
    let too_few = seen.len() < usize::from(limits.min_hosts) && seen.len() < in_force.len();
    gone > 0 && (too_few || gone * 100 > usize::from(limits.max_removal_percent) * in_force.len())
}

/// The limits in a definition; none where it cannot be read.
fn limits_of(raw: &RawDefinition) -> Option<Limits> {
    let definition: serde_json::Value = serde_json::from_str(&raw.text).ok()?;
    let of = |key: &str| definition.get(key).and_then(serde_json::Value::as_f64);
    let default = limits_from(&Removal::default());
    let min_hosts = of("min_hosts").map_or(default.min_hosts, whole);
    let max_removal_percent = of("max_removal").map_or(default.max_removal_percent, |share| whole(share * 100.0));
    Some(Limits { min_hosts, max_removal_percent })
}

fn limits_from(removal: &Removal) -> Limits {
    let min_hosts = u8::try_from(removal.min_hosts).unwrap_or(u8::MAX);
    Limits { min_hosts, max_removal_percent: whole(removal.max_removal * 100.0) }
}

/// A whole number that a definition holds as a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are between 0 and 100")]
fn whole(number: f64) -> u8 {
    number.round() as u8
}
