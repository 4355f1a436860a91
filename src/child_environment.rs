//! The environment of the programs that the daemon starts: HAProxy, its checks, and the operator's commands.
//!
//! It is cleared, because the daemon's own environment may contain credentials (`PROXYMGR_ZOOKEEPER__AUTH`) and the
//! socket of its supervisor (`NOTIFY_SOCKET`).

use std::ffi::OsStr;
use std::sync::Arc;

use tokio::process::Command;

/// Variables that every program inherits. `LC_*` is inherited as well.
const ALWAYS: &[&str] = &["PATH", "HOME", "TZ", "LANG"];

/// Variables that belong to the daemon's supervisor: a program that had them would speak for the daemon.
const NEVER: &[&str] =
    &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The names of environment variables that programs inherit, in addition to the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildEnvironment {
    names: Arc<[String]>,
}

impl ChildEnvironment {
    /// Returns an environment with these variables, as far as the daemon has them.
    pub fn with(names: Vec<String>) -> Self {
        Self { names: names.into() }
    }

    /// Whether a variable of the daemon is passed on.
    pub fn passes(&self, name: &str) -> bool {
        ALWAYS.contains(&name) || name.starts_with("LC_") || self.names.iter().any(|listed| listed == name)
    }

    /// Returns a command that runs `program` with these variables and no others.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        let passed = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| self.passes(name)));
        command.envs(passed);
        command
    }
}

/// Checks the name of a variable that an operator lists.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(format!("{name:?} is not the name of an environment variable, such as PROXY_REGION"));
    }
    if NEVER.contains(&name) {
        return Err(format!("{name} belongs to the supervisor of proxymgr and is never passed on"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_and_listed_variables_are_passed() {
        let environment = ChildEnvironment::with(vec!["PROXY_REGION".to_owned()]);
        for name in ["PATH", "LC_ALL", "TZ", "PROXY_REGION"] {
            assert!(environment.passes(name), "{name}");
        }
        for name in ["PROXYMGR_ZOOKEEPER__AUTH", "NOTIFY_SOCKET", "PROXY", "LD_PRELOAD"] {
            assert!(!environment.passes(name), "{name}");
        }
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("PROXY_REGION").is_ok());
        for name in ["", "1A", "A=B", "A B", "NOTIFY_SOCKET"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
