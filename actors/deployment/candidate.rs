//! The content of the candidate file: the section of each service, and its socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::decide::balance_work;
use crate::decide::deployment::{BoundSection, ConfigContext, SectionSpec, ServiceSection};
use crate::decide::frontend::frontends;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::routing::{Claim, Routing, assign, map_text, routed_at};
use crate::message::SocketsHeld;
use crate::model::{Blocker, ServiceName};
use crate::port::ConfigText;

/// A section in the candidate.
#[derive(Debug, Clone)]
pub struct CandidateSection {
    /// Its spec and its socket.
    pub section: BoundSection,
    text: Arc<str>,
}

impl CandidateSection {
    fn new(mut section: BoundSection, style: SectionStyle) -> Self {
        Self { text: section.render(style), section }
    }

    fn listen(&self) -> Option<SocketAddr> {
        self.section.spec.definition.listen
    }

    /// Returns whether it uses a shared frontend.
    fn is_routed(&self) -> bool {
        routed_at(&self.section.spec.definition).is_some()
    }
}

/// A text for HAProxy to check, and the descriptors in it.
#[derive(Debug, Clone, Default)]
pub struct ConfigPart {
    /// The text.
    pub text: ConfigText,
    /// The descriptors.
    pub descriptors: Vec<RawFd>,
}

/// The candidate: the desired section of each service, or its last good one, or none.
#[derive(Debug)]
pub struct Candidate {
    /// The context of its sections.
    pub context: ConfigContext,
    services: BTreeMap<ServiceName, ServiceSection>,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, CandidateSection>,
    /// The reasons why services do not run with their current definitions.
    pub blockers: BTreeMap<ServiceName, Blocker>,
}

impl Candidate {
    /// Creates a candidate with the desired sections of services whose sockets are held, and the last good ones of the
    /// others.
    pub fn new(
        context: ConfigContext,
        mut services: BTreeMap<ServiceName, ServiceSection>,
        mut held: SocketsHeld,
    ) -> Self {
        let style = context.style;
        let mut sections = BTreeMap::new();
        for (name, service) in &mut services {
            find_socket(service, name, &held);
            if !held.failed.contains_key(name) {
                let descriptor = held.descriptors.get(name).copied().flatten();
                let section = bound(service, descriptor);
                sections.insert(name.clone(), CandidateSection::new(section, style));
            }
        }
        let mut candidate = Self { context, services, sections, blockers: BTreeMap::new() };
        for (name, error) in std::mem::take(&mut held.failed) {
            candidate.port_not_had(&name, error);
        }
        candidate.separate_rivals();
        candidate
    }

    /// Replaces the section of a service without its port by the last good one, if any, with the new hosts.
    fn port_not_had(&mut self, name: &ServiceName, error: String) {
        let Some(ServiceSection { desired, last_good, .. }) = self.services.get(name).cloned() else { return };
        let taken = desired.definition.listen.map(|address| Blocker::PortTaken { address, error });
        self.blockers.extend(taken.map(|taken| (name.clone(), taken)));
        self.sections.remove(name);
        let Some(BoundSection { spec, descriptor, .. }) = last_good else { return };
        let section = BoundSection::new(SectionSpec { hosts: desired.hosts, ids: desired.ids, ..spec }, descriptor);
        self.sections.insert(name.clone(), CandidateSection::new(section, self.context.style));
    }

    /// Blocks services whose address another service still uses. A service may free an address for another one; if it
    /// keeps its last good section, the other one has to wait, because HAProxy must not have one socket in two
    /// sections.
    pub fn separate_rivals(&mut self) {
        while let Some((name, first)) = self.rivals() {
            let address = self.last_listened(&first);
            let shown = address.map_or_else(String::new, |address| address.to_string());
            // Both may have used the address at different times of an earlier run.
            if self.last_listened(&name) == address
                && let Some(service) = self.services.get_mut(&name)
            {
                service.last_good = None;
            }
            self.port_not_had(
                &name,
                format!("{shown} is still served by {first}, whose new definition cannot be applied"),
            );
        }
    }

    /// Returns a service whose address another service keeps with its last good section, and that other service.
    fn rivals(&self) -> Option<(ServiceName, ServiceName)> {
        let listening = self.sections.iter().filter_map(|(name, section)| Some((name, section.listen()?)));
        let stays = |(name, address): &(&ServiceName, SocketAddr)| self.last_listened(name) == Some(*address);
        let kept: BTreeMap<SocketAddr, &ServiceName> =
            listening.clone().filter(stays).map(|(name, address)| (address, name)).collect();
        listening
            .filter_map(|(name, address)| Some((name, *kept.get(&address)?)))
            .find(|(name, first)| name != first && !self.go_together(name, first))
            .map(|(name, first)| (name.clone(), first.clone()))
    }

    /// Returns whether both use a shared frontend.
    fn go_together(&self, name: &ServiceName, other: &ServiceName) -> bool {
        let is_routed = |name| self.sections.get(name).is_some_and(CandidateSection::is_routed);
        is_routed(name) && is_routed(other)
    }

    fn last_listened(&self, name: &ServiceName) -> Option<SocketAddr> {
        self.services[name].last_good.as_ref().and_then(|good| good.spec.definition.listen)
    }

    /// Replaces a section that HAProxy refuses: by the last good definition with the new hosts; if HAProxy refuses that
    /// too, by the unchanged last good section; without one the service is left out. The first message is kept.
    pub fn step_back(&mut self, name: &ServiceName, message: String) {
        let Some(refused) = self.sections.remove(name).map(|section| section.section.spec) else { return };
        let last_good = self.services[name].last_good.clone().filter(|good| good.spec != refused);
        let kept = last_good.map(|good| match good.spec.definition == refused.definition {
            true => good,
            false => {
                BoundSection::new(SectionSpec { hosts: refused.hosts, ids: refused.ids, ..good.spec }, good.descriptor)
            }
        });
        let SectionSpec { definition, hosts, .. } = self.services[name].desired.clone();
        self.blockers.entry(name.clone()).or_insert(Blocker::Rejected { message, definition, hosts });
        let style = self.context.style;
        self.sections.extend(kept.map(|good| (name.clone(), CandidateSection::new(good, style))));
    }

    /// Returns why HAProxy would take too long to check this section, unless it runs already.
    pub fn takes_too_long(&self, name: &ServiceName) -> Option<String> {
        let runs = |section: &CandidateSection| self.services[name].is_running && self.is_last_good(name, section);
        let section = self.sections.get(name).filter(|section| !runs(section))?;
        let SectionSpec { definition, hosts, .. } = &section.section.spec;
        balance_work::excess(definition, hosts)
    }

    /// Returns whether the service is blocked and its section would not change.
    pub fn is_stuck(&self, name: &ServiceName) -> bool {
        let is_unchanged = |section: &CandidateSection| self.is_last_good(name, section);
        self.blockers.contains_key(name) && self.sections.get(name).is_none_or(is_unchanged)
    }

    fn is_last_good(&self, name: &ServiceName, section: &CandidateSection) -> bool {
        self.services[name].last_good.as_ref().is_some_and(|good| good.spec == section.section.spec)
    }

    /// Returns the services whose sections do not run yet: HAProxy may refuse them.
    pub fn suspects(&self) -> BTreeSet<ServiceName> {
        let runs = |(name, section): &(&ServiceName, &CandidateSection)| {
            self.services[*name].is_running && self.is_last_good(name, section)
        };
        self.sections.iter().filter(|section| !runs(section)).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the services whose desired sections are included although HAProxy refused them before, with its
    /// messages.
    pub fn refused_before(&self) -> BTreeMap<ServiceName, String> {
        let services = self.services.iter().filter(|(name, service)| {
            self.sections.get(*name).is_some_and(|section| section.section.spec == service.desired)
        });
        services.filter_map(|(name, service)| Some((name.clone(), service.refused.clone()?))).collect()
    }

    /// Returns the running services.
    pub fn running(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, service)| service.is_running).map(|(name, _)| name)
    }

    /// Renders all of it.
    pub fn whole(&self) -> ConfigPart {
        self.render(self.sections.iter())
    }

    /// Renders the base, these sections, and the running sections of `as_running`.
    pub fn part(&self, names: &BTreeSet<ServiceName>, as_running: &BTreeSet<ServiceName>) -> ConfigPart {
        self.render_with(self.sections.iter().filter(|(name, _)| names.contains(*name)), as_running)
    }

    /// Renders the whole with the running sections of these services, or without them where they do not run.
    pub fn rolled_back(&self, names: &BTreeSet<ServiceName>) -> ConfigPart {
        self.render_with(self.sections.iter().filter(|(name, _)| !names.contains(*name)), names)
    }

    fn render_with<'a>(
        &self,
        sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>,
        as_running: &BTreeSet<ServiceName>,
    ) -> ConfigPart {
        let running = |name: &ServiceName| {
            let service = self.services.get(name).filter(|service| service.is_running)?;
            Some(CandidateSection::new(service.last_good.clone()?, self.context.style))
        };
        let running: BTreeMap<&ServiceName, CandidateSection> =
            as_running.iter().filter_map(|name| Some((name, running(name)?))).collect();
        let mut all: BTreeMap<&ServiceName, &CandidateSection> = sections.collect();
        all.extend(running.iter().map(|(name, section)| (*name, section)));
        self.render(all.iter().map(|(name, section)| (*name, *section)))
    }

    fn render<'a>(
        &self,
        sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)> + Clone,
    ) -> ConfigPart {
        let texts = sections.clone().map(|(_, section)| section.text.clone());
        let frontends = self.frontends_of(sections.clone());
        let map = (!frontends.is_empty()).then(|| map_text(&self.routing_of(sections.clone()).routes));
        let pieces = std::iter::once(self.context.base.clone()).chain(texts).chain(frontends.into_values());
        let descriptors: BTreeSet<RawFd> = sections.filter_map(|(_, section)| section.section.descriptor).collect();
        let text = ConfigText { pieces: pieces.collect(), map };
        ConfigPart { text, descriptors: descriptors.into_iter().collect() }
    }

    /// Returns the shared frontends.
    pub fn frontends(&self) -> BTreeMap<SocketAddr, Arc<str>> {
        self.frontends_of(self.sections.iter())
    }

    fn frontends_of<'a>(
        &self,
        sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>,
    ) -> BTreeMap<SocketAddr, Arc<str>> {
        let services = sections.map(|(_, section)| (&*section.section.spec.definition, section.section.descriptor));
        frontends(services, self.context.style, &self.context.map_path)
    }

    /// Returns the assignment of domains to services.
    pub fn routing(&self) -> Routing {
        self.routing_of(self.sections.iter())
    }

    fn routing_of<'a>(&self, sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>) -> Routing {
        let claims = sections.filter_map(|(service, section)| {
            let definition = &*section.section.spec.definition;
            Some(Claim { service, listen: routed_at(definition)?, definition, is_leaving: false })
        });
        assign(claims, &BTreeSet::new(), &self.context.previous_routes)
    }
}

/// Returns the desired section with its socket. If it is the running one, its text is reused.
fn bound(service: &ServiceSection, descriptor: Option<RawFd>) -> BoundSection {
    let running = service.last_good.as_ref();
    let same = running.filter(|running| running.descriptor == descriptor && running.spec.is(&service.desired));
    same.cloned().unwrap_or_else(|| BoundSection::new(service.desired.clone(), descriptor))
}

/// Sets the socket of the last good section of an earlier run. Drops a section that has a port but gets no socket.
fn find_socket(service: &mut ServiceSection, name: &ServiceName, held: &SocketsHeld) {
    let Some(BoundSection { spec, descriptor: descriptor @ None, .. }) = &mut service.last_good else { return };
    let listen = spec.definition.listen;
    let sockets = if listen == service.desired.definition.listen { &held.descriptors } else { &held.last_good };
    match sockets.get(name) {
        Some(held) => *descriptor = *held,
        None if listen.is_some() => service.last_good = None,
        None => {}
    }
}
