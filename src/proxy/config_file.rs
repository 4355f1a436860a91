//! Writes haproxy.cfg, the candidate beside it that HAProxy checks before it is used, and the map of domains.
//!
//! A candidate that HAProxy refuses stays beside the live file as `<config_path>.candidate` for inspection; the next
//! candidate replaces it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::state_file::{FileHosts, still_true};
use proxymgr_actors::limits::{CHECK_TIMEOUT, CONFIG_FILE_BYTES_MAX, CONFIG_READ_TIMEOUT};
use proxymgr_actors::model::{certificates_path_of, map_path_of};
use proxymgr_actors::port::{CheckFailure, ConfigFile, ConfigMessage, ConfigText, PortFuture};
use slog::Logger;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::certificate_list_files::{self, ListsInUse};
use super::command::{self, CommandFailure};
use super::config_check_output::{self, CheckOutput};
use super::haproxy_binary::{HaproxyBinary, Inherited};
use super::stats_socket;
use crate::atomic_file::{FileMode, beside, rename_synced, replace, resolved, write_synced, write_unsynced};
use crate::settings::CommandLine;

/// The mode of a new haproxy.cfg, which may contain passwords of `userlist`s.
const MODE: FileMode = FileMode::KeptOr(0o640);

/// haproxy.cfg of one HAProxy.
pub struct HaproxyConfigFile {
    shared: Rc<Shared>,
}

struct Shared {
    binary: HaproxyBinary,
    /// A command that checks candidates instead of HAProxy's binary, and its time limit.
    checker: Option<(CommandLine, Duration)>,
    path: PathBuf,
    log: Logger,
    /// Whether the candidate on disk has passed its check and has not changed since.
    candidate_good: Cell<bool>,
    /// The map of the candidate.
    candidate_map: RefCell<Option<Arc<str>>>,
    /// The map as it was last read or written; `None` if that is not known.
    map_on_disk: RefCell<Option<Option<Arc<str>>>>,
    lists: RefCell<ListsInUse>,
    /// Serializes changes of the live file.
    live_turn: Mutex<()>,
    /// Serializes writes of the state file.
    state_turn: Mutex<()>,
    /// Serializes candidates.
    candidate_turn: Mutex<()>,
}

impl HaproxyConfigFile {
    /// The configuration at `path`, checked by `binary`. Nothing is read or written yet.
    pub fn new(binary: HaproxyBinary, path: impl Into<PathBuf>, log: Logger) -> Self {
        Self::checked_by(None, binary, path, log)
    }

    /// Like [`HaproxyConfigFile::new`], with an operator's command that checks candidates within the given time.
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
            lists: RefCell::default(),
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
            shared.lists.borrow_mut().of_candidate(&text.lists);
            shared.provide_lists(&text).await.map_err(CheckFailure::Failed)?;
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
            shared.lists.borrow_mut().of_part(&text.lists);
            shared.provide_lists(&text).await.map_err(CheckFailure::Failed)?;
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
                return Err(format!("no new candidate for {} has passed its check", shared.path.display()));
            }
            let map = shared.candidate_map.borrow().clone();
            // The map is written before the configuration, because a new process reads both; the running process does
            // not read the map again. A map that is no longer used is removed last.
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
            let kept = shared.lists.borrow_mut().promoted();
            shared.remove_lists(kept).await
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
            shared.provide_lists(&text).await?;
            let path = shared.path.clone();
            let lists = text.lists.clone();
            in_background(move || replace(&path, MODE, |out| write_pieces(&text, out))).await?;
            let kept = shared.lists.borrow_mut().written(&lists);
            shared.remove_lists(kept).await
        })
    }

    fn write_state_file(&self, path: PathBuf, text: String) -> PortFuture<Result<(), String>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.state_turn.lock().await;
            in_background(move || replace(&path, MODE, |out| out.write_all(text.as_bytes()))).await
        })
    }

    fn write_stats_file(&self, path: PathBuf, text: String) -> PortFuture<Result<(), String>> {
        Box::pin(in_background(move || replace(&path, MODE, |out| out.write_all(text.as_bytes()))))
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
    /// Writes the map, or removes one that is no longer used; does nothing if the file is already as desired.
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

    /// Writes the candidate's map if none exists, because the check needs one. An existing map belongs to the process.
    async fn provide_map(&self, map: Option<Arc<str>>) -> Result<(), String> {
        match map {
            Some(map) if !map_path_of(&self.path).exists() => self.write_map(Some(map)).await,
            _ => Ok(()),
        }
    }

    /// Writes the lists of certificates that a text names.
    async fn provide_lists(&self, text: &ConfigText) -> Result<(), String> {
        if text.lists.is_empty() {
            return Ok(());
        }
        let lists = text.lists.clone();
        in_background(move || certificate_list_files::write(&lists)).await
    }

    /// Removes all lists of certificates but these.
    async fn remove_lists(&self, kept: Option<BTreeSet<PathBuf>>) -> Result<(), String> {
        let Some(kept) = kept else { return Ok(()) };
        let directory = certificates_path_of(&map_path_of(&self.path));
        in_background(move || {
            certificate_list_files::remove_others(&directory, &kept);
            Ok(())
        })
        .await
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

    /// Writes a text for the check that follows, which is the only reader.
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

    /// Checks a file with HAProxy or the operator's command. Returns the warnings.
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
            // 2: valid, but without a listener, which is the desired configuration while there is no service.
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
    // The path may be a pipe without a writer or a device, on which a read would never end.
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

/// Runs blocking work off the actors' thread.
async fn in_background<T, F>(work: F) -> Result<T, String>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, String> + Send + 'static,
{
    spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("writing the files was interrupted: {error}")))
}
