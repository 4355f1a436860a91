//! Tests of the hosts of one service: which lists of the source go into service.

#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::guard::{GuardLimits, GuardMemory, Rejection};
use proxymgr_actors::decide::hosts_diff::HostsDiff;
use proxymgr_actors::decide::service_hosts::{GuardNews, ServiceHosts, Shown};
use proxymgr_actors::model::{Address, Endpoint, Host, HostList, MaxRemoval, Moment, Removal, SeenHost, ServerName};
use tokio::time::Instant;

/// Returns the limits `min_hosts` 2, and a window of 30 s in which half of the hosts may leave.
fn limits() -> GuardLimits {
    GuardLimits::from(&Removal { min_hosts: 2, max_removal: MaxRemoval::Share(0.5), window: Duration::from_secs(30) })
}

fn at(unix_ms: u64) -> Moment {
    Moment { instant: (Instant::now() + Duration::from_millis(unix_ms)).into_std(), unix_ms }
}

fn host(number: u8) -> Host {
    let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
    Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() })
}

fn name(number: u8) -> ServerName {
    ServerName::new(&format!("10.0.0.{number}:80")).unwrap()
}

fn list(numbers: &[u8]) -> Arc<HostList> {
    Arc::new(numbers.iter().map(|number| (name(*number), Arc::new(host(*number)))).collect())
}

fn good(numbers: &[u8]) -> Vec<SeenHost> {
    numbers.iter().map(|number| SeenHost::new(format!("entry{number}"), Ok(host(*number)))).collect()
}

fn invalid(number: u8) -> SeenHost {
    SeenHost::new(format!("entry{number}"), Err("no port".to_owned()))
}

/// Creates hosts 1 to 4, of which a list was shown at 1 s.
fn in_service() -> ServiceHosts {
    let mut hosts = ServiceHosts::default();
    hosts.show(&good(&[1, 2, 3, 4]), &limits(), at(1_000));
    hosts
}

fn restored(numbers: &[u8]) -> ServiceHosts {
    ServiceHosts::restored(Some(list(numbers)), Some(500), GuardMemory::default(), &limits(), at(1_000))
}

fn served(hosts: &ServiceHosts) -> Vec<ServerName> {
    hosts.in_service().expect("a list is in service").keys().cloned().collect()
}

#[test]
fn first_list_goes_into_service() {
    let mut hosts = ServiceHosts::default();
    assert_eq!((hosts.in_service(), hosts.confirmed_unix_ms()), (None, None));
    let shown = hosts.show(&good(&[1, 2]), &limits(), at(7));
    let diff = HostsDiff { added: vec![name(1), name(2)], ..HostsDiff::default() };
    assert_eq!(shown, Shown { diff: Some(diff), ..Shown::default() });
    assert_eq!((served(&hosts), hosts.confirmed_unix_ms()), (vec![name(1), name(2)], Some(7)));
    assert!(!hosts.is_from_saved_state() && hosts.problems().is_empty());
}

#[test]
fn empty_first_list_is_a_change() {
    let mut hosts = ServiceHosts::default();
    let shown = hosts.show(&[], &limits(), at(7));
    assert_eq!((shown.diff, served(&hosts)), (Some(HostsDiff::default()), vec![]));
}

#[test]
fn same_list_is_confirmed_without_a_change() {
    let mut hosts = in_service();
    assert_eq!(hosts.show(&good(&[1, 2, 3, 4]), &limits(), at(2_000)), Shown::default());
    assert_eq!(hosts.confirmed_unix_ms(), Some(2_000));
}

#[test]
fn changed_list_replaces_the_one_in_service() {
    let mut hosts = in_service();
    let shown = hosts.show(&good(&[1, 2, 3, 5]), &limits(), at(2_000));
    let diff = HostsDiff { added: vec![name(5)], removed: vec![name(4)], ..HostsDiff::default() };
    assert_eq!(shown.diff, Some(diff));
    assert_eq!(served(&hosts), [1, 2, 3, 5].map(name));
}

#[test]
fn invalid_entry_keeps_its_host_and_is_a_problem_once() {
    let mut hosts = in_service();
    let seen = || [good(&[1, 2, 3]), vec![invalid(4), invalid(9)]].concat();
    let shown = hosts.show(&seen(), &limits(), at(2_000));
    assert_eq!(shown.new_problems.iter().map(|(entry, _)| entry).collect::<Vec<_>>(), ["entry4", "entry9"]);
    assert_eq!((shown.diff, served(&hosts)), (None, [1, 2, 3, 4].map(name).to_vec()));
    assert_eq!(hosts.show(&seen(), &limits(), at(3_000)).new_problems, []);
    assert_eq!(hosts.problems().keys().collect::<Vec<_>>(), ["entry4", "entry9"]);
    hosts.show(&good(&[1, 2, 3, 4]), &limits(), at(4_000));
    assert!(hosts.problems().is_empty());
    assert_eq!(hosts.show(&seen(), &limits(), at(5_000)).new_problems.len(), 2, "it is a new problem");
}

#[test]
fn too_small_list_is_blocked_until_it_recovers() {
    let mut hosts = in_service();
    let shown = hosts.show(&good(&[1]), &limits(), at(2_000));
    assert!(matches!(shown.guard, Some(GuardNews::Blocked(_))) && shown.diff.is_none());
    let pending = hosts.pending().expect("it is blocked").clone();
    assert_eq!((pending.entries, pending.since_unix_ms, pending.removes.count), (1, 2_000, 3));
    assert_eq!(pending.removes.first, [2, 3, 4].map(|number| name(number).to_string()));
    assert_eq!((served(&hosts).len(), hosts.confirmed_unix_ms()), (4, Some(1_000)));
    assert_eq!(hosts.show(&good(&[1]), &limits(), at(3_000)), Shown::default(), "it was reported");
    let shown = hosts.show(&good(&[1, 2, 3, 4]), &limits(), at(4_000));
    assert_eq!((shown.guard, hosts.pending()), (Some(GuardNews::Recovered), None));
}

#[test]
fn accepted_list_goes_into_service() {
    let mut hosts = in_service();
    assert!(hosts.accept(&limits(), at(2_000)).is_err(), "nothing is blocked");
    hosts.show(&good(&[1]), &limits(), at(2_000));
    let (change, diff) = hosts.accept(&limits(), at(3_000)).expect("it was blocked");
    assert_eq!((change.entries, diff.map(|diff| diff.removed)), (1, Some([2, 3, 4].map(name).to_vec())));
    assert_eq!((served(&hosts), hosts.confirmed_unix_ms()), (vec![name(1)], Some(3_000)));
    assert_eq!(hosts.show(&good(&[1]), &limits(), at(4_000)), Shown::default(), "it is the baseline now");
}

#[test]
fn rejected_list_stays_out_until_the_source_changes() {
    let mut hosts = in_service();
    hosts.show(&good(&[1]), &limits(), at(2_000));
    assert!(matches!(hosts.reject(), Ok(Rejection::Rejected(_))));
    assert_eq!(hosts.show(&good(&[1]), &limits(), at(3_000)), Shown::default());
    assert_eq!((hosts.rejected().map(|change| change.entries), hosts.pending()), (Some(1), None));
    let shown = hosts.show(&good(&[2]), &limits(), at(4_000));
    assert!(matches!(shown.guard, Some(GuardNews::Blocked(_))) && hosts.pending().is_some(), "it is another list");
    hosts.reject().expect("it is blocked");
    let shown = hosts.show(&good(&[1, 2, 3, 4]), &limits(), at(5_000));
    assert_eq!((shown.guard, hosts.rejected()), (Some(GuardNews::RejectionEnded), None));
}

#[test]
fn rejection_survives_a_restart() {
    let mut hosts = in_service();
    hosts.show(&good(&[1]), &limits(), at(2_000));
    hosts.reject().expect("it is blocked");
    let memory = hosts.guard_memory(&limits(), at(3_000));
    let mut again = ServiceHosts::restored(hosts.in_service().cloned(), Some(1_000), memory, &limits(), at(9_000));
    assert_eq!(again.rejected(), hosts.rejected());
    assert_eq!(again.show(&good(&[1]), &limits(), at(10_000)).guard, None);
    assert_eq!(served(&again).len(), 4);
}

#[test]
fn saved_hosts_serve_until_the_source_confirms_them() {
    let mut hosts = restored(&[1, 2]);
    assert!(hosts.is_from_saved_state());
    assert_eq!((served(&hosts), hosts.confirmed_unix_ms()), (vec![name(1), name(2)], Some(500)));
    let shown = hosts.show(&good(&[1, 2]), &limits(), at(2_000));
    assert_eq!(shown, Shown::default(), "they are the same");
    assert!(!hosts.is_from_saved_state());
    assert_eq!(hosts.confirmed_unix_ms(), Some(2_000));
}

#[test]
fn nothing_saved_is_no_saved_state() {
    let hosts = ServiceHosts::restored(None, Some(500), GuardMemory::default(), &limits(), at(1_000));
    assert!(!hosts.is_from_saved_state());
    assert_eq!((hosts.in_service(), hosts.confirmed_unix_ms()), (None, None));
}

#[test]
fn saved_hosts_stay_while_an_entry_is_invalid() {
    let mut hosts = restored(&[1, 2, 3]);
    let seen = [good(&[1, 2, 4]), vec![invalid(9)]].concat();
    hosts.show(&seen, &limits(), at(2_000));
    assert_eq!(served(&hosts), [1, 2, 3, 4].map(name), "3 may be the invalid entry");
    assert!(hosts.is_from_saved_state());
    hosts.show(&good(&[1, 2, 4]), &limits(), at(3_000));
    assert_eq!(served(&hosts), [1, 2, 4].map(name));
    assert!(!hosts.is_from_saved_state());
}

#[test]
fn saved_host_that_was_seen_since_leaves_beside_an_invalid_entry() {
    let mut hosts = restored(&[1, 2, 3]);
    hosts.show(&[good(&[1, 2]), vec![invalid(9)]].concat(), &limits(), at(2_000));
    assert_eq!(served(&hosts), [1, 2, 3].map(name));
    hosts.show(&[good(&[1]), vec![invalid(9)]].concat(), &limits(), at(3_000));
    assert_eq!(served(&hosts), [1, 3].map(name), "2 had an entry of its own");
    hosts.show(&[good(&[1, 2]), vec![invalid(9)]].concat(), &limits(), at(4_000));
    hosts.show(&[good(&[2]), vec![invalid(9)]].concat(), &limits(), at(5_000));
    assert_eq!(served(&hosts), [2, 3].map(name));
}

#[test]
fn entry_with_a_known_host_keeps_no_saved_hosts() {
    let mut hosts = restored(&[1, 2, 3]);
    hosts.show(&[good(&[1, 2, 4]), vec![invalid(9)]].concat(), &limits(), at(2_000));
    hosts.show(&[good(&[1, 2]), vec![invalid(4)]].concat(), &limits(), at(3_000));
    assert_eq!(served(&hosts), [1, 2, 4].map(name));
    assert!(!hosts.is_from_saved_state());
}
