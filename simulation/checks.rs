//! Looks at the actors and the world together: what must hold at every moment, and what must hold at rest.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
use proxymgr_actors::model::{AdminState, ServerId};
use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, ProcessSupervisorState, ProxyPhase, ServiceConfigState, WatcherState,
};
use tokio::time::Instant;

use super::annotations;
use super::besides::{output_rests, target_rests};
use super::domains::Holders;
use super::haproxy_model::HaproxyModel;
use super::invariant::{Invariant, Violation};
use super::processes::ready_in;
use super::tampering::NARROW;
use super::truth::{Service, number_of_server};
use super::world::{Things, World};

/// The most reasons that one reload of so few services has when none is told twice, with room to spare.
const RELOAD_REASONS_MAX: usize = 12;

/// The most messages that are under way to one actor, with room to spare: a few for each server of a reload.
const MAIL_MAX: usize = 500;

/// What was seen at earlier looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The revision of each service, by manager and life.
    revisions: BTreeMap<(u64, u64, String), u64>,
    journal: BTreeMap<u64, u64>,
    holders: Holders,
}

fn ensure(holds: bool, invariant: Invariant, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

impl World {
    /// Looks at what must hold at every moment. Returns what every actor says of itself.
    pub(super) async fn look(&self, memory: &mut Memory) -> Vec<ActorState> {
        // What was delivered at this very instant arrives before the second question.
        let _ = self.states().await;
        let states = self.states().await;
        let found = match &states {
            Ok(states) => self.with(|things| things.always(states, memory)),
            Err(error) => Err(Violation { invariant: Invariant::ActorsLive, what: error.clone() }),
        };
        if let Err(violation) = found {
            self.violate(violation.invariant, violation.what);
        }
        states.unwrap_or_default()
    }

    /// Whether all is as discovery says, and nothing is left to do.
    ///
    /// # Errors
    /// What is not so, with the invariant that promises it.
    pub async fn at_rest(&self) -> Result<(), Violation> {
        let states = self.states().await.map_err(|what| Violation { invariant: Invariant::ActorsLive, what })?;
        self.with(|things| things.rests(&states))
    }
}

impl Things {
    /// The services that would be removed if the definitions were shown now, where the guard blocks that.
    pub(super) fn blocked(&self) -> BTreeSet<String> {
        let is_defined = |name: &String| self.services.get(name).is_some_and(|service| service.defined);
        self.oracle.blocked(is_defined)
    }

    /// The state that a host ought to have: an operator's choice, or what discovery says; none where it is gone.
    fn state(&self, service: &str, host: u8) -> Option<AdminState> {
        let shown = self.services.get(service)?.hosts.get(host)?;
        Some(self.oracle.choices.state(service, host).unwrap_or(shown.state))
    }

    /// The hosts that ought to take traffic, with their weights.
    pub(super) fn wanted(&self, service: &str) -> BTreeMap<u8, u16> {
        let hosts = self.services.get(service).into_iter().flat_map(|known| known.hosts.iter());
        let ready = hosts.filter(|(host, _)| self.state(service, *host) == Some(AdminState::Ready));
        ready.map(|(host, shown)| (host, shown.weight)).collect()
    }

    /// Whether a process has been finishing what it has for too long, or is one of too many that do.
    pub(super) fn is_beyond_limits(&self, pid: u32) -> bool {
        let Some(since) = self.drains.get(&pid).filter(|_| self.takes_time) else { return false };
        // Of those that began together any may be taken for the oldest.
        let others = self.drains.iter().filter(|(other, at)| **other != pid && *at >= since).count();
        others >= NARROW.count_max || NARROW.age_max.is_some_and(|age_max| since.elapsed() >= age_max)
    }

    fn always(&self, states: &[ActorState], memory: &mut Memory) -> Result<(), Violation> {
        let mut watchers = 0;
        let mut services = 0;
        for state in states {
            match state {
                ActorState::Watcher(watcher) => {
                    watchers += 1;
                    let life = self.oracle.life(&watcher.service);
                    let known = memory.revisions.entry((self.generation, life, watcher.service.clone())).or_default();
                    ensure(*known <= watcher.revision.0, Invariant::RevisionsGrow, || {
                        format!("{} had revision {known} and has {}", watcher.service, watcher.revision.0)
                    })?;
                    *known = watcher.revision.0;
                }
                ActorState::ServiceConfig(config) => services = config.services.len(),
                ActorState::Journal(journal) => {
                    ensure(journal.entries <= JOURNAL_ENTRIES_MAX, Invariant::BoundsHold, || {
                        format!("it has {} entries", journal.entries)
                    })?;
                    let newest = memory.journal.entry(self.generation).or_default();
                    ensure(*newest <= journal.newest, Invariant::RevisionsGrow, || {
                        "the journal lost entries".to_owned()
                    })?;
                    *newest = journal.newest;
                }
                ActorState::ProcessSupervisor(supervisor) => self.exits_are_noticed(supervisor)?,
                ActorState::HaproxyState(haproxy) => {
                    let reasons = haproxy.reload_due.len();
                    ensure(reasons <= RELOAD_REASONS_MAX, Invariant::BoundsHold, || {
                        format!("the next reload has {reasons} reasons")
                    })?;
                }
                _ => {}
            }
        }
        self.mail_is_read()?;
        self.domains_stay(&mut memory.holders)?;
        ensure(watchers == services, Invariant::ActorsLive, || {
            format!("{services} services have {watchers} watchers that live")
        })
    }

    fn mail_is_read(&self) -> Result<(), Violation> {
        let now = Instant::now();
        for mail in &self.mail {
            let (unread, in_all) = (mail.unread(now), mail.len());
            ensure(unread == 0 && in_all <= MAIL_MAX, Invariant::MailIsRead, || {
                format!("{in_all} messages wait for {}, {unread} of them unread in its mailbox", mail.owner())
            })?;
        }
        Ok(())
    }

    fn exits_are_noticed(&self, supervisor: &ProcessSupervisorState) -> Result<(), Violation> {
        let draining = supervisor.draining.iter().map(|process| process.pid);
        let now = Instant::now();
        let missed = draining.chain(supervisor.current_pid).find(|pid| self.ended.get(pid).is_some_and(|at| *at < now));
        ensure(missed.is_none(), Invariant::NoProcessIsForgotten, || {
            format!("process {} has ended, and its supervisor thinks it lives", missed.unwrap_or_default())
        })
    }

    fn rests(&self, states: &[ActorState]) -> Result<(), Violation> {
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
        ensure(!self.oracle.choices.any_ends(), Invariant::Converges, || "an operator's choice is to end".to_owned())?;
        self.serves_what_discovery_shows()?;
        let wanted = || self.defined().map(|(name, _)| (name, self.wanted(name).into_keys().collect()));
        self.besides.iter().try_for_each(|besides| besides.rest(wanted()))?;
        self.sockets_are_those_in_use()?;
        self.processes_are_listed(&listed)?;
        self.slots_are_there()?;
        self.file_says_what_runs()?;
        self.options_are_in_force()?;
        self.saved_is_what_is_wanted()
    }

    fn defined(&self) -> impl Iterator<Item = (&String, &Service)> {
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
            ensure(ready.get(name) == Some(&wanted), Invariant::Converges, || {
                format!("{wanted:?} is wanted for {name}, and HAProxy has {:?} (host: weight)", ready.get(name))
            })?;
        }
        let strange = ready.keys().find(|name| !self.defined().any(|(defined, _)| defined == *name));
        ensure(strange.is_none(), Invariant::Converges, || format!("HAProxy has {strange:?}, which is not defined"))
    }

    fn sockets_are_those_in_use(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let in_use = serving.map(|process| process.listens.clone()).unwrap_or_default();
        let held: BTreeSet<_> = self.sockets.values().copied().collect();
        ensure(held == in_use, Invariant::SocketsStayOpen, || {
            format!("the manager holds {held:?} and HAProxy listens on {in_use:?}")
        })?;
        let wanted: BTreeSet<u16> = self.defined().map(|(_, service)| service.port()).collect();
        let ports: BTreeSet<u16> = in_use.iter().map(std::net::SocketAddr::port).collect();
        ensure(ports == wanted, Invariant::Converges, || format!("ports {wanted:?} are wanted, {ports:?} are served"))
    }

    fn processes_are_listed(&self, listed: &BTreeSet<u32>) -> Result<(), Violation> {
        let alive: BTreeSet<u32> = self.processes.keys().copied().collect();
        ensure(&alive == listed, Invariant::NoProcessIsForgotten, || {
            format!("{alive:?} run, and the supervisor knows of {listed:?}")
        })?;
        let serve = self.processes.values().filter(|process| !process.draining).count();
        ensure(serve == 1, Invariant::NoProcessIsForgotten, || format!("{serve} processes serve"))
    }

    /// A slot that somebody deleted is missed although nobody needs it yet: a reload brings it back.
    fn slots_are_there(&self) -> Result<(), Violation> {
        let Some(serving) = self.serving().and_then(|pid| self.processes.get(&pid)) else { return Ok(()) };
        let has_slots = |name: &str| self.services.get(name).is_some_and(|service| service.slots.is_some());
        for (service, section) in parse_sections(&self.live_file.joined()) {
            let servers = section.server_lines.into_keys().filter(|server| number_of_server(server.as_str()).is_none());
            let mut ids = servers.map(|server| ServerId { service: service.clone(), server });
            let missing = ids.find(|id| has_slots(service.as_str()) && !serving.model.has(id));
            ensure(missing.is_none(), Invariant::Converges, || {
                format!("HAProxy has no {missing:?}, and its file has")
            })?;
        }
        Ok(())
    }

    /// The file, which follows what was loaded, has the options of every definition.
    fn options_are_in_force(&self) -> Result<(), Violation> {
        let sections = parse_sections(&self.live_file.joined());
        for (name, service) in self.defined() {
            let option = service.option();
            let section = sections.iter().find(|(known, _)| known.as_str() == name);
            let has_option = section.is_some_and(|(_, section)| section.head.lines().any(|line| line.trim() == option));
            ensure(has_option, Invariant::Converges, || format!("`{option}` of {name} is not in force"))?;
            let lines = section.into_iter().flat_map(|(_, section)| section.head.lines().map(str::trim));
            let added: Vec<&str> = lines.filter(|line| line.starts_with(annotations::OPTION)).collect();
            let annotated = Vec::from_iter(service.note_read.option());
            ensure(added == annotated, Invariant::Converges, || {
                format!("{annotated:?} is what the annotation of {name} adds, {added:?} is in force")
            })?;
        }
        Ok(())
    }

    fn file_says_what_runs(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let runs = serving.map(|process| process.ready_servers()).unwrap_or_default();
        let file = HaproxyModel::start_resolving(self.version, &self.live_file.joined(), &self.names)
            .map(|model| self.undrained(&model));
        ensure(file.as_ref() == Ok(&runs), Invariant::TheFileFollows, || {
            format!("the file would give {file:?}, and {runs:?} runs")
        })
    }

    /// The ready servers of a process that has just started, without those that will be told to drain: a file cannot.
    fn undrained(&self, model: &HaproxyModel) -> BTreeMap<String, BTreeMap<u8, u16>> {
        let mut ready = ready_in(model);
        for (name, hosts) in &mut ready {
            let drains = |host: u8| self.state(name, host) == Some(AdminState::Drain);
            hosts.retain(|host, _| !drains(*host));
        }
        ready
    }

    fn saved_is_what_is_wanted(&self) -> Result<(), Violation> {
        let hosts = |service: &proxymgr_actors::port::SavedService| {
            let hosts = service.hosts.iter().flat_map(|hosts| hosts.keys());
            hosts.filter_map(|name| number_of_server(name.as_str())).collect::<BTreeSet<u8>>()
        };
        let saved: BTreeMap<String, BTreeSet<u8>> =
            self.saved.iter().map(|service| (service.definition.name.to_string(), hosts(service))).collect();
        let wanted = self.defined().map(|(name, service)| (name.clone(), service.hosts.numbers().iter().collect()));
        let wanted: BTreeMap<String, BTreeSet<u8>> = wanted.collect();
        ensure(saved == wanted, Invariant::TheSavedStateFollows, || format!("{wanted:?} is wanted, {saved:?} is saved"))
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
