//! Runs the shipped scenarios, which must meet their expectations.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use proxymgr_simulation::scenario::Scenario;
use proxymgr_simulation::{Day, DayInShort, Way, fleet};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/scenarios")
}

fn named(name: &str) -> Scenario {
    Scenario::read(&shipped().join(name)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn goes_as_expected(scenario: &Scenario) -> Option<Day> {
    let report = scenario.run();
    if let Some(problem) = report.problem() {
        panic!("{problem}");
    }
    report.day
}

#[test]
fn discovery_fails() {
    goes_as_expected(&named("discovery-fails.yml"));
}

#[test]
fn haproxy_fails() {
    goes_as_expected(&named("haproxy-fails.yml"));
}

#[test]
fn annotations() {
    goes_as_expected(&named("annotations.yml"));
}

#[test]
fn operator_decides() {
    goes_as_expected(&named("operator-decides.yml"));
}

/// A shorter version of the shipped day, which takes too long in a build without optimisation.
fn quieter_day() -> Scenario {
    quieter("busy-day.yml", 1_000)
}

fn quieter(name: &str, updates: usize) -> Scenario {
    let mut scenario = named(name);
    let load = scenario.load.as_mut().expect("the busy day has a load");
    (load.updates, load.services, load.hosts, load.slots) = (updates, 4, 20, None);
    scenario
}

#[test]
fn busy_day_needs_no_avoidable_reload() {
    let day = goes_as_expected(&quieter_day()).expect("a load gives a day's figures");
    assert_eq!(day.updates, 1_000);
    let actors = &day.actors;
    assert_eq!((actors.reloads, actors.never_in_force), (7, 0), "{actors:?}");
    assert_eq!(actors.reload_causes.get("service_changed"), Some(&6), "{:?}", actors.reload_causes);
    assert_eq!(actors.took_ms.len() + actors.overtaken, day.updates);
    assert!(actors.backlog_max > 1 && actors.commands >= day.updates, "{actors:?}");
    assert!((1..=100).contains(&actors.percentile_ms(99)), "{} ms", actors.percentile_ms(99));
    let [enable_disable, slots, always] = day.ancestors.as_slice() else { panic!("{:?}", day.ancestors) };
    assert!(enable_disable.1.reloads > 200 && always.1.reloads > 700 && slots.1.reloads == 6, "{:?}", day.ancestors);
    assert_eq!(day.reloads_avoided(), always.1.reloads - 7);
}

#[test]
fn busy_day_works_with_slots_and_second_target() {
    let day = goes_as_expected(&quieter("busy-day-ways.yml", 300)).expect("a load gives a day's figures");
    let [(Way::Slots, slots), (Way::SecondTarget, targets)] = day.ways.as_slice() else { panic!("{:?}", day.ways) };
    for figures in [slots, targets] {
        assert_eq!((figures.reloads, figures.never_in_force), (7, 0), "{figures:?}");
        assert_eq!(figures.took_ms.len() + figures.overtaken, day.updates);
        assert!((1..=100).contains(&figures.percentile_ms(99)), "{} ms", figures.percentile_ms(99));
    }
    // With slots a new host needs an address and a state, but no new server; two HAProxies need twice the commands.
    assert!(slots.commands < day.actors.commands, "{} and {}", slots.commands, day.actors.commands);
    assert!(targets.commands > day.actors.commands * 3 / 2, "{} and {}", targets.commands, day.actors.commands);
}

#[test]
fn fleet_machines_differ_independent_of_threads() {
    let mut scenario = quieter_day();
    scenario.entries.clear();
    let load = scenario.load.as_mut().expect("the busy day has a load");
    (load.updates, load.over) = (300, std::time::Duration::from_secs(3_600));
    let days = |threads| {
        let heard = Mutex::new(Vec::new());
        let fleet = fleet(&scenario, 3, threads, |well| heard.lock().expect("no panic").push(well));
        assert!(fleet.failed.is_none());
        assert_eq!(heard.into_inner().expect("no panic"), [1, 2, 3], "each machine is reported as soon as it is done");
        (fleet.days, fleet.took_ms)
    };
    let (two, took_ms) = days(2);
    assert_eq!(two.len(), 3);
    let with_one_seed = |day: &DayInShort| DayInShort { seed: 0, ..day.clone() };
    assert!(two.windows(2).all(|days| with_one_seed(&days[0]) != with_one_seed(&days[1])), "they differ: {two:?}");
    let applied: u64 = took_ms.values().sum();
    assert!(applied > 800 && applied <= 900, "the updates of all three are reported together: {applied}");
    assert_eq!((two, took_ms), days(1));
}

#[test]
fn fleet_reports_first_failed_machine() {
    let text = "services: {web: 1}\nload: {updates: 50, over: 1m, services: 1, hosts: 3}\nsteps:\n\
                - {at: 10s, expect: {reloads: 9}}\n";
    let scenario = Scenario::parse(text, "fails.yml").unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let failed = fleet(&scenario, 4, 2, |_| ()).failed.expect("no machine reloads so often");
    assert_eq!(failed.seed, scenario.seed);
    let problem = failed.problem().expect("it failed");
    assert!(problem.starts_with("fails.yml:4: "), "{problem}");
    let again = format!("Again: proxymgr simulate --scenario fails.yml --seed {}", scenario.seed);
    assert!(problem.ends_with(&again), "{problem}");
}
