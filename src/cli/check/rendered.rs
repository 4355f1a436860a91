//! HAProxy's own check of the file that definitions result in.

use std::sync::Arc;

use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::port::{CheckFailure, ConfigMessage, ConfigText};
use proxymgr_yaml::Mistake;
use slog::Logger;

use super::super::render::{Rendered, rendered};
use super::definitions::{Judged, JudgedService};
use crate::certificates::CertificateStore;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::proxy::trial::Trial;
use crate::settings::Settings;

/// Returns the mistakes that HAProxy finds; none if it runs elsewhere.
pub(in crate::cli) async fn mistakes(judged: &Judged, settings: &Settings, log: &Logger) -> Vec<Mistake> {
    if !settings.haproxy.run.needs_program() || judged.services.is_empty() {
        return Vec::new();
    }
    let unplaced = |problem: String| vec![Mistake { place: String::new(), key: String::new(), problem }];
    let binary = HaproxyBinary::of(&settings.haproxy);
    let version = match binary.version().await {
        Ok((version, _)) => version,
        Err(problem) => return unplaced(problem),
    };
    let trial = match Trial::open(binary, log) {
        Ok(trial) => trial,
        Err(problem) => return unplaced(problem),
    };
    if let Some(directory) = &settings.haproxy.certificates {
        // HAProxy reads the copies that a daemon would have; mistakes in them are reported apart from this.
        CertificateStore::new(directory.clone(), trial.certificates_path(), log.clone()).scan();
    }
    let services = judged.services.iter().map(|judged| &judged.service);
    let file = rendered(settings, Some(version), &trial.map_path(), services);
    let map = file.has_frontends.then(|| Arc::from(""));
    match trial.check(ConfigText { pieces: file.pieces.clone(), map, lists: file.lists.clone() }).await {
        Ok(_warnings) => Vec::new(),
        Err(CheckFailure::Failed(problem)) => unplaced(problem),
        Err(CheckFailure::Rejected { messages }) => {
            messages.iter().map(|message| mistake(message, &file, &judged.services)).collect()
        }
    }
}

/// Assigns a message of HAProxy to the definition that its line comes from, or to the operator's own file.
fn mistake(message: &ConfigMessage, file: &Rendered, services: &[JudgedService]) -> Mistake {
    let found = message.line.and_then(|line| piece_with(line, &file.pieces));
    let text = found.map_or_else(String::new, |(_, line)| format!("{line:?}: "));
    let problem = format!("HAProxy refuses it: {text}{}", message.text);
    let place = message.line.and_then(|line| file.places.get(line.checked_sub(1)?)?.clone());
    if let Some(place) = place {
        return Mistake { place: place.to_string(), key: String::new(), problem };
    }
    let service = found.and_then(|(piece, line)| {
        let (name, _) = file.sections.iter().find(|(_, section)| Arc::ptr_eq(section, piece))?;
        Some((services.iter().find(|judged| judged.service.definition.name == *name)?, line))
    });
    let Some((JudgedService { service, lines }, line)) = service else {
        return Mistake { place: String::new(), key: String::new(), problem };
    };
    let options = &service.definition.listen_options;
    match options.iter().position(|words| joined(words) == line) {
        Some(index) => lines.mistake_in("listen_options", index, &problem),
        None if line.starts_with("server ") => lines.mistake_at("server_options", &problem),
        None => lines.mistake(&problem),
    }
}

/// Returns the piece with this line of the file, and the line.
fn piece_with(line: usize, pieces: &[Arc<str>]) -> Option<(&Arc<str>, &str)> {
    let mut before = 0;
    for piece in pieces {
        let lines = piece.lines().count();
        if line <= before + lines {
            return Some((piece, piece.lines().nth(line.checked_sub(before + 1)?)?.trim()));
        }
        before += lines;
    }
    None
}
