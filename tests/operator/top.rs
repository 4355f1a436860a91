//! `proxymgr top` in a real terminal with a real daemon.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;

use crate::stage::{BINARY, LIMIT, Stage, err};
use crate::support::daemon::Daemon;
use crate::support::eventually::check;
use crate::support::process::{Process, processes_of};

/// Escape sequence that leaves the alternate screen.
const LEAVE_SCREEN: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// Runs `top` in a terminal of 100 columns, created by `script`. Text written to the file is typed.
fn top(stage: &Stage, daemon: &Daemon) -> (Process, File) {
    let keys = stage.dir.join("keys");
    nix::unistd::mkfifo(&keys, Mode::S_IRWXU).unwrap();
    let config = daemon.dir().join("proxymgr.yml");
    let inside = format!("stty rows 24 cols 100; exec {BINARY} top -d 200ms -c {}", config.display());
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec script -qefc '{inside}' /dev/null < {}", keys.display()));
    let process = Process::start(&stage.dir, "top", command);
    // Opening blocks until the reader has opened it.
    (process, OpenOptions::new().write(true).open(keys).unwrap())
}

#[tokio::test]
async fn top_follows_daemon_until_a_key() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let daemon = stage.start().await;
    let (mut top, mut keys) = top(&stage, &daemon);
    let seen = async |what: &str| {
        daemon.eventually(LIMIT, what, async || check(top.log().contains(what), &top.log())).await;
    };
    seen("127.0.0.1:").await;
    stage.web(&[]);
    seen("blocked").await;
    assert!(!top.log().contains(LEAVE_SCREEN));
    keys.write_all(b"q").unwrap();
    assert!(top.wait_exit(LIMIT).await.success(), "{}", top.log());
    assert!(top.log().contains(LEAVE_SCREEN) && top.log().contains(SHOW_CURSOR), "{:?}", top.log());
}

#[tokio::test]
async fn signal_ends_top() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = stage.start().await;
    let (mut top, _keys) = top(&stage, &daemon);
    daemon.eventually(LIMIT, "it is drawn", async || check(top.log().contains("SERVICE"), &top.log())).await;
    let is_top = |pid: &nix::unistd::Pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).starts_with(&format!("{BINARY}\0top"))
    };
    let pid = processes_of(stage.dir.path()).into_iter().find(is_top).expect("it runs");
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(top.wait_exit(LIMIT).await.success(), "{}", top.log());
    assert!(top.log().contains(LEAVE_SCREEN), "{:?}", top.log());
}

#[tokio::test]
async fn top_without_terminal_suggests_status() {
    let stage = Stage::new(&["10.0.0.1"]);
    let output = stage.builder().run_command(&["top"]).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).contains("proxymgr status"), "{}", err(&output));
}
