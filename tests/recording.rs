//! Recordings that cannot be played: each is named with its line.

use std::fs;
use std::process::Command;

const HEADER: &str = r#"{"proxymgr_recording":1,"proxymgr":"0.1.0","haproxy":{"major":2,"minor":6},"at_unix_ms":0}"#;

fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("recording.jsonl");
    let settings = dir.path().join("proxymgr.yml");
    fs::write(&file, text).expect("write the recording");
    fs::write(&settings, "service_config: {type: file, path: /nowhere}\n").expect("write the settings");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxymgr"));
    let output = command.arg("replay").arg(&file).arg("-c").arg(&settings).output().expect("run proxymgr");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn another_version_of_the_format_is_named() {
    let said = refusal("{\"proxymgr_recording\": 9}\n");
    assert!(said.contains("recording.jsonl:1: is of version 9 of the format; this proxymgr reads version 1"), "{said}");
}

#[test]
fn a_bad_line_in_the_middle_is_named() {
    let said =
        refusal(&format!("{HEADER}\n{{\"at_ms\":1,\"definitions\":{{}}}}\n{{\"at_ms\":2,\"hots\":1}}\n{HEADER}\n"));
    assert!(said.contains("recording.jsonl:3: ") && said.contains("hots"), "{said}");
}

#[test]
fn what_is_no_recording_is_told() {
    assert!(refusal("haproxy: {}\n").contains("recording.jsonl:1: is no recording"));
    assert!(refusal("").contains("the file is empty"));
}
