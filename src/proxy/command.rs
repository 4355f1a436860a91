//! Runs an operator's command with bounded time and memory; after its time limit, it is killed with its children.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use slog::{Logger, info};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::settings::{CANDIDATE, CommandLine};

/// The number of bytes of a command's output that are kept for the log and the error: its beginning.
const OUTPUT_BYTES_MAX: usize = 4_096;

/// The number of lines of a command's output that are logged.
const OUTPUT_LINES_MAX: usize = 20;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum CommandFailure {
    /// The command exited with a status other than success.
    #[error("`{command}` ended with {status}{}", .said.iter().map(|said| format!(": {said}")).collect::<String>())]
    Ended {
        /// The command.
        command: String,
        /// Its exit status, as text.
        status: String,
        /// The beginning of its output; `None` if it printed nothing.
        said: Option<String>,
    },
    /// The command could not be started or did not end in time.
    #[error("{0}")]
    Broken(String),
}

/// Runs a command to its end. `candidate` replaces its placeholder in the command. The output is logged and is part of
/// a failure.
pub(super) async fn run(
    line: &CommandLine,
    candidate: &str,
    limit: Duration,
    log: &Logger,
) -> Result<(), CommandFailure> {
    let shown = line.words.join(" ");
    let broken = |how: String| CommandFailure::Broken(format!("`{shown}` {how}"));
    let mut child = command(line, candidate).spawn().map_err(|error| broken(format!("cannot be run: {error}")))?;
    // A process group of its own, so that processes started by a shell can be ended with it.
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let finished = timeout(limit, finish(&mut child)).await;
    let Ok(finished) = finished else {
        if let Some(group) = group {
            // Ends what is left of the group; an empty group is no error.
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = child.wait().await;
        return Err(broken(format!("did not end within {} and was killed", humantime::format_duration(limit))));
    };
    let (status, said) = finished.map_err(|error| broken(format!("could not be waited for: {error}")))?;
    log_output(&said, &shown, log);
    if status.success() {
        return Ok(());
    }
    let said = Some(said).filter(|said| !said.is_empty());
    Err(CommandFailure::Ended { command: shown, status: status.to_string(), said })
}

/// Logs output of a command, one record per line.
fn log_output(said: &str, command: &str, log: &Logger) {
    let mut lines = said.lines().map(str::trim_end).filter(|line| !line.is_empty());
    for line in lines.by_ref().take(OUTPUT_LINES_MAX) {
        info!(log, "command output: {}", line; "command" => command);
    }
    let more = lines.count();
    if more > 0 {
        info!(log, "command output: further lines are not logged"; "command" => command, "lines" => more);
    }
}

fn command(line: &CommandLine, candidate: &str) -> Command {
    let words: Vec<String> = line.words.iter().map(|word| word.replace(CANDIDATE, candidate)).collect();
    let environment = &line.environment;
    let mut command = match words.as_slice() {
        [text] if line.shell => {
            let mut shell = environment.command("/bin/sh");
            shell.arg("-c").arg(text);
            shell
        }
        [program, arguments @ ..] => {
            let mut command = environment.command(program);
            command.args(arguments);
            command
        }
        [] => environment.command(""),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// Waits for the command's end. A process that it leaves running (a proxy that goes into the background) may keep its
/// output open, so reading stops a moment after the end.
async fn finish(child: &mut Child) -> std::io::Result<(std::process::ExitStatus, String)> {
    const LAST_WORDS: Duration = Duration::from_millis(200);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let status = {
        let read = async {
            tokio::join!(keep_start(out, &mut said), keep_start(err, &mut complained));
        };
        tokio::pin!(read);
        let mut read_to_end = false;
        let status = loop {
            tokio::select! {
                () = &mut read, if !read_to_end => read_to_end = true,
                status = child.wait() => break status?,
            }
        };
        if !read_to_end {
            let _ = timeout(LAST_WORDS, read).await;
        }
        status
    };
    complained.extend(said);
    Ok((status, String::from_utf8_lossy(&complained).trim().to_owned()))
}

/// Reads to the end and keeps the beginning.
async fn keep_start(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 1_024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use slog::{Discard, Drain, o};

    use super::*;
    use crate::child_environment::ChildEnvironment;

    async fn run_words(words: &[&str], shell: bool) -> Result<(), String> {
        let words = words.iter().map(ToString::to_string).collect();
        let line = CommandLine { words, shell, environment: ChildEnvironment::default() };
        let outcome = run(&line, "/a candidate", Duration::from_secs(2), &Logger::root(Discard, o!())).await;
        outcome.map_err(|failure| failure.to_string())
    }

    #[tokio::test]
    async fn arguments_are_passed_without_a_shell() {
        assert_eq!(run_words(&["test", "{candidate}", "=", "/a candidate"], false).await, Ok(()));
        assert_eq!(run_words(&["test", "$HOME", "=", "$HOME"], false).await, Ok(()));
        assert_eq!(run_words(&["test -n \"$PATH\" && true"], true).await, Ok(()));
    }

    #[tokio::test]
    async fn environment_of_the_daemon_is_not_inherited() {
        // Cargo sets this variable for tests.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(run_words(&["test -z \"$CARGO_MANIFEST_DIR\""], true).await, Ok(()));
        let environment = ChildEnvironment::with(vec!["CARGO_MANIFEST_DIR".to_owned()]);
        let words = vec!["test -n \"$CARGO_MANIFEST_DIR\"".to_owned()];
        let line = CommandLine { words, shell: true, environment };
        let outcome = run(&line, "", Duration::from_secs(2), &Logger::root(Discard, o!())).await;
        assert_eq!(outcome, Ok(()), "a variable that is listed");
    }

    #[tokio::test]
    async fn failure_contains_output() {
        let error = run_words(&["echo no such luck >&2; exit 3"], true).await.unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("no such luck"), "{error}");
        let error = run_words(&["/nowhere/at-all"], false).await.unwrap_err();
        assert!(error.contains("/nowhere/at-all") && error.contains("cannot be run"), "{error}");
    }

    #[test]
    fn output_is_logged_line_by_line_and_capped() {
        let records = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&records);
        let drain = slog::Filter(Discard, move |record: &slog::Record<'_>| {
            kept.lock().unwrap().push(record.msg().to_string());
            false
        });
        let output: String = (1..=50).map(|n| format!("line {n}\n\n")).collect();
        log_output(&output, "x", &Logger::root(drain.fuse(), o!()));
        let records = records.lock().unwrap();
        assert_eq!(records.len(), OUTPUT_LINES_MAX + 1);
        assert_eq!(records[1], "command output: line 2");
        assert_eq!(records[OUTPUT_LINES_MAX], "command output: further lines are not logged");
    }

    #[tokio::test]
    async fn hanging_command_is_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let text = format!("sleep 60 & echo $! > {}; wait", pid_file.display());
        let error = run_words(&[&text], true).await.unwrap_err();
        assert!(error.contains("did not end within 2s"), "{error}");
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The ended process is gone or is a zombie until the init process collects it, which takes time on a busy
        // machine.
        for _ in 0..500 {
            if state().is_empty() || state().contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is still there: {}", state());
    }

    #[tokio::test]
    async fn background_program_is_not_awaited() {
        assert_eq!(run_words(&["sleep 20 & exit 0"], true).await, Ok(()));
    }

    #[tokio::test]
    async fn kept_output_is_bounded() {
        let error = run_words(&["head -c 1000000 /dev/zero | tr '\\0' x; exit 1"], true).await.unwrap_err();
        assert!(error.len() < OUTPUT_BYTES_MAX + 200, "{}", error.len());
    }
}
