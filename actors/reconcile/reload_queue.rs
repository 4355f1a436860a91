//! Why a reload is due, when it may happen, and what failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::problem::Problem;
use super::time::{Now, backoff};
use crate::limits::{RELOAD_PATIENCE, RELOAD_RETRY, RELOAD_RETRY_MAX, RESTART_BACKOFF_MIN};
use crate::model::{ReloadCause, ReloadReason, ServiceName};

/// Reloads that are due, and the outcome of the last one.
#[derive(Debug)]
pub struct ReloadQueue {
    /// Why each service needs a reload.
    services: BTreeMap<ServiceName, Vec<ReloadReason>>,
    /// Why a reload is due whatever the services need.
    general: Vec<ReloadReason>,
    /// No reload before this moment.
    pub not_before: Instant,
    /// Since when a reload has been due while runtime changes went before it.
    due_since: Option<Instant>,
    /// How many reloads failed in a row.
    failures: u32,
    /// The base configuration that no process could be started with, while that of the last one is good.
    pub refused_base: Option<Arc<str>>,
    /// When the last reload succeeded, and its reasons.
    pub last: Option<(Instant, Vec<String>)>,
    /// Why the last reload failed.
    pub problem: Problem,
}

impl ReloadQueue {
    /// Nothing is due.
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

    /// Why this service needs a reload now; empty where it needs none.
    pub fn set(&mut self, service: &ServiceName, reasons: Vec<ReloadReason>) {
        if reasons.is_empty() {
            self.services.remove(service);
        } else {
            self.services.insert(service.clone(), reasons);
        }
    }

    /// A reload is due for this reason, whatever the services need. One of a cause that is queued already adds nothing.
    pub fn request(&mut self, reason: ReloadReason) {
        if !self.general.iter().any(|known| known.cause == reason.cause) {
            self.general.push(reason);
        }
    }

    /// Whether anything is due.
    pub fn is_due(&self) -> bool {
        !self.services.is_empty() || !self.general.is_empty()
    }

    /// Whether a reload is due whatever the services need.
    pub fn is_due_for_all(&self) -> bool {
        !self.general.is_empty()
    }

    /// Whether this service waits for a reload.
    pub fn waits(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// The services that wait for a reload.
    pub fn services(&self) -> BTreeSet<ServiceName> {
        self.services.keys().cloned().collect()
    }

    /// Why a reload is due whatever the services need.
    pub fn general(&self) -> &[ReloadReason] {
        &self.general
    }

    /// Every reason as a text: the general ones first.
    pub fn reasons(&self) -> Vec<String> {
        let of_service = |(service, reasons): (&ServiceName, &Vec<ReloadReason>)| {
            let reasons: Vec<&str> = reasons.iter().map(|reason| reason.text.as_str()).collect();
            format!("{service}: {}", reasons.join(", "))
        };
        let general = self.general.iter().map(|reason| reason.text.clone());
        general.chain(self.services.iter().map(of_service)).collect()
    }

    /// The kinds of these reasons.
    pub fn causes(&self) -> BTreeSet<ReloadCause> {
        self.general.iter().chain(self.services.values().flatten()).map(|reason| reason.cause).collect()
    }

    /// Notes since when a reload has been waiting. Returns whether runtime changes have gone before it for too long.
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        if !self.is_due() {
            self.due_since = None;
            return false;
        }
        let since = *self.due_since.get_or_insert(now);
        now >= since.max(self.not_before) + RELOAD_PATIENCE
    }

    /// When a waiting reload becomes overdue; none where none waits.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.due_since.map(|since| since.max(self.not_before) + RELOAD_PATIENCE)
    }

    /// A reload begins with everything that is due. Returns the general reasons, for the case that it fails.
    pub fn begin(&mut self) -> Vec<ReloadReason> {
        self.services.clear();
        self.due_since = None;
        std::mem::take(&mut self.general)
    }

    /// A new process serves. What services need is found again by planning them.
    pub fn succeeded(&mut self, reasons: Vec<String>, interval: Duration, now: Instant) {
        self.services.clear();
        self.failures = 0;
        self.problem.clear();
        self.last = Some((now, reasons));
        self.not_before = now + interval;
    }

    /// No new process could be had: the general reasons are due again after a pause.
    pub fn failed(&mut self, error: String, general: Vec<ReloadReason>, is_serving: bool, now: Now) {
        self.failures += 1;
        self.problem.set(error, now);
        general.into_iter().for_each(|reason| self.request(reason));
        let pause = match is_serving {
            true => backoff(self.failures, RELOAD_RETRY, RELOAD_RETRY_MAX),
            false => RESTART_BACKOFF_MIN,
        };
        self.not_before = now.instant + pause;
    }

    /// Another process answers on the socket: nothing else is a reason until it is replaced.
    pub fn replace_stranger(&mut self, reason: ReloadReason) {
        self.general = vec![reason];
    }

    /// Nothing is due any more.
    pub fn clear(&mut self) {
        self.services.clear();
        self.general.clear();
        self.due_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (ReloadQueue, Now) {
        let instant = Instant::now();
        (ReloadQueue::new(instant), Now { instant, unix_ms: 1_000 })
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
        queue.succeeded(vec!["r".to_owned()], Duration::from_secs(2), now.instant);
        assert_eq!((queue.problem.text(), queue.not_before), (None, now.instant + Duration::from_secs(2)));
    }
}
