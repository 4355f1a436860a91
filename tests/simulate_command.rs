//! `proxymgr simulate --machines`: progress on a terminal, totals, and reports of failures.

use std::process::{Command, Output, Stdio};

/// Runs `simulate` on this number of machines; with `terminal`, standard error is a terminal.
fn simulate(scenario: &str, machines: &str, terminal: bool) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("story.yml");
    std::fs::write(&file, scenario).expect("write the scenario");
    let arguments = ["simulate", "--machines", machines, "--scenario", file.to_str().expect("a plain path")];
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxymgr"));
    if terminal {
        command = Command::new("script");
        command
            .arg("-qefc")
            .arg(format!("{} {}", env!("CARGO_BIN_EXE_proxymgr"), arguments.join(" ")))
            .arg("/dev/null");
    } else {
        command.args(arguments);
    }
    command.stdin(Stdio::null()).output().expect("the command can be run")
}

#[test]
fn fleet_shows_progress_on_terminal_and_totals() {
    let story = "load: {updates: 50, over: 1m, services: 1, hosts: 3}\nsteps: [{at: 1s, expect: {reloads: 0}}]\n";
    let read = simulate(story, "3", false);
    let (table, remarks) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success() && remarks.is_empty(), "{remarks}");
    assert!(table.contains("As expected on all of 3 machines"), "{table}");
    let updates = table.lines().find(|line| line.starts_with("updates ")).expect("a row of updates");
    assert_eq!(updates.split_whitespace().collect::<Vec<_>>(), ["updates", "150", "50", "50", "50", "50"]);
    let seen = simulate(story, "3", true);
    let screen = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && screen.contains("2 of 3 machines, about "), "{screen}");
}

#[test]
fn failed_machine_is_reported_with_seed_and_command() {
    let story = "seed: 7\nservices: {web: 1}\nsteps: [{at: 10s, expect: {reloads: 9}}]\n";
    let failed = simulate(story, "3", false);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("The machine with seed 7 fails"), "{said}");
    let again = said.lines().last().expect("the output is not empty");
    assert!(
        again.starts_with("Again: proxymgr simulate --scenario /") && again.ends_with("story.yml --seed 7"),
        "{said}"
    );
}
