//! The candidate of a launch: put together of what is wanted, and taken back to what was good until HAProxy accepts it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use actix::Recipient;
use slog::{Logger, warn};

use super::desired::Obstacle;
use super::launch::{Failure, gone};
use crate::decide::frontend::frontends;
use crate::decide::haproxy_config::{self, SectionStyle};
use crate::decide::loaded_config::LineIndex;
use crate::decide::rejection::culprits;
use crate::decide::routing::{Claim, Routing, assign, map_text, routed_at};
use crate::limits::REJECTION_ROUNDS_MAX;
use crate::message::{CheckCandidate, SocketsHeld};
use crate::model::{HostList, Routes, ServiceDefinition, ServiceName};
use crate::port::{CheckFailure, ConfigMessage, ConfigText};

/// What a section is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingredients {
    /// The definition.
    pub definition: Arc<ServiceDefinition>,
    /// The hosts.
    pub hosts: Arc<HostList>,
}

/// A service on its way into the candidate.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// As it should be.
    pub wanted: Ingredients,
    /// As it was last good, and the descriptor it listens on.
    pub last_good: Option<(Ingredients, Option<RawFd>)>,
}

impl Entrant {
    /// Gives the last good section of an earlier run its socket. Without a listener it is of no use.
    fn find_socket(&mut self, name: &ServiceName, held: &SocketsHeld) {
        let Some((good, descriptor @ None)) = &mut self.last_good else { return };
        let listen = good.definition.listen;
        let sockets = if listen == self.wanted.definition.listen { &held.descriptors } else { &held.last_good };
        match sockets.get(name) {
            Some(held) => *descriptor = *held,
            None if listen.is_some() => self.last_good = None,
            None => {}
        }
    }
}

/// A section in the candidate.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// What it is made of.
    pub ingredients: Ingredients,
    /// The descriptor it listens on.
    pub descriptor: Option<RawFd>,
    text: Arc<str>,
}

impl Chosen {
    fn new(ingredients: Ingredients, descriptor: Option<RawFd>, style: SectionStyle) -> Self {
        let text = haproxy_config::section(&ingredients.definition, descriptor, &ingredients.hosts, style);
        Self { ingredients, descriptor, text }
    }

    /// Whether it shares its port with others.
    fn is_routed(&self) -> bool {
        routed_at(&self.ingredients.definition).is_some()
    }
}

/// What surrounds the sections.
pub struct Surroundings {
    /// The text before them.
    pub frame: Arc<str>,
    /// What it means for every section.
    pub style: SectionStyle,
    /// The map that frontends look into.
    pub map_path: PathBuf,
    /// Who has what is asked for.
    pub had: Routes,
}

/// The text on its way to becoming one that HAProxy finds good.
pub struct Candidate {
    /// What surrounds its sections.
    pub around: Surroundings,
    entrants: BTreeMap<ServiceName, Entrant>,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, Chosen>,
    /// What stands in the way of services that are not as wanted.
    pub obstacles: BTreeMap<ServiceName, Obstacle>,
    log: Logger,
}

impl Candidate {
    /// Of the entrants whose sockets are held; the others as they were last good.
    pub fn new(
        around: Surroundings,
        mut entrants: BTreeMap<ServiceName, Entrant>,
        mut held: SocketsHeld,
        log: Logger,
    ) -> Self {
        let style = around.style;
        let mut sections = BTreeMap::new();
        for (name, entrant) in &mut entrants {
            entrant.find_socket(name, &held);
            if !held.failed.contains_key(name) {
                let descriptor = held.descriptors.get(name).copied().flatten();
                sections.insert(name.clone(), Chosen::new(entrant.wanted.clone(), descriptor, style));
            }
        }
        let mut candidate = Self { around, entrants, sections, obstacles: BTreeMap::new(), log };
        for (name, error) in std::mem::take(&mut held.failed) {
            candidate.port_not_had(&name, error);
        }
        candidate.part_rivals();
        candidate
    }

    /// The service goes on with its last good section where it has one, and its hosts follow all the same.
    fn port_not_had(&mut self, name: &ServiceName, error: String) {
        let Some(Entrant { wanted, last_good }) = self.entrants.get(name).cloned() else { return };
        let taken = wanted.definition.listen.map(|address| Obstacle::PortTaken { address, error });
        self.obstacles.extend(taken.map(|taken| (name.clone(), taken)));
        self.sections.remove(name);
        let Some((good, descriptor)) = last_good else { return };
        let chosen = Chosen::new(Ingredients { hosts: wanted.hosts, ..good }, descriptor, self.around.style);
        self.sections.insert(name.clone(), chosen);
    }

    /// An address that a service gives up may be wanted by another. Where the first goes on with its last good section
    /// all the same, the other one waits: HAProxy must not have one socket in two sections.
    fn part_rivals(&mut self) {
        while let Some((name, first)) = self.rivals() {
            let address = self.last_listened(&first);
            let told = address.map_or_else(String::new, |address| address.to_string());
            let error = format!("{told} is still served by {first}, whose new definition cannot be put in force");
            warn!(self.log, "a service waits for its port"; "service" => %name, "reason" => &error);
            // In an earlier run both may have been there, in turns.
            if self.last_listened(&name) == address
                && let Some(entrant) = self.entrants.get_mut(&name)
            {
                entrant.last_good = None;
            }
            self.port_not_had(&name, error);
        }
    }

    /// Whether another service listened where this one is to listen, when it was last good.
    fn is_anothers(&self, name: &ServiceName, chosen: &Chosen) -> bool {
        let address = chosen.ingredients.definition.listen;
        address.is_some() && self.entrants.keys().any(|other| other != name && self.last_listened(other) == address)
    }

    /// Whether both share their port with others.
    fn go_together(&self, name: &ServiceName, other: &ServiceName) -> bool {
        let is_routed = |name| self.sections.get(name).is_some_and(Chosen::is_routed);
        is_routed(name) && is_routed(other)
    }

    fn last_listened(&self, name: &ServiceName) -> Option<SocketAddr> {
        self.entrants[name].last_good.as_ref().and_then(|(good, _)| good.definition.listen)
    }

    /// A service that would listen where another one goes on with its last good section, and that other one.
    fn rivals(&self) -> Option<(ServiceName, ServiceName)> {
        let sections = self.sections.iter();
        let listening = sections.filter_map(|(name, chosen)| Some((name, chosen.ingredients.definition.listen?)));
        let stays = |(name, address): &(&ServiceName, SocketAddr)| self.last_listened(name) == Some(*address);
        let kept: BTreeMap<SocketAddr, &ServiceName> =
            listening.clone().filter(stays).map(|(name, address)| (address, name)).collect();
        listening
            .filter_map(|(name, address)| Some((name, *kept.get(&address)?)))
            .find(|(name, first)| name != first && !self.go_together(name, first))
            .map(|(name, first)| (name.clone(), first.clone()))
    }

    /// Checks, and takes back what makes the candidate bad, until HAProxy finds it good.
    pub async fn settle(&mut self, check: &Recipient<CheckCandidate>) -> Result<(), Failure> {
        for _ in 0..REJECTION_ROUNDS_MAX {
            let Some(messages) = self.check(check).await? else { return Ok(()) };
            let frame_lines = self.around.frame.lines().count();
            if let Some(message) = messages.iter().find(|message| message.line.is_some_and(|line| line <= frame_lines))
            {
                let error =
                    format!("HAProxy refuses haproxy.global or haproxy.defaults of the settings: {}", message.text);
                return Err(Failure { error, suspects_head: true, file_is_ahead: false });
            }
            let names = self.sections.keys().cloned().collect();
            let said = messages.iter().map(|message| (message.line, message.text.as_str()));
            let blamed = culprits(said, &LineIndex::of(&self.text().pieces), &names);
            if blamed.is_empty() {
                return Ok(self.settle_one_by_one(check, &messages).await?);
            }
            for name in blamed {
                let message = message_about(&name, &messages);
                self.take_back(&name, message);
            }
            self.part_rivals();
        }
        Err(format!("HAProxy still refuses the configuration after {REJECTION_ROUNDS_MAX} rounds").into())
    }

    /// HAProxy does not say which service is at fault: start from the last good sections and let the changed ones
    /// in again, one at a time.
    async fn settle_one_by_one(
        &mut self,
        check: &Recipient<CheckCandidate>,
        messages: &[ConfigMessage],
    ) -> Result<(), String> {
        let reason = messages.first().map_or("no reason given", |message| message.text.as_str()).to_owned();
        let mut suspects: Vec<(ServiceName, Chosen)> = self
            .sections
            .iter()
            .filter(|(name, chosen)| !self.is_last_good(name, &chosen.ingredients))
            .map(|(name, chosen)| (name.clone(), chosen.clone()))
            .collect();
        for (name, _) in &suspects {
            self.take_back(name, reason.clone());
        }
        // Whoever waits for an address that another one may give up comes after that one.
        suspects.sort_by_key(|(name, chosen)| self.is_anothers(name, chosen));
        let mut refused = self.check(check).await?;
        if refused.is_some() {
            for (name, _) in &suspects {
                let has_other_hosts = |chosen: &Chosen| !self.is_last_good(name, &chosen.ingredients);
                if self.sections.get(name).is_some_and(has_other_hosts) {
                    self.take_back(name, reason.clone());
                }
            }
            refused = self.check(check).await?;
        }
        if let Some(messages) = refused {
            let text = messages.first().map_or(reason, |message| message.text.clone());
            return Err(format!("HAProxy refuses the configuration whatever the services say: {text}"));
        }
        for (name, chosen) in suspects {
            let taken_back = self.sections.insert(name.clone(), chosen);
            let obstacle = self.obstacles.remove(&name);
            self.part_rivals();
            if let Some(messages) = self.check(check).await? {
                self.sections.remove(&name);
                self.sections.extend(taken_back.map(|good| (name.clone(), good)));
                let message = messages.first().map(|message| message.text.clone());
                self.obstacles.extend(obstacle.map(|obstacle| (name.clone(), obstacle.saying(message))));
            }
        }
        // The last check may have been one that failed; the candidate on disk must be the good one.
        match self.check(check).await? {
            None => Ok(()),
            Some(_) => Err(format!("HAProxy refuses what it accepted a moment ago: {reason}")),
        }
    }

    /// Whether something stands in the way of the service, and it would go on just as it is.
    pub fn is_stuck(&self, name: &ServiceName) -> bool {
        let is_unchanged = |chosen: &Chosen| self.is_last_good(name, &chosen.ingredients);
        self.obstacles.contains_key(name) && self.sections.get(name).is_none_or(is_unchanged)
    }

    fn is_last_good(&self, name: &ServiceName, ingredients: &Ingredients) -> bool {
        self.entrants[name].last_good.as_ref().is_some_and(|(good, _)| good == ingredients)
    }

    /// Takes a step back from the section that was refused: to the last good definition, which the hosts follow all the
    /// same; where that is refused with them, to the last good section as it was; without one the service is left out.
    fn take_back(&mut self, name: &ServiceName, message: String) {
        let Some(refused) = self.sections.remove(name).map(|chosen| chosen.ingredients) else { return };
        let last_good = self.entrants[name].last_good.clone().filter(|(good, _)| *good != refused);
        let kept = last_good.map(|(good, descriptor)| match good.definition == refused.definition {
            true => (good, descriptor),
            false => (Ingredients { hosts: refused.hosts, ..good }, descriptor),
        });
        let consequence = if kept.is_some() { "it goes on as it last was" } else { "it is left out" };
        warn!(self.log, "HAProxy refuses a service";
            "service" => %name, "message" => &message, "consequence" => consequence);
        let Ingredients { definition, hosts } = self.entrants[name].wanted.clone();
        self.obstacles.insert(name.clone(), Obstacle::Rejected { message, definition, hosts });
        let style = self.around.style;
        self.sections.extend(kept.map(|(good, fd)| (name.clone(), Chosen::new(good, fd, style))));
    }

    /// What HAProxy says against the candidate; none when it is good.
    async fn check(&self, check: &Recipient<CheckCandidate>) -> Result<Option<Vec<ConfigMessage>>, String> {
        let request = CheckCandidate { text: self.text(), descriptors: self.descriptors() };
        match check.send(request).await.map_err(gone)? {
            Ok(()) => Ok(None),
            Err(CheckFailure::Rejected { messages }) => Ok(Some(messages)),
            Err(CheckFailure::Failed(error)) => Err(error),
        }
    }

    fn text(&self) -> ConfigText {
        let sections = self.sections.values().map(|chosen| chosen.text.clone());
        let frontends = self.frontends();
        let map = (!frontends.is_empty()).then(|| map_text(&self.routing().routes));
        let pieces = std::iter::once(self.around.frame.clone()).chain(sections).chain(frontends.into_values());
        ConfigText { pieces: pieces.collect(), map }
    }

    /// The frontends that the sections need.
    pub fn frontends(&self) -> BTreeMap<SocketAddr, Arc<str>> {
        let sections = self.sections.values();
        let services = sections.map(|chosen| (&*chosen.ingredients.definition, chosen.descriptor));
        frontends(services, self.around.style, &self.around.map_path)
    }

    /// Who of them is asked for what.
    pub fn routing(&self) -> Routing {
        let claims = self.sections.iter().filter_map(|(service, chosen)| {
            let definition = &*chosen.ingredients.definition;
            Some(Claim { service, listen: routed_at(definition)?, definition, is_leaving: false })
        });
        assign(claims, &BTreeSet::new(), &self.around.had)
    }

    /// The descriptors that it names.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let descriptors: BTreeSet<_> = self.sections.values().filter_map(|chosen| chosen.descriptor).collect();
        descriptors.into_iter().collect()
    }
}

fn message_about(name: &ServiceName, messages: &[ConfigMessage]) -> String {
    let named = messages.iter().find(|message| message.text.contains(name.as_str()));
    named.or(messages.first()).map_or_else(|| "no reason given".to_owned(), |message| message.text.clone())
}
