//! The last good state of every service, saved in a JSON file across restarts of the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use proxymgr_actors::decide::guard::{Baseline, GuardMemory, RejectedList};
use proxymgr_actors::limits::DAMAGED_STATES_MAX;
use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::port::{DefinitionList, PortFuture, SavedJournal, SavedService, SavedState, StateStore};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::atomic_file::{FileMode, beside, replace};
use crate::saved_journal;

/// The version of the file format. It is incremented by every change that older daemons would misread.
const VERSION: u32 = 1;

/// Only the owner may read the file: data from discovery may be confidential.
const MODE: FileMode = FileMode::Exactly(0o600);

#[derive(Serialize, Deserialize)]
struct Written<S> {
    version: u32,
    services: S,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected_definitions: Option<DefinitionList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected_definitions_change: Option<BlockedChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definitions_baseline: Option<Baseline>,
}

impl<S> Written<S> {
    fn new(services: S, GuardMemory { rejected, baseline }: GuardMemory<DefinitionList>) -> Self {
        let (rejected, change) = rejected.map(|RejectedList { list, change }| (list, change)).unzip();
        Self {
            version: VERSION,
            services,
            rejected_definitions: rejected,
            rejected_definitions_change: change.flatten(),
            definitions_baseline: baseline,
        }
    }

    fn definitions_guard(&mut self) -> GuardMemory<DefinitionList> {
        let change = self.rejected_definitions_change.take();
        let rejected = self.rejected_definitions.take().map(|list| RejectedList { list, change });
        GuardMemory { rejected, baseline: self.definitions_baseline }
    }
}

/// Parsed first: the other keys depend on the version.
#[derive(Deserialize)]
struct SavedVersion {
    version: u32,
}

/// Writes the saved state.
pub struct SavedStateFile {
    path: Arc<Path>,
    /// Serialises saves, so that an older state never replaces a newer one.
    turn: Rc<Mutex<()>>,
}

impl SavedStateFile {
    /// The saved state at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), turn: Rc::default() }
    }
}

impl StateStore for SavedStateFile {
    fn save(&self, state: SavedState) -> PortFuture<Result<(), String>> {
        let (path, turn) = (Arc::clone(&self.path), Rc::clone(&self.turn));
        Box::pin(async move {
            let _turn = turn.lock().await;
            tokio::task::spawn_blocking(move || write(&path, &state))
                .await
                .unwrap_or_else(|error| Err(format!("saving the state was interrupted: {error}")))
        })
    }

    fn save_journal(&self, journal: SavedJournal) -> PortFuture<Result<(), String>> {
        let path = saved_journal::path_beside(&self.path);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || saved_journal::write(&path, &journal))
                .await
                .unwrap_or_else(|error| Err(format!("saving the journal was interrupted: {error}")))
        })
    }
}

fn write(path: &Path, state: &SavedState) -> Result<(), String> {
    let written = Written::new(&state.services, state.definitions_guard.clone());
    replace(path, MODE, |out| {
        serde_json::to_writer(&mut *out, &written)?;
        out.write_all(b"\n")
    })
}

/// The state of an earlier run.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The services with their last good hosts, and what was rejected.
    pub state: SavedState,
    /// The problem with the file, and what was done; none if it was valid or did not exist.
    pub problem: Option<String>,
}

/// Reads the state that an earlier run saved at `path`. Blocks. An invalid file is renamed and never stops the daemon.
pub fn load(path: &Path) -> Loaded {
    load_or(path, put_aside)
}

/// The same without side effects: an invalid file stays where it is.
pub fn look(path: &Path) -> Loaded {
    load_or(path, |path, problem| format!("the saved state {} {problem}; it is ignored", path.display()))
}

fn load_or(path: &Path, unusable: impl FnOnce(&Path, &str) -> String) -> Loaded {
    let read_file = || match fs::metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(io::Error::other("it is not a file")),
    };
    let text = match read_file() {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::default(),
        Err(error) => {
            let problem = format!("the saved state {} cannot be read ({error}); it was ignored", path.display());
            return Loaded { problem: Some(problem), ..Loaded::default() };
        }
    };
    match read(&text) {
        Ok(state) => Loaded { state, problem: None },
        Err(problem) => Loaded { problem: Some(unusable(path, &problem)), ..Loaded::default() },
    }
}

fn read(text: &[u8]) -> Result<SavedState, String> {
    let SavedVersion { version } = serde_json::from_slice(text).map_err(|error| format!("is damaged: {error}"))?;
    if version != VERSION {
        return Err(format!("has version {version}, and this daemon reads version {VERSION}"));
    }
    let mut written: Written<Vec<SavedService>> =
        serde_json::from_slice(text).map_err(|error| format!("is damaged: {error}"))?;
    let definitions_guard = written.definitions_guard();
    Ok(SavedState { services: written.services, definitions_guard })
}

/// Renames the file, so that the next save does not overwrite it.
fn put_aside(path: &Path, problem: &str) -> String {
    let names = (1..=DAMAGED_STATES_MAX).map(|number| beside(path, &format!("damaged-{number}")));
    let last = beside(path, &format!("damaged-{DAMAGED_STATES_MAX}"));
    let aside = names.into_iter().find(|name| !name.exists()).unwrap_or(last);
    let renamed = fs::rename(path, &aside);
    let path = path.display();
    match renamed {
        Ok(()) => format!("the saved state {path} {problem}; it was renamed to {}", aside.display()),
        Err(error) => format!("the saved state {path} {problem}; it was ignored and could not be renamed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proxymgr_actors::model::RawDefinition;
    use serde_json::json;

    use super::*;

    /// A service as it is in the file.
    fn saved() -> SavedService {
        serde_json::from_value(json!({
            "definition": {
                "name": "web", "origin": "znode /services/web", "listen": "0.0.0.0:80",
                "listen_options": [["balance", "roundrobin"]], "server_options": ["check"],
                "source": {"kind": "static", "settings": {"hosts": []}},
                "removal": {"min_hosts": 1, "max_removal": 1.0},
            },
            "hosts": {"10.0.0.1:80": {"endpoint": {"address": "10.0.0.1", "port": 80}, "weight": 5}},
            "seen_at_unix_ms": 1_700_000_000_000_u64,
            "choices": {"10.0.0.1:80": {"state": "maint", "reason": "a new disk", "since_unix_ms": 5, "until_unix_ms": null,
                "gone_unix_ms": null}},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn what_was_saved_is_loaded_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let store = SavedStateFile::new(&path);
        store.save(SavedState::default()).await.unwrap();
        let list: DefinitionList = Arc::new([("api".into(), RawDefinition::new("{}", "a test"))].into());
        let change = Some(BlockedChange { reason: "too few".to_owned(), since_unix_ms: 7, ..BlockedChange::default() });
        let baseline = Some(Baseline { entries: 20, until_unix_ms: None });
        let definitions_guard = GuardMemory { rejected: Some(RejectedList { list, change: change.clone() }), baseline };
        let mut service = saved();
        let list = service.hosts.clone().unwrap();
        service.guard = GuardMemory { rejected: Some(RejectedList { list, change }), baseline };
        let state = SavedState { services: vec![saved(), service], definitions_guard };
        store.save(state.clone()).await.unwrap();
        let loaded = load(&path);
        assert_eq!((loaded.state, loaded.problem), (state, None));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn state_of_the_version_after_is_loaded_without_its_new_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut service = serde_json::to_value(saved()).unwrap();
        service["new_of_service"] = json!({"a": 1});
        let text = json!({"version": 1, "services": [service], "new_of_file": [1]});
        fs::write(&path, text.to_string()).unwrap();
        let Loaded { state, problem } = load(&path);
        assert_eq!((state.services, problem), (vec![saved()], None));
    }

    #[test]
    fn rejections_of_an_earlier_version_are_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut service = serde_json::to_value(saved()).unwrap();
        service["rejected"] = service["hosts"].clone();
        let definitions = json!({"api": {"text": "{}", "origin": "a test"}});
        let text = json!({"version": 1, "services": [service], "rejected_definitions": definitions});
        fs::write(&path, text.to_string()).unwrap();
        let Loaded { state, problem } = load(&path);
        let rejected = state.services[0].guard.rejected.clone().unwrap();
        assert_eq!((Some(rejected.list), rejected.change), (saved().hosts, None));
        assert!(state.definitions_guard.rejected.is_some_and(|rejected| rejected.list.contains_key("api")));
        assert_eq!(problem, None);
    }

    #[tokio::test]
    async fn two_saves_at_once_leave_the_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let store = SavedStateFile::new(&path);
        let state = |count| SavedState { services: vec![saved(); count], ..SavedState::default() };
        let many = store.save(state(500));
        let one = store.save(state(1));
        let (many, one) = tokio::join!(many, one);
        assert_eq!((many, one), (Ok(()), Ok(())));
        assert_eq!(load(&path).state.services.len(), 1);
    }

    #[test]
    fn missing_file_is_not_a_problem() {
        let loaded = load(Path::new("/nonexistent/state.json"));
        assert!(loaded.state == SavedState::default() && loaded.problem.is_none());
    }

    #[test]
    fn damaged_file_is_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let broken =
            ["", "{", "[]", "\u{0}", r#"{"version": 2, "services": []}"#, r#"{"version": 1, "services": [{}]}"#];
        for (number, text) in (1..).zip(broken) {
            fs::write(&path, text).unwrap();
            assert!(look(&path).problem.is_some_and(|problem| problem.contains("ignored")) && path.exists());
            let loaded = load(&path);
            let message = loaded.problem.expect("a broken file has a message");
            let aside = directory.path().join(format!("state.json.damaged-{number}"));
            assert!(message.contains(aside.to_str().unwrap()), "{message}");
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
            assert!(loaded.state == SavedState::default() && !path.exists());
        }
        fs::write(&path, r#"{"version": 2}"#).unwrap();
        assert!(load(&path).problem.unwrap().contains("version 2"));
    }

    #[test]
    fn renamed_files_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        for number in 0..DAMAGED_STATES_MAX + 3 {
            fs::write(&path, format!("broken {number}")).unwrap();
            assert!(load(&path).problem.is_some());
        }
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, DAMAGED_STATES_MAX as usize);
    }
}
