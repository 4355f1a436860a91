//! haproxy.cfg, the candidate beside it that HAProxy checks before anything runs on it, and the map of domains.
//!
//! A candidate that HAProxy refuses stays beside the live file as `<config_path>.candidate`, for whoever wants to
//! look; the next one replaces it.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::state_file::{FileHosts, still_true};
use proxymgr_actors::limits::{CHECK_TIMEOUT, CONFIG_FILE_BYTES_MAX, CONFIG_READ_TIMEOUT};
use proxymgr_actors::model::map_path_of;
use proxymgr_actors::port::{CheckFailure, ConfigFile, ConfigMessage, ConfigText, PortFuture};
use slog::Logger;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::command::{self, CommandFailure};
use super::config_check_output::{self, CheckOutput};
use super::haproxy_binary::{HaproxyBinary, Inherited};
use super::stats_socket;
use crate::atomic_file::{FileMode, beside, rename_synced, replace, resolved, write_synced, write_unsynced};
use crate::settings::CommandLine;

/// The mode of a new haproxy.cfg. It may hold passwords of `userlist`s.
const MODE: FileMode = FileMode::KeptOr(0o640);

/// haproxy.cfg of one HAProxy.
pub struct HaproxyConfigFile {
    shared: Rc<Shared>,
}

struct Shared {
    binary: HaproxyBinary,
    /// A command that checks candidates in the binary's place, and how long it may take.
    checker: Option<(CommandLine, Duration)>,
    path: PathBuf,
    log: Logger,
    /// Whether the candidate on disk was found good and not changed since.
    candidate_good: Cell<bool>,
    /// The map of the candidate.
    candidate_map: RefCell<Option<Arc<str>>>,
    /// The map as it was last read or written; none where that is not known.
    map_on_disk: RefCell<Option<Option<Arc<str>>>>,
    /// Changes of the live file take turns.
    live_turn: Mutex<()>,
    /// Texts of the state file take turns.
    state_turn: Mutex<()>,
    /// Candidates take turns.
    candidate_turn: Mutex<()>,
}

impl HaproxyConfigFile {
    /// The configuration at `path`, checked by `binary`. Nothing is read or written yet.
    pub fn new(binary: HaproxyBinary, path: impl Into<PathBuf>, log: Logger) -> Self {
        Self::checked_by(None, binary, path, log)
    }

    /// As [`HaproxyConfigFile::new`], with a command of the operator's that checks candidates, and may take this long.
    pub fn checked_by(
        checker: Option<(CommandLine, Duration)>,
        binary: HaproxyBinary,
        path: impl Into<PathBuf>,
        log: Logger,
    ) -> Self {
        let shared = Shared {
            binary,
            checker,
            path: path.into(),
            log,
            candidate_good: Cell::new(false),
            candidate_map: RefCell::default(),
            map_on_disk: RefCell::default(),
            live_turn: Mutex::default(),
            state_turn: Mutex::default(),
            candidate_turn: Mutex::default(),
        };
        Self { shared: Rc::new(shared) }
    }
}

impl ConfigFile for HaproxyConfigFile {
    fn check(&self, text: ConfigText, descriptors: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.candidate_turn.lock().await;
            shared.candidate_good.set(false);
            shared.candidate_map.replace(text.map.clone());
            shared.provide_map(text.map.clone()).await.map_err(CheckFailure::Failed)?;
            let candidate = shared.write_candidate(text).await.map_err(CheckFailure::Failed)?;
            let warnings = shared.checked(&candidate, descriptors).await?;
            shared.candidate_good.set(true);
            Ok(warnings)
        })
    }

    fn try_part(
        &self,
        text: ConfigText,
        descriptors: Vec<RawFd>,
    ) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.candidate_turn.lock().await;
            shared.provide_map(text.map.clone()).await.map_err(CheckFailure::Failed)?;
            let part = shared.write_part(text).await.map_err(CheckFailure::Failed)?;
            let outcome = shared.checked(&part, descriptors).await;
            in_background(move || remove(&part)).await.map_err(CheckFailure::Failed)?;
            outcome
        })
    }

    fn promote(&self) -> PortFuture<Result<(), String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _candidate_turn = shared.candidate_turn.lock().await;
            let _live_turn = shared.live_turn.lock().await;
            if !shared.candidate_good.take() {
                return Err(format!("no candidate for {} was found good since the last one", shared.path.display()));
            }
            let map = shared.candidate_map.borrow().clone();
            // The new process finds the map that belongs to it; the one that runs does not read it again. One that is
            // not used any more goes last.
            let is_unused = map.is_none();
            if !is_unused {
                shared.write_map(map).await.inspect_err(|_| shared.candidate_good.set(true))?;
            }
            let path = shared.path.clone();
            let renamed = in_background(move || {
                let live = resolved(&path);
                rename_synced(&candidate_of(&live), &live)
            });
            // A candidate that could not be renamed is still good: the caller may try again.
            renamed.await.inspect_err(|_| shared.candidate_good.set(true))?;
            if is_unused {
                shared.write_map(None).await?;
            }
            Ok(())
        })
    }

    fn read_map(&self) -> PortFuture<Result<Option<String>, String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let path = map_path_of(&shared.path);
            let text = match tokio::fs::try_exists(&path).await {
                Ok(false) => None,
                _ => Some(read_bounded(&path).await?),
            };
            shared.map_on_disk.replace(Some(text.as_deref().map(Arc::from)));
            Ok(text)
        })
    }

    fn read(&self) -> PortFuture<Result<String, String>> {
        let path = self.shared.path.clone();
        Box::pin(async move { read_bounded(&path).await })
    }

    fn write(&self, text: ConfigText) -> PortFuture<Result<(), String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.live_turn.lock().await;
            shared.write_map(text.map.clone()).await?;
            let path = shared.path.clone();
            in_background(move || replace(&path, MODE, |out| write_pieces(&text, out))).await
        })
    }

    fn write_state_file(&self, path: PathBuf, text: String) -> PortFuture<Result<(), String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.state_turn.lock().await;
            in_background(move || replace(&path, MODE, |out| out.write_all(text.as_bytes()))).await
        })
    }

    fn follow_health(&self, path: PathBuf, said: String, hosts: FileHosts) -> PortFuture<Result<(), String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.state_turn.lock().await;
            let write = move || replace(&path, MODE, |out| out.write_all(still_true(&said, &hosts).as_bytes()));
            in_background(write).await
        })
    }

    fn read_state_file(&self, path: PathBuf) -> PortFuture<Result<String, String>> {
        Box::pin(async move { read_bounded(&path).await })
    }
}

impl Shared {
    /// Writes the map, or removes the one that is not used any more; does nothing where it is so already.
    async fn write_map(&self, map: Option<Arc<str>>) -> Result<(), String> {
        if self.map_on_disk.borrow().as_ref() == Some(&map) {
            return Ok(());
        }
        self.map_on_disk.take();
        let path = map_path_of(&self.path);
        let content = map.clone();
        in_background(move || match content {
            Some(text) => replace(&path, MODE, |out| out.write_all(text.as_bytes())),
            None => remove(&path),
        })
        .await?;
        self.map_on_disk.replace(Some(map));
        Ok(())
    }

    /// HAProxy checks no candidate whose map is not there. One that is there belongs to the process that runs, and stays.
    async fn provide_map(&self, map: Option<Arc<str>>) -> Result<(), String> {
        match map {
            Some(map) if !map_path_of(&self.path).exists() => self.write_map(Some(map)).await,
            _ => Ok(()),
        }
    }

    async fn write_candidate(&self, text: ConfigText) -> Result<PathBuf, String> {
        let path = self.path.clone();
        in_background(move || {
            let live = resolved(&path);
            let candidate = candidate_of(&live);
            write_synced(&candidate, &live, MODE, |out| write_pieces(&text, out))?;
            Ok(candidate)
        })
        .await
    }

    /// Writes a text that is read once, by the check that follows.
    async fn write_part(&self, text: ConfigText) -> Result<PathBuf, String> {
        let path = self.path.clone();
        in_background(move || {
            let live = resolved(&path);
            let part = beside(&live, "part");
            write_unsynced(&part, &live, MODE, |out| write_pieces(&text, out))?;
            Ok(part)
        })
        .await
    }

    /// Has HAProxy, or the operator's command, check a file. Returns what it warns of.
    async fn checked(&self, file: &Path, descriptors: Vec<RawFd>) -> Result<Vec<ConfigMessage>, CheckFailure> {
        if let Some((line, limit)) = &self.checker {
            return self.checked_by_command(line, *limit, file).await;
        }
        let failed = |why: String| {
            CheckFailure::Failed(format!("the configuration {} could not be checked: {why}", file.display()))
        };
        let stats = stats_socket::stand_in().map_err(|error| failed(format!("cannot open a socket: {error}")))?;
        let mut command = self.binary.command(Inherited { listeners: descriptors, stats: Some(stats) });
        command.arg("-c").arg("-f").arg(file).kill_on_drop(true);
        let output = match timeout(CHECK_TIMEOUT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(failed(self.binary.not_run(&error))),
            Err(_) => {
                let binary = self.binary.path().display();
                return Err(failed(format!("`{binary} -c` did not end within {} s", CHECK_TIMEOUT.as_secs())));
            }
        };
        let printed = String::from_utf8_lossy(&output.stderr);
        let CheckOutput { alerts, warnings } = config_check_output::read(&printed, &file.to_string_lossy());
        match output.status.code() {
            // 2: good, but nothing listens. A daemon that has no service yet wants just that.
            Some(0 | 2) => Ok(warnings),
            Some(1) => Err(CheckFailure::Rejected { messages: alerts }),
            _ => Err(failed(format!("`haproxy -c` ended with {}: {}", output.status, printed.trim()))),
        }
    }

    async fn checked_by_command(
        &self,
        line: &CommandLine,
        limit: Duration,
        file: &Path,
    ) -> Result<Vec<ConfigMessage>, CheckFailure> {
        let shown = file.to_string_lossy();
        match command::run(line, &shown, limit, &self.log).await {
            Ok(()) => Ok(Vec::new()),
            Err(CommandFailure::Ended { said: Some(said), .. }) => {
                Err(CheckFailure::Rejected { messages: config_check_output::read(&said, &shown).alerts })
            }
            Err(failure) => Err(CheckFailure::Failed(format!("haproxy.check_command: {failure}"))),
        }
    }
}

async fn read_bounded(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string();
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read {shown}: {why}");
    // Somebody may have put anything there: a pipe without a writer would be waited for, a device read for ever.
    let found = tokio::fs::metadata(path).await.map_err(|error| cannot(&error))?;
    if !found.is_file() || found.len() > CONFIG_FILE_BYTES_MAX {
        return Err(cannot(&"it is not a file that proxymgr wrote"));
    }
    let read = timeout(CONFIG_READ_TIMEOUT, tokio::fs::read_to_string(path)).await;
    read.map_err(|_| cannot(&"the file system does not answer"))?.map_err(|error| cannot(&error))
}

fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}, which is not used any more: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

fn candidate_of(live: &Path) -> PathBuf {
    beside(live, "candidate")
}

fn write_pieces(text: &ConfigText, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    text.pieces.iter().try_for_each(|piece| out.write_all(piece.as_bytes()))
}

/// Runs what blocks away from the actors' thread.
async fn in_background<T, F>(work: F) -> Result<T, String>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, String> + Send + 'static,
{
    spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("writing the configuration was cut short: {error}")))
}
