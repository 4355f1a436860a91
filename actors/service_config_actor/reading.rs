//! Reads a list of definitions in slices, so that a long one delays nothing else: what changed is parsed, then the guard
//! judges the list as a whole, then services are removed, and at last definitions are applied.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::task::yield_now;

use super::progress::parse;
use super::{Service, ServiceConfigActor};
use crate::limits::DEFINITIONS_AT_ONCE_MAX;
use crate::message::DefinitionsLoaded;
use crate::model::RawDefinition;
use crate::port::DefinitionList;
use crate::snapshot::SERVICES_QUOTA;

impl ServiceConfigActor {
    /// Begins to read this list. What is left to do for an earlier one follows with it, unless the guard blocks it.
    pub(super) fn read_list(&mut self, list: DefinitionList, ctx: &mut Context<Self>) {
        self.reading.list = Some(list);
        self.judge_again(ctx);
    }

    /// Has the guard judge the newest list again, and applies it if it passes.
    pub(super) fn judge_again(&mut self, ctx: &mut Context<Self>) {
        let Some(list) = self.reading.list.clone() else { return };
        self.reading.parsed.retain(|name, (raw, _)| list.get(name) == Some(raw));
        let changed = list.iter().filter(|(name, raw)| self.is_changed(name, raw));
        let unparsed = changed.filter(|(name, _)| !self.reading.parsed.contains_key(*name));
        self.reading.unparsed = unparsed.map(|(name, _)| name.clone()).collect();
        self.reading.is_unjudged = true;
        self.read_on(ctx);
    }

    /// Reads every definition again that was read before.
    pub(super) fn read_all_again(&mut self, ctx: &mut Context<Self>) {
        self.reading.parsed.clear();
        let known = self.services.iter().filter_map(|(name, service)| Some((name.clone(), service.raw.clone()?)));
        for (name, raw) in known {
            // A newer definition is read anyway.
            self.reading.unread.entry(name).or_insert(raw);
        }
        match self.reading.is_unjudged {
            true => self.judge_again(ctx),
            false => self.read_on(ctx),
        }
    }

    /// Applies a list that passed the guard. Of the services that it lacks, those stay that `is_kept` names.
    pub(super) fn apply(&mut self, list: &DefinitionList, is_kept: impl Fn(&Arc<str>) -> bool) {
        self.update_owners();
        let is_gone = |(name, service): &(&Arc<str>, &Service)| {
            !list.contains_key(*name) && (service.good.is_none() || !is_kept(name))
        };
        self.reading.gone = self.services.iter().filter(is_gone).map(|(name, _)| name.clone()).collect();
        self.reading.unread.retain(|name, _| list.contains_key(name));
        let changed: Vec<_> = list.iter().filter(|(name, raw)| self.is_changed(name, raw)).collect();
        self.reading.unread.extend(changed.into_iter().map(|(name, raw)| (name.clone(), raw.clone())));
        self.reading.left_out = true;
    }

    /// Reads the next slice of the list, and schedules the one after it.
    pub(super) fn read_on(&mut self, ctx: &mut Context<Self>) {
        self.parse_some();
        if self.reading.unparsed.is_empty() && std::mem::take(&mut self.reading.is_unjudged) {
            self.consider();
            self.schedule_removal(ctx);
        }
        if !self.reading.is_unjudged {
            self.apply_some();
        }
        if self.reading.is_done() {
            self.list_read();
        } else if !std::mem::replace(&mut self.reading.is_scheduled, true) {
            // A notification would continue before anything else runs.
            ctx.spawn(yield_now().into_actor(self).map(|(), actor, ctx| {
                actor.reading.is_scheduled = false;
                actor.read_on(ctx);
            }));
        }
    }

    fn parse_some(&mut self) {
        let Some(list) = &self.reading.list else { return };
        for name in std::iter::from_fn(|| self.reading.unparsed.pop_first()).take(DEFINITIONS_AT_ONCE_MAX) {
            let Some(raw) = list.get(&name) else { continue };
            let parsed = parse(&name, raw, &self.policy.options);
            self.reading.parsed.insert(name, (raw.clone(), parsed));
        }
    }

    fn apply_some(&mut self) {
        for _ in 0..DEFINITIONS_AT_ONCE_MAX {
            if let Some(name) = self.reading.gone.pop_first() {
                // It may be back in a list that the guard blocks.
                if !self.reading.list.as_ref().is_some_and(|list| list.contains_key(&name)) {
                    self.remove(&name);
                }
                continue;
            }
            if self.reading.unread.is_empty() && std::mem::take(&mut self.reading.left_out) {
                self.reading.unread = self.left_out();
            }
            let Some((name, raw)) = self.reading.unread.pop_first() else { return };
            self.read(&name, raw);
        }
    }

    /// Handles the end of a list, or of a part of it.
    fn list_read(&mut self) {
        self.problems.retain(|name, _| self.services.contains_key(name.as_str()) || name == SERVICES_QUOTA);
        self.recount();
        self.save_guard();
        if std::mem::take(&mut self.reading.is_first) {
            self.peers.loaded.do_send(DefinitionsLoaded);
        }
    }

    /// Returns whether a definition differs from the one that was read last.
    fn is_changed(&self, name: &Arc<str>, raw: &RawDefinition) -> bool {
        self.services.get(name).is_none_or(|known| known.raw.as_ref() != Some(raw))
    }
}
