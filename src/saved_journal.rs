//! The recent part of the journal, saved in a file beside the saved state: the history on the first line, then one entry a
//! line. What another version cannot read is left out.

use std::fs;
use std::path::{Path, PathBuf};

use proxymgr_actors::history::History;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::port::SavedJournal;

use crate::atomic_file::{FileMode, replace};

/// Only the owner may read the file: commands and orders may be confidential.
const MODE: FileMode = FileMode::Exactly(0o600);

/// The path beside the saved state at `state_path`.
pub fn path_beside(state_path: &Path) -> PathBuf {
    state_path.with_extension("journal.jsonl")
}

/// Replaces the file. Blocks.
///
/// # Errors
/// Why it cannot be written.
pub fn write(path: &Path, SavedJournal { entries, history }: &SavedJournal) -> Result<(), String> {
    replace(path, MODE, |out| {
        serde_json::to_writer(&mut *out, history)?;
        out.write_all(b"\n")?;
        for entry in entries {
            serde_json::to_writer(&mut *out, entry)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Reads the file. Blocks. One that is missing or unreadable is an empty journal: nothing depends on it.
pub fn load(path: &Path) -> SavedJournal {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
    let text = if is_file { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let mut lines = text.lines();
    let history: History = lines.next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let mut entries: Vec<JournalEntry> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    // Their order is the order of sequence numbers.
    entries.sort_by_key(|entry| entry.sequence);
    SavedJournal { entries, history }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proxymgr_actors::journal::Event;

    use super::*;

    fn journal() -> SavedJournal {
        let entry = |sequence| JournalEntry { sequence, at_unix_ms: 60_000, ..JournalEntry::new(Event::SourceBack) };
        let mut history = History::default();
        let why = "full".to_owned();
        history.add(&JournalEntry { at_unix_ms: 60_000, ..JournalEntry::new(Event::Failed { error: why }) });
        SavedJournal { entries: vec![entry(7), entry(8)], history }
    }

    #[test]
    fn what_was_saved_is_loaded_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_beside(&directory.path().join("haproxy.cfg.json"));
        assert_eq!(load(&path), SavedJournal::default());
        write(&path, &journal()).unwrap();
        assert_eq!(load(&path), journal());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn lines_of_another_version_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        write(&path, &journal()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let of_the_version_after = r#"{"sequence":9,"at_unix_ms":1,"event":{"event":"invented"}}"#;
        let with_a_key = text.replace("\"sequence\":8", "\"new\":1,\"sequence\":8");
        fs::write(&path, format!("{with_a_key}{of_the_version_after}\nbroken")).unwrap();
        assert_eq!(load(&path), journal());
        fs::write(&path, text.split_once('\n').unwrap().1).unwrap();
        assert_eq!(load(&path).entries.len(), 1, "the first line is the history");
    }
}
