//! Which backends can come into a running process, or leave it, without a reload.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::capabilities::{adds_backends, static_balance};
use super::config_text::{WITH_OPTIONS, connected_to};
use super::frontend::{self, frontends};
use super::guid;
use super::line_sets::{self, LineSets};
use super::loaded_config::LoadedSection;
use super::routing::{has_listener, has_rule, kind_of, routed_at};
use super::section_style::SectionStyle;
use crate::model::{BackendCommand, Descriptors, ProcessInfo, ServiceDefinition, ServiceName, UpdateStrategy};

/// The parts of a process on which this depends.
#[derive(Debug, Clone, Copy)]
pub struct BackendGround<'a> {
    /// The process.
    pub process: &'a ProcessInfo,
    /// The style of its file.
    pub style: SectionStyle,
    /// The sets of lines in its file.
    pub line_sets: &'a LineSets,
    /// The texts of its shared frontends.
    pub frontends: &'a BTreeMap<SocketAddr, Arc<str>>,
    /// The map of domains.
    pub map_path: &'a Path,
}

/// Another service of the process, which stays, with the descriptors that it listens on.
pub type Other<'a> = (&'a ServiceDefinition, &'a Descriptors);

/// Why the backend of a new service cannot be added at run time, where there is more to say than that it is new.
#[derive(Debug, PartialEq, Eq)]
pub struct NeedsReload(pub Option<String>);

impl NeedsReload {
    /// Creates one with a reason.
    pub fn because(why: impl Into<String>) -> Self {
        Self(Some(why.into()))
    }

    /// Returns the reason as text.
    pub fn text(&self) -> String {
        match &self.0 {
            None => "the service is new".to_owned(),
            Some(why) => format!("the service is new, and {why}"),
        }
    }
}

/// Returns the command that adds the backend of a service to a process with a file in this style.
pub fn addition(service: &ServiceName, from: Arc<str>, style: SectionStyle) -> BackendCommand {
    let guid = style.guids.then(|| guid::of_section(service.as_str()).into());
    BackendCommand::Add { service: service.clone(), from, guid }
}

impl BackendGround<'_> {
    /// Returns the set of lines from which the backend of a new service can be added.
    ///
    /// # Errors
    /// Why it needs a reload.
    pub fn set_for<'o>(
        &self,
        definition: &'o ServiceDefinition,
        strategy: UpdateStrategy,
        others: impl Iterator<Item = Other<'o>>,
    ) -> Result<Arc<str>, NeedsReload> {
        if !self.has_changeable(definition) || has_listener(definition) {
            return Err(NeedsReload(None));
        }
        if strategy != UpdateStrategy::Dynamic {
            return Err(NeedsReload::because(format!("its update strategy is {}", strategy.as_str())));
        }
        if let Some(balance) = static_balance(definition) {
            return Err(NeedsReload::because(format!("balance {balance} does not take servers at run time")));
        }
        let Some(set) = line_sets::of(definition, self.style) else {
            return Err(NeedsReload::because("its lines are possible in a section only"));
        };
        if self.line_sets.get(&set.name) != Some(&set.text) {
            return Err(NeedsReload::because("no service in the file has the same lines yet"));
        }
        if !self.frontends_stay(definition, true, others) {
            return Err(NeedsReload::because("the frontend for its domains has to change"));
        }
        Ok(set.name)
    }

    /// Returns whether the backend of a removed service can be deleted.
    pub fn can_delete<'o>(&self, definition: &'o ServiceDefinition, others: impl Iterator<Item = Other<'o>>) -> bool {
        self.has_changeable(definition)
            && line_sets::of(definition, self.style).is_some()
            && self.frontends_stay(definition, false, others)
    }

    /// Returns the same for a section of a file, whose definition is not known any more.
    pub fn can_delete_section<'o>(
        &self,
        section: &LoadedSection,
        mut others: impl Iterator<Item = &'o LoadedSection>,
    ) -> bool {
        let mut of_frontends = section.header.lines().filter(|line| connected_to(line).is_some());
        let is_plain = !section.header.contains("# match: ") && !section.header.contains(WITH_OPTIONS);
        let is_shared = |line: &str| others.any(|other| other.derives && other.header.contains(line));
        adds_backends(self.process) && section.derives && is_plain && of_frontends.all(is_shared)
    }

    /// Returns whether a backend that was deleted outside of proxymgr can be added again.
    pub fn can_restore(&self, definition: &ServiceDefinition) -> bool {
        let set = line_sets::of(definition, self.style);
        self.has_changeable(definition) && set.is_some_and(|set| self.line_sets.contains_key(&set.name))
    }

    /// Returns whether this process can add and delete the backend of a service with this definition. It always has the
    /// backends that the base configuration names.
    fn has_changeable(&self, definition: &ServiceDefinition) -> bool {
        let is_in_base = definition.in_base.as_ref().is_some_and(|in_base| {
            in_base.frame.is_some() || !in_base.referred_at.is_empty() || !in_base.required_servers.is_empty()
        });
        adds_backends(self.process) && !is_in_base
    }

    /// Returns whether the shared frontends stay as they are when a service with this definition comes, or goes. Then the
    /// mode of the service is that of its frontends, too: a backend of another mode would close the connections.
    fn frontends_stay<'o>(
        &self,
        definition: &'o ServiceDefinition,
        comes: bool,
        others: impl Iterator<Item = Other<'o>>,
    ) -> bool {
        let Some(listen) = routed_at(definition) else { return true };
        let listens: Vec<SocketAddr> = [Some(listen), definition.redirect_from()].into_iter().flatten().collect();
        let kind = kind_of(definition);
        let has_frontend = |listen: &SocketAddr| {
            let name = self.frontends.get(listen).and_then(|text| text.lines().next()?.strip_prefix("frontend "));
            name.is_some_and(|name| frontend::kind_of(name) == kind)
        };
        if !listens.iter().all(has_frontend) {
            return false;
        }
        let mut others = others.filter(|(other, _)| shares_one_of(other, &listens));
        if definition.section.tls.is_none() && !has_rule(definition) {
            return others.next().is_some();
        }
        let with_it = others.chain(comes.then_some((definition, &NONE)));
        let texts = frontends(with_it, self.style, self.map_path);
        listens.iter().all(|listen| texts.get(listen) == self.frontends.get(listen))
    }
}

/// The descriptors of a service that is not in the process yet.
static NONE: Descriptors = Descriptors::new();

/// Returns whether a service uses the shared frontend of one of these addresses.
fn shares_one_of(definition: &ServiceDefinition, listens: &[SocketAddr]) -> bool {
    let own = [routed_at(definition), definition.redirect_from()];
    own.iter().flatten().any(|listen| listens.contains(listen))
}
