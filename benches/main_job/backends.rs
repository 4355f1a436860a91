//! New services on a shared port, alternately by `add backend` and by a reload of the same HAProxy: from the definition to
//! the first request that the service answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::percentiles::{millis, p50_p99, percentile};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy;
use crate::support::http::Connection;

/// New services in each way.
const SERVICES: usize = 100;

/// Short, so that the pause between reloads is not measured.
const RELOAD_INTERVAL: Duration = Duration::from_millis(100);
const LOOK_PAUSE: Duration = Duration::from_micros(200);
const GIVE_UP: Duration = Duration::from_secs(30);

pub async fn backends() {
    let Some(version) = haproxy::newest(|version| version.branch >= (3, 4)) else {
        println!("new services at run time: no HAProxy 3.4\n");
        return;
    };
    let dir = TestDir::new();
    let backend = Backend::start(&dir, "backend");
    let front: SocketAddr = ([127, 0, 0, 1], dir.port()).into();
    let define = |name: &str, update: &str| {
        let definition = json!({
            "type": "static", "hosts": [backend.address().to_string()], "port": front.port(), "bind": "127.0.0.1",
            "domains": [host(name)], "update": update, "listen_options": ["mode http"],
        });
        let new = dir.write(format!("services/{name}.new"), definition.to_string());
        let begun = Instant::now();
        std::fs::rename(new, dir.join(format!("services/{name}.json"))).expect("rename in one directory");
        begun
    };
    define("first", "auto");
    let daemon = Daemon::builder(crate::binary(), &dir)
        .haproxy(&version)
        .files(&dir.join("services"))
        .set("haproxy.reload_interval", json!(format!("{}ms", RELOAD_INTERVAL.as_millis())))
        .arg("--log-level=warning");
    let mut daemon = daemon.start();
    daemon.wait_until_haproxy_answers().await;
    served(front, "first").await;
    let mut took = [Vec::new(), Vec::new()];
    let mut reloads = [0, 0];
    for number in 0..SERVICES {
        for (way, update) in ["auto", "reload"].into_iter().enumerate() {
            tokio::time::sleep(RELOAD_INTERVAL * 2).await;
            let before = crate::reload_count(&daemon).await;
            let name = format!("{update}{number}");
            let begun = define(&name, update);
            took[way].push(served(front, &name).await - begun);
            // A reload is counted after the new process serves.
            tokio::time::sleep(RELOAD_INTERVAL * 2).await;
            reloads[way] += crate::reload_count(&daemon).await - before;
        }
    }
    let [added, reloaded] = took.each_ref().map(|took| millis(percentile(took, 0.5)));
    println!("{SERVICES} new services on a shared port in each way, definition -> first answered request\n");
    println!("| HAProxy | `add backend`, p50 / p99 | reload, p50 / p99 | reload as a multiple, p50 | reloads |");
    println!("| --- | --- | --- | --- | --- |");
    println!(
        "| {} | {} | {} | {:.0} | {} / {} |\n",
        version.label,
        p50_p99(&took[0]),
        p50_p99(&took[1]),
        reloaded / added,
        reloads[0],
        reloads[1]
    );
}

fn host(service: &str) -> String {
    format!("{service}.example.org")
}

/// Returns the time of the first request that the service answers.
async fn served(front: SocketAddr, service: &str) -> Instant {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(service));
    let begun = Instant::now();
    loop {
        if let Ok(mut connection) = Connection::open(front).await
            && connection.exchange(&request).await.is_ok_and(|response| response.status == 200)
        {
            return Instant::now();
        }
        assert!(begun.elapsed() < GIVE_UP, "{service} is never served");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
