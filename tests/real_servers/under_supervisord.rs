//! The daemon under a real supervisord, with the shipped configuration.

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon};
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::haproxy;
use crate::support::supervisord::Supervisord;

#[tokio::test]
async fn supervisord_starts_stops_restarts_daemon() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let settings = daemon(&dir).files(&files.services());
    let socket = settings.socket();
    let config = settings.write_config();
    let shipped = include_str!("../../config/supervisord/proxymgr.conf");
    let replace = [
        ("/usr/local/bin/proxymgr", env!("CARGO_BIN_EXE_proxymgr")),
        ("/etc/proxymgr/proxymgr.yml", config.to_str().expect("UTF-8")),
    ];
    let mut supervisord = Supervisord::start(&dir, shipped, &replace).await;
    let wanted = addresses(&backends);
    let serves = async || {
        let ready = haproxy::ready_servers(&socket, "web").await.map_err(|error| error.to_string())?;
        check(ready == wanted, &ready)
    };
    supervisord.wait_for_state("proxymgr", "RUNNING").await;
    eventually(LIMIT, "HAProxy serves", serves).await;

    let crashed = supervisord.pid("proxymgr").await.expect("it runs");
    kill(crashed, Signal::SIGKILL).expect("it runs");
    eventually(LIMIT, "supervisord starts another daemon", async || {
        let now = supervisord.pid("proxymgr").await;
        check(now.is_some_and(|now| now != crashed), &now)
    })
    .await;
    supervisord.wait_for_state("proxymgr", "RUNNING").await;
    eventually(LIMIT, "HAProxy serves after the crash", serves).await;

    supervisord.ctl(&["stop", "proxymgr"]).await;
    supervisord.wait_for_state("proxymgr", "STOPPED").await;
    assert!(haproxy::info(&socket).await.is_err(), "HAProxy has stopped with its daemon");
    supervisord.ctl(&["start", "proxymgr"]).await;
    eventually(LIMIT, "HAProxy serves after the restart", serves).await;
    supervisord.terminate().await;
}
