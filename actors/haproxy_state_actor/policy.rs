//! What the settings decide: how HAProxy is driven, and which strategy each service's changes follow.
//!
//! A strategy is chosen anew whenever what it depends on has changed: a definition, the settings, HAProxy's version.

use actix::Handler;

use super::HaproxyStateActor;
use super::attach::inherited;
use crate::decide::capabilities::Capabilities;
use crate::decide::update_strategy::{ChosenStrategy, choose};
use crate::limits::SETTINGS_MISTAKES_SHOWN_MAX;
use crate::message::{PolicyChanged, SettingsRefused};
use crate::model::{ReloadCause, ServiceDefinition};
use crate::snapshot::RefusedSettings;

impl Handler<PolicyChanged> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, PolicyChanged { policy, .. }: PolicyChanged, ctx: &mut Self::Context) {
        if policy.frame != self.policy.frame && !self.is_run_by_others() {
            let reason = ReloadCause::Settings.because("the settings of HAProxy changed");
            if !self.reload_forced.contains(&reason) {
                self.reload_forced.push(reason);
            }
        }
        self.inherited = inherited(&policy, &self.peers);
        self.refused_frame = None;
        self.settings_refused = None;
        self.policy = policy;
        self.choose_strategies();
        self.advance(ctx);
    }
}

impl Handler<SettingsRefused> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, SettingsRefused { mut mistakes }: SettingsRefused, _: &mut Self::Context) {
        mistakes.truncate(SETTINGS_MISTAKES_SHOWN_MAX);
        self.settings_refused = Some(RefusedSettings { at_unix_ms: self.clock.unix_ms(), mistakes });
    }
}

impl HaproxyStateActor {
    /// The strategy for a service of this definition, on the HAProxy that runs or will.
    pub(super) fn strategy_of(&self, definition: &ServiceDefinition) -> ChosenStrategy {
        choose(definition, self.policy.update, self.version().map(Capabilities::of), self.is_run_by_others())
    }

    /// Chooses for all services.
    pub(super) fn choose_strategies(&mut self) {
        let strategies: Vec<ChosenStrategy> =
            self.desired.services.values().map(|service| self.strategy_of(&service.definition)).collect();
        for ((name, service), strategy) in self.desired.services.iter_mut().zip(strategies) {
            if service.strategy != strategy {
                service.update_by(strategy);
                self.dirty.insert(name.clone());
            }
        }
    }
}
