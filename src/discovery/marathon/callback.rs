//! The older way to hear of events: Marathon posts each of them to a URL that was registered at `/v2/eventSubscriptions`
//! (its flag `--event_subscriber http_callback`).
//!
//! Whoever knows the URL can have everything read again, and nothing else. It has a part that nobody guesses, new in each
//! run; what an earlier run registered and did not take back is taken back by the next.

use std::fmt;
use std::time::Duration;

use proxymgr_actors::limits::{HTTP_RETRY_MAX, HTTP_RETRY_MIN, MARATHON_FAREWELL_TIMEOUT};
use serde::Deserialize;
use slog::{Logger, info, warn};
use tokio::time::{sleep, timeout};

use super::cluster::EVENTS;
use crate::discovery::backoff::Backoff;
use crate::discovery::http::{HttpClient, HttpError, Request, Servers};

/// Where Marathon posts to.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// What every run's URL begins with.
    stem: String,
    secret: String,
}

impl Callback {
    /// Below this server's URL, at `path` and a secret.
    pub fn new(server: &Servers, path: &str) -> Result<Self, String> {
        let [url] = server.urls() else {
            return Err("there must be one URL, by which Marathon reaches the status listener".to_owned());
        };
        let mut bytes = [0_u8; 16];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| "this machine gives no random numbers".to_owned())?;
        Ok(Self { stem: format!("{url}{path}/"), secret: format!("{:032x}", u128::from_be_bytes(bytes)) })
    }

    /// The part of the URL that nobody guesses.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    fn url(&self) -> String {
        format!("{}{}", self.stem, self.secret)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callback({}***)", self.stem)
    }
}

/// Whether a body that was posted is an event after which apps or tasks may be different; an error where it is none.
pub fn is_news(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        event_type: String,
    }
    let event: Event = serde_json::from_slice(body).map_err(|error| format!("not an event of Marathon: {error}"))?;
    Ok(EVENTS.contains(&event.event_type.as_str()))
}

/// What `/v2/eventSubscriptions` answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscriptions {
    callback_urls: Vec<String>,
}

/// Keeps a callback registered.
pub(super) struct Registration {
    pub(super) client: HttpClient,
    pub(super) callback: Callback,
    /// How often it is looked whether it still is.
    pub(super) interval: Duration,
    pub(super) log: Logger,
}

impl Registration {
    /// Registers it, and again whenever it is lost.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut told = None;
        loop {
            let pause = match self.ensure().await {
                Ok(()) => {
                    backoff.reset();
                    told = None;
                    self.interval
                }
                Err(error) => {
                    if told.replace(error.failure) != Some(error.failure) {
                        warn!(self.log, "Marathon does not register marathon.callback; its apps are read from time to time";
                            "error" => %error);
                    }
                    backoff.pause()
                }
            };
            sleep(pause).await;
        }
    }

    async fn ensure(&self) -> Result<(), HttpError> {
        let Callback { stem, .. } = &self.callback;
        let url = self.callback.url();
        let registered = self.client.send(&Request::get(PATH)).await?.success()?.json::<Subscriptions>().await?;
        let ours = |known: &&String| known.starts_with(stem.as_str());
        for left_over in registered.callback_urls.iter().filter(ours).filter(|known| **known != url) {
            self.client.send(&Request::delete(PATH).query(QUERY, left_over.as_str())).await?.success()?;
        }
        if !registered.callback_urls.contains(&url) {
            self.client.send(&Request::post(PATH).query(QUERY, url)).await?.success()?;
            info!(self.log, "Marathon posts its events to marathon.callback"; "url" => format!("{stem}***"));
        }
        Ok(())
    }
}

const PATH: &str = "/v2/eventSubscriptions";
const QUERY: &str = "callbackUrl";

/// Takes a callback back, in bounded time.
pub(super) async fn deregister(client: &HttpClient, callback: &Callback, log: &Logger) {
    let request = Request::delete(PATH).query(QUERY, callback.url());
    let taken_back = timeout(MARATHON_FAREWELL_TIMEOUT, async { client.send(&request).await?.success() }).await;
    match taken_back {
        Ok(Ok(_)) => info!(log, "Marathon no longer posts its events to marathon.callback"),
        Ok(Err(error)) => warn!(log, "marathon.callback stays registered until the next start"; "error" => %error),
        Err(_) => warn!(log, "marathon.callback stays registered until the next start"; "error" => "no answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_changes_something_is_news_and_what_is_no_event_is_refused() {
        assert_eq!(is_news(br#"{"eventType": "status_update_event", "taskStatus": "TASK_RUNNING"}"#), Ok(true));
        assert_eq!(is_news(br#"{"eventType": "api_post_event"}"#), Ok(false));
        for garbage in [&b""[..], b"{}", b"[1]", b"\xff", br#"{"eventType": 7}"#] {
            assert!(is_news(garbage).unwrap_err().starts_with("not an event of Marathon"));
        }
    }

    #[test]
    fn the_secret_differs_in_each_run_and_is_not_shown() {
        let server: Servers = "http://10.0.0.5:8470".parse().unwrap();
        let [one, other] = [(); 2].map(|()| Callback::new(&server, "/callbacks/marathon").unwrap());
        assert_ne!(one.secret(), other.secret());
        assert_eq!(one.secret().len(), 32);
        assert!(one.url().starts_with("http://10.0.0.5:8470/callbacks/marathon/"));
        assert!(!format!("{one:?}").contains(one.secret()));
    }
}
