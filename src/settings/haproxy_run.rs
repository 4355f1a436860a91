//! `haproxy.run`, and the keys of each of its values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proxymgr_actors::model::{OnStop, ProxyManagement};

use super::command_line::CommandLine;
use super::reader::Reader;
use crate::child_environment::{ChildEnvironment, check_name};

/// How HAProxy is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// The way.
    pub way: RunWay,
    /// The time-out of each command.
    pub timeout: Duration,
    /// What HAProxy and the commands inherit of the daemon's environment.
    pub environment: ChildEnvironment,
}

/// How HAProxy is started and reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunWay {
    /// proxymgr starts and supervises the process.
    Supervise,
    /// As a systemd unit.
    Systemd {
        /// The unit.
        unit: String,
    },
    /// By its binary, in the background.
    Binary {
        /// The file with its process id.
        pid_file: PathBuf,
    },
    /// By commands of the operator.
    Command {
        /// Starts it; none: `reload` does so.
        start: Option<CommandLine>,
        /// Checks a candidate, in place of `haproxy -c`.
        check: Option<CommandLine>,
        /// Makes it load the file.
        reload: CommandLine,
    },
    /// Not by proxymgr: an external HAProxy, with runtime changes only.
    External,
}

impl RunSettings {
    /// Returns who runs HAProxy.
    pub fn management(&self) -> ProxyManagement {
        match self.way {
            RunWay::Supervise => ProxyManagement::Supervised,
            RunWay::Systemd { .. } | RunWay::Binary { .. } | RunWay::Command { .. } => ProxyManagement::Delegated,
            RunWay::External => ProxyManagement::External,
        }
    }

    /// Whether the HAProxy binary must be on this machine, to be started or to check candidates.
    pub fn needs_program(&self) -> bool {
        !matches!(self.way, RunWay::External | RunWay::Command { check: Some(_), .. })
    }
}

/// Reads `haproxy.on_stop`.
pub(super) fn read_on_stop(reader: &mut Reader) -> Option<OnStop> {
    Some(if reader.choice("haproxy.on_stop")? == "leave" { OnStop::Leave } else { OnStop::Stop })
}

/// Reads how HAProxy is run.
pub(super) fn read(reader: &mut Reader, config_path: Option<&Path>) -> Option<RunSettings> {
    let way = reader.choice("haproxy.run");
    let unit = reader.text("haproxy.unit");
    if let Some(unit) = &unit
        && !is_unit_name(unit)
    {
        reader.refuse("haproxy.unit", format!("{unit:?} is not the name of a unit, such as haproxy.service"));
    }
    let pid_file = reader.path("haproxy.pid_file");
    if let Some(path) = pid_file.as_ref().filter(|path| !path.is_absolute()) {
        reader.refuse("haproxy.pid_file", format!("{} must be an absolute path", path.display()));
    }
    let shell = reader.switch("haproxy.command_shell").unwrap_or_default();
    let environment = environment(reader);
    let mut command = |key| command(reader, key, shell, way, &environment);
    let start = command("haproxy.start_command");
    let check = command("haproxy.check_command");
    let reload = command("haproxy.reload_command");
    let timeout = reader.duration("haproxy.command_timeout");
    let way = match way? {
        "systemd" => RunWay::Systemd { unit: unit? },
        "binary" => RunWay::Binary { pid_file: pid_file.or_else(|| Some(config_path?.with_file_name("haproxy.pid")))? },
        "command" => {
            if !reader.is_set("haproxy.reload_command") {
                let problem =
                    "is missing; haproxy.run: command requires it, for example [docker, kill, -s, HUP, haproxy]";
                reader.refuse("haproxy.reload_command", problem);
            }
            RunWay::Command { start, check, reload: reload? }
        }
        "none" => RunWay::External,
        _ => RunWay::Supervise,
    };
    Some(RunSettings { way, timeout: timeout?, environment })
}

/// Adds the lines for `haproxy.user` and `haproxy.group` to the lines of the global section.
pub(super) fn push_user(reader: &mut Reader, global: &mut Vec<String>) {
    for (key, keyword, number) in [("haproxy.user", "user", "uid"), ("haproxy.group", "group", "gid")] {
        let Some(name) = reader.text(key) else { continue };
        // useradd(8)
        let is_name = !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name {
            reader.refuse(key, format!("{name:?} is not the name of a {keyword}"));
        } else if global
            .iter()
            .any(|line| line.split_whitespace().next().is_some_and(|first| [keyword, number].contains(&first)))
        {
            reader.refuse(key, format!("haproxy.global sets {keyword} or {number}, too; remove one of them"));
        } else {
            global.push(format!("{keyword} {name}"));
        }
    }
}

/// Reads `haproxy.certificates`.
pub(super) fn read_certificates(reader: &mut Reader, run: Option<&RunSettings>) -> Option<PathBuf> {
    const KEY: &str = "haproxy.certificates";
    let path = reader.path(KEY)?;
    if !path.is_absolute() {
        reader.refuse(KEY, format!("{} must be an absolute path", path.display()));
    } else if run.is_some_and(|run| run.management() == ProxyManagement::External) {
        reader.refuse(KEY, "has no effect with haproxy.run: none, where the operator writes haproxy.cfg; remove it");
    }
    Some(path)
}

/// Reads `haproxy.ocsp_update`.
pub(super) fn read_ocsp_update(reader: &mut Reader, has_certificates: bool) -> bool {
    const KEY: &str = "haproxy.ocsp_update";
    let is_on = reader.switch(KEY).unwrap_or_default();
    if is_on && !has_certificates {
        reader.refuse(KEY, "has no effect without haproxy.certificates; set that, too, or remove this");
    }
    is_on
}

fn environment(reader: &mut Reader) -> ChildEnvironment {
    const KEY: &str = "haproxy.environment";
    let names = reader.lines(KEY);
    for (at, name) in names.iter().enumerate() {
        if let Err(problem) = check_name(name) {
            reader.refuse_line(KEY, at, problem);
        }
    }
    ChildEnvironment::with(names)
}

fn command(
    reader: &mut Reader,
    key: &'static str,
    shell: bool,
    way: Option<&str>,
    environment: &ChildEnvironment,
) -> Option<CommandLine> {
    let words = reader.lines(key);
    if words.is_empty() {
        return None;
    }
    if let Some(way) = way.filter(|way| *way != "command") {
        reader.refuse(key, format!("has no effect with haproxy.run: {way}; set haproxy.run: command, or remove it"));
    }
    CommandLine::new(words, shell, environment.clone()).map_err(|problem| reader.refuse(key, problem)).ok()
}

/// systemd.unit(5): letters, digits and `:-_.\@`. A leading `-` would be an option of systemctl.
fn is_unit_name(name: &str) -> bool {
    const LENGTH_MAX: usize = 255;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    !name.is_empty() && name.len() <= LENGTH_MAX && !name.starts_with('-') && name.bytes().all(allowed)
}
