//! The operators' overrides that should be active; computed independently of the actors, and in a different way.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::limits::CHOICE_KEEP;
use proxymgr_actors::model::AdminState;
use proxymgr_actors::port::SavedService;
use tokio::time::{Duration, Instant};

use super::hosts::Hosts;
use super::truth::number_of_server;

/// A server, as its service and the number of its host.
type Server = (String, u8);

/// The overrides that should be active.
#[derive(Debug, Default)]
pub(super) struct Choices {
    chosen: BTreeMap<Server, Chosen>,
    /// Servers with an order that is not answered yet.
    ordered: BTreeSet<Server>,
    /// When an order ended an override.
    ended: BTreeMap<Server, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Chosen {
    state: AdminState,
    since: Instant,
    until: Option<Instant>,
    /// Since when its host has been missing from discovery.
    gone: Option<Instant>,
    /// Whether the saved state contains it.
    saved: bool,
}

impl Chosen {
    fn is_in_force(&self) -> bool {
        let now = Instant::now();
        let is_kept = self.gone.is_none_or(|gone| gone + CHOICE_KEEP > now);
        self.until.is_none_or(|until| until > now) && is_kept
    }
}

impl Choices {
    /// Notes an order about this server: until its answer, it may be active or not.
    pub(super) fn order(&mut self, service: &str, host: u8) {
        self.ordered.insert((service.to_owned(), host));
    }

    /// Notes the answer. With a state, that is active from now on; without one nothing has changed.
    pub(super) fn answered(
        &mut self,
        service: &str,
        host: u8,
        order: Option<(AdminState, Option<Duration>)>,
        applied: Option<&Hosts>,
    ) {
        let server = (service.to_owned(), host);
        self.ordered.remove(&server);
        let Some((state, lasts)) = order else { return };
        let shown = applied.and_then(|hosts| hosts.get(host)).map(|shown| shown.state);
        if state == AdminState::Ready && shown.is_none_or(|shown| shown == AdminState::Ready) {
            self.chosen.remove(&server);
            self.ended.insert(server, Instant::now());
            return;
        }
        let since = Instant::now();
        let gone = shown.is_none().then_some(since);
        self.chosen
            .insert(server, Chosen { state, since, until: lasts.map(|lasts| since + lasts), gone, saved: false });
    }

    /// Notes the applied hosts of a service.
    pub(super) fn hosts_changed(&mut self, service: &str, hosts: &Hosts) {
        self.chosen.retain(|(of, host), chosen| {
            if of != service {
                return true;
            }
            match hosts.get(*host) {
                Some(shown) => {
                    chosen.gone = None;
                    chosen.state != AdminState::Ready || shown.state != AdminState::Ready
                }
                None => {
                    chosen.gone.get_or_insert_with(Instant::now);
                    true
                }
            }
        });
    }

    /// Drops the overrides of services that are not defined.
    pub(super) fn retain(&mut self, is_defined: impl Fn(&String) -> bool) {
        self.chosen.retain(|(service, _), _| is_defined(service));
    }

    /// Marks the overrides that were saved: all those from before the request, and of those from the same instant the
    /// ones in `services`.
    pub(super) fn saved(&mut self, asked: Instant, services: &[SavedService]) {
        if self.chosen.is_empty() {
            return;
        }
        let choices = services.iter().flat_map(|service| {
            let name = service.definition.name.to_string();
            service.choices.keys().filter_map(move |server| Some((name.clone(), number_of_server(server.as_str())?)))
        });
        let choices: BTreeSet<Server> = choices.collect();
        for (server, chosen) in &mut self.chosen {
            chosen.saved |= chosen.since < asked || (chosen.since == asked && choices.contains(server));
        }
    }

    /// Returns the overrides that the next manager knows: all that were ever saved, even if the file has changed since,
    /// and those in `saved`.
    pub(super) fn restarted(mut self, saved: &[SavedService], unix_ms: u64) -> Self {
        let now = Instant::now();
        self.ordered.clear();
        self.chosen.retain(|_, chosen| chosen.saved);
        let instant = |at_ms: u64| now + Duration::from_millis(at_ms.saturating_sub(unix_ms));
        for service in saved {
            for (server, choice) in &service.choices {
                let Some(host) = number_of_server(server.as_str()) else { continue };
                self.chosen.entry((service.definition.name.to_string(), host)).or_insert_with(|| Chosen {
                    state: choice.state,
                    since: now,
                    until: choice.until_unix_ms.map(instant),
                    gone: choice.gone_unix_ms.map(|_| now),
                    saved: true,
                });
            }
        }
        self
    }

    /// Returns an operator's state for a server; `None` if discovery decides.
    pub(super) fn state(&self, service: &str, host: u8) -> Option<AdminState> {
        self.chosen.get(&(service.to_owned(), host)).filter(|chosen| chosen.is_in_force()).map(|chosen| chosen.state)
    }

    /// Returns whether a server may be out of traffic because an operator ordered it. The end of an order may be on its way
    /// for this time.
    pub(super) fn may_keep(&self, service: &str, host: u8, delay: Duration) -> bool {
        let server = (service.to_owned(), host);
        let now = Instant::now();
        // An override that ends at this instant may have ended or not.
        let keeps = |chosen: &Chosen| {
            chosen.state != AdminState::Ready
                && (chosen.is_in_force() || chosen.until.is_some_and(|until| until >= now))
        };
        let is_ending = self.ended.get(&server).is_some_and(|ended| *ended + delay >= now);
        is_ending || self.ordered.contains(&server) || self.chosen.get(&server).is_some_and(keeps)
    }

    /// Returns whether this server must not be made ready, because an operator ordered otherwise before this instant.
    pub(super) fn must_keep(&self, service: &str, host: u8) -> bool {
        let server = (service.to_owned(), host);
        let keeps = |chosen: &Chosen| {
            chosen.state != AdminState::Ready && chosen.is_in_force() && chosen.since < Instant::now()
        };
        !self.ordered.contains(&server) && self.chosen.get(&server).is_some_and(keeps)
    }

    /// Returns whether an active override has a duration.
    pub(super) fn any_ends(&self) -> bool {
        self.chosen.values().any(|chosen| chosen.is_in_force() && chosen.until.is_some())
    }
}
