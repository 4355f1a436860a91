//! The receivers of what discovery reports.

use actix::{Addr, Handler, Message, Recipient};

use crate::haproxy_state_actor::HaproxyStateActor;
use crate::inbox::Inbox;
use crate::listeners::Listeners;
use crate::output_actor::OutputActor;
use crate::overrides_actor::OverridesActor;

/// The actors that receive services and hosts.
pub(super) struct Hearers<I> {
    /// The primary HAProxy, with its inbox.
    pub(super) haproxy: (Addr<HaproxyStateActor>, I),
    /// The targets.
    pub(super) targets: Vec<Addr<HaproxyStateActor>>,
    /// The outputs.
    pub(super) outputs: Vec<Addr<OutputActor>>,
    /// The overrides, which only learn of services.
    pub(super) overrides: Addr<OverridesActor>,
}

impl<I: Inbox> Hearers<I> {
    /// Returns all of them as recipients of a message.
    pub(super) fn all<M>(&self) -> Listeners<M>
    where
        M: Message<Result = ()> + Clone + Send + 'static,
        HaproxyStateActor: Handler<M>,
        OutputActor: Handler<M>,
        OverridesActor: Handler<M>,
    {
        self.of_proxies().chain(std::iter::once(self.overrides.clone().recipient())).collect()
    }

    /// Returns every HAProxy and output as recipients of a message.
    pub(super) fn of<M>(&self) -> Listeners<M>
    where
        M: Message<Result = ()> + Clone + Send + 'static,
        HaproxyStateActor: Handler<M>,
        OutputActor: Handler<M>,
    {
        self.of_proxies().collect()
    }

    fn of_proxies<M>(&self) -> impl Iterator<Item = Recipient<M>>
    where
        M: Message<Result = ()> + Clone + Send + 'static,
        HaproxyStateActor: Handler<M>,
        OutputActor: Handler<M>,
    {
        let (haproxy, inbox) = &self.haproxy;
        let haproxy = std::iter::once(inbox.way(haproxy.clone().recipient()));
        let targets = self.targets.iter().map(|target| target.clone().recipient());
        haproxy.chain(targets).chain(self.outputs.iter().map(|output| output.clone().recipient()))
    }
}
