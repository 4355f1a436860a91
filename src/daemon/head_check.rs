//! Whether HAProxy accepts the head of the file, `global` and `defaults`, that the settings ask for: seen before it is
//! put in force.

use std::fs;
use std::path::PathBuf;

use proxymgr_actors::decide::haproxy_config;
use proxymgr_actors::port::{CheckFailure, ConfigFile, ConfigText};
use slog::Logger;

use super::supported_version;
use crate::proxy::config_file::HaproxyConfigFile;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::settings::Settings;

/// What is wrong with the binary, or with the operator's own lines as it understands them.
pub async fn mistakes(settings: &Settings, log: &Logger) -> Vec<String> {
    if !settings.haproxy.run.needs_program() {
        // Whoever has the program says so when it is asked to take the file.
        return Vec::new();
    }
    let binary = HaproxyBinary::new(&settings.haproxy.binary);
    if let Err(failure) = supported_version(&binary).await {
        return vec![format!("haproxy.path: {failure}")];
    }
    // Checked in a directory of its own: the candidate of a running daemon is not touched.
    let directory = match Scratch::new() {
        Ok(directory) => directory,
        Err(problem) => return vec![problem],
    };
    let file = HaproxyConfigFile::new(binary, directory.0.join("haproxy.cfg"), log.clone());
    let frame = haproxy_config::frame(&settings.haproxy.policy.frame);
    let text = frame.to_string();
    match file.check(ConfigText { pieces: vec![frame], map: None }, Vec::new()).await {
        Ok(_) => Vec::new(),
        Err(CheckFailure::Failed(problem)) => vec![problem],
        Err(CheckFailure::Rejected { messages }) => messages
            .iter()
            .map(|message| {
                let line = message.line.and_then(|line| text.lines().nth(line.checked_sub(1)?)).map(str::trim);
                let line = line.map(|line| format!("{line:?}: ")).unwrap_or_default();
                format!("haproxy.global, haproxy.defaults: {line}{}", message.text)
            })
            .collect(),
    }
}

/// A directory that goes away again.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let template = std::env::temp_dir().join("proxymgr-check-XXXXXX");
        nix::unistd::mkdtemp(&template)
            .map(Self)
            .map_err(|errno| format!("cannot make a temporary directory {}: {errno}", template.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from the temporary directory is removed with it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
