//! Whether a new list of hosts may replace the one in force. Discovery that empties (a restart, an ACL, a new leader)
//! looks just like hosts that leave; the guard tells the two apart by how much goes at once.

use super::hosts_diff::HostsDiff;
use crate::model::Removal;

/// What the guard says to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The list may be used.
    Pass,
    /// The list in force stays; the reason is for the operator.
    Hold(String),
}

/// Judges what a new list would change in one of `in_force` hosts; none where it would be the first. A list that takes
/// nothing away always passes.
pub fn judge(in_force: Option<usize>, diff: &HostsDiff, removal: &Removal) -> Verdict {
    let removed = diff.removed.len();
    let Some(in_force) = in_force.filter(|_| removed > 0) else { return Verdict::Pass };
    let remain = in_force - removed + diff.added.len();
    if remain < removal.min_hosts && remain < in_force {
        return Verdict::Hold(format!(
            "{remain} of {in_force} hosts would remain and min_hosts is {}",
            removal.min_hosts
        ));
    }
    // Counts of hosts are far below 2^52, so that the conversions are exact.
    #[allow(clippy::cast_precision_loss)]
    if removed as f64 > removal.max_removal * in_force as f64 {
        return Verdict::Hold(format!(
            "{removed} of {in_force} hosts would go at once and max_removal is {}",
            removal.max_removal
        ));
    }
    Verdict::Pass
}

/// Judges a list of definitions against the services in force: so many of them would go, and `removal_max` is the
/// largest share that may. One service that goes alone was meant to go.
pub fn judge_definitions(in_force: usize, removed: usize, removal_max: f64) -> Verdict {
    // Counts of services are far below 2^52, so that the conversions are exact.
    #[allow(clippy::cast_precision_loss)]
    let too_many = removed > 1 && removed as f64 > removal_max * in_force as f64;
    if !too_many {
        return Verdict::Pass;
    }
    Verdict::Hold(format!(
        "{removed} of {in_force} services would go at once and guards.max_services_removal is {removal_max}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Endpoint, Host, HostList, ServerName};

    fn list(names: &[&str]) -> HostList {
        let endpoint = Endpoint { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
        names.iter().map(|name| (ServerName::new(name).unwrap(), Host::at(endpoint.clone()).into())).collect()
    }

    fn holds(in_force: &[&str], seen: &[&str], min_hosts: usize, max_removal: f64) -> bool {
        let diff = HostsDiff::between(&list(in_force), &list(seen));
        judge(Some(in_force.len()), &diff, &Removal { min_hosts, max_removal }) != Verdict::Pass
    }

    #[test]
    fn an_empty_list_is_held_back_by_default() {
        let Removal { min_hosts, max_removal } = Removal::default();
        assert!(holds(&["a", "b"], &[], min_hosts, max_removal));
        assert!(!holds(&["a", "b"], &["b"], min_hosts, max_removal));
    }

    #[test]
    fn min_hosts_zero_lets_a_service_run_empty() {
        assert!(!holds(&["a"], &[], 0, 1.0));
    }

    #[test]
    fn a_list_below_the_minimum_passes_when_it_takes_nothing_away() {
        assert!(!holds(&["a"], &["a", "b"], 5, 1.0));
        assert!(!holds(&["a", "b"], &["a", "c"], 5, 1.0), "as many as before");
        assert!(holds(&["a", "b"], &["a"], 5, 1.0));
    }

    #[test]
    fn more_than_max_removal_at_once_is_held_back() {
        assert!(holds(&["a", "b", "c", "d"], &["a"], 1, 0.5));
        assert!(!holds(&["a", "b", "c", "d"], &["a", "b"], 1, 0.5));
    }

    #[test]
    fn definitions_may_lose_one_service_or_the_share_allowed() {
        let holds = |in_force, removed, share| judge_definitions(in_force, removed, share) != Verdict::Pass;
        assert!(holds(2, 2, 0.5) && holds(10, 6, 0.5) && holds(3, 2, 0.0));
        assert!(!holds(1, 1, 0.5) && !holds(3, 1, 0.0) && !holds(10, 5, 0.5) && !holds(10, 10, 1.0));
    }

    #[test]
    fn the_first_list_passes_whatever_it_is() {
        assert_eq!(judge(None, &HostsDiff::default(), &Removal::default()), Verdict::Pass);
    }
}
