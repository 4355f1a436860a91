//! The copy of the last good files of `haproxy.base_config`, with which the daemon starts where the files themselves
//! cannot be used.

use std::path::PathBuf;

use proxymgr_actors::model::BaseFile;

use super::adapters;
use crate::base_files;
use crate::settings::{Loaded, Mistakes, Settings, SettingsSources};

const KEY: &str = "haproxy.base_config";

/// Loads the settings; where only the base files prevent that, with the copy of the last good ones. Also returns what is
/// wrong with the files then.
///
/// # Errors
/// The mistakes in the settings.
pub fn load(sources: &SettingsSources) -> Result<(Loaded, Vec<String>), Mistakes> {
    let mistakes = match Settings::load(sources) {
        Ok(loaded) => return Ok((loaded, Vec::new())),
        Err(mistakes) => mistakes,
    };
    let of_base = mistakes.0.iter().all(|mistake| mistake.key == KEY);
    let without = || Settings::load(&SettingsSources { base_files: Some(Vec::new()), ..sources.clone() }).ok();
    match of_base.then(without).flatten().and_then(|loaded| with_copy(sources, &loaded.settings)) {
        Some(loaded) => Ok((loaded, mistakes.0.iter().map(ToString::to_string).collect())),
        None => Err(mistakes),
    }
}

/// Loads the settings with the copy; `None` where there is none that can be used, or it has the same files.
pub fn with_copy(sources: &SettingsSources, settings: &Settings) -> Option<Loaded> {
    let files = base_files::saved(&path(settings)).filter(|saved| *saved != files_of(settings))?;
    Settings::load(&SettingsSources { base_files: Some(files), ..sources.clone() }).ok()
}

/// Saves the copy.
///
/// # Errors
/// Why it cannot be written.
pub fn save(settings: &Settings) -> Result<(), String> {
    base_files::save(&path(settings), files_of(settings))
}

/// Returns the operator's files in these settings.
pub fn files_of(settings: &Settings) -> &[BaseFile] {
    &settings.haproxy.policy.base_config.files
}

fn path(settings: &Settings) -> PathBuf {
    adapters::saved_state_path(settings).with_extension("base.json")
}
