//! Compares the table of server options with every installed HAProxy: it must match what `add server` accepts.

use proxymgr_actors::decide::grammar::kind::Kind;
use proxymgr_actors::decide::server_options::{self, AtRuntime, ServerOption};
use proxymgr_actors::model::ProxyVersion;

use crate::DEFAULTS;
use crate::support::dir::TestDir;
use crate::support::haproxy::{HaproxyVersion, RunningHaproxy, runtime, versions};

fn sample(option: &ServerOption) -> Option<&'static str> {
    option.value.map(|value| match value {
        Kind::Number(..) => "7",
        kind => kind.samples()[0],
    })
}

/// 2.6 accepts `enabled` and sends the server traffic before it is ready: proxymgr never sends this option.
fn is_never_sent(option: &ServerOption) -> bool {
    option.name == "enabled"
}

#[tokio::test]
async fn table_agrees_with_add_server_of_every_version() {
    for version in versions().into_iter().filter(HaproxyVersion::adds_servers) {
        let dir = TestDir::new();
        let config = format!("{DEFAULTS}listen b\n    bind 127.0.0.1:{}\n    balance roundrobin\n", dir.port());
        let haproxy = RunningHaproxy::start(&dir, &version, &config).await;
        let (major, minor) = version.branch;
        let running = ProxyVersion { major, minor };
        for (at, option) in server_options::all().iter().enumerate().filter(|(_, option)| !is_never_sent(option)) {
            let command =
                format!("add server b/s{at} 127.0.0.1:1 {} {}", option.name, sample(option).unwrap_or_default());
            let answer = runtime(&haproxy.socket, &command).await.unwrap();
            // If HAProxy refuses only the sample value, it accepts the option.
            let refused =
                ["not accepted for dynamic server", "unknown keyword"].iter().any(|part| answer.contains(part));
            let taken = matches!(option.at_runtime, AtRuntime::Since(since) if running >= since);
            assert_eq!(!refused, taken, "{version}: {command}: {answer}");
        }
    }
}

#[tokio::test]
async fn all_options_that_haproxy_lists_are_in_the_table() {
    for version in versions().into_iter().filter(|version| version.branch >= (3, 2)) {
        let dir = TestDir::new();
        let config = format!("{DEFAULTS}listen b\n    bind 127.0.0.1:{}\n    balance roundrobin\n", dir.port());
        let haproxy = RunningHaproxy::start(&dir, &version, &config).await;
        let help = runtime(&haproxy.socket, "add server help").await.unwrap();
        let listed = help.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
        // `set-proxy-v2-tlv-fmt(ID)` has an id in its name, so it cannot be in the table.
        let unknown = Vec::from_iter(listed.filter(|name| server_options::known(name).is_none()));
        assert_eq!(unknown, ["set-proxy-v2-tlv-fmt"], "{version}");
    }
}
