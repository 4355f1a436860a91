//! Recordings of a daemon are replayed, with the same and with other settings.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{self, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::dir::TestDir;
use crate::support::eventually::check;

const SECRET: &str = "c2VjcmV0";

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the recording is there");
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

#[tokio::test]
async fn recording_is_replayed_and_compared() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 4);
    let recording = dir.join("recording.jsonl");
    let check = format!("http-check send hdr Authorization {SECRET}");
    let definition = json!({"listen_options": ["option httpchk", check], "token": SECRET, "max_removal": 1});
    files.define("web", dir.port(), definition);
    files.hosts("web", &backends);
    let builder = daemon(&dir).files(&files.services()).arg("--record").arg(recording.to_str().expect("a plain path"));
    let mut daemon = builder.clone().start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    // A change during HAProxy's start is applied by that start, whose duration is not recorded.
    stage::reloads(&daemon).await;
    // In the replay a start takes as long as in the simulation: the recorded change must come later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    files.hosts("web", &backends[..1]);
    wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
    files.hosts("web", []);
    wait_for_state(&daemon, "the empty list is blocked", "watcher", |state| !state["held"].is_null()).await;
    assert!(daemon.terminate().await.success());

    let text = fs::read_to_string(&recording).expect("the recording is there");
    assert!(!text.contains(SECRET), "{text}");
    let lines = lines(&recording);
    assert_eq!(lines[0]["proxymgr_recording"], 1);
    let outcomes: Vec<&Value> = lines.iter().filter_map(|line| line.get("outcome")).collect();
    for event in ["reloaded", "applied", "change_held"] {
        assert!(outcomes.iter().any(|outcome| outcome["event"]["event"] == event), "no {event} in {text}");
    }

    let file = recording.to_str().expect("a plain path");
    let replayed = daemon.run_command(&["replay", file]).await;
    let report = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(replayed.status.success(), "{report}{}", String::from_utf8_lossy(&replayed.stderr));
    assert!(report.contains("No differences"), "{report}");
    assert!(report.contains("web: blocked by guard: 0 of 1 serving hosts would remain and min_hosts is 1"), "{report}");
    assert!(report.contains("web: 3 maint, 1 ready, 1 wanted") || report.contains("web: 1 ready, 3 maint"), "{report}");

    // An older HAProxy cannot add servers at run time, and one that refuses the option reports that.
    let refusing = text.replacen("option httpchk", "lua-load x", 1);
    let refused = dir.write("refused.jsonl", refusing);
    let replayed = daemon.run_command(&["replay", refused.to_str().expect("a plain path")]).await;
    let report = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(report.contains("only replayed refused: web: "), "{report}");
}

#[tokio::test]
async fn orders_are_replayed_with_effects() {
    const TOKEN: &str = "correct-horse-battery";
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 4);
    let recording = dir.join("recording.jsonl");
    files.define("web", dir.port(), json!({"min_hosts": 4}));
    files.hosts("web", &backends);
    let settings = daemon(&dir).files(&files.services()).set("record", json!(recording));
    let mut daemon = settings.set("status.token", json!(TOKEN)).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let order = async |arguments: &[&str]| {
        let done = daemon.run_command(arguments).await;
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    let [drained, stopped, returned] = [0, 1, 2].map(|place: usize| backends[place].address().to_string());
    order(&["server", "drain", "web", &drained, "--for", "1h"]).await;
    order(&["server", "maint", "web", &stopped, "--reason", "a new disk"]).await;
    order(&["server", "maint", "web", &returned]).await;
    order(&["server", "ready", "web", &returned]).await;
    wait_for_ready(&daemon, "web", &addresses(&backends[2..])).await;
    let held = async |is: bool| {
        let what = if is { "the list is blocked" } else { "no list is blocked" };
        wait_for_state(&daemon, what, "watcher", |state| state["held"].is_null() != is).await;
    };
    files.hosts("web", &backends[1..]);
    held(true).await;
    order(&["reject", "web"]).await;
    files.hosts("web", &backends[..3]);
    held(true).await;
    order(&["accept", "web"]).await;
    held(false).await;
    order(&["refresh", "web"]).await;
    let before = stage::reloads(&daemon).await;
    order(&["reload", "--reason", "to see it"]).await;
    stage::wait_for_reload_after(&daemon, before).await;
    daemon.signal(Signal::SIGUSR1);
    let journal = async || {
        let events = String::from_utf8_lossy(&daemon.run_command(&["events"]).await.stdout).into_owned();
        check(events.contains("refresh of every source"), &events)
    };
    daemon.eventually(stage::LIMIT, "the journal contains the signal", journal).await;
    assert!(daemon.terminate().await.success());

    let replayed = daemon.run_command(&["replay", recording.to_str().expect("a plain path")]).await;
    let report = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(replayed.status.success(), "{replayed:?}");
    for (what, times) in
        [("drain", 1), ("maint", 2), ("ready", 1), ("reject", 1), ("accept", 1), ("refresh", 2), ("reload", 1)]
    {
        let row = format!("{:<32} {times:>9} {times:>9}", format!("orders: {what}"));
        assert!(report.contains(&row), "no {row} in {report}");
    }
    assert!(!report.contains("ordered: ") && !report.contains("ed: web: "), "no order is a difference: {report}");
    assert!(report.contains("web: 1 drain, 1 maint, 1 ready, 3 wanted"), "{report}");
}

#[tokio::test]
async fn recording_continues_after_restart() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 2);
    let recording = dir.join("recording.jsonl");
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let mut daemon = daemon(&dir).files(&files.services()).set("record", json!(recording)).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    assert!(daemon.terminate().await.success());
    let whole = fs::read_to_string(&recording).expect("the recording is there");
    fs::write(&recording, format!("{whole}{{\"at_ms\": 99")).expect("write the torn line");
    let file = recording.to_str().expect("a plain path").to_owned();
    let torn = daemon.run_command(&["replay", &file]).await;
    assert!(torn.status.success());
    let remarks = String::from_utf8_lossy(&torn.stderr).into_owned();
    assert!(remarks.contains(&format!("line {}, the last, is incomplete", whole.lines().count() + 1)), "{remarks}");

    daemon.start_again();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    files.hosts("web", &backends[..1]);
    wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
    assert!(daemon.terminate().await.success());
    let runs = lines(&recording).iter().filter(|line| line.get("proxymgr_recording").is_some()).count();
    assert_eq!(runs, 2);
    let replayed = daemon.run_command(&["replay", &file]).await;
    let report = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(report.contains("in 2 runs") && report.contains("web: 1 maint, 1 ready, 1 wanted"), "{report}");
}

#[tokio::test]
async fn failed_recording_is_reported_and_harmless() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).set("record", json!("/dev/full")).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let said = daemon.log().matches("cannot write the recording").count();
    assert_eq!(said, 1, "{}", daemon.log());
}
