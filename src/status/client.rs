//! Asks a running daemon for its status.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use awc::Client;

use super::report::StatusReport;

/// How long the daemon may take to answer. Its actors alone are given two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes; 50,000 servers take about 10 MB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where a daemon that listens on `listen` can be asked from this machine.
pub fn url_of(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// The status of the daemon at `url`, as it sent it and as it is understood.
pub async fn fetch(url: &str) -> Result<(String, StatusReport), String> {
    let address = format!("{}/api/v1/status", url.trim_end_matches('/'));
    let client = Client::builder().timeout(ANSWER_TIMEOUT).finish();
    let mut response =
        client.get(&address).send().await.map_err(|error| {
            format!("no proxymgr answers at {url}: {error}; is it running, with this status.listen?")
        })?;
    let body = response
        .body()
        .limit(ANSWER_BYTES_MAX)
        .await
        .map_err(|error| format!("the answer of {address} cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if !response.status().is_success() {
        return Err(format!("{address} answers {}: {}", response.status(), text.trim()));
    }
    let report = serde_json::from_str(&text)
        .map_err(|error| format!("what {address} answers is not the status of a proxymgr of this version: {error}"))?;
    Ok((text, report))
}
