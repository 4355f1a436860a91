//! A day's load: thousands of changes of hosts, drawn from a seed: deploys, flapping hosts, outages and scaling.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::plan::NAMED_FROM;
use super::random::Random;

/// Relative load of each hour of the day.
const HOURS: [u64; 24] = [2, 1, 1, 1, 1, 2, 3, 5, 8, 10, 12, 11, 8, 10, 12, 12, 10, 8, 6, 5, 4, 4, 3, 2];

/// Number of addresses of a service's hosts, in multiples of its concurrent hosts.
const ADDRESSES_PER_HOST: u16 = 5;

/// Minimum of hosts that a service keeps.
const HOSTS_MIN: usize = 2;

/// Load of one machine for a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Number of registrations and removals of hosts.
    pub updates: usize,
    /// Duration of the load.
    #[serde(deserialize_with = "super::scenario::duration")]
    pub over: Duration,
    /// Number of services.
    pub services: u16,
    /// Initial number of hosts of each service.
    pub hosts: u8,
    /// Percentage of the updates that are deploys: each host is replaced by one at a new address, one after the other.
    pub deploys: u64,
    /// Percentage of updates by hosts that are missing for seconds.
    pub flaps: u64,
    /// Percentage of updates in outages: a fifth of the hosts of some services vanishes within a second and returns
    /// after minutes. The remaining updates are scaling: one host more, or one less.
    pub outages: u64,
    /// How often a service gets other options, which always needs a reload.
    pub option_changes: usize,
    /// Slots of each service, under the rule of fixed slots and in the way that uses slots; by default a fifth more
    /// than hosts.
    pub slots: Option<u16>,
    /// Other ways in which the actors handle the same day again, for comparison.
    pub ways: Vec<Way>,
}

/// A way to drive HAProxy other than the best strategy of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Every service is updated by slots.
    Slots,
    /// An external HAProxy and an output are kept in sync as well.
    SecondTarget,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "proxymgr, by slots",
            Self::SecondTarget => "proxymgr, two targets",
        })
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            updates: 20_000,
            over: Duration::from_secs(86_400),
            services: 20,
            hosts: 50,
            deploys: 55,
            flaps: 20,
            outages: 10,
            option_changes: 0,
            slots: None,
            ways: Vec::new(),
        }
    }
}

/// Kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A host registers.
    Join(u8),
    /// A host is removed.
    Leave(u8),
    /// The service's options change.
    Options,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Time, in milliseconds from the beginning of the load.
    pub at_ms: u64,
    /// Number of the service, from 0.
    pub service: u16,
    /// The change.
    pub change: Change,
}

/// A change planned for a service, whose host is chosen when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Intent {
    JoinNew,
    LeaveOldest,
    /// One host leaves, and returns this many milliseconds later: two updates.
    LeaveFor(u64),
    Return(u8),
    Scale,
    Options,
}

/// Planned changes, the next first: time, order within a millisecond, service, change.
type Agenda = BinaryHeap<Reverse<(u64, usize, u16, Intent)>>;

/// State of a service while its day is drawn.
struct Drawn {
    /// The hosts in service, the oldest first.
    serving: VecDeque<u8>,
    /// The hosts not in service, the one that has been away longest first.
    away: VecDeque<u8>,
}

impl Load {
    /// Returns the name of a service.
    pub fn service(number: u16) -> String {
        format!("service-{number:03}")
    }

    /// Returns the number of slots of each service under the rule of fixed slots.
    pub fn slots(&self) -> u16 {
        self.slots.unwrap_or_else(|| u16::from(self.hosts) + u16::from(self.hosts).div_ceil(5))
    }

    /// Draws the day of this seed: exactly the configured number of updates, and the changes of options between them.
    pub fn draw(&self, seed: u64) -> Vec<Update> {
        let mut random = Random::of_purpose(seed, "load");
        let mut agenda = self.draw_agenda(&mut random);
        let hosts = u16::from(self.hosts);
        let addresses = (hosts * ADDRESSES_PER_HOST).clamp(hosts, u16::from(NAMED_FROM) - 1);
        let numbers = |from: u16, to: u16| (from..=to).filter_map(|number| u8::try_from(number).ok()).collect();
        let service = |_| Drawn { serving: numbers(1, hosts), away: numbers(hosts + 1, addresses) };
        let mut services: Vec<Drawn> = (0..self.services).map(service).collect();
        let mut updates = Vec::with_capacity(self.updates + self.option_changes);
        let mut order = agenda.len();
        while let Some(Reverse((at_ms, _, service, intent))) = agenda.pop() {
            let (change, then) = services[usize::from(service)].realise(intent, hosts.into(), &mut random);
            updates.push(Update { at_ms, service, change });
            if let Some((after_ms, then)) = then {
                order += 1;
                agenda.push(Reverse(((at_ms + after_ms).min(self.over_ms()), order, service, then)));
            }
        }
        updates
    }

    fn over_ms(&self) -> u64 {
        u64::try_from(self.over.as_millis()).unwrap_or(u64::MAX)
    }

    fn draw_agenda(&self, random: &mut Random) -> Agenda {
        let mut agenda = Agenda::new();
        let rest = 100_u64.saturating_sub(self.deploys + self.flaps + self.outages);
        let shares = [self.deploys, self.flaps, self.outages, rest];
        let mut given = [0_u64; 4];
        let mut left = self.updates;
        while left > 0 {
            let so_far: u64 = given.iter().sum();
            let owed = |kind: &usize| i128::from(shares[*kind] * (so_far + 1)) - i128::from(given[*kind] * 100);
            let kind = (0..shares.len()).max_by_key(owed).unwrap_or_default();
            let before = left;
            match kind {
                0 => self.deploy(&mut agenda, &mut left, random),
                1 => self.leave_for_a_while(&mut agenda, &mut left, 1, (1_000, 30_000), random),
                2 => {
                    let services = random.between(1, u64::from(self.services / 4).max(1));
                    self.leave_for_a_while(&mut agenda, &mut left, services, (60_000, 600_000), random);
                }
                _ => {
                    self.push(&mut agenda, &mut left, self.draw_time(random), self.draw_service(random), Intent::Scale)
                }
            }
            given[kind] += (before - left) as u64;
        }
        for _ in 0..self.option_changes {
            let mut free = 1;
            self.push(&mut agenda, &mut free, self.draw_time(random), self.draw_service(random), Intent::Options);
        }
        agenda
    }

    fn push(&self, agenda: &mut Agenda, left: &mut usize, at_ms: u64, service: u16, intent: Intent) {
        let worth = if matches!(intent, Intent::LeaveFor(_)) { 2 } else { 1 };
        let intent = if worth > *left { Intent::Scale } else { intent };
        if *left > 0 {
            *left -= worth.min(*left);
            let order = agenda.len();
            agenda.push(Reverse((at_ms.min(self.over_ms()), order, service, intent)));
        }
    }

    /// Plans to replace each host of a service by one at a new address.
    fn deploy(&self, agenda: &mut Agenda, left: &mut usize, random: &mut Random) {
        let (mut at_ms, service) = (self.draw_time(random), self.draw_service(random));
        for _ in 0..self.hosts {
            self.push(agenda, left, at_ms, service, Intent::JoinNew);
            self.push(agenda, left, at_ms + random.between(1_000, 5_000), service, Intent::LeaveOldest);
            at_ms += random.between(2_000, 10_000);
        }
    }

    /// Plans that one host of a service flaps, or that a fifth of the hosts of several vanishes within a second.
    fn leave_for_a_while(
        &self,
        agenda: &mut Agenda,
        left: &mut usize,
        services: u64,
        away_ms: (u64, u64),
        random: &mut Random,
    ) {
        let is_outage = away_ms.0 >= 60_000;
        let hosts = if is_outage { u64::from(self.hosts).div_ceil(5) } else { 1 };
        let (at_ms, back_ms) = (self.draw_time(random), random.between(away_ms.0, away_ms.1));
        for _ in 0..services {
            let service = self.draw_service(random);
            for _ in 0..hosts {
                let away = Intent::LeaveFor(back_ms + random.between(0, 5_000));
                self.push(agenda, left, at_ms + random.between(0, 1_000), service, away);
            }
        }
    }

    fn draw_service(&self, random: &mut Random) -> u16 {
        u16::try_from(random.below(self.services.into())).unwrap_or_default()
    }

    /// Draws a time of day, more likely a busy one.
    fn draw_time(&self, random: &mut Random) -> u64 {
        let mut part = random.below(HOURS.iter().sum());
        let hour = HOURS.iter().position(|parts| {
            let here = part < *parts;
            part = part.saturating_sub(*parts);
            here
        });
        let hours = HOURS.len() as u64;
        let slice_ms = (self.over_ms() / hours).max(1);
        hour.unwrap_or_default() as u64 * slice_ms + random.below(slice_ms)
    }
}

impl Drawn {
    /// Turns a planned change into a change of one host, and a follow-up after this many milliseconds.
    fn realise(&mut self, intent: Intent, hosts: usize, random: &mut Random) -> (Change, Option<(u64, Intent)>) {
        let can_leave = self.serving.len() > HOSTS_MIN;
        match intent {
            Intent::Options => (Change::Options, None),
            Intent::LeaveFor(away_ms) if can_leave => {
                let at = usize::try_from(random.below(self.serving.len() as u64)).unwrap_or_default();
                let host = self.serving[at];
                (self.leave(at), Some((away_ms, Intent::Return(host))))
            }
            Intent::LeaveFor(away_ms) => (self.join(0), Some((away_ms, Intent::Scale))),
            Intent::Return(host) => match self.away.iter().position(|away| *away == host) {
                Some(at) => (self.join(at), None),
                None => self.realise(Intent::Scale, hosts, random),
            },
            Intent::JoinNew if !self.away.is_empty() => (self.join(0), None),
            Intent::Scale if self.serving.len() < hosts && !self.away.is_empty() => (self.join(0), None),
            Intent::JoinNew | Intent::LeaveOldest | Intent::Scale if can_leave => (self.leave(0), None),
            Intent::JoinNew | Intent::LeaveOldest | Intent::Scale => (self.join(0), None),
        }
    }

    fn leave(&mut self, at: usize) -> Change {
        let host = self.serving.remove(at).expect("the place was chosen among those serving");
        self.away.push_back(host);
        Change::Leave(host)
    }

    fn join(&mut self, at: usize) -> Change {
        let host = self.away.remove(at).expect("few hosts serve, so that some are away");
        self.serving.push_back(host);
        Change::Join(host)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn day_has_configured_number_of_updates() {
        let load = Load { updates: 5_000, option_changes: 3, ..Load::default() };
        let updates = load.draw(7);
        assert_eq!(updates, load.draw(7));
        assert_ne!(updates, load.draw(8));
        let mut there: Vec<BTreeSet<u8>> = vec![(1..=load.hosts).collect(); usize::from(load.services)];
        let mut changes = 0;
        for (update, next) in updates.iter().zip(updates.iter().skip(1).chain(updates.last())) {
            assert!(update.at_ms <= next.at_ms && update.at_ms <= 86_400_000, "{update:?}, {next:?}");
            let hosts = &mut there[usize::from(update.service)];
            match update.change {
                Change::Join(host) => assert!(host < NAMED_FROM && hosts.insert(host), "{update:?}"),
                Change::Leave(host) => assert!(hosts.remove(&host) && hosts.len() >= HOSTS_MIN, "{update:?}"),
                Change::Options => continue,
            }
            changes += 1;
        }
        assert_eq!(changes, load.updates);
        assert_eq!(updates.len(), load.updates + 3);
    }

    #[test]
    fn small_loads_are_valid() {
        for (updates, services, hosts) in [(1, 1, 1), (2, 3, 2), (333, 1, 3), (50, 2, 249)] {
            let load = Load { updates, services, hosts, ..Load::default() };
            assert_eq!(load.draw(1).len(), updates, "{load:?}");
        }
    }
}
