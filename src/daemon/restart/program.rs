//! The program of this process, to be executed again.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf, absolute};

use nix::unistd::{AccessFlags, access, execve};

/// A program, with its arguments.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its path. It is not resolved further: after an upgrade, a symbolic link may lead to another file.
    pub path: PathBuf,
    /// Its arguments, beginning with its name.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The program that was started as this process, by the name that it was called by.
    pub fn of_this_process() -> Self {
        let arguments: Vec<OsString> = env::args_os().collect();
        let named = arguments.first().map(PathBuf::from).and_then(|name| match name.components().nth(1) {
            Some(_) => absolute(name).ok(),
            None => in_path(name.as_os_str()),
        });
        let path = named.or_else(|| env::current_exe().ok()).unwrap_or_default();
        Self { path, arguments }
    }

    /// Its arguments after its name.
    pub fn after_name(&self) -> &[OsString] {
        self.arguments.get(1..).unwrap_or_default()
    }
}

/// The file of the program that runs, also if it was deleted or replaced since.
pub fn running_file() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/self/exe")?.into())
}

/// The path of an open file.
pub fn path_of(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Replaces the program of this process, with one more environment variable. Returns only on failure.
pub fn execute(path: &Path, arguments: &[OsString], (name, value): (&str, String)) -> io::Error {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    let variables = env::vars_os().filter(|(other, _)| other != name).chain([(name.into(), value.into())]);
    let variable = |(name, value): (OsString, OsString)| {
        let mut variable = name;
        variable.push("=");
        variable.push(value);
        text(&variable)
    };
    let executed = || -> io::Result<()> {
        let path = text(path.as_os_str())?;
        let arguments = arguments.iter().map(|argument| text(argument)).collect::<io::Result<Vec<_>>>()?;
        let environment = variables.map(variable).collect::<io::Result<Vec<_>>>()?;
        match execve(&path, &arguments, &environment)? {}
    };
    match executed() {
        Err(error) => error,
        Ok(()) => io::Error::other("it was not executed"),
    }
}

fn in_path(name: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let candidates = env::split_paths(&path).filter(|directory| directory.is_absolute()).map(|found| found.join(name));
    candidates.into_iter().find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}
