//! The content of the candidate file: which section each service has in it, and who keeps which socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

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
    /// What it is made of, and its socket.
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

    /// Whether it shares its port with others.
    fn is_routed(&self) -> bool {
        routed_at(&self.section.spec.definition).is_some()
    }
}

/// A text for HAProxy to check, and the descriptors that it names.
#[derive(Debug, Clone, Default)]
pub struct ConfigPart {
    /// The text.
    pub text: ConfigText,
    /// The descriptors.
    pub descriptors: Vec<RawFd>,
}

/// The candidate: of each service its desired section, or the last good one, or none.
#[derive(Debug)]
pub struct Candidate {
    /// What surrounds its sections.
    pub context: ConfigContext,
    services: BTreeMap<ServiceName, ServiceSection>,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, CandidateSection>,
    /// Why services are not served as their definitions ask.
    pub blockers: BTreeMap<ServiceName, Blocker>,
}

impl Candidate {
    /// The desired sections of the services whose sockets are held, and the last good ones of the others.
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

    /// The service keeps its last good section where it has one, with its new hosts.
    fn port_not_had(&mut self, name: &ServiceName, error: String) {
        let Some(ServiceSection { desired, last_good, .. }) = self.services.get(name).cloned() else { return };
        let taken = desired.definition.listen.map(|address| Blocker::PortTaken { address, error });
        self.blockers.extend(taken.map(|taken| (name.clone(), taken)));
        self.sections.remove(name);
        let Some(BoundSection { spec, descriptor, .. }) = last_good else { return };
        let section = BoundSection::new(SectionSpec { hosts: desired.hosts, ids: desired.ids, ..spec }, descriptor);
        self.sections.insert(name.clone(), CandidateSection::new(section, self.context.style));
    }

    /// A service may give up an address that another one wants. Where the first keeps its last good section after all, the
    /// other one waits: HAProxy must not have one socket in two sections.
    pub fn separate_rivals(&mut self) {
        while let Some((name, first)) = self.rivals() {
            let address = self.last_listened(&first);
            let shown = address.map_or_else(String::new, |address| address.to_string());
            // In an earlier run both may have been there, in turns.
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

    /// A service that would listen where another one keeps its last good section, and that other one.
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

    /// Whether both share their port with others.
    fn go_together(&self, name: &ServiceName, other: &ServiceName) -> bool {
        let is_routed = |name| self.sections.get(name).is_some_and(CandidateSection::is_routed);
        is_routed(name) && is_routed(other)
    }

    fn last_listened(&self, name: &ServiceName) -> Option<SocketAddr> {
        self.services[name].last_good.as_ref().and_then(|good| good.spec.definition.listen)
    }

    /// Replaces a section that HAProxy refuses: by the last good definition with the new hosts; where that is what it
    /// refuses, by the last good section as it was; without one the service is left out. The first message stays.
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

    /// Whether the service is blocked and would go on just as it is.
    pub fn is_stuck(&self, name: &ServiceName) -> bool {
        let is_unchanged = |section: &CandidateSection| self.is_last_good(name, section);
        self.blockers.contains_key(name) && self.sections.get(name).is_none_or(is_unchanged)
    }

    fn is_last_good(&self, name: &ServiceName, section: &CandidateSection) -> bool {
        self.services[name].last_good.as_ref().is_some_and(|good| good.spec == section.section.spec)
    }

    /// The services whose sections do not run as they are: HAProxy may refuse them.
    pub fn suspects(&self) -> BTreeSet<ServiceName> {
        let runs = |(name, section): &(&ServiceName, &CandidateSection)| {
            self.services[*name].is_running && self.is_last_good(name, section)
        };
        self.sections.iter().filter(|section| !runs(section)).map(|(name, _)| name.clone()).collect()
    }

    /// The services whose desired sections are in it although HAProxy refused them before, with its messages.
    pub fn refused_before(&self) -> BTreeMap<ServiceName, String> {
        let services = self.services.iter().filter(|(name, service)| {
            self.sections.get(*name).is_some_and(|section| section.section.spec == service.desired)
        });
        services.filter_map(|(name, service)| Some((name.clone(), service.refused.clone()?))).collect()
    }

    /// The services that run.
    pub fn running(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, service)| service.is_running).map(|(name, _)| name)
    }

    /// All of it.
    pub fn whole(&self) -> ConfigPart {
        self.render(self.sections.iter())
    }

    /// The base, these sections, and those services as they run.
    pub fn part(&self, names: &BTreeSet<ServiceName>, as_running: &BTreeSet<ServiceName>) -> ConfigPart {
        self.render_with(self.sections.iter().filter(|(name, _)| names.contains(*name)), as_running)
    }

    /// The whole with these services as they run, or without them where they do not.
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

    /// The frontends that the sections share.
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

    /// Which service each domain belongs to.
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

/// The desired section with its socket. Where it is the one that runs, its text need not be rendered again.
fn bound(service: &ServiceSection, descriptor: Option<RawFd>) -> BoundSection {
    let running = service.last_good.as_ref();
    let same = running.filter(|running| running.descriptor == descriptor && running.spec.is(&service.desired));
    same.cloned().unwrap_or_else(|| BoundSection::new(service.desired.clone(), descriptor))
}

/// Gives the last good section of an earlier run its socket. It is of no use without one where it has a port.
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
