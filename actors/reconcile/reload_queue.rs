//! The reasons for a reload, its earliest time, and failed reloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use itertools::Itertools;

use super::problem::Problem;
use super::time::backoff;
use crate::decide::base::BaseLayout;
use crate::limits::{
    HISTORY_REASON_CHARS_MAX, REFUSED_BASE_RETRY, REFUSED_BASE_RETRY_MAX, RELOAD_PATIENCE, RELOAD_REASONS_LOGGED_MAX,
    RELOAD_RETRY, RELOAD_RETRY_MAX, RESTART_BACKOFF_MIN,
};
use crate::model::{Moment, ReloadCause, ReloadReason, ServiceName};

/// Reloads that are due, and the outcome of the last one.
#[derive(Debug)]
pub struct ReloadQueue {
    /// The reasons of each service.
    services: BTreeMap<ServiceName, Vec<ReloadReason>>,
    /// The reasons that do not depend on a service.
    general: Vec<ReloadReason>,
    /// No reload before this moment.
    pub not_before: Instant,
    /// Since when a reload has been due while runtime changes went before it.
    due_since: Option<Instant>,
    /// How many reloads failed in a row.
    failures: u32,
    /// The base configuration with which HAProxy did not start, while the base of the last process is good.
    refused_base: Option<RefusedBase>,
    /// The time of the last successful reload, and its reasons.
    pub last: Option<(Instant, Vec<String>)>,
    /// The failure of the last reload, or why a base is not in use.
    pub problem: Problem,
}

/// A base configuration with which HAProxy did not start. It is tried again: the cause may have been outside of it.
#[derive(Debug)]
struct RefusedBase {
    layout: Arc<BaseLayout>,
    /// What happened.
    error: String,
    /// How often in a row.
    failures: u32,
    /// When it is tried again; `None` while it is.
    retry_at: Option<Instant>,
}

impl ReloadQueue {
    /// Creates an empty queue.
    pub fn new(now: Instant) -> Self {
        Self {
            services: BTreeMap::new(),
            general: Vec::new(),
            not_before: now,
            due_since: None,
            failures: 0,
            refused_base: None,
            last: None,
            problem: Problem::default(),
        }
    }

    /// Sets the reasons of a service; an empty list removes it.
    pub fn set(&mut self, service: &ServiceName, reasons: Vec<ReloadReason>) {
        if reasons.is_empty() {
            self.services.remove(service);
        } else {
            self.services.insert(service.clone(), reasons);
        }
    }

    /// Adds a general reason, unless one with the same cause is queued already.
    pub fn request(&mut self, reason: ReloadReason) {
        if !self.general.iter().any(|known| known.cause == reason.cause) {
            self.general.push(reason);
        }
    }

    /// Returns whether a reload is due.
    pub fn is_due(&self) -> bool {
        !self.services.is_empty() || !self.general.is_empty()
    }

    /// Returns whether a reload is due for a general reason.
    pub fn is_due_for_all(&self) -> bool {
        !self.general.is_empty()
    }

    /// Returns whether this service waits for a reload.
    pub fn waits(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// Returns the services that wait for a reload.
    pub fn services(&self) -> BTreeSet<ServiceName> {
        self.services.keys().cloned().collect()
    }

    /// Returns the reasons that do not depend on a service.
    pub fn general(&self) -> &[ReloadReason] {
        &self.general
    }

    /// Returns every reason as a text, the general ones first.
    pub fn reasons(&self) -> Vec<String> {
        let of_service = |(service, reasons): (&ServiceName, &Vec<ReloadReason>)| {
            let reasons: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
            format!("{service}: {}", reasons.join(", "))
        };
        let general = self.general.iter().map(|reason| reason.text.clone());
        general.chain(self.services.iter().map(of_service)).collect()
    }

    /// Returns the causes of all reasons.
    pub fn causes(&self) -> BTreeSet<ReloadCause> {
        self.general.iter().chain(self.services.values().flatten()).map(|reason| reason.cause).collect()
    }

    /// Records since when a reload has been waiting. Returns whether runtime changes have delayed it for too long.
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        if !self.is_due() {
            self.due_since = None;
            return false;
        }
        let since = *self.due_since.get_or_insert(now);
        now >= since.max(self.not_before) + RELOAD_PATIENCE
    }

    /// Returns when a waiting reload becomes overdue; `None` where none waits.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.due_since.map(|since| since.max(self.not_before) + RELOAD_PATIENCE)
    }

    /// Begins a reload for all queued reasons. Returns the general ones, to be queued again if it fails.
    pub fn begin(&mut self) -> Vec<ReloadReason> {
        self.services.clear();
        self.due_since = None;
        std::mem::take(&mut self.general)
    }

    /// Records that a new process serves. Planning finds the reasons of services again.
    pub fn succeeded(&mut self, reasons: Vec<String>, interval: Duration, now: Moment) {
        self.services.clear();
        self.failures = 0;
        self.end_failure(now);
        self.last = Some((now.instant, reasons));
        self.not_before = now.instant + interval;
    }

    /// Ends the problem of the last reload. That of a base which is not in use stays.
    pub fn end_failure(&mut self, now: Moment) {
        match &self.refused_base {
            Some(refused) => drop(self.problem.set(refused.error.clone(), now)),
            None => drop(self.problem.clear()),
        }
    }

    /// Records that no new process could be started: the general reasons are due again after a pause.
    pub fn failed(&mut self, error: String, general: Vec<ReloadReason>, is_serving: bool, now: Moment) {
        self.failures += 1;
        self.problem.set(error, now);
        general.into_iter().for_each(|reason| self.request(reason));
        let pause = match is_serving {
            true => backoff(self.failures, RELOAD_RETRY, RELOAD_RETRY_MAX),
            false => RESTART_BACKOFF_MIN,
        };
        self.not_before = now.instant + pause;
    }

    /// Records that HAProxy did not start with this base, and why.
    pub fn refuse_base(&mut self, layout: Arc<BaseLayout>, error: String, now: Instant) {
        let before = self.refused_base.take().filter(|refused| refused.layout == layout);
        let failures = before.map_or(0, |refused| refused.failures) + 1;
        let retry_at = Some(now + backoff(failures, REFUSED_BASE_RETRY, REFUSED_BASE_RETRY_MAX));
        self.refused_base = Some(RefusedBase { layout, error, failures, retry_at });
    }

    /// Returns whether HAProxy did not start with this base, and it is not tried again now.
    pub fn refuses_base(&self, layout: &Arc<BaseLayout>) -> bool {
        self.refused_base.as_ref().is_some_and(|refused| refused.retry_at.is_some() && refused.layout == *layout)
    }

    /// Returns when the refused base is tried again.
    pub fn base_retry_at(&self) -> Option<Instant> {
        self.refused_base.as_ref()?.retry_at
    }

    /// Tries the refused base again. Returns whether there is one.
    pub fn retry_base(&mut self) -> bool {
        self.refused_base.as_mut().is_some_and(|refused| refused.retry_at.take().is_some())
    }

    /// Forgets the refused base: another one is to be used, or it is in use.
    pub fn forget_refused_base(&mut self) {
        self.refused_base = None;
    }

    /// Makes the replacement of an unknown process on the socket the only reason.
    pub fn replace_stranger(&mut self, reason: ReloadReason) {
        self.general = vec![reason];
    }

    /// Removes all reasons.
    pub fn clear(&mut self) {
        self.services.clear();
        self.general.clear();
        self.due_since = None;
    }
}

/// Returns the first reasons of a reload, for one line of the log.
pub fn in_short(reasons: &[String]) -> String {
    let clipped = |reason: &String| reason.chars().take(HISTORY_REASON_CHARS_MAX).collect::<String>();
    let first = reasons.iter().take(RELOAD_REASONS_LOGGED_MAX).map(clipped).join("; ");
    match reasons.len().saturating_sub(RELOAD_REASONS_LOGGED_MAX) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn queue() -> (ReloadQueue, Moment) {
        let now = Clock::starting_at(1_000).now();
        (ReloadQueue::new(now.instant), now)
    }

    fn web() -> ServiceName {
        ServiceName::new("web").unwrap()
    }

    #[test]
    fn reasons_name_their_service() {
        let (mut queue, _) = queue();
        queue.set(&web(), vec![ReloadCause::ServiceNew.because("the service is new")]);
        queue.request(ReloadCause::Operator.because("an operator asked for it"));
        queue.request(ReloadCause::Operator.because("an operator asked again"));
        assert_eq!(queue.reasons(), ["an operator asked for it", "web: the service is new"]);
        assert_eq!(queue.causes(), [ReloadCause::ServiceNew, ReloadCause::Operator].into());
        queue.set(&web(), Vec::new());
        assert!(queue.is_due() && queue.is_due_for_all() && !queue.waits(&web()));
    }

    #[test]
    fn first_reasons_and_a_count_are_logged() {
        let reasons: Vec<String> = (1..=50).map(|n| format!("service-{n}: {}", "x".repeat(1_000))).collect();
        let text = in_short(&reasons);
        assert!(text.starts_with("service-1: x") && text.ends_with("; and 45 more"), "{text}");
        assert!(text.len() < 6 * HISTORY_REASON_CHARS_MAX);
        assert_eq!(in_short(&reasons[..1]).len(), HISTORY_REASON_CHARS_MAX);
    }

    #[test]
    fn waiting_reload_becomes_overdue() {
        let (mut queue, now) = queue();
        assert!(!queue.is_overdue(now.instant) && queue.overdue_at().is_none());
        queue.request(ReloadCause::Settings.because("settings"));
        assert!(!queue.is_overdue(now.instant));
        assert_eq!(queue.overdue_at(), Some(now.instant + RELOAD_PATIENCE));
        assert!(queue.is_overdue(now.instant + RELOAD_PATIENCE));
    }

    #[test]
    fn failed_reload_keeps_its_general_reasons() {
        let (mut queue, now) = queue();
        queue.request(ReloadCause::Settings.because("settings"));
        queue.set(&web(), vec![ReloadCause::ServiceNew.because("new")]);
        let general = queue.begin();
        assert!(!queue.is_due());
        queue.failed("disk full".to_owned(), general, true, now);
        assert_eq!(queue.reasons(), ["settings"]);
        assert_eq!((queue.problem.text(), queue.not_before), (Some("disk full"), now.instant + RELOAD_RETRY));
        queue.failed("disk full".to_owned(), Vec::new(), true, now);
        assert_eq!(queue.not_before, now.instant + 2 * RELOAD_RETRY);
    }

    #[test]
    fn restart_of_absent_process_does_not_wait_for_retry() {
        let (mut queue, now) = queue();
        queue.failed("no process".to_owned(), Vec::new(), false, now);
        assert_eq!(queue.not_before, now.instant + RESTART_BACKOFF_MIN);
    }

    #[test]
    fn success_clears_problem_and_spaces_reloads() {
        let (mut queue, now) = queue();
        queue.failed("x".to_owned(), Vec::new(), true, now);
        queue.succeeded(vec!["r".to_owned()], Duration::from_secs(2), now);
        assert_eq!((queue.problem.text(), queue.not_before), (None, now.instant + Duration::from_secs(2)));
    }

    #[test]
    fn cleared_queue_is_not_due() {
        let (mut queue, now) = queue();
        queue.request(ReloadCause::Settings.because("settings"));
        queue.set(&web(), vec![ReloadCause::ServiceNew.because("new")]);
        assert!(!queue.is_overdue(now.instant));
        queue.clear();
        assert!(!queue.is_due() && queue.reasons().is_empty() && queue.overdue_at().is_none());
    }

    #[test]
    fn reasons_of_services_concern_only_those() {
        let (mut queue, _) = queue();
        queue.set(&web(), vec![ReloadCause::ServiceNew.because("new")]);
        assert!(queue.is_due() && !queue.is_due_for_all() && queue.waits(&web()));
        assert_eq!(queue.services(), [web()].into());
    }

    #[test]
    fn reload_waits_for_its_time_before_it_is_overdue() {
        let (mut queue, now) = queue();
        queue.succeeded(Vec::new(), Duration::from_secs(20), now);
        queue.request(ReloadCause::Settings.because("settings"));
        assert!(!queue.is_overdue(now.instant));
        let due = now.instant + Duration::from_secs(20) + RELOAD_PATIENCE;
        assert_eq!(queue.overdue_at(), Some(due));
        assert!(!queue.is_overdue(due - Duration::from_millis(1)) && queue.is_overdue(due));
    }

    #[test]
    fn unknown_process_is_the_only_reason() {
        let (mut queue, _) = queue();
        queue.request(ReloadCause::Settings.because("settings"));
        queue.replace_stranger(ReloadCause::Stranger.because("another process"));
        assert_eq!(queue.reasons(), ["another process"]);
    }
}
