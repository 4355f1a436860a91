//! Expectations of a scenario, and their check.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, WatcherState};
use serde::Deserialize;
use serde::de::Deserializer;

use crate::truth::number_of_server;
use crate::world::World;

/// Expected state. Omitted keys are not checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// The service of `enabled`, `disabled`, `served`, `held`, `problem` and `lines`.
    pub service: Option<String>,
    /// Exactly the hosts that take traffic in the serving HAProxy.
    pub enabled: Option<BTreeSet<u8>>,
    /// Exactly the hosts that HAProxy has and that take no traffic.
    pub disabled: Option<BTreeSet<u8>>,
    /// Whether the serving HAProxy has the service.
    pub served: Option<bool>,
    /// Whether the guard blocks the newest list of hosts.
    pub held: Option<bool>,
    /// A part of the problem that the manager reports for the service or its definition; empty if there must be none.
    pub problem: Option<String>,
    /// Lines of its section in haproxy.cfg.
    pub lines: Vec<String>,
    /// Whether the manager reports that the annotations are unreadable.
    pub annotations_away: Option<bool>,
    /// How often HAProxy was started or reloaded since its first start.
    pub reloads: Option<usize>,
    /// Maximum of starts and reloads since the first start.
    pub reloads_at_most: Option<usize>,
    /// A part of the reasons of the last reload.
    pub reload_reason: Option<String>,
    /// Maximum of runtime commands.
    pub commands_at_most: Option<usize>,
    /// Number of HAProxy processes, including those that drain.
    pub processes: Option<usize>,
    /// Whether HAProxy, its file and the saved state have converged to discovery, and no work is left.
    pub at_rest: Option<bool>,
    /// How long the expectation may take to be met.
    #[serde(deserialize_with = "some_duration")]
    pub within: Option<Duration>,
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    super::duration(deserializer).map(Some)
}

/// Result of one check; the error contains the expected and the observed value.
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
    /// Checks the expectation now.
    ///
    /// # Errors
    /// The first difference between expected and observed state.
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
        let of_states = [self.held, self.annotations_away, self.problem.as_ref().map(|_| true)];
        if of_states.iter().any(Option::is_some) || self.reload_reason.is_some() {
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
        equal("disabled", self.disabled.as_ref(), &disabled)?;
        self.file_has_lines(service, &world.file())
    }

    fn file_has_lines(&self, service: &str, file: &str) -> Difference {
        let sections = parse_sections(file);
        let section = sections.iter().find(|(name, _)| name.as_str() == service);
        let header = section.map(|(_, section)| section.header.as_str()).unwrap_or_default();
        let missing = self.lines.iter().find(|wanted| !header.lines().any(|line| line.trim() == wanted.as_str()));
        missing.map_or(Ok(()), |line| Err(format!("lines: {line:?} is expected in {header:?}")))
    }

    fn states_are(&self, states: &[ActorState]) -> Difference {
        let mut wrong_definition = String::new();
        for state in states {
            match state {
                ActorState::ServiceConfig(config) => {
                    let health = config.annotations.as_ref();
                    let is_away = health.is_some_and(|health| health.error.is_some());
                    equal("annotations_away", self.annotations_away.as_ref(), &is_away)?;
                    let problems = self.service.as_ref().and_then(|service| config.problems.get(service));
                    wrong_definition = problems.map(|problems| problems.join("; ")).unwrap_or_default();
                }
                ActorState::Watcher(watcher) if Some(&watcher.service) == self.service.as_ref() => {
                    self.watcher_is(watcher)?;
                }
                ActorState::HaproxyState(haproxy) => self.haproxy_is(haproxy, &wrong_definition)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn watcher_is(&self, watcher: &WatcherState) -> Difference {
        equal("held", self.held.as_ref(), &watcher.held.is_some())
    }

    fn haproxy_is(&self, haproxy: &HaproxyState, wrong_definition: &str) -> Difference {
        let service = haproxy.services.iter().find(|(name, _)| Some(name.as_str()) == self.service.as_deref());
        let problem = service.and_then(|(_, service)| service.problem.clone()).unwrap_or_default();
        contains("problem", self.problem.as_ref(), &format!("{problem}{wrong_definition}"))?;
        contains("reload_reason", self.reload_reason.as_ref(), &haproxy.last_reload.join("; "))
    }
}
