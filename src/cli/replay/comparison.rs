//! Compares two tallies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proxymgr_actors::snapshot::ActorState;

use super::tally::{Count, Tally};

/// The maximum number of differences of one kind that are printed.
const DIFFERENCES_MAX: usize = 50;

/// The results of the recording daemon and of the replay.
pub struct Comparison {
    /// The recorded results.
    pub recorded: Tally,
    /// The results with the other settings.
    pub played: Tally,
}

impl Comparison {
    /// Returns the lines of only one of the two, with their times. A line that both have equally often is not a
    /// difference.
    fn only_of_one(&self) -> Vec<(u64, &'static str, &str)> {
        let mut surplus: BTreeMap<&str, i64> = BTreeMap::new();
        self.recorded.reported.iter().for_each(|(_, what)| *surplus.entry(what).or_default() += 1);
        self.played.reported.iter().for_each(|(_, what)| *surplus.entry(what).or_default() -= 1);
        let mut found = Vec::new();
        // If one of the two has a line more often, its last occurrences count as the difference.
        for (reported, whose, sign) in
            [(&self.recorded.reported, "only recorded", 1), (&self.played.reported, "only replayed", -1)]
        {
            for (at_ms, what) in reported.iter().rev() {
                let left = surplus.get_mut(what.as_str()).expect("every line was counted above");
                if *left * sign > 0 {
                    *left -= sign;
                    found.push((*at_ms, whose, what.as_str()));
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// Returns the services whose changes were applied in another way.
    fn services(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.recorded.services.keys().chain(self.played.services.keys()).collect();
        let none = BTreeMap::new();
        let different = |name: &&String| {
            let of = |tally: &Tally| -> Vec<String> {
                let counts = tally.services.get(*name).unwrap_or(&none).iter();
                let counts =
                    counts.filter(|(count, _)| matches!(count, Count::Updates | Count::Applied(_) | Count::Held));
                counts.map(|(count, times)| format!("{} {times}", count.words().trim())).collect()
            };
            let (recorded, played) = (of(&self.recorded), of(&self.played));
            let words = |counts: &[String]| if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
            (recorded != played).then(|| format!("{name}: recorded {}; replayed {}", words(&recorded), words(&played)))
        };
        names.iter().filter_map(different).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<32} {:>9} {:>9}", "", "recorded", "replayed")?;
        let counts: BTreeSet<&Count> = self.recorded.counts.keys().chain(self.played.counts.keys()).collect();
        for count in counts {
            let of = |tally: &Tally| tally.counts.get(count).copied().unwrap_or_default();
            writeln!(f, "{:<32} {:>9} {:>9}", count.words(), of(&self.recorded), of(&self.played))?;
        }
        let reported: Vec<String> =
            self.only_of_one().iter().map(|(at_ms, whose, what)| format!("{} {whose} {what}", clock(*at_ms))).collect();
        let services = self.services();
        if reported.is_empty() && services.is_empty() {
            return writeln!(f, "\nNo differences: the replay has the same results.");
        }
        writeln!(f, "\ndifferences")?;
        for lines in [reported, services] {
            lines.iter().take(DIFFERENCES_MAX).try_for_each(|line| writeln!(f, "  {line}"))?;
            if lines.len() > DIFFERENCES_MAX {
                writeln!(f, "  and {} more", lines.len() - DIFFERENCES_MAX)?;
            }
        }
        Ok(())
    }
}

/// Formats a time since the beginning: `1:02:03.004`.
fn clock(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

/// Lists every service in its final state.
pub fn final_state(states: &[ActorState]) -> String {
    let mut text = "at the end\n".to_owned();
    let haproxy = states.iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    for (name, service) in haproxy.iter().flat_map(|haproxy| &haproxy.services) {
        let mut by_state: BTreeMap<&str, usize> = BTreeMap::new();
        service.servers.values().for_each(|state| *by_state.entry(state.as_str()).or_default() += 1);
        let servers: Vec<String> = by_state.iter().map(|(state, servers)| format!("{servers} {state}")).collect();
        let servers = if servers.is_empty() { "no servers".to_owned() } else { servers.join(", ") };
        let problem = service.problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
        text.push_str(&format!("  {name}: {servers}, {} wanted{problem}\n", service.desired));
    }
    for state in states {
        if let ActorState::Watcher(watcher) = state
            && let Some(held) = &watcher.held
        {
            text.push_str(&format!("  {}: blocked by guard: {}\n", watcher.service, held.reason));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(reported: &[(u64, &str)]) -> Tally {
        Tally { reported: reported.iter().map(|(at, what)| (*at, (*what).to_owned())).collect(), ..Tally::default() }
    }

    #[test]
    fn surplus_lines_are_differences() {
        let comparison = Comparison {
            recorded: tally(&[(0, "start"), (5, "held"), (7_000, "held")]),
            played: tally(&[(1, "start"), (6, "held"), (9, "reload")]),
        };
        assert_eq!(comparison.only_of_one(), [(9, "only replayed", "reload"), (7_000, "only recorded", "held")]);
        let text = comparison.to_string();
        assert!(text.contains("0:00:07.000 only recorded held"), "{text}");
    }

    #[test]
    fn equal_tallies_have_no_differences() {
        let comparison = Comparison { recorded: tally(&[(0, "start")]), played: tally(&[(3, "start")]) };
        assert!(comparison.to_string().contains("No differences"), "{comparison}");
    }
}
