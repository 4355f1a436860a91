//! Tests of the capacity that the guard compares, with lists as sources return them.

use std::time::{Duration, Instant};

use super::*;
use crate::model::{Address, Endpoint, Removal};

/// A service whose source returns lists, one second after another.
struct Stage {
    hosts: ServiceHosts,
    start: Instant,
    seconds: u64,
}

impl Stage {
    /// Starts with these hosts.
    fn new(hosts: &[SeenHost]) -> Self {
        let mut stage = Self { hosts: ServiceHosts::default(), start: Instant::now(), seconds: 0 };
        assert_eq!(stage.show(hosts), None);
        stage
    }

    fn now(&self) -> Moment {
        Moment { instant: self.start + Duration::from_secs(self.seconds), unix_ms: 1_000_000 + 1_000 * self.seconds }
    }

    /// Shows a list. Returns the news of the guard, after a check that its capacity is the number of ready hosts.
    fn show(&mut self, hosts: &[SeenHost]) -> Option<GuardNews> {
        self.seconds += 1;
        let shown = self.hosts.show(hosts, &limits(), self.now());
        let ready = self.hosts.in_service().map(|hosts| serving(hosts));
        assert_eq!(Some(self.hosts.guard.serving()), ready);
        shown.guard
    }

    fn is_blocked(&self) -> bool {
        self.hosts.pending().is_some()
    }
}

fn limits() -> GuardLimits {
    GuardLimits::from(&Removal::default())
}

fn host(number: u8, state: AdminState) -> SeenHost {
    let endpoint =
        Endpoint::Tcp { address: Address::parse(&format!("10.0.0.{number}")).unwrap(), port: 80.try_into().unwrap() };
    SeenHost::new(number.to_string(), Ok(Host { state, ..Host::at(endpoint) }))
}

/// Returns hosts in these states, and an entry that is not read incrementally where `is_whole` is set.
fn list(ready: impl IntoIterator<Item = u8>, maint: impl IntoIterator<Item = u8>, is_whole: bool) -> Vec<SeenHost> {
    let ready = ready.into_iter().map(|number| host(number, AdminState::Ready));
    let mut hosts: Vec<_> = ready.chain(maint.into_iter().map(|number| host(number, AdminState::Maint))).collect();
    hosts.extend(is_whole.then(|| SeenHost::new("zz", Err("not JSON".to_owned()))));
    hosts
}

/// No hosts.
const NONE: [u8; 0] = [];

#[test]
fn hosts_that_join_in_maintenance_do_not_replace_ready_ones() {
    for is_whole in [false, true] {
        let mut stage = Stage::new(&list(1..=5, NONE, is_whole));
        assert_eq!(stage.show(&list(1..=5, 6..=10, is_whole)), None);
        let news = stage.show(&list(NONE, 6..=10, is_whole));
        let reason = BlockReason::BelowMinimum { remaining: 0, in_service: 5, minimum: 1 };
        assert_eq!(news, Some(GuardNews::Blocked(reason)));
        assert_eq!(stage.hosts.in_service().unwrap().len(), 10);
        assert_eq!(stage.show(&list(6..=10, NONE, is_whole)), Some(GuardNews::Recovered));
        assert_eq!(stage.hosts.in_service().unwrap().len(), 5);
    }
}

#[test]
fn two_of_five_ready_hosts_are_named_in_the_reason() {
    let mut stage = Stage::new(&list(1..=5, 6..=9, false));
    let Some(GuardNews::Blocked(reason)) = stage.show(&list(1..=2, 6..=9, false)) else { panic!("it passes") };
    assert!(reason.to_string().starts_with("2 of 5 serving hosts would remain, at least 3 must"), "{reason}");
}

#[test]
fn listed_hosts_can_be_put_into_maintenance() {
    for is_whole in [false, true] {
        let mut stage = Stage::new(&list(1..=5, NONE, is_whole));
        assert_eq!(stage.show(&list(5..=5, 1..=4, is_whole)), None);
        assert!(!stage.is_blocked());
        assert_eq!(stage.show(&list(1..=5, NONE, is_whole)), None, "they return");
        assert!(matches!(stage.show(&list(5..=5, NONE, is_whole)), Some(GuardNews::Blocked(_))), "four of five");
    }
}

#[test]
fn rolling_deployment_through_maintenance_passes() {
    let mut stage = Stage::new(&list(1..=6, NONE, false));
    for gone in 1..=6 {
        stage.show(&list(gone + 1..=5 + gone, gone..=gone, false));
        stage.show(&list(gone + 1..=5 + gone, NONE, false));
        stage.show(&list(gone + 1..=5 + gone, 6 + gone..=6 + gone, false));
        stage.show(&list(gone + 1..=6 + gone, NONE, false));
        assert!(!stage.is_blocked());
    }
    assert_eq!(stage.hosts.in_service().unwrap().len(), 6);
}

#[test]
fn saved_hosts_in_maintenance_are_no_capacity() {
    let mut before = Stage::new(&list(1..=4, 5..=8, false));
    let (saved, now) = (before.hosts.in_service().cloned(), before.now());
    let restored = ServiceHosts::restored(saved, Some(now.unix_ms), GuardMemory::default(), &limits(), now);
    before.hosts = restored;
    assert_eq!(before.hosts.guard.serving(), 4);
    assert_eq!(before.show(&list(1..=2, 5..=8, false)), None);
    assert!(matches!(before.show(&list(1..=1, 5..=8, false)), Some(GuardNews::Blocked(_))));
}

#[test]
fn accepted_list_counts_its_ready_hosts() {
    let mut stage = Stage::new(&list(1..=6, NONE, false));
    assert!(matches!(stage.show(&list(1..=1, 7..=9, false)), Some(GuardNews::Blocked(_))));
    let now = stage.now();
    stage.hosts.accept(&limits(), now).unwrap();
    assert_eq!(stage.hosts.guard.serving(), 1);
    assert_eq!(stage.show(&list(1..=1, NONE, false)), None);
}
