//! The callback for events, for old versions of Marathon: it posts each event to a URL that is registered at
//! `/v2/eventSubscriptions` (flag `--event_subscriber http_callback`).
//!
//! A caller who knows the URL can trigger a read of the apps, and nothing else. The URL contains a secret that is new
//! in each run. Registrations that an earlier run left are removed by the next run.

use std::fmt;
use std::time::Duration;

use proxymgr_actors::limits::{HTTP_RETRY_MAX, HTTP_RETRY_MIN, MARATHON_FAREWELL_TIMEOUT};
use serde::Deserialize;
use slog::{Logger, info, warn};
use tokio::time::{sleep, timeout};

use crate::discovery::backoff::Backoff;
use crate::discovery::http::{HttpClient, HttpError, Request, Servers};

/// The URL that Marathon posts its events to.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// The beginning of the URL, which is the same in every run.
    stem: String,
    secret: String,
}

impl Callback {
    /// The callback at `path` and a new secret, below the URL of this server.
    pub fn new(server: &Servers, path: &str) -> Result<Self, String> {
        let [url] = server.urls() else {
            return Err("expected one URL, at which Marathon reaches the status listener".to_owned());
        };
        let mut bytes = [0_u8; 16];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| "no random numbers are available".to_owned())?;
        Ok(Self { stem: format!("{url}{path}/"), secret: format!("{:032x}", u128::from_be_bytes(bytes)) })
    }

    /// The secret part of the URL.
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

/// The response of `/v2/eventSubscriptions`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscriptions {
    callback_urls: Vec<String>,
}

/// The registration of a callback, which is renewed when Marathon loses it.
pub(super) struct Registration {
    pub(super) client: HttpClient,
    pub(super) callback: Callback,
    /// How often the registration is checked.
    pub(super) interval: Duration,
    pub(super) log: Logger,
}

impl Registration {
    /// Registers the callback, and again whenever the registration is lost.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(HTTP_RETRY_MIN, HTTP_RETRY_MAX);
        let mut logged = None;
        loop {
            let pause = match self.ensure().await {
                Ok(()) => {
                    backoff.reset();
                    logged = None;
                    self.interval
                }
                Err(error) => {
                    if logged.replace(error.failure) != Some(error.failure) {
                        warn!(self.log, "cannot register marathon.callback; polling Marathon's apps";
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
        for stale in registered.callback_urls.iter().filter(ours).filter(|known| **known != url) {
            self.client.send(&Request::delete(PATH).query(QUERY, stale.as_str())).await?.success()?;
        }
        if !registered.callback_urls.contains(&url) {
            self.client.send(&Request::post(PATH).query(QUERY, url)).await?.success()?;
            info!(self.log, "marathon.callback is registered"; "url" => format!("{stem}***"));
        }
        Ok(())
    }
}

const PATH: &str = "/v2/eventSubscriptions";
const QUERY: &str = "callbackUrl";

/// Removes the registration of a callback, in bounded time.
pub(super) async fn deregister(client: &HttpClient, callback: &Callback, log: &Logger) {
    let request = Request::delete(PATH).query(QUERY, callback.url());
    let removed = timeout(MARATHON_FAREWELL_TIMEOUT, async { client.send(&request).await?.success() }).await;
    match removed {
        Ok(Ok(_)) => info!(log, "marathon.callback is deregistered"),
        Ok(Err(error)) => {
            warn!(log, "cannot deregister marathon.callback; it stays registered until the next start"; "error" => %error)
        }
        Err(_) => {
            warn!(log, "cannot deregister marathon.callback; it stays registered until the next start"; "error" => "no answer in time")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_new_in_each_run_and_never_shown() {
        let server: Servers = "http://10.0.0.5:8470".parse().unwrap();
        let [one, other] = [(); 2].map(|()| Callback::new(&server, "/callbacks/marathon").unwrap());
        assert_ne!(one.secret(), other.secret());
        assert_eq!(one.secret().len(), 32);
        assert!(one.url().starts_with("http://10.0.0.5:8470/callbacks/marathon/"));
        assert!(!format!("{one:?}").contains(one.secret()));
    }
}
