//! Checks the base configuration with HAProxy before it is applied: that of the operator's files, or `global` and
//! `defaults` of the settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::base::{self, BoundBase};
use proxymgr_actors::model::Descriptors;
use proxymgr_actors::port::{CheckFailure, ConfigText};
use slog::Logger;

use super::supported_version;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::proxy::trial::Trial;
use crate::settings::Settings;

/// Problems of the HAProxy binary, or of the operator's lines as HAProxy reports them.
pub async fn mistakes(settings: &Settings, log: &Logger) -> Vec<String> {
    if !settings.haproxy.run.needs_program() {
        // The operator of an external HAProxy checks the file.
        return Vec::new();
    }
    let binary = HaproxyBinary::of(&settings.haproxy);
    if let Err(failure) = supported_version(&binary).await {
        return vec![format!("haproxy.path: {failure}")];
    }
    let trial = match Trial::open(binary, log) {
        Ok(trial) => trial,
        Err(error) => return vec![error],
    };
    let config = &settings.haproxy.policy.base_config;
    let base = BoundBase::new(Arc::new(base::layout(config)), Descriptors::new());
    let (text, places) = (base.text(), base.places(&BTreeMap::new()));
    match trial.check(ConfigText { pieces: vec![text.as_str().into()], ..ConfigText::default() }).await {
        Ok(_) => Vec::new(),
        Err(CheckFailure::Failed(problem)) => vec![problem],
        Err(CheckFailure::Rejected { messages }) => messages
            .iter()
            .map(|message| {
                let line = message.line.and_then(|line| text.lines().nth(line.checked_sub(1)?)).map(str::trim);
                let line = line.map(|line| format!("{line:?}: ")).unwrap_or_default();
                let place = message.line.and_then(|line| places.get(line.checked_sub(1)?)?.clone());
                match place {
                    Some(place) => format!("haproxy.base_config: {place}: {line}{}", message.text),
                    None if config.files.is_empty() => {
                        format!("haproxy.global, haproxy.defaults: {line}{}", message.text)
                    }
                    None => format!("haproxy.base_config: {line}{}", message.text),
                }
            })
            .collect(),
    }
}
