//! Hosts that leave and return again and again. Each return would be a runtime command and send requests to a host that
//! is about to leave, so a host that flaps is kept out until it was in the list for a while; the while doubles each time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hosts_diff::HostsDiff;
use crate::limits::{FLAP_FORGET, FLAP_HOLD_MAX, FLAP_HOLD_MIN, FLAP_RETURNS_MAX, FLAP_WINDOW};
use crate::model::{AdminState, HostList, Moment, ServerName};

/// The hosts of one service that left and may return.
#[derive(Debug, Default)]
pub struct Flapping {
    is_off: bool,
    hosts: BTreeMap<ServerName, Flaps>,
}

/// How one host came and went.
#[derive(Debug, Clone)]
struct Flaps {
    /// Whether the last list had it.
    is_listed: bool,
    /// How often it returned, each time within the window after the time before.
    returns: u32,
    /// When it last left or returned.
    last: Moment,
    /// How often it was kept out.
    holds: u32,
    /// How long it must stay in the list until it returns to service; `None` while it does not flap.
    hold: Option<Duration>,
    /// Whether it is kept out of service.
    is_out: bool,
}

impl Flaps {
    fn matters(&self, now: Moment) -> bool {
        let kept = if self.holds > 0 { FLAP_FORGET } else { FLAP_WINDOW };
        self.hold.is_some() || now.since(self.last) <= kept
    }

    fn returned(&mut self, now: Moment) {
        self.returns = if now.since(self.last) <= FLAP_WINDOW { self.returns + 1 } else { 1 };
        self.last = now;
        if self.hold.is_none() && self.returns > FLAP_RETURNS_MAX {
            self.hold = Some((FLAP_HOLD_MIN * 2_u32.pow(self.holds.min(16))).min(FLAP_HOLD_MAX));
            self.holds += 1;
        }
    }

    /// Ends the hold if the host was in the list for long enough. Returns whether it flaps and is in the list.
    fn flaps(&mut self, now: Moment) -> bool {
        let is_over = |hold: &mut Duration| self.is_listed && now.since(self.last) >= *hold;
        if self.hold.take_if(is_over).is_some() {
            (self.returns, self.is_out) = (0, false);
        }
        self.hold.is_some() && self.is_listed
    }
}

impl Flapping {
    /// Creates a record under which no host flaps.
    pub fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// Records a list, and its difference from the list in service. Returns whether a host in it flaps.
    pub fn listed(&mut self, diff: &HostsDiff, is_listed: impl Fn(&ServerName) -> bool, now: Moment) -> bool {
        if self.is_off {
            return false;
        }
        self.hosts.retain(|_, flaps| flaps.matters(now));
        for (name, flaps) in &mut self.hosts {
            match (std::mem::replace(&mut flaps.is_listed, is_listed(name)), flaps.is_listed) {
                (false, true) => flaps.returned(now),
                (true, false) => flaps.last = now,
                _ => {}
            }
        }
        for name in &diff.removed {
            let left = || Flaps { is_listed: false, returns: 0, last: now, holds: 0, hold: None, is_out: false };
            self.hosts.entry(name.clone()).or_insert_with(left);
        }
        self.hosts.values_mut().filter_map(|flaps| flaps.flaps(now).then_some(())).count() > 0
    }

    /// Removes the hosts that flap from a list. Nothing is removed where fewer than `at_least` ready hosts would remain:
    /// requests to a host that flaps are better than none.
    pub fn keep_out(&mut self, hosts: &mut HostList, at_least: usize) {
        let flapping = self.hosts.iter_mut().filter(|(name, flaps)| flaps.hold.is_some() && hosts.contains_key(*name));
        let flapping: Vec<_> = flapping.collect();
        let flaps = |name: &ServerName| flapping.iter().any(|(flapping, _)| *flapping == name);
        let remaining = hosts.iter().filter(|(name, host)| host.state == AdminState::Ready && !flaps(name)).count();
        let is_out = remaining >= at_least.max(1);
        for (name, flaps) in flapping {
            flaps.is_out = is_out;
            if is_out {
                hosts.remove(name);
            }
        }
    }

    /// Returns after which time the next host returns to service, if it stays in the list.
    pub fn next_return(&self, now: Moment) -> Option<Duration> {
        let returning = self.hosts.values().filter(|flaps| flaps.is_listed);
        returning.filter_map(|flaps| Some(flaps.hold?.saturating_sub(now.since(flaps.last)))).min()
    }

    /// Returns the problem of each host that flaps, by its name.
    pub fn problems(&self) -> impl Iterator<Item = (&ServerName, String)> {
        self.hosts.iter().filter_map(|(name, flaps)| {
            let hold = flaps.hold?;
            let consequence = match flaps.is_out {
                true => format!("it is kept out until it stays for {hold:?}"),
                false => "it stays in service, because too few others would remain".to_owned(),
            };
            Some((name, format!("the host leaves and returns again and again; {consequence}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Address, Endpoint, Host};

    const SECOND: Duration = Duration::from_secs(1);

    /// A service whose source shows hosts by their numbers.
    struct Stage {
        flapping: Flapping,
        in_service: HostList,
        now: Moment,
    }

    impl Stage {
        fn new(numbers: &[u8]) -> Self {
            let now = Moment { instant: tokio::time::Instant::now().into_std(), unix_ms: 0 };
            let mut stage = Self { flapping: Flapping::default(), in_service: HostList::new(), now };
            stage.show(numbers);
            stage
        }

        fn show(&mut self, numbers: &[u8]) {
            let host = |number: &u8| {
                let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
                (name(*number), Arc::new(Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() })))
            };
            let mut list: HostList = numbers.iter().map(host).collect();
            let diff = HostsDiff::between(&self.in_service, &list);
            if self.flapping.listed(&diff, |name| list.contains_key(name), self.now) {
                self.flapping.keep_out(&mut list, 1);
            }
            self.in_service = list;
        }

        fn wait(&mut self, pause: Duration) {
            self.now.instant += pause;
        }

        /// Host 2 leaves and returns so often, with this pause between two changes.
        fn flap(&mut self, times: u32, pause: Duration) {
            for _ in 0..times {
                self.wait(pause);
                self.show(&[1]);
                self.wait(pause);
                self.show(&[1, 2]);
            }
        }

        fn serves_2(&self) -> bool {
            self.in_service.contains_key(&name(2))
        }
    }

    fn name(number: u8) -> ServerName {
        ServerName::new(&format!("s{number}")).unwrap()
    }

    #[test]
    fn host_that_returns_a_few_times_stays_in_service() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flap(FLAP_RETURNS_MAX, SECOND);
        assert!(stage.serves_2());
        assert_eq!(stage.flapping.problems().count(), 0);
    }

    #[test]
    fn no_host_flaps_without_damping() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flapping = Flapping::off();
        stage.flap(50, SECOND);
        assert!(stage.serves_2());
    }

    #[test]
    fn returns_far_apart_are_no_flapping() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flap(50, FLAP_WINDOW + SECOND);
        assert!(stage.serves_2());
    }

    #[test]
    fn flapping_host_is_kept_out_until_it_stays() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flap(FLAP_RETURNS_MAX + 1, SECOND / 45);
        assert!(!stage.serves_2());
        stage.flap(900, SECOND / 45);
        assert!(!stage.serves_2());
        assert_eq!(stage.flapping.problems().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [name(2)]);
        assert_eq!(stage.flapping.next_return(stage.now), Some(FLAP_HOLD_MIN));
        stage.wait(FLAP_HOLD_MIN - SECOND);
        stage.show(&[1, 2]);
        assert!(!stage.serves_2());
        stage.wait(SECOND);
        stage.show(&[1, 2]);
        assert!(stage.serves_2());
        assert_eq!((stage.flapping.problems().count(), stage.flapping.next_return(stage.now)), (0, None));
    }

    #[test]
    fn each_hold_is_twice_as_long_up_to_a_maximum() {
        let mut stage = Stage::new(&[1, 2]);
        let mut holds = Vec::new();
        for _ in 0..9 {
            stage.flap(FLAP_RETURNS_MAX + 1, SECOND);
            let hold = stage.flapping.next_return(stage.now).unwrap();
            holds.push(hold);
            stage.wait(hold);
            stage.show(&[1, 2]);
            assert!(stage.serves_2());
        }
        assert!(holds.is_sorted() && holds[1] == 2 * holds[0]);
        assert_eq!(holds.last(), Some(&FLAP_HOLD_MAX));
        stage.wait(FLAP_FORGET + SECOND);
        stage.show(&[1, 2]);
        stage.flap(FLAP_RETURNS_MAX + 1, SECOND);
        stage.flap(1, SECOND);
        assert_eq!(stage.flapping.next_return(stage.now), Some(FLAP_HOLD_MIN), "it was stable for long");
    }

    #[test]
    fn only_host_stays_in_service_although_it_flaps() {
        let mut stage = Stage::new(&[2]);
        for _ in 0..20 {
            stage.show(&[]);
            stage.show(&[2]);
        }
        assert!(stage.serves_2());
        assert_eq!(stage.flapping.problems().count(), 1, "it is named");
    }

    #[test]
    fn hosts_in_maintenance_do_not_replace_a_flapping_one() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flap(FLAP_RETURNS_MAX + 1, SECOND);
        let mut list = stage.in_service.clone();
        let host = list.get(&name(1)).cloned().unwrap();
        list.insert(name(1), Arc::new(Host { state: AdminState::Maint, ..(*host).clone() }));
        list.insert(name(2), host);
        stage.flapping.keep_out(&mut list, 1);
        assert!(list.contains_key(&name(2)));
    }

    #[test]
    fn other_hosts_come_and_go_at_once() {
        let mut stage = Stage::new(&[1, 2]);
        stage.flap(FLAP_RETURNS_MAX + 1, SECOND);
        stage.show(&[1, 2, 3]);
        assert_eq!(stage.in_service.keys().cloned().collect::<Vec<_>>(), [name(1), name(3)]);
    }
}
