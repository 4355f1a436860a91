//! The settings of the running daemon, which are read again at SIGHUP and when files of the base configuration change.

use std::sync::Arc;

use proxymgr_actors::message::PolicyChanged;
use proxymgr_actors::model::BaseFile;
use proxymgr_actors::wiring::Actors;
use slog::{Logger, error, info, warn};

use super::{base_config_check, base_copy};
use crate::base_files;
use crate::logging::Logging;
use crate::settings::{Settings, SettingsSources};

/// The settings of the running daemon.
pub struct LiveSettings {
    /// The current ones.
    pub current: Settings,
    /// Their sources; none if they cannot be read again.
    sources: Option<SettingsSources>,
    /// Why the files of `haproxy.base_config` are not used, and the copy of the last good ones is.
    pub base_refused: Vec<String>,
    log: Logger,
}

impl LiveSettings {
    /// These settings, and where they come from.
    pub fn new(current: Settings, sources: Option<SettingsSources>, log: Logger) -> Self {
        Self { current, sources, base_refused: Vec::new(), log }
    }

    /// Uses the copy of the last good base configuration where HAProxy refuses the files.
    pub async fn choose_base(&mut self) {
        if base_copy::files_of(&self.current).is_empty() || !self.base_refused.is_empty() {
            self.base_refused.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
            return;
        }
        let refusals = base_config_check::mistakes(&self.current, &self.log).await;
        if refusals.is_empty() {
            return self.keep_base();
        }
        refusals.iter().for_each(|refusal| error!(self.log, "mistake in the settings: {}", refusal));
        let copy = self.sources.as_ref().and_then(|sources| base_copy::with_copy(sources, &self.current));
        if let Some(copy) = copy {
            error!(self.log, "base configuration rejected, the last good one is used"; "mistakes" => refusals.len());
            self.current = copy.settings;
        }
        self.base_refused = refusals;
    }

    /// Keeps a copy of a good base configuration.
    fn keep_base(&self) {
        if !base_copy::files_of(&self.current).is_empty()
            && let Err(problem) = base_copy::save(&self.current)
        {
            warn!(self.log, "a bad base configuration at the next start would have no substitute"; "error" => problem);
        }
    }

    /// The files of the base configuration as they are now.
    pub fn base_files(&self) -> Option<Result<Vec<BaseFile>, String>> {
        self.current.haproxy.base_config.as_deref().map(base_files::read)
    }

    /// Applies changed settings. If they contain a mistake, none of them is applied.
    pub async fn read_again(&mut self, actors: &Actors, logging: &Logging) {
        let Some(sources) = &self.sources else {
            info!(self.log, "no settings file to read again");
            return;
        };
        let newer = match Settings::load(sources) {
            Ok(loaded) => loaded.settings,
            Err(mistakes) => return self.refuse(mistakes.0.iter().map(ToString::to_string).collect(), actors),
        };
        let refusals = base_config_check::mistakes(&newer, &self.log).await;
        if !refusals.is_empty() {
            return self.refuse(refusals, actors);
        }
        let changed = self.current.adopt(newer);
        self.keep_base();
        info!(self.log, "settings read again"; "applied" => names(&changed.applied));
        if !changed.need_restart.is_empty() {
            warn!(self.log, "some changed settings need a restart"; "keys" => names(&changed.need_restart));
        }
        if !changed.applied.is_empty() {
            logging.set_levels(&self.current.log);
        }
        actors.change_policy(&self.policy());
    }

    fn refuse(&self, mistakes: Vec<String>, actors: &Actors) {
        mistakes.iter().for_each(|mistake| error!(self.log, "mistake in the settings: {}", mistake));
        error!(self.log, "settings rejected, the previous ones stay in use"; "mistakes" => mistakes.len());
        actors.refuse_settings(mistakes);
    }

    /// The settings that actors receive.
    pub fn policy(&self) -> PolicyChanged {
        let haproxy = &self.current.haproxy;
        PolicyChanged {
            policy: Arc::new(haproxy.policy.clone()),
            options: haproxy.options.clone(),
            services_removal_max: haproxy.services_removal_max,
        }
    }
}

fn names(keys: &[&'static str]) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(",") }
}
