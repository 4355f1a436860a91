//! The source of one watcher: opening, failure and recovery.

use actix::{AsyncContext, Context};
use slog::{info, warn};

use super::WatcherActor;
use crate::journal::Event;
use crate::message::HostsUnknown;

impl WatcherActor {
    /// Opens the source of the definition. The previous source stays open until then.
    pub(super) fn open_source(&mut self, ctx: &mut Context<Self>) {
        let watcher = ctx.address().recipient();
        match self.sources.open(&self.definition.name, &self.definition.source, watcher) {
            Ok(source) => {
                self.source = Some(source);
                self.problems.definition = None;
            }
            Err(error) if self.source.is_some() => {
                warn!(self.log, "the new source cannot be opened, the previous one stays"; "error" => &error);
                self.record(None, Event::InputRefused { problem: error.clone() });
                self.problems.definition = Some(error);
            }
            Err(error) => self.source_failed(error),
        }
    }

    /// Handles a source that cannot be read; its hosts are kept.
    pub(super) fn source_failed(&mut self, error: String) {
        let in_service = self.hosts.in_service().map(|hosts| hosts.len());
        if self.health.error.is_none() {
            let kept = in_service.unwrap_or_default();
            warn!(self.log, "the source cannot be used, its last good hosts stay"; "error" => &error, "hosts" => kept);
            self.health.since_unix_ms = self.clock.unix_ms();
            self.record(None, Event::SourceLost { error: error.clone() });
        }
        self.health.error = Some(error);
        if in_service.is_none() {
            self.peers.unknown.do_send(HostsUnknown { service: self.definition.name.clone() });
        }
    }

    /// Has the source confirmed, and schedules the next confirmation.
    pub(super) fn confirm(&mut self, ctx: &mut Context<Self>) {
        if let Some(source) = &self.source {
            source.confirm();
            if self.confirmation.requested() && self.health.error.is_none() {
                self.source_failed(self.confirmation.error());
            }
        }
        ctx.run_later(self.confirmation.pause(), Self::confirm);
    }

    /// Records a change that the watch of the source did not report.
    pub(super) fn change_missed(&mut self) {
        self.health.missed_changes += 1;
        warn!(self.log, "the source did not report a change, the periodic confirmation found it";
            "source" => &self.definition.source.kind);
        self.record(None, Event::ChangeMissed);
    }

    /// Records that the source was read.
    pub(super) fn source_read(&mut self) {
        let now = self.clock.unix_ms();
        self.health.read_at_unix_ms = Some(now);
        if self.health.error.take().is_some() {
            info!(self.log, "the source can be read again");
            self.health.since_unix_ms = now;
            self.record(None, Event::SourceBack);
        }
    }
}
