//! Invariants at rest: HAProxy, sockets and processes match the desired state.

use std::collections::BTreeSet;

use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::model::ServerId;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProxyPhase, ServiceConfigState, WatcherState};

use super::ensure;
use crate::besides::{output_rests, target_rests};
use crate::invariant::{Invariant, Violation};
use crate::things::Things;
use crate::truth::{Service, number_of_server};

impl Things {
    pub(super) fn rests(&self, states: &[ActorState]) -> Result<(), Violation> {
        let mut listed = BTreeSet::new();
        for state in states {
            match state {
                ActorState::HaproxyState(haproxy) => {
                    haproxy_rests(haproxy)?;
                    self.domains_lead_to_their_services(haproxy)?;
                }
                ActorState::Watcher(watcher) => watcher_rests(watcher)?,
                ActorState::ServiceConfig(config) => definitions_rest(config)?,
                ActorState::Target(target) => target_rests(target)?,
                ActorState::Output(output) => output_rests(output)?,
                ActorState::ProcessSupervisor(supervisor) => {
                    listed.extend(supervisor.draining.iter().map(|process| process.pid).chain(supervisor.current_pid));
                }
                _ => {}
            }
        }
        ensure(!self.oracle.choices.any_ends(), Invariant::Converges, || "an override has a duration".to_owned())?;
        self.serves_what_discovery_shows()?;
        let wanted = || self.defined().map(|(name, _)| (name, self.wanted(name).into_keys().collect()));
        self.besides.iter().try_for_each(|besides| besides.rest(wanted()))?;
        self.sockets_are_those_in_use()?;
        self.processes_are_listed(&listed)?;
        self.slots_are_there()?;
        self.ready_servers_get_traffic()?;
        self.file_says_what_runs()?;
        self.options_are_in_force()?;
        self.saved_is_what_is_wanted()
    }

    /// Returns the defined services.
    pub(crate) fn defined(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().filter(|(_, service)| service.defined)
    }

    fn serves_what_discovery_shows(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let ready = serving.map(|process| process.ready_servers()).unwrap_or_default();
        for (name, _) in self.defined() {
            let wanted = self.wanted(name);
            let is_kept = |host: &&u8| self.oracle.choices.must_keep(name, **host);
            let against_orders = ready.get(name).and_then(|hosts| hosts.keys().find(is_kept));
            ensure(against_orders.is_none(), Invariant::OperatorsDecide, || {
                format!("host {} of {name} takes traffic", against_orders.copied().unwrap_or_default())
            })?;
            let has = ready.get(name).map(|hosts| self.weighed(hosts.clone()));
            ensure(has == Some(self.weighed(wanted.clone())), Invariant::Converges, || {
                format!("{name} should have {wanted:?}, but HAProxy has {:?} (host: weight)", ready.get(name))
            })?;
        }
        let mut undefined = ready.iter().filter(|(name, _)| !self.defined().any(|(defined, _)| defined == *name));
        let strange = undefined.find(|(_, hosts)| !(hosts.is_empty() && self.has_base)).map(|(name, _)| name);
        ensure(strange.is_none(), Invariant::Converges, || format!("HAProxy has {strange:?}, which is not defined"))
    }

    fn ready_servers_get_traffic(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let starving = serving.map(|process| process.model.starving()).unwrap_or_default();
        ensure(starving.is_empty(), Invariant::ReadyServersGetTraffic, || format!("{starving:?} never get a request"))
    }

    fn sockets_are_those_in_use(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let in_use = serving.map(|process| process.listens.clone()).unwrap_or_default();
        let held: BTreeSet<_> = self.sockets.values().copied().collect();
        ensure(held == in_use, Invariant::SocketsStayOpen, || {
            format!("the manager holds {held:?}, but HAProxy listens on {in_use:?}")
        })?;
        let own =
            self.defined().filter(|(name, _)| self.framed_with(name).is_none()).map(|(_, service)| service.port());
        let wanted: BTreeSet<u16> = own.chain(self.operator_ports().iter().copied()).collect();
        let ports: BTreeSet<u16> = in_use.iter().map(std::net::SocketAddr::port).collect();
        ensure(ports == wanted, Invariant::Converges, || format!("ports {wanted:?} are desired, {ports:?} are served"))
    }

    fn processes_are_listed(&self, listed: &BTreeSet<u32>) -> Result<(), Violation> {
        let alive: BTreeSet<u32> = self.processes.keys().copied().collect();
        ensure(&alive == listed, Invariant::NoProcessIsForgotten, || {
            format!("{alive:?} run, but the supervisor lists {listed:?}")
        })?;
        let serve = self.processes.values().filter(|process| !process.draining).count();
        ensure(serve == 1, Invariant::NoProcessIsForgotten, || format!("{serve} processes serve"))
    }

    /// Checks that no slot is missing: a reload must restore a deleted slot even if no host needs it yet.
    fn slots_are_there(&self) -> Result<(), Violation> {
        let Some(serving) = self.serving().and_then(|pid| self.processes.get(&pid)) else { return Ok(()) };
        let has_slots = |name: &str| self.services.get(name).is_some_and(|service| service.slots.is_some());
        for (service, section) in parse_sections(&self.live_file.joined()) {
            let servers = section.server_lines.into_keys().filter(|server| number_of_server(server.as_str()).is_none());
            let mut ids = servers.map(|server| ServerId { service: service.clone(), server });
            let missing = ids.find(|id| has_slots(service.as_str()) && !serving.model.has(id));
            ensure(missing.is_none(), Invariant::Converges, || {
                format!("HAProxy lacks {missing:?}, which its file has")
            })?;
        }
        Ok(())
    }
}

fn haproxy_rests(haproxy: &HaproxyState) -> Result<(), Violation> {
    let errors = [&haproxy.runtime_error, &haproxy.reload_error, &haproxy.file_error, &haproxy.saved_state_error];
    let unrest = errors.into_iter().flatten().chain(&haproxy.reload_due).next().cloned();
    ensure(haproxy.phase == ProxyPhase::Running && unrest.is_none(), Invariant::Converges, || {
        format!("the HaproxyStateActor is {:?}: {}", haproxy.phase, unrest.unwrap_or_default())
    })
}

fn definitions_rest(config: &ServiceConfigState) -> Result<(), Violation> {
    let annotations = config.annotations.as_ref().and_then(|health| health.error.as_ref());
    let unrest = config.source.error.as_ref().or(annotations);
    ensure(unrest.is_none(), Invariant::Converges, || {
        format!("the ServiceConfigActor: {}", unrest.cloned().unwrap_or_default())
    })
}

fn watcher_rests(watcher: &WatcherState) -> Result<(), Violation> {
    let held = watcher.held.as_ref().map(|held| held.reason.clone());
    let unrest = held.or_else(|| watcher.source.error.clone()).or_else(|| watcher.problems.values().next().cloned());
    ensure(unrest.is_none(), Invariant::Converges, || {
        format!("the watcher of {}: {}", watcher.service, unrest.unwrap_or_default())
    })
}
