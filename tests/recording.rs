//! Recordings: recorded orders are replayed, and invalid recordings are refused with the line.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// When the recorded daemon started.
const STARTED_AT_UNIX_MS: u64 = 1_800_000_000_000;

fn header() -> Value {
    let haproxy = json!({"major": 2, "minor": 6});
    json!({"proxymgr_recording": 1, "proxymgr": "0.1.0", "haproxy": haproxy, "at_unix_ms": STARTED_AT_UNIX_MS})
}

fn replayed(text: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("recording.jsonl");
    let settings = dir.path().join("proxymgr.yml");
    fs::write(&file, text).expect("write the recording");
    fs::write(&settings, "service_config: {type: file, path: /nowhere}\n").expect("write the settings");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxymgr"));
    command.arg("replay").arg(&file).arg("-c").arg(&settings).output().expect("run proxymgr")
}

fn refusal(text: &str) -> String {
    let output = replayed(text);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the report of a replay of these lines.
fn report(lines: &[Value]) -> String {
    let lines: Vec<String> = std::iter::once(&header()).chain(lines).map(|line| format!("{line}\n")).collect();
    let output = replayed(&lines.concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns a report of the definition of `web`, which needs two hosts.
fn web(at_ms: u64) -> Value {
    let text = json!({"type": "static", "port": 8080, "min_hosts": 2}).to_string();
    json!({"at_ms": at_ms, "definitions": {"set": {"web": {"text": text, "origin": "here"}}}})
}

/// Returns a report of added and removed hosts of `web`.
fn hosts(at_ms: u64, come: &[u8], go: &[u8]) -> Value {
    let host = |number: &u8| (number.to_string(), json!({"host": {"endpoint": endpoint(*number)}}));
    let set: serde_json::Map<String, Value> = come.iter().map(host).collect();
    let gone: Vec<String> = go.iter().map(ToString::to_string).collect();
    json!({"at_ms": at_ms, "hosts": {"service": "web", "set": set, "gone": gone}})
}

fn endpoint(number: u8) -> Value {
    json!({"address": format!("10.0.0.{number}"), "port": 80})
}

/// Returns a journal entry about `web`.
fn reported(at_ms: u64, event: Value) -> Value {
    let entry = json!({"sequence": at_ms, "at_unix_ms": STARTED_AT_UNIX_MS + at_ms, "service": "web", "event": event});
    // The journal is recorded a little later than it is written.
    json!({"at_ms": at_ms + 700, "outcome": entry})
}

/// Returns an operator's order about a server of `web`.
fn chosen(at_ms: u64, server: u8, state: &str, for_ms: Option<u64>) -> Value {
    let server = format!("10.0.0.{server}:80");
    let order = json!({"order": "set_server", "service": "web", "server": server, "state": state, "for_ms": for_ms});
    reported(at_ms, json!({"event": "ordered", "what": format!("{server} {state}"), "order": order}))
}

#[test]
fn overrides_are_replayed_until_they_end() {
    let begun = [web(0), hosts(1, &[1, 2, 3, 4], &[])];
    let ordered = [
        chosen(10_000, 1, "drain", None),
        chosen(11_000, 2, "maint", None),
        chosen(12_000, 3, "drain", Some(60_000)),
        chosen(13_000, 4, "maint", None),
        chosen(20_000, 4, "ready", None),
    ];
    let soon = report(&[&begun[..], &ordered].concat());
    assert!(soon.contains("web: 2 drain, 1 maint, 1 ready, 4 wanted"), "{soon}");
    let later = report(&[&begun[..], &ordered, &[hosts(90_000, &[5], &[])]].concat());
    assert!(later.contains("web: 1 drain, 1 maint, 3 ready, 5 wanted"), "{later}");
    for (what, times) in [("drain", 2), ("maint", 2), ("ready", 1)] {
        let row = format!("{:<32} {times:>9} {times:>9}", format!("orders: {what}"));
        assert!(later.contains(&row), "no {row} in {later}");
    }
}

#[test]
fn decisions_about_pending_changes_are_replayed() {
    let rejected = [
        web(0),
        hosts(1, &[1, 2], &[]),
        hosts(10_000, &[], &[2]),
        reported(20_000, json!({"event": "held_rejected", "reason": "too few"})),
    ];
    let after_one = report(&rejected);
    assert!(
        after_one.contains("web: 2 ready, 2 wanted") && !after_one.contains("web: blocked by guard: "),
        "{after_one}"
    );
    let accepted =
        [hosts(30_000, &[2], &[1]), reported(40_000, json!({"event": "held_accepted", "reason": "too few"}))];
    let after_both = report(&[&rejected[..], &accepted].concat());
    assert!(after_both.contains("web: 1 maint, 1 ready, 1 wanted"), "{after_both}");
    // Without the orders the change would be blocked.
    let held = report(&rejected[..3]);
    assert!(held.contains("web: blocked by guard: "), "{held}");
}

#[test]
fn reloads_and_refreshes_are_replayed() {
    let report = report(&[
        web(0),
        hosts(1, &[1, 2], &[]),
        reported(10_000, json!({"event": "ordered", "what": "refresh", "order": {"order": "refresh"}})),
        reported(
            11_000,
            json!({"event": "ordered", "what": "refresh", "order": {"order": "refresh", "service": "web"}}),
        ),
        reported(
            60_000,
            json!({"event": "ordered", "what": "reload", "order": {"order": "reload", "reason": "a new key"}}),
        ),
    ]);
    assert!(report.contains(&format!("{:<32} {:>9} {:>9}", "orders: refresh", 2, 2)), "{report}");
    assert!(report.contains("only replayed reload: an operator asked: a new key"), "{report}");
}

#[test]
fn impossible_order_is_a_difference() {
    let report = report(&[web(0), hosts(1, &[1, 2], &[]), chosen(10_000, 9, "drain", None)]);
    assert!(report.contains("0:00:10.700 only recorded ordered: 10.0.0.9:80 drain"), "{report}");
    assert!(report.contains("web: 2 ready, 2 wanted"), "{report}");
}

#[test]
fn overrides_of_an_earlier_run_end_in_time() {
    let choice = |until_ms: Option<u64>| {
        let until = until_ms.map(|until_ms| STARTED_AT_UNIX_MS + until_ms);
        json!({"state": "drain", "reason": null, "since_unix_ms": STARTED_AT_UNIX_MS - 5_000, "until_unix_ms": until})
    };
    let host = |number: u8| json!({"endpoint": endpoint(number)});
    let definition = json!({
        "name": "web", "origin": "here", "listen": "0.0.0.0:8080", "listen_options": [], "server_options": [],
        "source": {"kind": "static", "settings": {}}, "removal": {"min_hosts": 2, "max_removal": 1.0},
    });
    let restored = json!({"at_ms": 0, "restored": [{
        "definition": definition, "seen_at_unix_ms": STARTED_AT_UNIX_MS - 1_000,
        "hosts": {"10.0.0.1:80": host(1), "10.0.0.2:80": host(2), "10.0.0.3:80": host(3)},
        "choices": {"10.0.0.1:80": choice(Some(60_000)), "10.0.0.2:80": choice(None)},
    }]});
    let begun = [restored, web(1), hosts(2, &[1, 2, 3], &[])];
    let soon = report(&begun);
    assert!(soon.contains("web: 2 drain, 1 ready, 3 wanted"), "{soon}");
    let later = report(&[&begun[..], &[hosts(90_000, &[4], &[])]].concat());
    assert!(later.contains("web: 1 drain, 3 ready, 4 wanted"), "{later}");
}

#[test]
fn definitions_rejected_in_an_earlier_run_stay_rejected() {
    let saved = |name: &str| {
        let definition = json!({
            "name": name, "origin": "here", "listen_options": [], "server_options": [],
            "source": {"kind": "static", "settings": {}}, "removal": {"min_hosts": 1, "max_removal": 1.0},
        });
        json!({"definition": definition, "seen_at_unix_ms": STARTED_AT_UNIX_MS - 1_000, "hosts": {}, "choices": {}})
    };
    let restored = json!({"at_ms": 0, "restored": [saved("api"), saved("mail"), saved("web")]});
    let shown = web(1);
    let rejected = json!({"at_ms": 0, "rejected_definitions": shown["definitions"]["set"]});
    // The grace period of the missing definitions is over by then.
    let later = hosts(3_000, &[1], &[]);
    let unknown = report(&[restored.clone(), shown.clone(), later.clone()]);
    assert!(unknown.contains("changes blocked by guard"), "two of three services would go: {unknown}");
    let known = report(&[restored, rejected, shown, later]);
    assert!(!known.contains("changes blocked by guard"), "{known}");
    for service in ["api", "mail", "web"] {
        assert!(known.contains(&format!("  {service}: ")), "{known}");
    }
}

#[test]
fn other_version_is_refused() {
    let said = refusal("{\"proxymgr_recording\": 9}\n");
    assert!(said.contains("recording.jsonl:1: "), "{said}");
}

#[test]
fn invalid_line_in_the_middle_is_refused() {
    let header = header();
    let said =
        refusal(&format!("{header}\n{{\"at_ms\":1,\"definitions\":{{}}}}\n{{\"at_ms\":2,\"hots\":1}}\n{header}\n"));
    assert!(said.contains("recording.jsonl:3: ") && said.contains("hots"), "{said}");
}

#[test]
fn invalid_file_is_refused() {
    assert!(refusal("haproxy: {}\n").contains("recording.jsonl:1: "));
    assert!(refusal("").contains("the file is empty"));
}
