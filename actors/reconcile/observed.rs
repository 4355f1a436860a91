//! The observed state: the process that serves, the state applied to it, and the state that it reports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::section::{Section, Unknown};
use crate::decide::base::{BoundBase, ServiceTexts};
use crate::decide::capabilities::Capabilities;
use crate::decide::deployment::Warnings;
use crate::decide::frontend::frontends;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::line_sets::LineSets;
use crate::decide::listener_certificates::{self, CertificateList};
use crate::decide::routing::{Routing, map_text};
use crate::message::WantedSockets;
use crate::model::{
    CertificateName, ListenAddress, Observation, ObservedRoutes, ObservedServers, ProcessInfo, ServerName,
    ServiceDefinition, ServiceName, StapledCertificates,
};
use crate::port::ConfigText;

/// The process that serves, or that served last.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: ProcessInfo,
    /// The capabilities of its version.
    pub capabilities: Capabilities,
    /// The base of its file.
    pub base: BoundBase,
    /// HAProxy's warnings from its check of the file.
    pub warnings: Warnings,
    /// The effect of the base on every section.
    pub style: SectionStyle,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, Section>,
    /// The sections of an external process that belong to no service.
    pub unclaimed: BTreeMap<ServiceName, Arc<ObservedServers>>,
    /// The texts of the shared frontends.
    pub frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// The certificates of its TLS listeners.
    pub certificates: BTreeMap<String, ListenerCertificates>,
    /// How backends come and go at run time.
    pub backends: RuntimeBackends,
    /// The assignment of domains to services.
    pub routing: Routing,
    /// The map of domains in the process.
    pub map: DomainMap,
    /// Whether the health of its servers changed since the state file was last written.
    pub health_changed: bool,
}

/// The certificates of a TLS listener.
#[derive(Debug)]
pub struct ListenerCertificates {
    /// The file that the process read them from.
    pub list: PathBuf,
    /// Those that it has now.
    pub names: BTreeSet<CertificateName>,
}

impl ListenerCertificates {
    /// Returns those of the listeners of a process that was started with these definitions.
    pub fn of<'a>(definitions: impl IntoIterator<Item = &'a ServiceDefinition>) -> BTreeMap<String, Self> {
        let lists = listener_certificates::lists(definitions).into_iter();
        let started = |list: CertificateList| Self { list: list.path(), names: list.names().iter().cloned().collect() };
        lists.map(|(listener, list)| (listener, started(list))).collect()
    }
}

/// What is known of backends that come and go at run time.
#[derive(Debug, Default)]
pub struct RuntimeBackends {
    /// The sets of lines in the file of the process, from which it can add backends.
    pub line_sets: LineSets,
    /// HAProxy's refusals to add or delete a backend: only a reload can apply the change.
    pub refused: BTreeMap<ServiceName, String>,
    /// Backends that were added after their service was removed.
    pub strays: BTreeSet<ServiceName>,
}

/// The map of domains, as the process reports it.
#[derive(Debug, Default)]
pub struct DomainMap {
    /// Its entries; `None` where they are not known.
    pub observed: Option<ObservedRoutes>,
    /// The number of refused changes in a row.
    pub refusals: u32,
}

/// The result of an observation.
#[derive(Debug, Default)]
pub struct Differences {
    /// The servers that differ from the last known state, by service.
    pub drift: BTreeMap<ServiceName, BTreeSet<ServerName>>,
    /// The sections that the process does not have.
    pub missing: Vec<ServiceName>,
    /// The servers that were changed since the last observation, by service: the effect of the changes is now known.
    pub verified: BTreeMap<ServiceName, BTreeSet<ServerName>>,
}

impl Running {
    /// Returns the text of its file.
    pub fn text(&self, stapled: &StapledCertificates) -> ConfigText {
        let pieces = self.base.pieces(&ServiceTexts {
            sections: self.sections.iter().map(|(name, section)| (name, section.file.text.clone())).collect(),
            frontends: self.frontends.values().cloned().collect(),
            line_sets: self.backends.line_sets.clone(),
            have_guids: self.style.guids,
        });
        ConfigText {
            pieces,
            map: (!self.frontends.is_empty()).then(|| map_text(&self.routing.routes)),
            lists: listener_certificates::files(self.definitions(), stapled),
        }
    }

    /// Returns the definitions of its sections.
    pub fn definitions(&self) -> impl Iterator<Item = &ServiceDefinition> {
        self.sections.values().map(|section| &*section.definition)
    }

    /// Writes the shared frontends again, after the definition of a section changed without a reload.
    pub fn rewrite_frontends(&mut self, map: &Path) {
        let sections = self.sections.values().map(|section| (&*section.definition, &section.descriptors));
        self.frontends = frontends(sections, self.style, map);
    }

    /// Records the reported state of these services, or of all, `except` those that changed during the read.
    pub fn observe(
        &mut self,
        asked: Option<&[ServiceName]>,
        mut observation: Observation,
        except: &BTreeSet<ServiceName>,
        now: Instant,
    ) -> Differences {
        let mut differences = Differences::default();
        for name in self.asked(asked).iter().filter(|name| !except.contains(*name)) {
            let Some(section) = self.sections.get_mut(name) else { continue };
            let reported = observation.services.remove(name);
            if reported.is_none() {
                differences.missing.push(name.clone());
            }
            let servers = section.loaded.without_others(reported.unwrap_or_default());
            let unverified = section.take_unverified();
            let changed = section.observe(servers, now);
            self.health_changed |= changed.is_some() || !unverified.is_empty();
            let drift: BTreeSet<ServerName> = changed.unwrap_or_default().difference(&unverified).cloned().collect();
            if !unverified.is_empty() {
                differences.verified.insert(name.clone(), unverified);
            }
            if !drift.is_empty() {
                differences.drift.insert(name.clone(), drift);
            }
        }
        differences
    }

    /// Returns those of these sections, or of all, `except` some, whose state is unknown, and why.
    pub fn unknown_sections(
        &self,
        asked: Option<&[ServiceName]>,
        except: &BTreeSet<ServiceName>,
    ) -> BTreeMap<ServiceName, Unknown> {
        let asked = self.asked(asked);
        let seen = asked.iter().filter(|name| !except.contains(*name));
        seen.filter_map(|name| Some((name.clone(), self.sections.get(name)?.unknown?))).collect()
    }

    /// Returns the names of these sections, or of all.
    fn asked(&self, asked: Option<&[ServiceName]>) -> Vec<ServiceName> {
        asked.map_or_else(|| self.section_names().collect(), <[_]>::to_vec)
    }

    /// Returns the sockets that the process listens on, by service.
    pub fn listens_on(&self) -> BTreeMap<ServiceName, WantedSockets> {
        let listening =
            |(name, section): (&ServiceName, &Section)| Some((name.clone(), WantedSockets::of(&section.definition)?));
        self.sections.iter().filter_map(listening).collect()
    }

    /// Returns the sockets of the base that the process listens on: also those of sections that stay as an earlier base had
    /// them, because HAProxy refuses the next one.
    pub fn listens_on_for_base(&self) -> BTreeSet<ListenAddress> {
        let framed = self.sections.values().filter(|section| section.definition.frame().is_some());
        let held = framed.flat_map(|section| section.descriptors.keys().cloned());
        self.base.layout.listens().into_iter().chain(held).collect()
    }

    /// Marks its state as unknown until the next observation.
    pub fn distrust(&mut self) {
        self.sections.values_mut().for_each(|section| section.unknown = Some(Unknown::Unanswered));
    }

    /// Returns the names of its sections.
    pub fn section_names(&self) -> impl Iterator<Item = ServiceName> {
        self.sections.keys().cloned()
    }
}
