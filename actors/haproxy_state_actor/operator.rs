//! What operators ask of the running HAProxy.

use actix::{Context, Handler};
use slog::info;

use super::HaproxyStateActor;
use crate::journal::{Event, JournalEntry};
use crate::limits::ORDER_REASON_CHARS_MAX;
use crate::message::{ChooseServerState, Record, ReloadProxy};
use crate::model::ReloadCause;
use crate::operator::OrderRefused;
use crate::snapshot::ProxyPhase;

impl Handler<ReloadProxy> for HaproxyStateActor {
    type Result = Result<String, OrderRefused>;

    fn handle(&mut self, ReloadProxy { reason }: ReloadProxy, ctx: &mut Context<Self>) -> Self::Result {
        if self.phase == ProxyPhase::Stopping {
            return Err(OrderRefused::NotNow("proxymgr is stopping".to_owned()));
        }
        let said = printable(reason)?;
        let why =
            said.map_or_else(|| "an operator asked for it".to_owned(), |said| format!("an operator asked: {said}"));
        info!(self.log, "an operator asks for a reload"; "reason" => &why);
        self.peers.journal.do_send(Record(JournalEntry::new(Event::Ordered { what: format!("reload ({why})") })));
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

    fn handle(&mut self, _: ChooseServerState, _: &mut Context<Self>) -> Self::Result {
        Err(OrderRefused::NotNow("not available yet".to_owned()))
    }
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
