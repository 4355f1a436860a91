//! A level that is followed over HTTP, from one answer that says something new to the next.
//!
//! What all such sources have in common: nothing is told twice, a short disconnect is not told at all, attempts at a
//! server that is away are spread out, and a refresh reads and tells everything again.

use std::rc::Rc;

use proxymgr_actors::limits::{HTTP_LOSS_GRACE, HTTP_RETRY_MAX, HTTP_RETRY_MIN};
use proxymgr_actors::port::OpenSource;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::http::{HttpError, HttpFailure};

/// What can be followed.
pub(super) trait Followed: 'static {
    /// All that is the case at one time.
    type Level: PartialEq;

    /// Waits until there is something to tell, at first only as long as it takes to read it, and says when that was
    /// seen. After a failure it is called again. It may be dropped before its end, but only to [`Self::start_over`].
    async fn next(&mut self) -> Result<(Self::Level, Instant), HttpError>;

    /// Has everything read again by the next call.
    fn start_over(&mut self);

    /// Tells the level, or why it cannot be told.
    fn report(&self, level: Result<&Self::Level, String>, seen_at: Instant);
}

/// A level that is being followed, until this is dropped.
pub(super) struct OpenFollowed {
    task: AbortHandle,
    refresh: Rc<Notify>,
}

impl OpenFollowed {
    /// Follows it.
    pub(super) fn start(followed: impl Followed) -> Self {
        let refresh = Rc::new(Notify::new());
        let following = Following {
            followed,
            refresh: refresh.clone(),
            level: None,
            told: Told::Nothing,
            failing_since: None,
            backoff: Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX),
        };
        Self { task: tokio::task::spawn_local(following.run()).abort_handle(), refresh }
    }
}

impl OpenSource for OpenFollowed {
    fn refresh(&self) {
        self.refresh.notify_one();
    }
}

impl Drop for OpenFollowed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the receiver of the reports knows.
#[derive(PartialEq, Eq)]
enum Told {
    /// Nothing, or no longer what is the case.
    Nothing,
    /// The level as it is.
    Level,
    /// That it cannot be read, for this kind of reason: the words may differ from attempt to attempt.
    Failure(HttpFailure),
}

struct Following<F: Followed> {
    followed: F,
    refresh: Rc<Notify>,
    level: Option<F::Level>,
    told: Told,
    failing_since: Option<Instant>,
    backoff: Backoff,
}

impl<F: Followed> Following<F> {
    async fn run(mut self) {
        loop {
            let next = tokio::select! {
                biased;
                () = self.refresh.notified() => {
                    self.start_over();
                    continue;
                }
                next = self.followed.next() => next,
            };
            match next {
                Ok((level, seen_at)) => self.tell(level, seen_at),
                Err(error) => {
                    self.tell_failure(error);
                    tokio::select! {
                        () = sleep(self.backoff.pause()) => {}
                        () = self.refresh.notified() => self.start_over(),
                    }
                }
            }
        }
    }

    fn start_over(&mut self) {
        self.told = Told::Nothing;
        self.followed.start_over();
    }

    fn tell(&mut self, level: F::Level, seen_at: Instant) {
        self.failing_since = None;
        self.backoff.reset();
        let is_new = self.level.as_ref() != Some(&level);
        let known = self.level.insert(level);
        if is_new || self.told != Told::Level {
            self.followed.report(Ok(known), seen_at);
            self.told = Told::Level;
        }
    }

    fn tell_failure(&mut self, error: HttpError) {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        // A server that restarts, and an election, are over soon.
        let may_be_short = matches!(error.failure, HttpFailure::Unreachable | HttpFailure::Status(500..));
        let in_grace = may_be_short && self.told == Told::Level && now.duration_since(since) < HTTP_LOSS_GRACE;
        let told = Told::Failure(error.failure);
        if !in_grace && self.told != told {
            self.followed.report(Err(error.to_string()), now);
            self.told = told;
        }
    }
}
