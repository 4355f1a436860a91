//! The file of a recording, and the thread that writes it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::RECORD_FILE_BYTES_MAX;
use proxymgr_actors::model::{HostList, RawDefinition, SeenHost};
use proxymgr_actors::port::SavedService;
use serde::Serialize;
use slog::{Logger, info, warn};

use super::format::{Entry, Header, Line, What};
use super::recorder::{Note, Noted};
use super::redact;
use super::snapshots::Snapshots;

/// The size of a batch of lines, in bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Writes every note until the recorder is dropped. `taken` is called with each note that has left the queue.
pub(super) fn write_all(path: PathBuf, header: Header, notes: &Receiver<Noted>, taken: impl Fn(&Noted), log: Logger) {
    let mut file = RecordFile::new(path, header, log);
    file.write(Vec::new());
    while let Ok(first) = notes.recv() {
        let mut batch = Vec::new();
        let mut ends = Vec::new();
        let mut next = Some(first);
        while let Some(noted) = next {
            taken(&noted);
            match noted.note {
                Note::End(done) => ends.push(done),
                note => file.add(noted.at_ms, note, &mut batch),
            }
            next = if batch.len() < BATCH_BYTES { notes.try_recv().ok() } else { None };
        }
        file.write(batch);
        // A receiver that gave up waiting is gone.
        for done in ends {
            let _ = done.send(());
        }
    }
}

struct RecordFile {
    path: PathBuf,
    header: Header,
    /// The open file, and its length up to the last complete line.
    file: Option<(File, u64)>,
    has_begun: bool,
    /// The time of the last line.
    last_at_ms: u64,
    snapshots: Snapshots,
    /// The number of lines that were lost since the last write.
    missed: u64,
    /// Whether the file has reached its largest size.
    is_full: bool,
    log: Logger,
}

impl RecordFile {
    fn new(path: PathBuf, header: Header, log: Logger) -> Self {
        Self {
            path,
            header,
            file: None,
            has_begun: false,
            last_at_ms: 0,
            snapshots: Snapshots::default(),
            missed: 0,
            is_full: false,
            log,
        }
    }

    /// Adds the line of a note, unless nothing has changed.
    fn add(&mut self, at_ms: u64, note: Note, batch: &mut Vec<u8>) {
        self.last_at_ms = at_ms;
        let what = match note {
            Note::Restored(services) => Some(What::Restored(services.iter().map(restored).collect())),
            Note::RejectedDefinitions(definitions) => Some(What::RejectedDefinitions(clean(&definitions))),
            Note::Definitions(reported) => self.snapshots.definitions(reported.map(|definitions| clean(&definitions))),
            Note::Hosts(service, reported) => {
                let clean = |seen: SeenHost| {
                    (seen.key.to_string(), Entry::from(seen.record.map(|record| redact::host(&record.host))))
                };
                self.snapshots.hosts(&service, reported.map(|seen| seen.into_iter().map(clean).collect()))
            }
            Note::Outcome(entry) => Some(What::Outcome(outcome(*entry))),
            Note::Missed(lines) => {
                self.snapshots = Snapshots::default();
                Some(What::Missed(lines))
            }
            Note::End(_) => None,
        };
        if let Some(what) = what {
            push(batch, &Line { at_ms, what });
        }
    }

    /// Writes a batch of complete lines. After an error they are lost, which is logged once.
    fn write(&mut self, batch: Vec<u8>) {
        if self.is_full {
            return;
        }
        let lines = batch.iter().filter(|byte| **byte == b'\n').count() as u64;
        match self.try_write(batch) {
            Ok(()) => {
                if self.missed > 0 {
                    info!(self.log, "recording continues"; "missed" => self.missed);
                }
                self.missed = 0;
            }
            Err(error) => {
                if self.missed == 0 {
                    warn!(self.log, "cannot write the recording; lines are lost until it is writable";
                        "path" => %self.path.display(), "error" => %error);
                }
                self.missed += lines.max(1);
                // Later differences must not depend on lines that are not in the file.
                self.snapshots = Snapshots::default();
            }
        }
    }

    fn try_write(&mut self, batch: Vec<u8>) -> io::Result<()> {
        let (mut file, length) = match self.file.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        let mut bytes = Vec::new();
        if !self.has_begun {
            push(&mut bytes, &self.header);
        }
        if self.missed > 0 && self.has_begun {
            push(&mut bytes, &Line { at_ms: self.last_at_ms, what: What::Missed(self.missed) });
        }
        bytes.extend(batch);
        if length + bytes.len() as u64 > RECORD_FILE_BYTES_MAX {
            warn!(self.log, "the recording has reached its largest size and ends";
                "path" => %self.path.display(), "bytes" => length);
            self.is_full = true;
            return Ok(());
        }
        if let Err(error) = file.write_all(&bytes) {
            // Removes a partial line; if that fails, the reader ignores it.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.has_begun = true;
        self.file = Some((file, length + bytes.len() as u64));
        Ok(())
    }
}

/// Opens the file for appending, without an incomplete last line of an earlier run.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let length = whole_lines(&mut file)?;
    file.set_len(length)?;
    Ok((file, length))
}

/// The length of a file up to the end of its last complete line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = vec![0; 64 * 1024];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn push(bytes: &mut Vec<u8>, line: &impl Serialize) {
    // Writing to memory cannot fail, and every key of a line is a string.
    let _ = serde_json::to_writer(&mut *bytes, line);
    bytes.push(b'\n');
}

fn clean(definitions: &BTreeMap<Arc<str>, RawDefinition>) -> BTreeMap<String, RawDefinition> {
    definitions.iter().map(|(name, raw)| (name.to_string(), redact::definition(raw))).collect()
}

fn restored(service: &SavedService) -> SavedService {
    let clean = |hosts: &Arc<HostList>| {
        hosts.iter().map(|(name, host)| (name.clone(), redact::host(host).into())).collect::<HostList>().into()
    };
    SavedService {
        definition: redact::read_definition(&service.definition),
        hosts: service.hosts.as_ref().map(clean),
        seen_at_unix_ms: service.seen_at_unix_ms,
        choices: service.choices.clone(),
        guard: service.guard.clone().map(|hosts| clean(&hosts)),
        // Its hosts are in the list already, without credentials.
        slots: SlotTable::default(),
        ids: service.ids.clone(),
        down: service.down.clone(),
    }
}

/// A journal entry without credentials: of a command, only the verb and its object. Names of services and servers are
/// always kept, because a replay needs them.
fn outcome(entry: JournalEntry) -> serde_json::Value {
    const WORDS: usize = 5;
    let mut value = serde_json::to_value(&entry).unwrap_or_default();
    redact::in_value(&mut value["event"]);
    match entry.event {
        Event::Commanded { command, .. } => {
            value["event"]["command"] = command.split(' ').take(WORDS).collect::<Vec<_>>().join(" ").into();
        }
        Event::Ordered { order, .. } => {
            value["event"]["order"] = serde_json::to_value(redact::order(order)).unwrap_or_default();
        }
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{AdminState, ServerName, ServiceName};
    use proxymgr_actors::operator::{Order, SetServer};

    use super::*;

    #[test]
    fn names_are_kept_even_if_they_look_like_credentials() {
        let command = "set server auth/10.0.0.1:80 state maint".to_owned();
        let commanded = Event::Commanded { command: command.clone(), answer: String::new(), accepted: true };
        assert_eq!(outcome(JournalEntry::new(commanded))["event"]["command"], command);

        let (service, server) = (ServiceName::new("auth").unwrap(), ServerName::new("token.example.org:80").unwrap());
        let reason = Some("password: c2VjcmV0".to_owned());
        let order =
            SetServer { service, server: server.clone(), state: AdminState::Drain, for_ms: None, reason, by: None };
        let what = "server token.example.org:80 of auth drains: password: c2VjcmV0".to_owned();
        let entry = JournalEntry::new(Event::Ordered { what, order: Order::SetServer(order.clone()) });
        let recorded = outcome(entry.server(&server));
        assert!(!recorded.to_string().contains("c2VjcmV0"), "{recorded}");
        let read: JournalEntry = serde_json::from_value(recorded).unwrap();
        let reason = Some("password:left-out".to_owned());
        assert_eq!(read.order(), Some(Order::SetServer(SetServer { reason, ..order })));
        assert_eq!(read.server, Some(server));
    }
}
