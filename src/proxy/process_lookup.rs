//! Finds the HAProxy process that runs a configuration file, by /proc. Blocks.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A HAProxy process found in /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundProcess {
    /// Its process id.
    pub(super) pid: u32,
    /// The time of its start, in ticks since boot.
    started_ticks: u64,
}

/// Returns the youngest HAProxy process that runs `config` and is not in `known`; older ones are draining.
pub(super) fn youngest_running(config: &Path, known: &[u32]) -> Option<FoundProcess> {
    let strangers = all_running(config).filter(|pid| !known.contains(pid));
    let found = strangers.filter_map(|pid| Some(FoundProcess { pid, started_ticks: started_ticks(pid)? }));
    found.max_by_key(|process| (process.started_ticks, process.pid))
}

/// Returns every HAProxy process that runs `config`.
pub(super) fn all_running(config: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| runs(*pid, config))
}

/// Whether process `pid` is a HAProxy that serves `config`. A check (`-c`) of the same file does not count.
pub(super) fn runs(pid: u32, config: &Path) -> bool {
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let arguments: Vec<&[u8]> = command_line.split(|&byte| byte == 0).collect();
    let Some(options) = options_of_haproxy(pid, &arguments) else { return false };
    if options.iter().any(|option| matches!(*option, b"-c" | b"-v" | b"-vv")) {
        return false;
    }
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let config = crate::atomic_file::resolved(config);
    options.windows(2).filter(|pair| pair[0] == b"-f").any(|pair| {
        let named: PathBuf = directory.join(Path::new(std::ffi::OsStr::from_bytes(pair[1])));
        named == config || crate::atomic_file::resolved(&named) == config
    })
}

/// Returns the arguments after the program's name if the program is HAProxy: by its executable file or, if a loader or
/// a wrapper started it, by the first argument with that file name.
fn options_of_haproxy<'a>(pid: u32, arguments: &'a [&'a [u8]]) -> Option<&'a [&'a [u8]]> {
    let is_haproxy = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"haproxy"));
    let before_options = arguments.iter().take_while(|argument| **argument != b"-f");
    let named = before_options.clone().any(|argument| is_haproxy(Path::new(std::ffi::OsStr::from_bytes(argument))));
    let by_file = || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| is_haproxy(&path));
    if named || by_file() { Some(&arguments[before_options.count().min(arguments.len())..]) } else { None }
}

/// Reads field 22 of /proc/PID/stat (proc(5)). The second field, the name, may contain blanks and brackets.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_is_no_haproxy() {
        let pid = std::process::id();
        assert!(started_ticks(pid).is_some());
        assert!(!runs(pid, Path::new("/etc/haproxy/haproxy.cfg")));
    }

    #[test]
    fn program_behind_a_loader_is_recognised() {
        let arguments: Vec<&[u8]> = vec![b"/lib/ld.so", b"--library-path", b"/x", b"/x/haproxy", b"-f", b"/c", b"-db"];
        assert_eq!(options_of_haproxy(0, &arguments), Some(&arguments[4..]));
        let editor: Vec<&[u8]> = vec![b"/usr/bin/ed", b"-f", b"/etc/haproxy"];
        assert_eq!(options_of_haproxy(0, &editor), None);
    }
}
