//! `HaproxySocket` as the source of HAProxy's traffic figures.

use std::time::Duration;

use proxymgr::proxy::haproxy_socket::HaproxySocket;
use proxymgr_actors::model::{SectionTraffic, ServerName};
use proxymgr_actors::port::TrafficReader;
use tokio::net::TcpStream;

use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::haproxy::{RunningHaproxy, versions};
use crate::{DEFAULTS, quiet, service};

#[tokio::test]
async fn sessions_and_checks_are_read_of_every_version() {
    for version in versions() {
        let dir = TestDir::new();
        let (port, dead) = (dir.port(), dir.port());
        let config = format!(
            "{DEFAULTS}listen web\n    bind 127.0.0.1:{port}\n    server a 127.0.0.1:{dead} check inter 100ms fall 1\n\
             listen other\n    bind 127.0.0.1:{}\n",
            dir.port()
        );
        let haproxy = RunningHaproxy::start(&dir, &version, &config).await;
        let socket = HaproxySocket::new(&haproxy.socket, quiet());
        let _clients = (TcpStream::connect(("127.0.0.1", port)).await, TcpStream::connect(("127.0.0.1", port)).await);
        eventually(Duration::from_secs(10), "two open sessions are seen", async || {
            let sections = socket.sections().await.map_err(|error| error.to_string())?;
            check(sections[&service("web")].sessions == 2 && sections[&service("other")].sessions == 0, &sections)
        })
        .await;
        eventually(Duration::from_secs(10), "the failed check is reported", async || {
            let section = socket.section(&service("web")).await.map_err(|error| error.to_string())?;
            let server = section.servers.get(&ServerName::new("a").unwrap()).ok_or("no server a")?;
            let failed = server.check.as_ref().is_some_and(|said| said.starts_with("L4CON"));
            check(failed && server.check_ms.is_some() && server.downtime_s.is_some(), server)?;
            check(section.servers.len() == 1 && section.total.figures.responses.is_some(), &section)
        })
        .await;
        assert_eq!(socket.section(&service("nowhere")).await.unwrap(), SectionTraffic::default(), "{version}");
    }
}
