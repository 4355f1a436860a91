//! Takes out of the candidate what HAProxy refuses, until it accepts the rest.

use std::collections::BTreeSet;

use super::candidate::{Candidate, CandidateSection};
use crate::decide::deployment::DeployFailure;
use crate::decide::loaded_config::LineIndex;
use crate::decide::rejection::culprits;
use crate::limits::REJECTION_ROUNDS_MAX;
use crate::model::{Blocker, ServiceName};
use crate::port::{CheckFailure, ConfigFile, ConfigMessage};

/// Checks, and replaces the sections that make the candidate bad, until HAProxy accepts it.
pub async fn settle(candidate: &mut Candidate, config_file: &dyn ConfigFile) -> Result<(), DeployFailure> {
    for _ in 0..REJECTION_ROUNDS_MAX {
        let Some(messages) = check(candidate, config_file).await? else { return Ok(()) };
        let base_lines = candidate.context.base.lines().count();
        if let Some(message) = messages.iter().find(|message| message.line.is_some_and(|line| line <= base_lines)) {
            let error = format!("HAProxy refuses haproxy.global or haproxy.defaults of the settings: {}", message.text);
            return Err(DeployFailure { error, suspects_base: true, file_is_ahead: false });
        }
        let names: BTreeSet<ServiceName> = candidate.sections.keys().cloned().collect();
        let said = messages.iter().map(|message| (message.line, message.text.as_str()));
        let blamed = culprits(said, &LineIndex::of(&candidate.text().pieces), &names);
        if blamed.is_empty() {
            return Ok(settle_one_by_one(candidate, config_file, &messages).await?);
        }
        for name in blamed {
            candidate.step_back(&name, message_about(&name, &messages));
        }
        candidate.separate_rivals();
    }
    Err(format!("HAProxy still refuses the configuration after {REJECTION_ROUNDS_MAX} rounds").into())
}

/// HAProxy does not say which service is at fault: start from the last good sections and let the changed ones
/// in again, one at a time.
async fn settle_one_by_one(
    candidate: &mut Candidate,
    config_file: &dyn ConfigFile,
    messages: &[ConfigMessage],
) -> Result<(), String> {
    let reason = messages.first().map_or("no reason given", |message| message.text.as_str()).to_owned();
    let mut suspects: Vec<(ServiceName, CandidateSection)> = candidate
        .sections
        .iter()
        .filter(|(name, section)| !candidate.is_last_good(name, section))
        .map(|(name, section)| (name.clone(), section.clone()))
        .collect();
    for (name, _) in &suspects {
        candidate.step_back(name, reason.clone());
    }
    // Whoever waits for an address that another one may give up comes after that one.
    suspects.sort_by_key(|(name, section)| candidate.is_anothers(name, section));
    let mut refused = check(candidate, config_file).await?;
    if refused.is_some() {
        for (name, _) in &suspects {
            let section = candidate.sections.get(name);
            if section.is_some_and(|section| !candidate.is_last_good(name, section)) {
                candidate.step_back(name, reason.clone());
            }
        }
        refused = check(candidate, config_file).await?;
    }
    if let Some(messages) = refused {
        let text = messages.first().map_or(reason, |message| message.text.clone());
        return Err(format!("HAProxy refuses the configuration whatever the services say: {text}"));
    }
    for (name, section) in suspects {
        let last_good = candidate.sections.insert(name.clone(), section);
        let blocker = candidate.blockers.remove(&name);
        candidate.separate_rivals();
        if let Some(messages) = check(candidate, config_file).await? {
            candidate.sections.remove(&name);
            candidate.sections.extend(last_good.map(|good| (name.clone(), good)));
            let message = messages.first().map(|message| message.text.clone());
            candidate.blockers.extend(blocker.map(|blocker| (name.clone(), with_message(blocker, message))));
        }
    }
    // The last check may have been one that failed; the candidate on disk must be the good one.
    match check(candidate, config_file).await? {
        None => Ok(()),
        Some(_) => Err(format!("HAProxy refuses what it accepted a moment ago: {reason}")),
    }
}

/// What HAProxy says against the candidate; none when it is good.
async fn check(candidate: &Candidate, config_file: &dyn ConfigFile) -> Result<Option<Vec<ConfigMessage>>, String> {
    match config_file.check(candidate.text(), candidate.descriptors()).await {
        Ok(()) => Ok(None),
        Err(CheckFailure::Rejected { messages }) => Ok(Some(messages)),
        Err(CheckFailure::Failed(error)) => Err(error),
    }
}

fn message_about(name: &ServiceName, messages: &[ConfigMessage]) -> String {
    let named = messages.iter().find(|message| message.text.contains(name.as_str()));
    named.or(messages.first()).map_or_else(|| "no reason given".to_owned(), |message| message.text.clone())
}

/// The blocker with HAProxy's message about this service alone, where there is one.
fn with_message(blocker: Blocker, message: Option<String>) -> Blocker {
    match (blocker, message) {
        (Blocker::Rejected { definition, hosts, .. }, Some(message)) => {
            Blocker::Rejected { message, definition, hosts }
        }
        (blocker, _) => blocker,
    }
}
