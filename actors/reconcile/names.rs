//! Looks up host names that HAProxy could not resolve when it read its file, until they resolve. Then a reload applies
//! their addresses, which no runtime command can.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::effect::{Effect, info};
use super::state::State;
use crate::decide::unresolved::SectionNames;
use crate::model::ReloadCause;

impl State {
    /// Requests lookups of the names that HAProxy could not resolve, if the set of names changed.
    pub(super) fn look_up_names(&mut self) {
        // An external HAProxy is not reloaded.
        if self.settings.is_external() {
            return;
        }
        let names = self.unresolved_names();
        if names != self.unresolved {
            self.outbox.push(Effect::LookUpNames(names.clone()));
            self.unresolved = names;
        }
    }

    /// Requests a reload for a name that now resolves. A process that is being deployed resolves it itself, and reports
    /// it again if it cannot.
    pub(super) fn name_resolves(&mut self, name: &str) {
        if self.deployment.is_none() && self.unresolved_names().contains(name) {
            self.outbox.log(info("a host name resolves now, a reload applies its address").with("name", name));
            self.reloads.request(ReloadCause::Server.because(format!("the host name {name} resolves now")));
        }
    }

    fn unresolved_names(&self) -> BTreeSet<Arc<str>> {
        let sections = self.running().into_iter().flat_map(|running| running.sections.values());
        let names = sections.filter_map(|section| section.names(&self.settings.inherited));
        names.flat_map(SectionNames::unresolved).map(|(_, name)| name.clone()).collect()
    }
}
