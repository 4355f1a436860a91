//! What a program passes on to the next one in the same process: descriptors, and a note in a memory file that says what
//! they are.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use crate::proxy::haproxy_process::KeptProcesses;
use crate::status::restarts::Restart;

/// The format of the note. It is incremented by a change that other versions would misread; keys may be added without.
pub const FORMAT: u32 = 1;

/// The environment variable with the descriptor of the note. It has no prefix, because `PROXYMGR_...` are settings.
pub const VARIABLE: &str = "INHERITANCE_OF_PROXYMGR";

/// The name of the memory file.
const NAME: &std::ffi::CStr = c"proxymgr-inheritance";

/// What a program leaves to the next one.
#[derive(Debug, Clone)]
pub struct Inheritance {
    /// The restart.
    pub restart: Restart,
    /// Whether the daemon was ready before it.
    pub was_ready: bool,
    /// The descriptors.
    pub kept: Kept,
    /// The program from before, for the case that the new one does not get ready; `None` where there is no way back.
    pub previous: Option<Previous>,
}

/// Descriptors that stay open.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The lock of haproxy.cfg.
    pub lock: Rc<OwnedFd>,
    /// The listening sockets of services.
    pub listening: Vec<Rc<OwnedFd>>,
    /// The HAProxy processes.
    pub processes: KeptProcesses,
    /// The sockets of the status listener.
    pub status: StatusSockets,
}

/// The sockets of the status listener, as far as they are open.
#[derive(Debug, Clone, Default)]
pub struct StatusSockets {
    /// The TCP socket.
    pub tcp: Option<Rc<OwnedFd>>,
    /// The unix socket.
    pub unix: Option<Rc<OwnedFd>>,
}

/// The program from before a restart.
#[derive(Debug, Clone)]
pub struct Previous {
    /// Its file.
    pub file: Rc<OwnedFd>,
    /// Its arguments, beginning with its name.
    pub arguments: Vec<OsString>,
}

/// The note.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    format: u32,
    /// The process, which is the same before and after. A note of another process is not meant for this one.
    pid: u32,
    restart: Restart,
    #[serde(default)]
    was_ready: bool,
    lock: RawFd,
    #[serde(default)]
    listening: Vec<RawFd>,
    #[serde(default)]
    serving: Option<u32>,
    #[serde(default)]
    outputs: BTreeMap<u32, RawFd>,
    #[serde(default)]
    exposes_listeners: bool,
    #[serde(default)]
    status_tcp: Option<RawFd>,
    #[serde(default)]
    status_unix: Option<RawFd>,
    #[serde(default)]
    previous: Option<RawFd>,
    #[serde(default)]
    arguments: Vec<OsString>,
}

impl Inheritance {
    /// Returns what the program from before left to this one; `None` where this is not a restart in place. Must be called
    /// before any other program is started, which would inherit the descriptors.
    ///
    /// # Errors
    /// What is wrong with the note.
    pub fn received() -> Result<Option<Self>, String> {
        let Some(number) = env::var(VARIABLE).ok().and_then(|number| number.parse().ok()) else { return Ok(None) };
        let is_note = |path: std::path::PathBuf| path.to_string_lossy().contains("proxymgr-inheritance");
        // The variable stays when the file is closed.
        if !fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(is_note) {
            return Ok(None);
        }
        let wrong =
            |error: &dyn std::fmt::Display| format!("what the program from before left cannot be used: {error}");
        let mut text = String::new();
        let mut file = File::from(owned(number).map_err(|error| wrong(&error))?);
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text)).map_err(|error| wrong(&error))?;
        let note: Note = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        if note.pid != std::process::id() {
            return Ok(None);
        }
        note.taken().map(Some).map_err(|error| wrong(&error))
    }

    /// Writes the note, and lets all descriptors survive the execution of another program. Nothing else may be executed
    /// from here on. Returns the file of the note.
    ///
    /// # Errors
    /// The memory file cannot be written.
    pub fn leave(&self) -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&self.note())?)?;
        let file = OwnedFd::from(file);
        for descriptor in self.descriptors().chain([file.as_fd()]) {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(file)
    }

    fn descriptors(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        let Kept { lock, listening, processes, status } = &self.kept;
        let previous = self.previous.as_ref().map(|previous| &previous.file);
        let all = [lock].into_iter().chain(listening).chain(processes.outputs.values());
        all.chain(&status.tcp).chain(&status.unix).chain(previous).map(|descriptor| descriptor.as_fd())
    }

    fn note(&self) -> Note {
        let number = |descriptor: &Rc<OwnedFd>| descriptor.as_raw_fd();
        let Kept { lock, listening, processes, status } = &self.kept;
        Note {
            format: FORMAT,
            pid: std::process::id(),
            restart: self.restart.clone(),
            was_ready: self.was_ready,
            lock: number(lock),
            listening: listening.iter().map(number).collect(),
            serving: processes.serving,
            outputs: processes.outputs.iter().map(|(pid, output)| (*pid, number(output))).collect(),
            exposes_listeners: processes.exposes_listeners,
            status_tcp: status.tcp.as_ref().map(number),
            status_unix: status.unix.as_ref().map(number),
            previous: self.previous.as_ref().map(|previous| number(&previous.file)),
            arguments: self.previous.iter().flat_map(|previous| previous.arguments.clone()).collect(),
        }
    }
}

impl Note {
    fn taken(self) -> io::Result<Inheritance> {
        if self.format != FORMAT {
            return Err(io::Error::other(format!("it has format {}, and this version reads {FORMAT}", self.format)));
        }
        let taken = |number| owned(number).map(Rc::new);
        let outputs = self.outputs.into_iter().map(|(pid, output)| Ok((pid, taken(output)?)));
        let processes = KeptProcesses {
            serving: self.serving,
            outputs: outputs.collect::<io::Result<_>>()?,
            exposes_listeners: self.exposes_listeners,
        };
        let status = StatusSockets {
            tcp: self.status_tcp.map(taken).transpose()?,
            unix: self.status_unix.map(taken).transpose()?,
        };
        let listening = self.listening.into_iter().map(taken).collect::<io::Result<_>>()?;
        let previous = self.previous.map(taken).transpose()?;
        Ok(Inheritance {
            restart: self.restart,
            was_ready: self.was_ready,
            kept: Kept { lock: taken(self.lock)?, listening, processes, status },
            previous: previous.map(|file| Previous { file, arguments: self.arguments }),
        })
    }
}

/// Takes an inherited descriptor, which no other program inherits from here on.
#[expect(unsafe_code, reason = "the compiler cannot know that nothing else owns an inherited descriptor")]
fn owned(number: RawFd) -> io::Result<OwnedFd> {
    fs::symlink_metadata(format!("/proc/self/fd/{number}"))?;
    // SAFETY: it is open, and nothing else in this process has it: the program from before opened it, and left each number
    // once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::restarts::Outcome;

    fn note() -> Note {
        let restart = Restart { at_unix_ms: 5, from: "1".into(), to: None, outcome: Outcome::UnderWay };
        let lock = Rc::new(File::open("/dev/null").unwrap().into());
        let processes = KeptProcesses { serving: Some(7), ..KeptProcesses::default() };
        let kept = Kept { lock, listening: Vec::new(), processes, status: StatusSockets::default() };
        Inheritance { restart, was_ready: true, kept, previous: None }.note()
    }

    #[test]
    fn note_of_the_version_after_is_read() {
        let mut json = serde_json::to_value(note()).unwrap();
        json["new_key"] = "x".into();
        let read: Note = serde_json::from_value(json).unwrap();
        assert_eq!((read.serving, read.was_ready), (Some(7), true));
    }

    #[test]
    fn note_of_the_version_before_has_defaults() {
        let json = serde_json::to_value(note()).unwrap();
        let required = ["format", "pid", "restart", "lock"];
        let json: serde_json::Map<_, _> =
            json.as_object().unwrap().clone().into_iter().filter(|(key, _)| required.contains(&key.as_str())).collect();
        let read: Note = serde_json::from_value(json.into()).unwrap();
        assert_eq!((read.serving, read.listening.len()), (None, 0));
    }

    #[test]
    fn note_of_another_format_is_refused() {
        assert!(Note { format: FORMAT + 1, ..note() }.taken().is_err());
    }
}
