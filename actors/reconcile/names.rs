//! Host names that HAProxy could not resolve when it read its file: they are looked up until they resolve, and then a reload
//! brings their addresses. No runtime command does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::effect::{Effect, info};
use super::state::State;
use crate::model::ReloadCause;

impl State {
    /// Has the names looked up that HAProxy could not resolve, if they are others than before.
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

    /// A name resolves that HAProxy could not resolve. The process of a deployment that is under way looks it up itself,
    /// and what it cannot resolve is reported again.
    pub(super) fn name_resolves(&mut self, name: &str) {
        if self.deployment.is_none() && self.unresolved_names().contains(name) {
            self.outbox.log(info("a host name resolves, a reload brings its address").with("name", name));
            self.reloads.request(ReloadCause::Server.because(format!("the host name {name} resolves now")));
        }
    }

    fn unresolved_names(&self) -> BTreeSet<Arc<str>> {
        let sections = self.running().into_iter().flat_map(|running| running.sections.values());
        let names = sections.flat_map(|section| section.names(&self.settings.inherited).unresolved());
        names.map(|(_, name)| name.clone()).collect()
    }
}
