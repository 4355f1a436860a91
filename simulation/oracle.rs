//! What the actors should know and do, derived from what the world reported to them; computed independently of the
//! actors, and in a different way.

mod definitions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxymgr_actors::decide::guard::GuardMemory;
use proxymgr_actors::limits::DEFINITION_GRACE;
use proxymgr_actors::model::{AdminState, HostList, MaxRemoval, RawDefinition, Removal};
use proxymgr_actors::port::{DefinitionList, SavedState};
use tokio::time::{Duration, Instant};

use super::choices::Choices;
use super::guard_model::{GuardModel, Seen};
use super::host_numbers::HostNumbers;
use super::hosts::{Hosts, Shown};
use super::truth::{Limits, NO_LIMITS, SERVICE_LIMITS, ShownHosts, Snapshot, is_refused, number_of_server};

/// How long a replaced list may matter: its reports are still on their way, or its servers drain.
const LISTS_KEPT: Duration = Duration::from_secs(600);

/// Resolution of the clock.
const MILLISECOND: Duration = Duration::from_millis(1);

/// The expected knowledge of the actors.
#[derive(Debug)]
pub(super) struct Oracle {
    services: BTreeMap<String, Expected>,
    limits: BTreeMap<String, KnownLimits>,
    /// The definitions that should be applied.
    pub(super) definitions: Option<BTreeMap<String, RawDefinition>>,
    /// Since when each service has been defined without interruption.
    since: BTreeMap<String, Instant>,
    /// The services with a usable definition.
    good: BTreeSet<String>,
    /// The applied hosts of removed services, until a source reports hosts again.
    left: BTreeMap<String, Arc<Hosts>>,
    /// How often each service has been removed.
    lives: BTreeMap<String, u64>,
    /// The services for which a restarted manager knows a definition that HAProxy accepts; `None` once HAProxy serves.
    known_good: Option<BTreeSet<String>>,
    /// The operators' overrides.
    pub(super) choices: Choices,
    /// Maximum delay of a message between two actors.
    pub(super) mail_delay_max: Duration,
    causes: Vec<(Instant, String)>,
    /// Causes that count only if a launch is under way that does not know them.
    late_causes: Vec<(Instant, String)>,
    /// The definitions of the last report, applied or blocked.
    reported_definitions: Option<BTreeMap<String, RawDefinition>>,
    /// The services that were added while a removal of others was blocked.
    added_meanwhile: BTreeSet<String>,
    /// Since when the reports lack each usable definition.
    absent: BTreeMap<String, Instant>,
    /// Whether the last report of the definitions was an error.
    definitions_lost: bool,
    /// The definitions that an operator rejected before the manager started, until others are reported.
    rejected_before: Option<BTreeMap<String, RawDefinition>>,
    /// The guard of the definitions.
    guard: GuardModel,
    /// Whether an operator's order to accept blocked definitions awaits its answer.
    accepting: bool,
    /// Events that require one reload, at a time that is not known here.
    causes_at_any_time: Vec<String>,
    /// Whether the next process starts with a file made for it.
    has_new_file: bool,
    /// Time of the first step of the current launch.
    launch_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct Expected {
    /// The applied lists with their times, the newest last.
    lists: Vec<(Instant, Arc<Hosts>)>,
    /// The list of the last report.
    reported: Arc<Hosts>,
    /// Whether it has hosts of an earlier run that the source has not confirmed: each may be that of an unreadable entry.
    is_from_saved_state: bool,
    /// The hosts whose entries are known, because they were readable.
    known: HostNumbers,
    /// The applied list when the service was last removed: possibly still known while the first new list is on its way.
    of_life_before: Option<Arc<Hosts>>,
    /// Whether its source has reported anything.
    heard: bool,
    /// Whether an operator's order to accept the blocked list awaits its answer.
    accepting: bool,
    /// The guard of its hosts.
    guard: GuardModel,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            limits: BTreeMap::new(),
            definitions: None,
            since: BTreeMap::new(),
            good: BTreeSet::new(),
            left: BTreeMap::new(),
            lives: BTreeMap::new(),
            known_good: None,
            choices: Choices::default(),
            mail_delay_max: Duration::ZERO,
            causes: Vec::new(),
            late_causes: Vec::new(),
            reported_definitions: None,
            added_meanwhile: BTreeSet::new(),
            absent: BTreeMap::new(),
            definitions_lost: false,
            rejected_before: None,
            guard: GuardModel::of_services(),
            accepting: false,
            causes_at_any_time: Vec::new(),
            has_new_file: false,
            launch_began: None,
        }
    }
}

/// Limits of a service, and those before the last change.
#[derive(Debug, Clone, Copy)]
struct KnownLimits {
    now: Limits,
    before: Limits,
    since: Instant,
}

impl Expected {
    /// Returns the list that a watcher makes of this snapshot: an unreadable entry keeps its last good host.
    fn taken(&self, snapshot: &ShownHosts) -> Arc<Hosts> {
        let ShownHosts { hosts: mut seen, unreadable } = snapshot.clone();
        let Some(applied) = self.applied() else { return seen };
        let is_of_entry = |host: u8| match self.is_unsure(snapshot) {
            true => !self.known.contains(host) || unreadable.contains(host),
            false => unreadable.contains(host),
        };
        for (host, before) in applied.iter().filter(|(host, _)| !snapshot.hosts.contains(*host) && is_of_entry(*host)) {
            Arc::make_mut(&mut seen).insert(host, before);
        }
        seen
    }

    /// Returns whether any host of an earlier run may be that of an unreadable entry.
    fn is_unsure(&self, snapshot: &ShownHosts) -> bool {
        self.is_from_saved_state && snapshot.unreadable.iter().any(|host| !self.known.contains(host))
    }

    fn applied(&self) -> Option<&Arc<Hosts>> {
        self.lists.last().map(|(_, hosts)| hosts)
    }

    /// Returns how the guard sees this list.
    fn seen(&self, hosts: &Hosts) -> Seen {
        Seen::hosts(hosts, self.applied().map(Arc::as_ref))
    }

    fn put_in_force(&mut self, hosts: Arc<Hosts>) {
        let now = Instant::now();
        // Older lists are needed no more, except the last of them, which was applied until the first that is kept.
        let asked_for = self.lists.partition_point(|(at, _)| *at + LISTS_KEPT < now).saturating_sub(1);
        self.lists.drain(..asked_for);
        self.lists.push((now, hosts));
    }
}

impl Oracle {
    /// Returns whether messages on their way to the watcher decide what it makes of this snapshot: its source then
    /// reports it a moment later.
    pub(super) fn is_undecided(&self, service: &str, snapshot: &Snapshot) -> bool {
        let (Some(expected), Ok(snapshot)) = (self.services.get(service), snapshot) else { return false };
        let may_be_late = self.limits.get(service).filter(|known| known.since + self.mail_delay_max >= Instant::now());
        let seen = expected.seen(&expected.taken(snapshot));
        expected.accepting
            || may_be_late.is_some_and(|KnownLimits { now, before, .. }| {
                expected.guard.allows(seen, *now) != expected.guard.allows(seen, *before)
            })
    }

    /// Returns whether an operator's decision about the definitions is on its way, or a grace period ends now.
    pub(super) fn are_definitions_undecided(&self) -> bool {
        let now = Instant::now();
        let ends = |since: &Instant| (now..=now + MILLISECOND).contains(&(*since + DEFINITION_GRACE));
        self.accepting || self.absent.values().any(ends)
    }

    /// Returns the limits of a service.
    pub(super) fn limits(&self, service: &str) -> Limits {
        self.limits.get(service).map_or(NO_LIMITS, |known| known.now)
    }

    /// Notes a source's report. Returns whether the applied list changed, and whether it was the first report.
    pub(super) fn heard(&mut self, service: &str, snapshot: &Snapshot) -> (bool, bool) {
        let limits = self.limits(service);
        let left = &mut self.left;
        let next_life = || Expected { of_life_before: left.remove(service), ..Expected::default() };
        let expected = self.services.entry(service.to_owned()).or_insert_with(next_life);
        let first = !std::mem::replace(&mut expected.heard, true);
        let Ok(snapshot) = snapshot else { return (false, first) };
        let seen = expected.taken(snapshot);
        expected.reported = seen.clone();
        let list = expected.seen(&seen);
        if !expected.guard.allows(list, limits) {
            expected.guard.blocked();
            return (false, first);
        }
        expected.guard.passed(list);
        expected.is_from_saved_state = expected.is_unsure(snapshot);
        let stay_known = snapshot.unreadable.iter().filter(|host| expected.known.contains(*host));
        expected.known = stay_known.chain(snapshot.hosts.numbers().iter()).collect();
        let changes = expected.applied() != Some(&seen);
        if changes {
            self.choices.hosts_changed(service, &seen);
            expected.put_in_force(seen);
        }
        (changes, first)
    }

    /// Returns whether the newest list is blocked only because the guard looks back over its window.
    pub(super) fn is_blocked_by_window(&self, service: &str) -> bool {
        let limits = self.limits(service);
        self.services.get(service).is_some_and(|expected| {
            let list = expected.seen(&expected.reported);
            expected.heard && !expected.guard.allows(list, limits) && expected.guard.allows_alone(list, limits)
        })
    }

    /// Returns whether the newest list is blocked only because hosts in maintenance or drain do not count.
    pub(super) fn is_blocked_by_capacity(&self, service: &str) -> bool {
        let limits = self.limits(service);
        self.services.get(service).is_some_and(|expected| {
            let (list, listed) = (expected.seen(&expected.reported), Seen::listed(&expected.reported));
            expected.heard && !expected.guard.allows(list, limits) && expected.guard.allows(listed, limits)
        })
    }

    /// Returns whether the guard of a service without limits of its own would block these hosts.
    pub(super) fn would_block(&self, service: &str, hosts: &Hosts) -> bool {
        let expected = self.services.get(service).filter(|_| self.is_known(service));
        expected.is_some_and(|expected| !expected.guard.allows(expected.seen(hosts), NO_LIMITS))
    }

    /// Returns whether this host is in service only because the guard blocks the list without it.
    pub(super) fn is_kept_by_guard(&self, service: &str, host: u8) -> bool {
        self.services.get(service).is_some_and(|expected| expected.heard && !expected.reported.contains(host))
    }

    /// Notes an order to accept the blocked list of this service: until the answer it may be applied or not.
    pub(super) fn accept(&mut self, service: &str) {
        self.services.entry(service.to_owned()).or_default().accepting = true;
    }

    /// Notes the answer to that order. The accepted list is the newest.
    pub(super) fn accepted(&mut self, service: &str, is_done: bool) {
        let Some(expected) = self.services.get_mut(service) else { return };
        expected.accepting = false;
        if is_done {
            self.choices.hosts_changed(service, &expected.reported);
            expected.guard.accepted(expected.seen(&expected.reported));
            expected.put_in_force(expected.reported.clone());
        }
    }

    /// Returns whether an order about this service would reach it: the service has been defined for long enough.
    pub(super) fn is_settled(&self, service: &str) -> bool {
        let since = self.since.get(service);
        since.map_or(self.definitions.is_none(), |since| *since + self.delays_of_a_launch() < Instant::now())
    }

    /// Returns whether this service is defined, according to the reports.
    pub(super) fn is_known(&self, service: &str) -> bool {
        self.definitions.as_ref().is_none_or(|services| services.contains_key(service))
    }

    /// Notes the answer to an operator's order about a server: with a state if it was executed.
    pub(super) fn chosen(&mut self, service: &str, host: u8, order: Option<(AdminState, Option<Duration>)>) {
        let applied = self.services.get(service).and_then(Expected::applied).map(Arc::as_ref);
        self.choices.answered(service, host, order, applied);
    }

    /// Resets the knowledge to what a restarted manager finds in its saved state.
    pub(super) fn restarted(&mut self, state: &SavedState, unix_ms: u64) {
        let saved = &state.services;
        let good = saved.iter().filter(|service| !is_refused(&service.definition));
        let known_good = good.map(|service| service.definition.name.to_string()).collect();
        let choices = std::mem::take(&mut self.choices).restarted(saved, unix_ms);
        let mail_delay_max = self.mail_delay_max;
        *self = Self { known_good: Some(known_good), mail_delay_max, choices, ..Self::default() };
        for service in saved {
            let hosts = Arc::new(service.hosts.as_deref().map(hosts_of).unwrap_or_default());
            let guard = match service.hosts.is_some() {
                true => GuardModel::default().restored(hosts.ready(), &service.guard, unix_ms),
                false => GuardModel::default(),
            };
            let rejected = service.guard.rejected.as_ref().map(|rejected| hosts_of(&rejected.list));
            let reported = rejected.map_or_else(|| hosts.clone(), Arc::new);
            let lists = service.hosts.is_some().then(|| (Instant::now(), hosts)).into_iter().collect();
            let is_from_saved_state = service.hosts.is_some();
            let expected = Expected { lists, guard, reported, is_from_saved_state, ..Expected::default() };
            let now = limits_from(&service.definition.removal);
            let name = service.definition.name.to_string();
            self.limits.insert(name, KnownLimits { now, before: now, since: Instant::now() });
            self.good.insert(service.definition.name.to_string());
            self.services.insert(service.definition.name.to_string(), expected);
        }
        let GuardMemory { rejected, .. } = &state.definitions_guard;
        let reported = |list: &DefinitionList| list.iter().map(|(name, raw)| (name.to_string(), raw.clone())).collect();
        self.reported_definitions = rejected.as_ref().map(|rejected| reported(&rejected.list));
        self.rejected_before = self.reported_definitions.clone();
        if !self.good.is_empty() {
            self.added_meanwhile.clear();
            self.guard = GuardModel::of_services().restored(self.good.len(), &state.definitions_guard, unix_ms);
        }
        self.cause("the manager starts");
    }

    /// Returns a number that differs between two lives of a service.
    pub(super) fn life(&self, service: &str) -> u64 {
        self.lives.get(service).copied().unwrap_or_default()
    }

    /// Returns the hosts of the lists, except the newest, that were applied within this time.
    pub(super) fn lately_in_force(&self, service: &str, within: Duration) -> BTreeSet<u8> {
        let Some((_, before)) = self.services.get(service).and_then(|expected| expected.lists.split_last()) else {
            return BTreeSet::new();
        };
        let last = before.len().saturating_sub(1);
        // A list was applied until the next one.
        let first = before.iter().rposition(|(at, _)| *at + within < Instant::now()).unwrap_or_default().min(last);
        before[first..].iter().flat_map(|(_, hosts)| hosts.numbers().iter()).collect()
    }

    /// Returns the hosts that should be applied; `None` if none were ever reported.
    pub(super) fn applied(&self, service: &str) -> Option<&Hosts> {
        self.services.get(service)?.applied().map(Arc::as_ref)
    }

    /// Returns whether every list that an actor may know at this instant has this host.
    pub(super) fn must_have(&self, service: &str, host: u8) -> bool {
        let Some(expected) = self.services.get(service) else { return false };
        let now = Instant::now();
        // A report of this instant, or one that is on its way, may have arrived or not.
        let settled = expected.lists.iter().rposition(|(at, _)| *at + self.mail_delay_max < now).unwrap_or_default();
        let known = &expected.lists[settled..];
        let of_life_before = expected.of_life_before.as_ref().filter(|_| known.len() == expected.lists.len());
        let is_new = known.first().is_some_and(|(at, _)| *at + self.mail_delay_max >= now);
        let of_life_before = of_life_before.filter(|_| is_new);
        let is_ready = |hosts: &Hosts| hosts.get(host).is_some_and(|shown| shown.state == AdminState::Ready);
        let may_be_kept = self.choices.may_keep(service, host, self.mail_delay_max);
        !may_be_kept
            && !expected.accepting
            && !known.is_empty()
            && known.iter().map(|(_, hosts)| hosts).chain(of_life_before).all(|hosts| is_ready(hosts))
    }

    /// Returns whether every list that an actor may know has lacked this host for so long.
    pub(super) fn must_be_removed(&self, service: &str, host: u8, for_so_long: Duration) -> bool {
        let before = |at: Instant| at + for_so_long < Instant::now();
        let is_defined = self.since.get(service).is_some_and(|since| before(*since));
        let Some(expected) = self.services.get(service).filter(|_| is_defined && self.is_known(service)) else {
            return false;
        };
        let absent = expected.lists.iter().rev().take_while(|(_, hosts)| !hosts.contains(host));
        let is_removed = absent.last().is_some_and(|(since, _)| before(*since));
        is_removed && !expected.accepting && expected.heard
    }

    /// Returns whether this service and its hosts have been known for so long.
    pub(super) fn should_be_served(&self, service: &str, for_so_long: Duration) -> bool {
        let before = |at: Instant| at + for_so_long < Instant::now();
        let is_defined = self.since.get(service).is_some_and(|since| before(*since));
        let lists = self.services.get(service).map_or(&[][..], |expected| &expected.lists);
        is_defined && self.is_known(service) && lists.first().is_some_and(|(at, _)| before(*at))
    }

    /// Returns whether this service, once served, must be in the file of the next process.
    pub(super) fn must_stay(&self, service: &str) -> bool {
        // A service that was removed for a moment while the launch began may be missing once.
        let began = self.launch_began.unwrap_or_else(Instant::now);
        let defined = self.since.get(service).is_some_and(|since| *since + self.delays_of_a_launch() < began);
        let is_known_good = self.known_good.as_ref().is_none_or(|services| services.contains(service));
        defined && is_known_good && self.applied(service).is_some()
    }

    /// Notes an event for which the rules require a reload.
    pub(super) fn cause(&mut self, what: impl Into<String>) {
        self.causes.push((Instant::now(), what.into()));
    }

    /// Notes an event that requires one reload, at a time that is not known here.
    pub(super) fn cause_at_any_time(&mut self, what: impl Into<String>) {
        self.causes_at_any_time.push(what.into());
    }

    /// Notes an event that requires another reload if a launch is under way that does not know it.
    pub(super) fn came_before_a_launch(&mut self, what: String) {
        let unknown = self.delays_of_a_launch();
        self.late_causes.retain(|(at, _)| *at + unknown >= Instant::now());
        self.late_causes.push((Instant::now(), what));
    }

    /// Returns how long before its first step a launch may have known nothing new: a report takes one message, and the
    /// first step follows the decision by two.
    fn delays_of_a_launch(&self) -> Duration {
        3 * self.mail_delay_max
    }

    /// Notes the first step of a launch: it takes no new information from here on.
    pub(super) fn launch_begins(&mut self) {
        if self.launch_began.is_none() {
            self.launch_began = Some(Instant::now());
            let unknown = self.delays_of_a_launch();
            let late = std::mem::take(&mut self.late_causes).into_iter();
            self.causes.extend(late.filter(|(at, _)| *at + unknown >= Instant::now()));
        }
    }

    /// Returns whether a launch has begun and HAProxy has not been started.
    pub(super) fn is_launching(&self) -> bool {
        self.launch_began.is_some()
    }

    /// Notes that a process serves: its configuration is known from now on. Returns whether it is the manager's first.
    pub(super) fn serves(&mut self) -> bool {
        self.known_good.take().is_some()
    }

    /// Notes that the candidate became the live file.
    pub(super) fn promoted(&mut self) {
        self.has_new_file = true;
    }

    /// Notes the start of a process. Returns the causes for it; those that are newer than its candidate remain causes
    /// for the next.
    pub(super) fn started(&mut self) -> BTreeSet<String> {
        let began = self.launch_began.take().unwrap_or_else(Instant::now);
        let mut causes: BTreeSet<String> = self.causes.iter().map(|(_, what)| what.clone()).collect();
        if causes.is_empty() {
            causes.extend(self.causes_at_any_time.pop());
        }
        let unknown = self.delays_of_a_launch();
        if std::mem::take(&mut self.has_new_file) {
            self.causes.retain(|(at, _)| *at + unknown >= began);
        } else {
            // Without a new file only the missing process is replaced; all other causes remain.
            self.causes.retain(|(_, what)| !what.ends_with(" ended"));
        }
        causes
    }
}

/// Returns the hosts of a saved list.
fn hosts_of(list: &HostList) -> Hosts {
    let shown = list.iter().filter_map(|(name, host)| {
        let shown = Shown { weight: host.weight?, state: host.state };
        Some((number_of_server(name.as_str())?, shown))
    });
    shown.collect()
}

/// Returns the limits in a definition; `None` if it is unreadable.
fn limits_of(raw: &RawDefinition) -> Option<Limits> {
    let definition: serde_json::Value = serde_json::from_str(&raw.text).ok()?;
    let of = |key: &str| definition.get(key).and_then(serde_json::Value::as_f64);
    let default = limits_from(&Removal::default());
    let min_hosts = of("min_hosts").map_or(default.min_hosts, whole);
    let max_removal_percent = of("max_removal").map(|share| whole(share * 100.0));
    Some(Limits { min_hosts, max_removal_percent })
}

fn limits_from(removal: &Removal) -> Limits {
    let min_hosts = u8::try_from(removal.min_hosts).unwrap_or(u8::MAX);
    let max_removal_percent = match removal.max_removal {
        MaxRemoval::BySize => None,
        MaxRemoval::Share(share) => Some(whole(share * 100.0)),
    };
    Limits { min_hosts, max_removal_percent }
}

/// Converts a whole number that a definition contains as a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are between 0 and 100")]
fn whole(number: f64) -> u8 {
    number.round() as u8
}
