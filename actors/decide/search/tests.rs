use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a good name")
}

fn names(texts: &[&str]) -> BTreeSet<ServiceName> {
    texts.iter().map(|text| name(text)).collect()
}

/// The bad sections that a search found, and the number of trials.
struct Outcome {
    bad: BTreeSet<ServiceName>,
    trials: usize,
}

/// Runs a search to its end. `refuses` returns whether HAProxy refuses a group, and the sections that it names.
fn run(mut search: Search, refuses: impl Fn(&[ServiceName]) -> Option<BTreeSet<ServiceName>>) -> Outcome {
    let mut outcome = Outcome { bad: BTreeSet::new(), trials: 0 };
    while let Some(group) = search.next_group() {
        outcome.trials += 1;
        match refuses(group) {
            None => search.group_accepted(),
            Some(named) => {
                if let Finding::Bad(name) = search.group_refused(&named) {
                    assert!(outcome.bad.insert(name), "found bad once");
                }
            }
        }
    }
    outcome
}

fn numbered(count: usize) -> Vec<ServiceName> {
    (0..count).map(|n| name(&format!("s{n:03}"))).collect()
}

fn first_bad<'a>(group: &'a [ServiceName], bad: &BTreeSet<ServiceName>) -> Option<&'a ServiceName> {
    group.iter().find(|name| bad.contains(*name))
}

#[test]
fn one_trial_is_enough_where_all_are_good() {
    let outcome = run(Search::new(numbered(200), References::new()), |_| None);
    assert_eq!((outcome.trials, outcome.bad.len()), (1, 0));
    let nothing = run(Search::new([], References::new()), |_| None);
    assert_eq!(nothing.trials, 0);
}

#[test]
fn forty_named_of_241_take_two_trials_each() {
    let all = numbered(241);
    let bad: BTreeSet<_> = all.iter().skip(3).step_by(6).cloned().collect();
    let outcome = run(Search::new(all, References::new()), |group| first_bad(group, &bad).map(|b| [b.clone()].into()));
    assert_eq!(outcome.bad, bad);
    assert_eq!(outcome.trials, 2 * bad.len() + 1);
}

#[test]
fn forty_unnamed_of_41_take_two_trials_each() {
    let all = numbered(41);
    let bad: BTreeSet<_> = all[..40].iter().cloned().collect();
    let outcome = run(Search::new(all, References::new()), |group| first_bad(group, &bad).map(|_| BTreeSet::new()));
    assert_eq!(outcome.bad, bad);
    assert!(outcome.trials <= 81, "{}", outcome.trials);
}

#[test]
fn named_good_section_costs_one_trial() {
    let all = numbered(128);
    let bad = BTreeSet::from([all[77].clone()]);
    let forged = BTreeSet::from([all[3].clone()]);
    let outcome = run(Search::new(all, References::new()), |group| first_bad(group, &bad).map(|_| forged.clone()));
    assert_eq!(outcome.bad, bad);
    assert!(outcome.trials <= 2 + 2 * 7 + 1, "{}", outcome.trials);
}

#[test]
fn section_is_decided_after_those_it_refers_to() {
    let references = References::from([(name("a"), names(&["z"]))]);
    let tried = std::cell::RefCell::new(Vec::new());
    let search = Search::new([name("a"), name("m"), name("z")], references);
    // HAProxy refuses each group that contains or refers to z, until z is found bad; it names a.
    let outcome = run(search, |group| {
        tried.borrow_mut().push(group.to_vec());
        let z_is_decided = tried.borrow().iter().any(|group| **group == [name("z")]);
        let is_refused = group.contains(&name("z")) || (group.contains(&name("a")) && !z_is_decided);
        is_refused.then(|| names(&["a"]))
    });
    assert_eq!(outcome.bad, names(&["z"]));
}

#[test]
fn sections_that_refer_to_each_other_are_both_decided() {
    let references = References::from([(name("a"), names(&["b"])), (name("b"), names(&["a"]))]);
    let outcome = run(Search::new([name("a"), name("b")], references), |_| Some(BTreeSet::new()));
    assert_eq!(outcome.bad, names(&["a", "b"]));
}

proptest! {
    #[test]
    fn exactly_the_bad_ones_are_found(bad in prop::collection::vec(any::<bool>(), 1..40), named in 0_usize..3, forged in any::<u64>()) {
        let all = numbered(bad.len());
        let is_bad: BTreeSet<_> = all.iter().zip(&bad).filter(|(_, bad)| **bad).map(|(name, _)| name.clone()).collect();
        let lies: BTreeSet<_> = all.iter().enumerate().filter(|(n, _)| forged >> (n % 64) & 1 == 1).map(|(_, name)| name.clone()).collect();
        let outcome = run(Search::new(all.clone(), References::new()), |group| {
            let first = first_bad(group, &is_bad)?;
            Some(match named {
                0 => BTreeSet::new(),
                1 => [first.clone()].into(),
                _ => lies.clone(),
            })
        });
        prop_assert_eq!(outcome.bad, is_bad);
        prop_assert!(outcome.trials < 2 * all.len());
    }

    #[test]
    fn search_ends_whatever_haproxy_answers(answers in prop::collection::vec(any::<(bool, u64)>(), 1..60), count in 1_usize..40) {
        let all = numbered(count);
        let everything_refers: References = all.iter().map(|name| (name.clone(), all.iter().cloned().collect())).collect();
        let turn = std::cell::Cell::new(0);
        let outcome = run(Search::new(all.clone(), everything_refers), |_| {
            let (accepts, named) = answers[turn.replace(turn.get() + 1) % answers.len()];
            let named = all.iter().enumerate().filter(|(n, _)| named >> (n % 64) & 1 == 1).map(|(_, name)| name.clone());
            (!accepts).then(|| named.collect())
        });
        prop_assert!(outcome.trials < 3 * count);
    }
}
