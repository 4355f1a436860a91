//! What a scenario expects of the world, and whether it is so.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proxymgr_actors::snapshot::{ActorState, HaproxyState, WatcherState};
use serde::Deserialize;
use serde::de::Deserializer;

use crate::simulation::truth::number_of_server;
use crate::simulation::world::World;

/// What must be so. What is not named may be as it likes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// The service that `enabled`, `disabled`, `served`, `held` and `problem` are about.
    pub service: Option<String>,
    /// The hosts that take traffic in the HAProxy that serves: these and no others.
    pub enabled: Option<BTreeSet<u8>>,
    /// The hosts that it has and that take none: these and no others.
    pub disabled: Option<BTreeSet<u8>>,
    /// Whether the HAProxy that serves has the service.
    pub served: Option<bool>,
    /// Whether the newest list of hosts is held back.
    pub held: Option<bool>,
    /// A part of what the manager says is wrong with the service; empty where nothing may be.
    pub problem: Option<String>,
    /// How often HAProxy was started or reloaded since its first start.
    pub reloads: Option<usize>,
    /// The most that may be.
    pub reloads_at_most: Option<usize>,
    /// A part of the reasons of the last reload.
    pub reload_reason: Option<String>,
    /// The most commands that HAProxy may have been given at run time.
    pub commands_at_most: Option<usize>,
    /// How many processes of HAProxy there are, those that finish what they have included.
    pub processes: Option<usize>,
    /// Whether all is as discovery says, in HAProxy, in its file and in what was saved, and nothing is left to do.
    pub at_rest: Option<bool>,
    /// How long it may take to come true.
    #[serde(deserialize_with = "some_duration")]
    pub within: Option<Duration>,
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    super::duration(deserializer).map(Some)
}

/// One thing that is not as it should be: what was expected, and what is.
type Difference = Result<(), String>;

fn equal<T: PartialEq + fmt::Debug>(what: &str, wanted: Option<&T>, found: &T) -> Difference {
    match wanted {
        Some(wanted) if wanted != found => Err(format!("{what}: {wanted:?} is expected, {found:?} is so")),
        _ => Ok(()),
    }
}

fn contains(what: &str, wanted: Option<&String>, found: &str) -> Difference {
    match wanted {
        Some(wanted) if wanted.is_empty() && found.is_empty() => Ok(()),
        Some(wanted) if wanted.is_empty() || !found.contains(wanted.as_str()) => {
            Err(format!("{what}: {wanted:?} is expected, {found:?} is so"))
        }
        _ => Ok(()),
    }
}

fn at_most(what: &str, most: Option<usize>, found: usize) -> Difference {
    match most {
        Some(most) if found > most => Err(format!("{what}: at most {most} are expected, {found} were made")),
        _ => Ok(()),
    }
}

impl Expectation {
    /// Whether it is so now.
    ///
    /// # Errors
    /// What is not, beside what was expected.
    pub(super) async fn holds(&self, world: &World) -> Difference {
        if let Some(service) = &self.service {
            self.hosts_are(service, world)?;
        }
        let reloads = world.starts().saturating_sub(1);
        equal("reloads", self.reloads.as_ref(), &reloads)?;
        at_most("reloads", self.reloads_at_most, reloads)?;
        at_most("commands", self.commands_at_most, world.commands())?;
        equal("processes", self.processes.as_ref(), &world.with(|things| things.processes.len()))?;
        if let Some(wanted) = self.at_rest {
            let rests = world.at_rest().await;
            let words = || rests.as_ref().err().map_or_else(|| "all is".to_owned(), ToString::to_string);
            equal("at_rest", Some(&wanted), &rests.is_ok())
                .map_err(|difference| format!("{difference}: {}", words()))?;
        }
        if self.held.is_some() || self.problem.is_some() || self.reload_reason.is_some() {
            self.states_are(&world.states().await?)?;
        }
        Ok(())
    }

    fn hosts_are(&self, service: &str, world: &World) -> Difference {
        let enabled: BTreeSet<u8> = world.ready(service).into_iter().collect();
        equal("enabled", self.enabled.as_ref(), &enabled)?;
        let all = world.with(|things| {
            let serving = things.processes.get(&things.serving()?)?;
            let observed = serving.model.observe(None).services;
            let section = observed.into_iter().find(|(name, _)| name.as_str() == service)?;
            Some(section.1.keys().filter_map(|name| number_of_server(name.as_str())).collect::<BTreeSet<u8>>())
        });
        equal("served", self.served.as_ref(), &all.is_some())?;
        let disabled = all.unwrap_or_default().difference(&enabled).copied().collect();
        equal("disabled", self.disabled.as_ref(), &disabled)
    }

    fn states_are(&self, states: &[ActorState]) -> Difference {
        for state in states {
            match state {
                ActorState::Watcher(watcher) if Some(&watcher.service) == self.service.as_ref() => {
                    self.watcher_is(watcher)?;
                }
                ActorState::HaproxyState(haproxy) => self.haproxy_is(haproxy)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn watcher_is(&self, watcher: &WatcherState) -> Difference {
        equal("held", self.held.as_ref(), &watcher.held.is_some())
    }

    fn haproxy_is(&self, haproxy: &HaproxyState) -> Difference {
        let service = haproxy.services.iter().find(|(name, _)| Some(name.as_str()) == self.service.as_deref());
        let problem = service.and_then(|(_, service)| service.problem.clone()).unwrap_or_default();
        contains("problem", self.problem.as_ref(), &problem)?;
        contains("reload_reason", self.reload_reason.as_ref(), &haproxy.last_reload.join("; "))
    }
}
