//! `/metrics` of a real daemon, checked with the tools of Prometheus.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::stage::{LIMIT, Stage};
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::support::http;

/// Returns the whole text, in the default format.
pub async fn scrape(address: SocketAddr) -> String {
    let response = http::get(address, "/metrics").await.expect("the daemon answers");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    response.text()
}

/// Returns the value of a sample; 0 if it does not exist.
fn value(text: &str, sample: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a sample ends with a number"))
}

/// Returns promtool, as unpacked by `tests/setup/install.sh test` or installed.
pub fn promtool() -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/promtool/promtool");
    let program = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    Command::new(program)
}

#[tokio::test]
async fn promtool_accepts_metrics() {
    let daemon = Stage::new(&["10.0.0.1"]).start().await;
    let text = scrape(daemon.status_address()).await;
    let mut command = promtool();
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checker = command.spawn().expect("promtool is here: tests/setup/install.sh test");
    checker.stdin.take().expect("its input is piped").write_all(text.as_bytes()).unwrap();
    let checked = checker.wait_with_output().unwrap();
    let findings = [checked.stdout, checked.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(checked.status.success() && findings.is_empty(), "{findings}\n{text}");
}

#[tokio::test]
async fn promtool_reads_openmetrics() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = stage.start().await;
    let mut connection = http::Connection::open(daemon.status_address()).await.unwrap();
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    let response = connection.exchange(&request).await.unwrap();
    let text = response.text();
    let media_type = response.header("content-type").unwrap();
    assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"), "{media_type}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    // promtool reads OpenMetrics only to create blocks, which need a time for each sample.
    let dated =
        text.lines().map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1\n") });
    let file = stage.dir.write("openmetrics.txt", dated.collect::<String>());
    let mut command = promtool();
    command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(file).arg(stage.dir.join("blocks"));
    let made = command.output().expect("promtool is here: tests/setup/install.sh test");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn figures_follow_changes() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let mut daemon = stage.start().await;
    let address = daemon.status_address();
    let moved = async |what: &str, samples: &[(&str, f64)]| {
        daemon
            .eventually(LIMIT, what, async || {
                let text = scrape(address).await;
                let wrong = samples.iter().find(|(sample, wanted)| value(&text, sample) != *wanted);
                wrong.map_or(Ok(()), |(sample, wanted)| {
                    Err(format!("{sample} is {}, not {wanted}", value(&text, sample)))
                })
            })
            .await;
    };
    let started = [("proxymgr_reload_causes_total{cause=\"start\"}", 1.0), ("proxymgr_services", 1.0)];
    moved("the first start is counted", &started).await;

    stage.web(&["10.0.0.1"]);
    moved(
        "a removal is counted",
        &[
            ("proxymgr_changes_seen_total", 2.0),
            ("proxymgr_servers_changed_total{change=\"removed\"}", 1.0),
            ("proxymgr_runtime_changes_total{change=\"disable\"}", 1.0),
            ("proxymgr_decisions_total{class=\"runtime-disable\"}", 1.0),
            ("proxymgr_apply_latency_seconds_count{class=\"runtime-disable\"}", 1.0),
            ("proxymgr_apply_latency_seconds_bucket{le=\"30.0\",class=\"runtime-disable\"}", 1.0),
            ("proxymgr_service_servers{service=\"web\",state=\"maint\"}", 1.0),
            ("proxymgr_service_servers_desired{service=\"web\"}", 1.0),
            ("proxymgr_servers_desired", 1.0),
            ("proxymgr_reloads_total", 1.0),
        ],
    )
    .await;

    stage.web(&[]);
    moved(
        "the guard blocks an empty list",
        &[("proxymgr_sources{kind=\"static\",state=\"held\"}", 1.0), ("proxymgr_service_held{service=\"web\"}", 1.0)],
    )
    .await;

    let pid = haproxy::info(&daemon.socket()).await.unwrap()["Pid"].parse().unwrap();
    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    moved(
        "the exit of HAProxy is counted",
        &[
            ("proxymgr_haproxy_exits_total", 1.0),
            ("proxymgr_reload_causes_total{cause=\"exit\"}", 1.0),
            ("proxymgr_haproxy_phase{phase=\"running\"}", 1.0),
            ("proxymgr_ready", 1.0),
        ],
    )
    .await;
    daemon.terminate().await;
}

#[tokio::test]
async fn series_per_service_can_be_disabled() {
    let stage = Stage::new(&["10.0.0.1"]);
    let mut daemon = stage.builder().set("metrics.per_service", false.into()).start();
    daemon.wait_until_haproxy_answers().await;
    let text = scrape(daemon.status_address()).await;
    assert!(!text.contains("service=\"web\""), "{text}");
    daemon
        .eventually(LIMIT, "the sums hold the service", async || {
            let text = scrape(daemon.status_address()).await;
            check(value(&text, "proxymgr_servers{state=\"ready\"}") == 1.0, &text)
        })
        .await;
}
