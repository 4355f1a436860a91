//! What operators ask of the running HAProxy.

use actix::{Context, Handler};
use slog::info;

use super::HaproxyStateActor;
use super::choices::Choices;
use crate::decide::proxy_plan::Holder;
use crate::journal::{Event, JournalEntry};
use crate::limits::ORDER_REASON_CHARS_MAX;
use crate::message::{ChoicesChanged, ChooseServerState, DefinitionsRejected, ListRejected, Record, ReloadProxy};
use crate::model::{AdminState, ObservedServer, OperatorChoice, ReloadCause, ServerName, ServiceName};
use crate::operator::{Order, OrderRefused, SetServer};
use crate::snapshot::ProxyPhase;

impl Handler<ReloadProxy> for HaproxyStateActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, ReloadProxy { reason }: ReloadProxy, ctx: &mut Context<Self>) -> Self::Result {
        if self.phase == ProxyPhase::Stopping {
            return Err(OrderRefused::NotNow("proxymgr is stopping".to_owned()));
        }
        if self.is_run_by_others() {
            return Err(OrderRefused::NotNow("haproxy.run is none: whoever runs HAProxy reloads it".to_owned()));
        }
        let order = Order::Reload { reason: reason.clone() };
        let said = printable(reason)?;
        let why =
            said.map_or_else(|| "an operator asked for it".to_owned(), |said| format!("an operator asked: {said}"));
        info!(self.log, "an operator asks for a reload"; "reason" => &why);
        let what = format!("reload ({why})");
        self.peers.journal.do_send(Record(JournalEntry::new(Event::Ordered { what, order })));
        let asked = self.reload_forced.iter().any(|reason| reason.cause == ReloadCause::Operator);
        if !asked {
            self.reload_forced.push(ReloadCause::Operator.because(why));
        }
        self.advance(ctx);
        Ok("HAProxy is reloaded as soon as haproxy.reload_interval allows".to_owned())
    }
}

impl Handler<ChooseServerState> for HaproxyStateActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, ChooseServerState(order): ChooseServerState, ctx: &mut Context<Self>) -> Self::Result {
        if self.phase == ProxyPhase::Stopping {
            return Err(OrderRefused::NotNow("proxymgr is stopping".to_owned()));
        }
        let choice = self.choice(&order)?;
        let SetServer { service: name, server, state, .. } = order.clone();
        let Some(service) = self.desired.services.get_mut(&name) else {
            return Err(OrderRefused::UnknownService(name));
        };
        let says_ready = service.discovered.get(&server).is_none_or(|host| host.state == AdminState::Ready);
        let leaves_to_discovery = state == AdminState::Ready && says_ready;
        let what = in_words(&server, &name, &choice, leaves_to_discovery);
        if leaves_to_discovery {
            service.choices.forget(&server);
        } else {
            service.choices.set(server.clone(), choice);
        }
        service.choose();
        info!(self.log, "an operator's order"; "service" => %name, "server" => %server, "what" => &what);
        let entry = JournalEntry::new(Event::Ordered { what: what.clone(), order: Order::SetServer(order) })
            .service(&name)
            .server(&server);
        self.peers.journal.do_send(Record(entry));
        self.ordered(&name, &server);
        self.tell_choices(&name, Some(server));
        self.expect_life(&name, ctx);
        self.touch(name, ctx);
        // A restart of the daemon right after the order must not undo it.
        self.saver.has_changed();
        self.save_now(ctx);
        Ok(what)
    }
}

impl Handler<ChoicesChanged> for HaproxyStateActor {
    type Result = ();

    /// The choices were made elsewhere; here they are only obeyed.
    fn handle(&mut self, changed: ChoicesChanged, ctx: &mut Context<Self>) -> Self::Result {
        let ChoicesChanged { service: name, choices, ordered } = changed;
        let Some(service) = self.desired.services.get_mut(&name) else {
            self.left_behind.entry(name).or_default().choices = choices;
            return;
        };
        service.choices = Choices::restored(choices);
        service.choose();
        if let Some(server) = ordered {
            self.ordered(&name, &server);
        }
        self.expect_life(&name, ctx);
        self.touch(name, ctx);
    }
}

impl Handler<ListRejected> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, ListRejected { service, hosts }: ListRejected, ctx: &mut Self::Context) {
        let Some(service) = self.desired.services.get_mut(&service) else { return };
        service.rejected = hosts;
        self.save_later(ctx);
    }
}

impl Handler<DefinitionsRejected> for HaproxyStateActor {
    type Result = ();

    fn handle(&mut self, DefinitionsRejected { definitions }: DefinitionsRejected, ctx: &mut Self::Context) {
        self.desired.rejected_definitions = definitions;
        self.save_later(ctx);
    }
}

impl HaproxyStateActor {
    /// An order about a server gives it a new chance, and decides over whatever was done on HAProxy's own socket.
    fn ordered(&mut self, service: &ServiceName, server: &ServerName) {
        let section = self.running.as_mut().and_then(|running| running.sections.get_mut(service));
        let (Some(section), Some(service)) = (section, self.desired.services.get(service)) else { return };
        let server = service.slots.in_haproxy(server);
        section.forgive_server(server);
        if section.observed.get(server).is_some_and(ObservedServer::in_drain) {
            section.note_holder(server, Some(Holder::Operator));
        }
    }

    /// Tells the others what operators chose for the servers of this service: nothing, where it is no more.
    pub(super) fn tell_choices(&self, name: &ServiceName, ordered: Option<ServerName>) {
        let service = self.desired.services.get(name);
        let choices = service.map(|service| service.choices.all().clone()).unwrap_or_default();
        self.peers.choices.do_send(ChoicesChanged { service: name.clone(), choices, ordered });
    }

    /// What the order says, where it can be carried out.
    fn choice(&self, order: &SetServer) -> Result<OperatorChoice, OrderRefused> {
        let SetServer { service: name, server, state, for_ms, reason } = order;
        let reason = printable(reason.clone())?;
        if *for_ms == Some(0) {
            return Err(OrderRefused::Invalid("a duration of nothing is no order".to_owned()));
        }
        let service = self.desired.services.get(name).ok_or_else(|| OrderRefused::UnknownService(name.clone()))?;
        if service.revision.is_none() {
            return Err(OrderRefused::NotNow(format!("the hosts of {name} are not known yet")));
        }
        if !service.discovered.contains_key(server) && !service.choices.all().contains_key(server) {
            return Err(OrderRefused::UnknownServer { service: name.clone(), server: server.clone() });
        }
        let since_unix_ms = self.clock.unix_ms();
        let until_unix_ms = for_ms.map(|for_ms| since_unix_ms.saturating_add(for_ms));
        let gone_unix_ms = (!service.discovered.contains_key(server)).then_some(since_unix_ms);
        Ok(OperatorChoice { state: *state, reason, since_unix_ms, until_unix_ms, gone_unix_ms })
    }
}

/// The order in one sentence.
fn in_words(server: &ServerName, service: &ServiceName, choice: &OperatorChoice, leaves_to_discovery: bool) -> String {
    let state = match choice.state {
        _ if leaves_to_discovery => "is left to discovery, and ready",
        AdminState::Ready => "is ready, whatever discovery says",
        AdminState::Drain => "drains",
        AdminState::Maint => "is in maintenance",
    };
    let until = choice.until_unix_ms.filter(|_| !leaves_to_discovery);
    let time = until.map(|until| format!(", for {} s", until.saturating_sub(choice.since_unix_ms).div_ceil(1_000)));
    let reason = choice.reason.as_ref().map(|reason| format!(": {reason}"));
    format!("server {server} of {service} {state}{}{}", time.unwrap_or_default(), reason.unwrap_or_default())
}

/// A reason as it is kept and shown: one line, of bounded length.
fn printable(reason: Option<String>) -> Result<Option<String>, OrderRefused> {
    let Some(reason) = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty()) else {
        return Ok(None);
    };
    if reason.chars().any(char::is_control) {
        return Err(OrderRefused::Invalid("the reason must be one line without control characters".to_owned()));
    }
    let length = reason.chars().count();
    if length > ORDER_REASON_CHARS_MAX {
        let problem = format!("the reason has {length} characters; at most {ORDER_REASON_CHARS_MAX} are allowed");
        return Err(OrderRefused::Invalid(problem));
    }
    Ok(Some(reason))
}
