//! The content of the candidate file: the section of each service, and its socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::shared_tls::{self, TlsRival};
use crate::decide::balance_work;
use crate::decide::base::{BoundBase, ServiceTexts};
use crate::decide::check_load;
use crate::decide::deployment::{BoundSection, ConfigContext, SectionSpec, ServiceSection};
use crate::decide::descriptors;
use crate::decide::frontend::frontends;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::line_sets::{self, LineSets};
use crate::decide::listener_certificates;
use crate::decide::routing::{Claim, FrontendKind, Routing, assign, map_text, mapped_at, shares};
use crate::message::{NotOpened, SocketsHeld};
use crate::model::{BaseLine, Blocker, Descriptors, LineContent, ListenAddress, ServiceDefinition, ServiceName};
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

    fn listens(&self) -> impl Iterator<Item = ListenAddress> {
        self.section.spec.definition.addresses()
    }

    /// Returns the kind of its shared frontend, if it uses one.
    fn shares(&self) -> Option<FrontendKind> {
        shares(&self.section.spec.definition)
    }
}

/// A text for HAProxy to check, and the descriptors in it.
#[derive(Debug, Clone, Default)]
pub struct ConfigPart {
    /// The text.
    pub text: ConfigText,
    /// The descriptors.
    pub descriptors: Vec<RawFd>,
    /// Where the operator's files have each line before the end of the base; `None` for other lines.
    pub places: Vec<Option<Arc<str>>>,
}

/// The candidate: the desired section of each service, or its last good one, or none.
#[derive(Debug)]
pub struct Candidate {
    /// The context of its sections.
    pub context: ConfigContext,
    /// The base with its sockets.
    pub base: BoundBase,
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
                let descriptors = descriptors_of(&service.desired.definition, name, &held);
                let section = bound(service, descriptors);
                sections.insert(name.clone(), CandidateSection::new(section, style));
            }
        }
        let base = BoundBase::new(context.base.clone(), std::mem::take(&mut held.base));
        let mut candidate = Self { context, base, services, sections, blockers: BTreeMap::new() };
        for (name, NotOpened { address, error }) in std::mem::take(&mut held.failed) {
            candidate.port_not_had(&name, address, error);
        }
        candidate.separate_rivals();
        candidate
    }

    /// Replaces the section of a service without its port by the last good one, if any, with the new hosts.
    fn port_not_had(&mut self, name: &ServiceName, address: ListenAddress, error: String) {
        let Some(ServiceSection { desired, last_good, .. }) = self.services.get(name).cloned() else { return };
        self.blockers.insert(name.clone(), Blocker::PortTaken { address, error });
        self.sections.remove(name);
        let of_base = self.context.base.listens();
        let is_of_base = |good: &BoundSection| {
            good.spec.definition.addresses().any(|address| of_base.iter().any(|other| other.covers(&address)))
        };
        let Some(BoundSection { spec, descriptors, .. }) = last_good.filter(|good| !is_of_base(good)) else { return };
        let section = BoundSection::new(SectionSpec { hosts: desired.hosts, ids: desired.ids, ..spec }, descriptors);
        self.sections.insert(name.clone(), CandidateSection::new(section, self.context.style));
    }

    /// Blocks services whose address another service still uses. A service may free an address for another one; if it
    /// keeps its last good section, the other one has to wait, because HAProxy must not have one socket in two
    /// sections.
    pub fn separate_rivals(&mut self) {
        while let Some((name, first, address)) = self.rivals() {
            // Both may have used the address at different times of an earlier run.
            if self.last_listened(&name, &address)
                && let Some(service) = self.services.get_mut(&name)
            {
                service.last_good = None;
            }
            let error = format!("{address} is still served by {first}, whose new definition cannot be applied");
            self.port_not_had(&name, address, error);
        }
        while let Some(TlsRival { name, address, reason }) = self.tls_rival() {
            self.port_not_had(&name, address.into(), reason);
        }
    }

    /// Returns a service whose definition would change the TLS of a port for the others that share it.
    fn tls_rival(&self) -> Option<TlsRival> {
        shared_tls::rival(self.sections.iter().map(|(name, section)| {
            let last_good = self.services[name].last_good.as_ref();
            (&*section.section.spec.definition, last_good.map(|good| &*good.spec.definition))
        }))
    }

    /// Returns a service whose address another service keeps with its last good section, that other service, and the
    /// address.
    fn rivals(&self) -> Option<(ServiceName, ServiceName, ListenAddress)> {
        let listening =
            || self.sections.iter().flat_map(|(name, section)| section.listens().map(move |address| (name, address)));
        let kept: BTreeMap<ListenAddress, &ServiceName> = listening()
            .filter(|(name, address)| self.last_listened(name, address))
            .map(|(name, address)| (address, name))
            .collect();
        listening()
            .filter_map(|(name, address)| Some((name, *kept.get(&address)?, address)))
            .find(|(name, first, _)| name != first && !self.go_together(name, first))
            .map(|(name, first, address)| (name.clone(), first.clone(), address))
    }

    /// Returns whether both use a shared frontend.
    fn go_together(&self, name: &ServiceName, other: &ServiceName) -> bool {
        let shares = |name| self.sections.get(name).and_then(CandidateSection::shares);
        shares(name).is_some() && shares(name) == shares(other)
    }

    /// Returns whether the last good section of the service listens on this address.
    fn last_listened(&self, name: &ServiceName, address: &ListenAddress) -> bool {
        let good = self.services[name].last_good.as_ref();
        good.is_some_and(|good| good.spec.definition.addresses().any(|held| held == *address))
    }

    /// Replaces a section that HAProxy refuses: by the last good definition with the new hosts; if HAProxy refuses that
    /// too, by the unchanged last good section; without one the service is left out. The first message is kept.
    pub fn step_back(&mut self, name: &ServiceName, message: String) {
        let Some(refused) = self.sections.remove(name).map(|section| section.section.spec) else { return };
        let last_good = self.services[name].last_good.clone().filter(|good| good.spec != refused);
        let kept = last_good.map(|good| match good.spec.definition == refused.definition {
            true => good,
            false => {
                let spec = SectionSpec { hosts: refused.hosts, ids: refused.ids, ..good.spec };
                BoundSection::new(spec, good.descriptors)
            }
        });
        let SectionSpec { definition, hosts, .. } = self.services[name].desired.clone();
        self.blockers.entry(name.clone()).or_insert(Blocker::Rejected { message, definition, hosts });
        let style = self.context.style;
        self.sections.extend(kept.map(|good| (name.clone(), CandidateSection::new(good, style))));
    }

    /// Returns why this section would take too much of HAProxy's time, for its preparation or for health checks, unless it
    /// runs already.
    pub fn takes_too_long(&self, name: &ServiceName) -> Option<String> {
        let section = self.sections.get(name).filter(|section| !self.runs(name, section))?;
        let SectionSpec { definition, hosts, .. } = &section.section.spec;
        balance_work::excess(definition, hosts, self.context.style.balance)
            .or_else(|| check_load::excess(definition, hosts))
    }

    /// Returns how many descriptors HAProxy needs for this section, and the number of its hosts, unless it runs already.
    pub fn new_descriptors(&self, name: &ServiceName) -> Option<(u64, usize)> {
        let section = self.sections.get(name).filter(|section| !self.runs(name, section))?;
        Some((self.descriptors_of(section), section.section.spec.hosts.len()))
    }

    /// Returns how many descriptors HAProxy needs for all sections that run already.
    pub fn running_descriptors(&self) -> u64 {
        let running = self.sections.iter().filter(|(name, section)| self.runs(name, section));
        running.map(|(_, section)| self.descriptors_of(section)).fold(0, u64::saturating_add)
    }

    fn descriptors_of(&self, section: &CandidateSection) -> u64 {
        let SectionSpec { definition, hosts, .. } = &section.section.spec;
        descriptors::of_section(definition, hosts, &self.context.base.default_server_words())
    }

    /// Returns whether this section of the service runs already.
    fn runs(&self, name: &ServiceName, section: &CandidateSection) -> bool {
        self.services[name].is_running && self.is_last_good(name, section)
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
        self.sections.iter().filter(|(name, section)| !self.runs(name, section)).map(|(name, _)| name.clone()).collect()
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

    /// Returns the settings that the base comes from.
    pub fn base_keys(&self) -> &'static str {
        match self.context.base.is_of_files {
            true => "haproxy.base_config",
            false => "haproxy.global or haproxy.defaults",
        }
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
        let frontends = self.frontends_of(sections.clone());
        let map = (!frontends.is_empty()).then(|| map_text(&self.routing_of(sections.clone()).routes));
        let services = ServiceTexts {
            sections: sections.clone().map(|(name, section)| (name, section.text.clone())).collect(),
            frontends: frontends.into_values().collect(),
            line_sets: self.line_sets_of(sections.clone()),
            have_guids: self.context.style.guids,
        };
        let pieces = self.base.pieces(&services);
        let of_sections = sections.clone().flat_map(|(_, section)| section.section.descriptors.iter());
        let descriptors = of_sections.chain([&self.base.descriptors]).flat_map(|descriptors| descriptors.values());
        let descriptors: BTreeSet<RawFd> = descriptors.copied().flatten().collect();
        let definitions = sections.clone().map(|(_, section)| &*section.section.spec.definition);
        let lists = listener_certificates::files(definitions, &self.context.stapled);
        ConfigPart {
            text: ConfigText { pieces, map, lists },
            descriptors: descriptors.into_iter().collect(),
            places: self.base.places(&services.sections),
        }
    }

    /// Returns the sets of lines that its sections derive from.
    pub fn line_sets(&self) -> LineSets {
        self.line_sets_of(self.sections.iter())
    }

    fn line_sets_of<'a>(&self, sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>) -> LineSets {
        line_sets::of_all(sections.map(|(_, section)| &*section.section.spec.definition), self.context.style)
    }

    /// Returns the shared frontends.
    pub fn frontends(&self) -> BTreeMap<SocketAddr, Arc<str>> {
        self.frontends_of(self.sections.iter())
    }

    fn frontends_of<'a>(
        &self,
        sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>,
    ) -> BTreeMap<SocketAddr, Arc<str>> {
        let none = Descriptors::new();
        let services = sections.map(|(_, section)| {
            let BoundSection { spec, descriptors, .. } = &section.section;
            (&*spec.definition, descriptors.as_ref().unwrap_or(&none))
        });
        frontends(services, self.context.style, &self.context.map_path)
    }

    /// Returns the assignment of domains to services.
    pub fn routing(&self) -> Routing {
        self.routing_of(self.sections.iter())
    }

    fn routing_of<'a>(&self, sections: impl Iterator<Item = (&'a ServiceName, &'a CandidateSection)>) -> Routing {
        let claims = sections.filter_map(|(service, section)| {
            let definition = &*section.section.spec.definition;
            Some(Claim { service, listen: mapped_at(definition)?, definition, is_leaving: false })
        });
        assign(claims, &BTreeSet::new(), &self.context.previous_routes)
    }
}

/// Returns the desired section with its sockets. If it is the running one, its text is reused.
fn bound(service: &ServiceSection, descriptors: Descriptors) -> BoundSection {
    let running = service.last_good.as_ref();
    let same =
        running.filter(|running| running.descriptors.as_ref() == Some(&descriptors) && running.spec == service.desired);
    same.cloned().unwrap_or_else(|| BoundSection::new(service.desired.clone(), Some(descriptors)))
}

/// Returns the sockets of a section: those of the base configuration, where it is in that.
fn descriptors_of(definition: &ServiceDefinition, name: &ServiceName, held: &SocketsHeld) -> Descriptors {
    let Some(frame) = definition.frame() else { return held.descriptors.get(name).cloned().unwrap_or_default() };
    let of_line = |line: &BaseLine| match &line.content {
        LineContent::Bind(bind) => bind.held().cloned().collect::<Vec<_>>(),
        LineContent::Text(_) => Vec::new(),
    };
    let addresses = frame.all_lines().flat_map(of_line);
    addresses.filter_map(|address| Some((address.clone(), *held.base.get(&address)?))).collect()
}

/// Sets the sockets of the last good section of an earlier run. Drops a section that has a port but gets no socket.
fn find_socket(service: &mut ServiceSection, name: &ServiceName, held: &SocketsHeld) {
    let Some(BoundSection { spec, descriptors: descriptors @ None, .. }) = &mut service.last_good else { return };
    let has_same = spec.definition.addresses().eq(service.desired.definition.addresses());
    let sockets = if has_same { &held.descriptors } else { &held.last_good };
    match sockets.get(name) {
        Some(held) => *descriptors = Some(held.clone()),
        None if spec.definition.addresses().next().is_some() => service.last_good = None,
        None => *descriptors = Some(descriptors_of(&spec.definition, name, held)),
    }
}
