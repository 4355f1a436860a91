//! How far a list of definitions is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::annotation;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::service_definition::ParsedDefinition;
use crate::limits::DEFINITION_BYTES_MAX;
use crate::model::{RawDefinition, ServiceDefinition};
use crate::port::DefinitionList;

/// A parsed definition, or its mistakes.
pub(super) type Parsed = Result<ParsedDefinition, Vec<String>>;

/// The newest list of the source, and what is left to do for it.
#[derive(Default)]
pub(super) struct Reading {
    /// The newest list of the source.
    pub list: Option<DefinitionList>,
    /// Whether no list was read to its end before.
    pub is_first: bool,
    /// Its changed definitions that are not parsed yet.
    pub unparsed: BTreeSet<Arc<str>>,
    /// Those that are parsed and not applied yet.
    pub parsed: BTreeMap<Arc<str>, (RawDefinition, Parsed)>,
    /// Whether the guard has yet to judge it.
    pub is_unjudged: bool,
    /// The services to remove.
    pub gone: BTreeSet<Arc<str>>,
    /// The definitions to apply: those of the last list that passed the guard.
    pub unread: BTreeMap<Arc<str>, RawDefinition>,
    /// Whether the definitions of which a part was left out are to be read after them.
    pub left_out: bool,
    /// Whether the next turn is scheduled.
    pub is_scheduled: bool,
}

impl Reading {
    /// Takes out a definition that was parsed before.
    pub(super) fn take_parsed(&mut self, name: &str, raw: &RawDefinition) -> Option<Parsed> {
        let (known, parsed) = self.parsed.remove(name)?;
        (known == *raw).then_some(parsed)
    }

    /// Returns the valid ones of the changed definitions.
    pub(super) fn parsed(&self) -> impl Iterator<Item = (&Arc<str>, &ServiceDefinition)> {
        self.parsed.iter().filter_map(|(name, (_, parsed))| Some((name, &parsed.as_ref().ok()?.definition)))
    }

    /// Returns whether this service is going to be removed.
    pub(super) fn removes(&self, name: &str) -> bool {
        self.gone.contains(name)
    }

    /// Returns whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        !self.is_unjudged && self.gone.is_empty() && self.unread.is_empty() && !self.left_out
    }
}

/// Parses a definition, unless it is too long.
pub(super) fn parse(name: &str, raw: &RawDefinition, policy: &OptionPolicy) -> Parsed {
    if raw.text.len() > DEFINITION_BYTES_MAX {
        let bytes = raw.text.len();
        return Err(vec![format!("it is {bytes} bytes long; at most {DEFINITION_BYTES_MAX} are allowed")]);
    }
    annotation::parse(name, raw, policy)
}
