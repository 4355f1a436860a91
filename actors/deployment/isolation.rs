//! Removes from the candidate exactly the sections that HAProxy refuses: a state machine that requests checks.
//!
//! 1. The whole candidate is checked. Nothing else happens where it is accepted.
//! 2. The base of the file alone: if it is refused without any section, the operator has to fix it.
//! 3. The suspects, sections that do not run already, each in a file with only the base and the sections that it refers
//!    to ([`Search`]). A bad one is replaced by the last good section, or left out. Then back to 1.
//! 4. If each suspect is accepted on its own but the whole is refused: the whole without the suspects, then with one
//!    more group at a time. Then back to 1.
//!
//! Each round replaces at least one section or is the last one, so that the isolation ends with any answers.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::{Candidate, ConfigPart};
use super::complaint::CheckedText;
use super::references::{names_in_text, references};
use crate::decide::deployment::{DeployFailure, SectionSpec, Warnings};
use crate::decide::descriptors;
use crate::decide::search::{Finding, References, Search};
use crate::model::ServiceName;
use crate::port::ConfigMessage;

/// What to check next.
#[derive(Debug)]
pub enum Step {
    /// The whole candidate, which is deployed if it is accepted.
    CheckWhole(ConfigPart),
    /// A part of the candidate.
    TryPart(ConfigPart),
    /// Nothing: HAProxy accepts the candidate, with these warnings, or no acceptable candidate was found.
    Done(Result<Warnings, DeployFailure>),
}

/// HAProxy's verdict on a text: warnings where it accepts it, alerts where it refuses it.
pub type Verdict = Result<Vec<ConfigMessage>, Vec<ConfigMessage>>;

/// The search for a candidate that HAProxy accepts.
#[derive(Debug)]
pub struct Isolation {
    candidate: Candidate,
    stage: Stage,
    /// The text that the last step requested to check.
    checked: ConfigPart,
    /// Sections that were accepted in reduced files.
    accepted: BTreeMap<ServiceName, SectionSpec>,
    references: References,
    is_base_good: bool,
}

#[derive(Debug)]
enum Stage {
    Whole,
    Base,
    Alone(Search),
    WithoutSuspects,
    Together { search: Search, suspects: BTreeSet<ServiceName> },
    Done(Result<Warnings, DeployFailure>),
}

impl Isolation {
    /// Creates an isolation that begins with a check of the whole candidate.
    pub fn new(candidate: Candidate) -> Self {
        let mut isolation = Self {
            candidate,
            stage: Stage::Whole,
            checked: ConfigPart::default(),
            accepted: BTreeMap::new(),
            references: References::new(),
            is_base_good: false,
        };
        isolation.take_out_what_takes_too_long();
        isolation.take_out_what_needs_too_many_descriptors();
        isolation.take_out_what_was_refused();
        isolation
    }

    /// Replaces changed sections that HAProxy could not check in time: no other could be deployed with them.
    fn take_out_what_takes_too_long(&mut self) {
        for name in self.candidate.suspects() {
            // The last good definition with the new hosts, then with the earlier hosts.
            while let Some(message) = self.candidate.takes_too_long(&name) {
                self.candidate.step_back(&name, message);
            }
        }
    }

    /// Replaces changed sections with which HAProxy would not start, for want of descriptors: those that need most.
    fn take_out_what_needs_too_many_descriptors(&mut self) {
        let Some(most) = self.candidate.context.descriptors_max else { return };
        let mut left = most.saturating_sub(self.candidate.running_descriptors());
        let suspects = self.candidate.suspects().into_iter();
        let mut by_need: Vec<_> =
            suspects.map(|name| (self.candidate.new_descriptors(&name).map(|(needed, _)| needed), name)).collect();
        by_need.sort();
        for (_, name) in by_need {
            while let Some((needed, hosts)) = self.candidate.new_descriptors(&name) {
                if needed <= left {
                    left -= needed;
                    break;
                }
                self.candidate.step_back(&name, descriptors::excess(hosts, needed, left));
            }
        }
    }

    /// Replaces sections that were refused before and refer to no section that changes: they would be refused again.
    fn take_out_what_was_refused(&mut self) {
        let refused = self.candidate.refused_before();
        if refused.is_empty() {
            return;
        }
        let references = self.find_references();
        let suspects = self.candidate.suspects();
        let changes = |name: &ServiceName| suspects.contains(name) && !refused.contains_key(name);
        for (name, message) in &refused {
            if !references.get(name).is_some_and(|references| references.iter().any(changes)) {
                self.candidate.step_back(name, message.clone());
            }
        }
        self.candidate.separate_rivals();
    }

    /// Returns the next check.
    pub fn next_step(&mut self) -> Step {
        let part = match &self.stage {
            Stage::Done(outcome) => return Step::Done(outcome.clone()),
            Stage::Whole => {
                self.checked = self.candidate.whole();
                return Step::CheckWhole(self.checked.clone());
            }
            Stage::Base => self.reduced(&[]),
            Stage::Alone(search) => self.reduced(search.next_group().unwrap_or_default()),
            Stage::WithoutSuspects => self.candidate.rolled_back(&self.candidate.suspects()),
            Stage::Together { search, suspects } => {
                let group = search.next_group().unwrap_or_default();
                let not_yet = |name: &&ServiceName| !search.accepted().contains(*name) && !group.contains(name);
                self.candidate.rolled_back(&suspects.iter().filter(not_yet).cloned().collect())
            }
        };
        self.checked = part.clone();
        Step::TryPart(part)
    }

    /// Handles HAProxy's verdict on the last requested check.
    pub fn judged(&mut self, verdict: Verdict) {
        match std::mem::replace(&mut self.stage, Stage::Whole) {
            Stage::Whole => match verdict {
                Ok(warnings) => self.stage = Stage::Done(Ok(self.attributed(&warnings))),
                Err(_) if !self.is_base_good => self.stage = Stage::Base,
                Err(_) => self.look_for_suspects(),
            },
            Stage::Base => match verdict {
                Ok(_) => {
                    self.is_base_good = true;
                    self.look_for_suspects();
                }
                Err(messages) => self.blame_base(&messages),
            },
            Stage::Alone(mut search) => {
                self.judge_group(&mut search, verdict);
                if search.next_group().is_some() {
                    self.stage = Stage::Alone(search);
                    return;
                }
                for name in search.accepted() {
                    let section = self.candidate.sections.get(name);
                    self.accepted.extend(section.map(|section| (name.clone(), section.section.spec.clone())));
                }
                self.candidate.separate_rivals();
            }
            Stage::WithoutSuspects => match verdict {
                Ok(_) => {
                    let suspects = self.candidate.suspects();
                    let search = Search::new(suspects.iter().cloned(), self.references.clone());
                    self.stage = match suspects.is_empty() {
                        false => Stage::Together { search, suspects },
                        true => inconsistent(),
                    };
                }
                Err(messages) => self.blame_base(&messages),
            },
            Stage::Together { mut search, suspects } => {
                self.judge_group(&mut search, verdict);
                if search.next_group().is_some() {
                    self.stage = Stage::Together { search, suspects };
                } else if search.accepted().len() == suspects.len() {
                    self.stage = inconsistent();
                } else {
                    self.candidate.separate_rivals();
                }
            }
            done @ Stage::Done(_) => self.stage = done,
        }
    }

    /// Returns the accepted candidate.
    pub fn into_candidate(self) -> Candidate {
        self.candidate
    }

    /// Begins the search for suspects: the whole is refused, and the base is accepted.
    fn look_for_suspects(&mut self) {
        self.references = self.find_references();
        let is_accepted = |name: &ServiceName| {
            self.accepted.get(name).is_some_and(|accepted| self.candidate.sections[name].section.spec == *accepted)
        };
        let unknown: Vec<_> = self.candidate.suspects().into_iter().filter(|name| !is_accepted(name)).collect();
        self.stage = match unknown.is_empty() {
            false => Stage::Alone(Search::new(unknown, self.references.clone())),
            true => Stage::WithoutSuspects,
        };
    }

    fn judge_group(&mut self, search: &mut Search, verdict: Verdict) {
        let Err(messages) = verdict else { return search.group_accepted() };
        let checked = CheckedText::new(&self.checked);
        if let Finding::Bad(name) = search.group_refused(&checked.named(&messages)) {
            let message = match self.candidate.sections.get(&name) {
                Some(section) => checked.about(&name, &section.section.spec.definition, &messages),
                None => return,
            };
            self.candidate.step_back(&name, message);
        }
    }

    fn blame_base(&mut self, messages: &[ConfigMessage]) {
        let text = CheckedText::new(&self.checked).about_base(messages);
        let error = match self.is_base_good {
            false => format!("HAProxy refuses {}: {text}", self.candidate.base_keys()),
            true => format!(
                "HAProxy refuses services that run unchanged, or {} with them: {text}",
                self.candidate.base_keys()
            ),
        };
        self.stage = Stage::Done(Err(DeployFailure { suspects_base: true, ..DeployFailure::from(error) }));
    }

    /// Renders the base, these sections, and all sections that they and the base refer to. Sections that only the base
    /// refers to are included as they run: their new definitions may be bad, and are suspects themselves.
    fn reduced(&self, group: &[ServiceName]) -> ConfigPart {
        let with_references = |names: &mut dyn Iterator<Item = &ServiceName>| -> BTreeSet<ServiceName> {
            let referred_to = |name| std::iter::once(name).chain(self.references.get(name).into_iter().flatten());
            names.flat_map(referred_to).cloned().collect()
        };
        let of_group = with_references(&mut group.iter());
        let of_base = names_in_text(&self.candidate.base.text(), self.candidate.running());
        let of_base: BTreeSet<_> = with_references(&mut of_base.iter()).difference(&of_group).cloned().collect();
        self.candidate.part(&of_group, &of_base)
    }

    fn find_references(&self) -> References {
        let sections = self.candidate.sections.iter();
        references(&sections.map(|(name, section)| (name, &section.section.spec)).collect())
    }

    fn attributed(&self, warnings: &[ConfigMessage]) -> Warnings {
        let definition = |name: &ServiceName| Some(&*self.candidate.sections.get(name)?.section.spec.definition);
        let mut services = CheckedText::new(&self.checked).attributed(warnings, definition);
        let base = services.remove(&None).unwrap_or_default();
        let services = services.into_iter().filter_map(|(name, texts)| Some((name?, texts))).collect();
        Warnings { base, services }
    }
}

/// Returns the error for a whole that HAProxy refuses although it accepts its sections in every tried combination.
fn inconsistent() -> Stage {
    Stage::Done(Err("HAProxy refuses the configuration, but none of its sections".to_owned().into()))
}
