//! Owns the overrides: handles operators' orders, ends expired overrides, and sends every change to all HAProxy
//! instances and outputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use slog::{Logger, info};
use tokio::time::Duration;

use crate::clock::Clock;
use crate::decide::overrides::OverrideSet;
use crate::journal::{Event, JournalEntry};
use crate::listeners::Listeners;
use crate::message::{
    BeginShutdown, ChooseServerState, HostsChanged, OverridesChanged, Record, ServiceDefined, ServiceRemoved,
};
use crate::model::{AdminState, HostList, OperatorChoice, ServerName, ServiceName};
use crate::operator::{Order, OrderRefused, SetServer, describe, printable};
use crate::port::SavedService;

/// The owner of the overrides.
pub struct OverridesActor {
    services: BTreeMap<ServiceName, Service>,
    /// The saved overrides of services that are not defined yet.
    restored: BTreeMap<ServiceName, OverrideSet>,
    is_stopping: bool,
    timer: Option<SpawnHandle>,
    changed: Listeners<OverridesChanged>,
    journal: Recipient<Record>,
    clock: Clock,
    log: Logger,
}

#[derive(Default)]
struct Service {
    /// The discovered hosts; `None` before the first list.
    discovered: Option<Arc<HostList>>,
    overrides: OverrideSet,
}

impl OverridesActor {
    /// Creates an owner with the overrides that an earlier run of the daemon saved. `changed` receives every change.
    pub fn new(
        restored: &[SavedService],
        changed: Listeners<OverridesChanged>,
        journal: Recipient<Record>,
        clock: Clock,
        log: Logger,
    ) -> Self {
        let restored =
            restored.iter().map(|saved| (saved.definition.name.clone(), OverrideSet::restored(saved.choices.clone())));
        Self {
            services: BTreeMap::new(),
            restored: restored.collect(),
            is_stopping: false,
            timer: None,
            changed,
            journal,
            clock,
            log,
        }
    }

    /// Executes an order. Returns its effect as one sentence.
    fn order(&mut self, order: SetServer) -> Result<String, OrderRefused> {
        if self.is_stopping {
            return Err(OrderRefused::NotNow("proxymgr is stopping".to_owned()));
        }
        let choice = self.choice(&order)?;
        let SetServer { service: name, server, state, .. } = order.clone();
        let Some(service) = self.services.get_mut(&name) else { return Err(OrderRefused::UnknownService(name)) };
        let discovered = service.discovered.as_ref().and_then(|hosts| hosts.get(&server));
        let follows_discovery =
            state == AdminState::Ready && discovered.is_none_or(|host| host.state == AdminState::Ready);
        let what = describe(&server, &name, &choice, follows_discovery);
        if follows_discovery {
            service.overrides.remove(&server);
        } else {
            service.overrides.set(server.clone(), choice);
        }
        info!(self.log, "an operator's order"; "service" => %name, "server" => %server, "what" => &what);
        let event = Event::Ordered { what: what.clone(), order: Order::SetServer(order) };
        self.journal.do_send(Record(JournalEntry::new(event).service(&name).server(&server)));
        self.send(&name, Some(server));
        Ok(what)
    }

    /// Returns the override of an order, if the order is valid.
    fn choice(&self, order: &SetServer) -> Result<OperatorChoice, OrderRefused> {
        let SetServer { service: name, server, state, for_ms, reason, by } = order;
        let reason = printable(reason.clone())?;
        if *for_ms == Some(0) {
            return Err(OrderRefused::Invalid("the duration must be longer than 0".to_owned()));
        }
        let service = self.services.get(name).ok_or_else(|| OrderRefused::UnknownService(name.clone()))?;
        let Some(discovered) = &service.discovered else {
            return Err(OrderRefused::NotNow(format!("the hosts of {name} are not known yet")));
        };
        if !discovered.contains_key(server) && !service.overrides.all().contains_key(server) {
            return Err(OrderRefused::UnknownServer { service: name.clone(), server: server.clone() });
        }
        let since_unix_ms = self.clock.unix_ms();
        let until_unix_ms = for_ms.map(|for_ms| since_unix_ms.saturating_add(for_ms));
        let gone_unix_ms = (!discovered.contains_key(server)).then_some(since_unix_ms);
        Ok(OperatorChoice { state: *state, reason, since_unix_ms, until_unix_ms, gone_unix_ms, by: by.clone() })
    }

    /// Sends all overrides of this service; none, where it is no longer defined.
    fn send(&self, name: &ServiceName, ordered: Option<ServerName>) {
        let choices = self.services.get(name).map(|service| service.overrides.all().clone()).unwrap_or_default();
        self.changed.do_send(OverridesChanged { service: name.clone(), choices, ordered });
    }

    /// Ends expired overrides.
    fn end_expired(&mut self) {
        let unix_ms = self.clock.unix_ms();
        let mut ended = Vec::new();
        for (name, service) in &mut self.services {
            ended.extend(service.overrides.end(unix_ms).into_iter().map(|over| (name.clone(), over)));
        }
        for (name, (server, choice, why)) in ended {
            info!(self.log, "an operator's override has ended"; "service" => %name, "server" => %server,
                "state" => ?choice.state, "why" => why);
            let entry = JournalEntry::new(Event::ChoiceEnded { why: why.to_owned() }).service(&name).server(&server);
            self.journal.do_send(Record(entry));
            self.send(&name, None);
        }
    }

    /// Sets the timer for the override that ends next.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let next = self.services.values().filter_map(|service| service.overrides.next_end()).min();
        let wait = next.map(|at| Duration::from_millis(at.saturating_sub(self.clock.unix_ms())));
        self.timer = wait.map(|wait| {
            ctx.run_later(wait, |actor, ctx| {
                actor.timer = None;
                actor.end_expired();
                actor.set_timer(ctx);
            })
        });
    }
}

impl Actor for OverridesActor {
    type Context = Context<Self>;
}

impl Handler<ServiceDefined> for OverridesActor {
    type Result = ();

    fn handle(&mut self, ServiceDefined { definition }: ServiceDefined, ctx: &mut Self::Context) {
        let name = &definition.name;
        if !self.services.contains_key(name) {
            let overrides = self.restored.remove(name).unwrap_or_default();
            let has_overrides = !overrides.all().is_empty();
            self.services.insert(name.clone(), Service { discovered: None, overrides });
            if has_overrides {
                self.set_timer(ctx);
            }
        }
    }
}

impl Handler<ServiceRemoved> for OverridesActor {
    type Result = ();

    /// Overrides end with their service.
    fn handle(&mut self, ServiceRemoved { service: name }: ServiceRemoved, _: &mut Self::Context) {
        let removed = self.services.remove(&name);
        if removed.is_some_and(|service| !service.overrides.all().is_empty()) {
            self.send(&name, None);
        }
    }
}

impl Handler<HostsChanged> for OverridesActor {
    type Result = ();

    fn handle(&mut self, HostsChanged { service: name, hosts, .. }: HostsChanged, ctx: &mut Self::Context) {
        let unix_ms = self.clock.unix_ms();
        let Some(service) = self.services.get_mut(&name) else { return };
        service.discovered = Some(hosts.clone());
        if !service.overrides.all().is_empty() && service.overrides.hosts_changed(&hosts, unix_ms) {
            self.send(&name, None);
            self.set_timer(ctx);
        }
    }
}

impl Handler<ChooseServerState> for OverridesActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, ChooseServerState(order): ChooseServerState, ctx: &mut Self::Context) -> Self::Result {
        let answer = self.order(order);
        self.set_timer(ctx);
        answer
    }
}

impl Handler<BeginShutdown> for OverridesActor {
    type Result = bool;

    fn handle(&mut self, _: BeginShutdown, _: &mut Self::Context) -> Self::Result {
        self.is_stopping = true;
        true
    }
}
