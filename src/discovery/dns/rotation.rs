//! Answers that rotate: each has only some of the hosts of a name, and other ones each time.
//!
//! A server that cuts its answers at random would otherwise add and remove hosts with each of them. Once that is
//! noticed, the hosts of all recent answers are used together, until the answers are the same again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proxymgr_actors::limits::{
    DNS_ROTATION_ABSENCE_MAX, DNS_ROTATION_ABSENCES_MAX, DNS_ROTATION_ABSENCES_MIN, DNS_ROTATION_ANSWERS,
    DNS_ROTATION_LEAVERS, DNS_ROTATION_TURNOVERS,
};
use tokio::time::Instant;

use super::name_servers::Found;

/// A host is missing from this many times as many answers as it takes to see each host once on average, before it
/// counts as gone: of a host that is still there, that happens once in a thousand times.
const ABSENCES_PER_TURN: usize = 7;

/// The recent answers to one query.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    members: BTreeMap<Found, Member>,
    /// The number of answers so far.
    answers: u64,
    /// The answers that replaced at least half of the records, by number.
    turnovers: VecDeque<u64>,
    /// The report, while the answers rotate.
    report: Option<String>,
}

/// A record that was in a recent answer.
#[derive(Debug)]
struct Member {
    seen_at: Instant,
    /// The consecutive answers without it.
    absences: usize,
    /// The answers in which it was missing for the first time, by number.
    left: VecDeque<u64>,
}

impl Rotation {
    /// Takes an answer; returns the records to use.
    pub(super) fn settle(&mut self, found: Vec<Found>, now: Instant) -> Vec<Found> {
        if found.is_empty() {
            // The name no longer exists, which is not a part of its records.
            *self = Self::default();
            return found;
        }
        let size = found.len();
        self.count(&found.into_iter().collect(), now);
        if self.report.is_none() && self.is_rotating() {
            let all = self.members.len();
            let seen = format!("an answer had {size} of at least {all} records");
            self.report =
                Some(format!("its answers rotate: {seen}; the hosts of all recent answers are used together"));
        }
        let limit = match self.report {
            Some(_) => absences_max(self.members.len(), size),
            None => DNS_ROTATION_ANSWERS,
        };
        self.members.retain(|_, member| {
            member.absences < limit && now.duration_since(member.seen_at) < DNS_ROTATION_ABSENCE_MAX
        });
        if self.report.is_some() && self.members.values().all(|member| member.absences == 0) {
            self.report = None;
            self.turnovers.clear();
            self.members.values_mut().for_each(|member| member.left.clear());
        }
        let is_used = |member: &Member| self.report.is_some() || member.absences == 0;
        self.members.iter().filter(|(_, member)| is_used(member)).map(|(found, _)| found.clone()).collect()
    }

    /// Why the records to use are not those of the last answer; `None` if they are.
    pub(super) fn report(&self) -> Option<&str> {
        self.report.as_deref()
    }

    fn count(&mut self, found: &BTreeSet<Found>, now: Instant) {
        self.answers += 1;
        let (number, mut replaced) = (self.answers, 0);
        for (record, member) in &mut self.members {
            if found.contains(record) {
                (member.absences, member.seen_at) = (0, now);
                continue;
            }
            if member.absences == 0 {
                member.left.push_back(number);
                replaced += 1;
            }
            member.absences += 1;
        }
        let joined = |record: &&Found| !self.members.contains_key(*record);
        for record in Vec::from_iter(found.iter().filter(joined).cloned()) {
            self.members.insert(record, Member { seen_at: now, absences: 0, left: VecDeque::new() });
        }
        if replaced * 2 >= found.len() {
            self.turnovers.push_back(number);
        }
        let recent = number.saturating_sub(DNS_ROTATION_ANSWERS as u64);
        let lists = self.members.values_mut().map(|member| &mut member.left).chain([&mut self.turnovers]);
        lists.for_each(|numbers| numbers.retain(|number| *number > recent));
    }

    /// Whether several records left twice within a few answers, or most records were replaced again and again. A
    /// deployment replaces each host once, and all of them in a few steps.
    fn is_rotating(&self) -> bool {
        let left_again = self.members.values().filter(|member| member.left.len() >= 2).count();
        left_again >= DNS_ROTATION_LEAVERS || self.turnovers.len() >= DNS_ROTATION_TURNOVERS
    }
}

fn absences_max(all: usize, size: usize) -> usize {
    let turn = all.div_ceil(size.max(1));
    (turn * ABSENCES_PER_TURN).clamp(DNS_ROTATION_ABSENCES_MIN, DNS_ROTATION_ABSENCES_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hosts(numbers: impl IntoIterator<Item = u8>) -> Vec<Found> {
        numbers.into_iter().map(|number| Found::Address([10, 0, 0, number].into())).collect()
    }

    /// Feeds answers that are 5 s apart; returns the numbers of records to use after each, and whether there is a report.
    fn settle(rotation: &mut Rotation, start: Instant, answers: &[Vec<u8>]) -> Vec<(usize, bool)> {
        let settled = answers.iter().zip(0..).map(|(answer, at)| {
            let now = start + Duration::from_secs(5) * at;
            (rotation.settle(hosts(answer.iter().copied()), now).len(), rotation.report().is_some())
        });
        settled.collect()
    }

    #[test]
    fn rotating_answers_are_united_until_they_are_the_same() {
        let (mut rotation, start) = (Rotation::default(), Instant::now());
        let answers = Vec::from_iter(
            (0..12_u8).cycle().take(40).map(|turn| vec![turn * 7 % 12, (turn * 7 + 5) % 12, (turn * 7 + 10) % 12]),
        );
        let settled = settle(&mut rotation, start, &answers);
        assert_eq!(settled.last(), Some(&(12, true)));
        assert!(settled[15..].iter().all(|settled| *settled == (12, true)), "{settled:?}");
        let later = start + Duration::from_secs(200);
        let after = settle(&mut rotation, later, &vec![vec![1, 2, 3]; 40]);
        assert_eq!((after[0], after[39]), ((12, true), (3, false)), "{after:?}");
    }

    #[test]
    fn random_parts_of_many_are_noticed() {
        let (mut rotation, start) = (Rotation::default(), Instant::now());
        let answers = Vec::from_iter((0..10_u8).map(|turn| vec![turn * 3, turn * 3 + 1, turn * 3 + 2]));
        let settled = settle(&mut rotation, start, &answers);
        assert!(settled[9].1 && settled[9].0 >= 15, "no host returned yet: {settled:?}");
    }

    #[test]
    fn deployments_and_restarts_are_no_rotation() {
        let rolling_restart = Vec::from_iter((0..10_u8).map(|gone| (0..10).filter(|host| *host != gone).collect()));
        let replaced_one_by_one = Vec::from_iter((0..10_u8).map(|turn| (turn..turn + 10).collect()));
        let replaced_at_once = vec![vec![1, 2, 3], vec![4, 5, 6], vec![4, 5, 6], vec![7, 8, 9]];
        let scaled = Vec::from_iter((1..20_u8).chain((1..20).rev()).map(|count| (0..count).collect()));
        for answers in [rolling_restart, replaced_one_by_one, replaced_at_once, scaled] {
            let settled = settle(&mut Rotation::default(), Instant::now(), &answers);
            let expected = Vec::from_iter(answers.iter().map(|answer| (answer.len(), false)));
            assert_eq!(settled, expected);
        }
    }

    #[test]
    fn name_without_records_ends_the_rotation() {
        let (mut rotation, start) = (Rotation::default(), Instant::now());
        settle(&mut rotation, start, &Vec::from_iter((0..20_u8).map(|turn| vec![turn % 4, (turn + 1) % 4])));
        assert!(rotation.report().is_some());
        assert_eq!(rotation.settle(Vec::new(), start), []);
        assert_eq!(rotation.report(), None);
    }

    #[test]
    fn gone_host_is_forgotten_the_later_the_smaller_the_answers() {
        assert_eq!([absences_max(4, 3), absences_max(12, 3), absences_max(60, 3)], [14, 28, 140]);
        assert_eq!([absences_max(3, 3), absences_max(10_000, 3)], [10, 200]);
    }
}
