//! Looks up the host names that HAProxy could not resolve when it read its file, until they resolve.
//!
//! HAProxy resolves a server's host name once and keeps the server in maintenance where that fails; no runtime command
//! can set the address of such a server. A reload can, so one is requested as soon as a name resolves.

mod lookups;

use std::rc::Rc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture};
use tokio::time::Instant;

use self::lookups::Lookups;
use crate::message::{NameResolves, NamesUnresolved};
use crate::port::NameResolver;

/// Looks up host names with backoff.
pub struct NameLookupActor {
    lookups: Lookups,
    resolver: Rc<dyn NameResolver>,
    resolves: Recipient<NameResolves>,
    timer: Option<SpawnHandle>,
}

impl NameLookupActor {
    /// Creates an actor that reports resolved names to `resolves`.
    pub fn new(resolver: Rc<dyn NameResolver>, resolves: Recipient<NameResolves>) -> Self {
        Self { lookups: Lookups::default(), resolver, resolves, timer: None }
    }

    fn look_up(&mut self, ctx: &mut Context<Self>) {
        for name in self.lookups.due(Instant::now()) {
            let answer = self.resolver.resolves(name.clone());
            ctx.spawn(answer.into_actor(self).map(move |resolves, actor, ctx| {
                if resolves {
                    actor.resolves.do_send(NameResolves { name: name.clone() });
                }
                actor.lookups.answered(&name, Instant::now());
                actor.schedule(ctx);
            }));
        }
        self.schedule(ctx);
    }

    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.lookups.deadline().map(|at| {
            let pause = at.saturating_duration_since(Instant::now());
            ctx.run_later(pause, Self::look_up)
        });
    }
}

impl Actor for NameLookupActor {
    type Context = Context<Self>;
}

impl Handler<NamesUnresolved> for NameLookupActor {
    type Result = ();

    fn handle(&mut self, NamesUnresolved { names }: NamesUnresolved, ctx: &mut Context<Self>) {
        self.lookups.replace(&names, Instant::now());
        self.look_up(ctx);
    }
}
