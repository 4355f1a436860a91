//! HAProxy's own check of the file that definitions result in.

use std::sync::Arc;

use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::model::ServiceName;
use proxymgr_actors::port::{CheckFailure, ConfigMessage, ConfigText};
use proxymgr_yaml::Mistake;
use slog::Logger;

use super::super::desired::DesiredService;
use super::super::render::{Rendered, rendered};
use super::definitions::{Judged, JudgedService};
use crate::certificates::CertificateStore;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::proxy::trial::Trial;
use crate::settings::Settings;

/// Something in the file that HAProxy refuses.
pub(in crate::cli) struct Refusal {
    /// The operator's own file and line, if the line comes from there.
    pub(in crate::cli) place: Option<Arc<str>>,
    /// The service whose section has the line.
    pub(in crate::cli) service: Option<ServiceName>,
    /// The line; empty if HAProxy names none.
    line: String,
    message: String,
}

impl Refusal {
    /// Returns the line with HAProxy's message.
    pub(in crate::cli) fn text(&self) -> String {
        let line = if self.line.is_empty() { String::new() } else { format!("{:?}: ", self.line) };
        format!("{line}{}", self.message)
    }
}

/// Returns the mistakes that HAProxy finds; none if it runs elsewhere.
pub(in crate::cli) async fn mistakes(judged: &Judged, settings: &Settings, log: &Logger) -> Vec<Mistake> {
    if judged.services.is_empty() {
        return Vec::new();
    }
    let services = judged.services.iter().map(|judged| &judged.service);
    match refusals(services, settings, log).await {
        Ok(refusals) => refusals.iter().map(|refusal| mistake(refusal, &judged.services)).collect(),
        Err(problem) => vec![Mistake { place: String::new(), key: String::new(), problem }],
    }
}

/// Returns what HAProxy refuses in the file that these services result in; nothing if it runs elsewhere.
///
/// # Errors
/// Why HAProxy cannot check the file.
pub(in crate::cli) async fn refusals(
    services: impl Iterator<Item = &DesiredService>,
    settings: &Settings,
    log: &Logger,
) -> Result<Vec<Refusal>, String> {
    if !settings.haproxy.run.needs_program() {
        return Ok(Vec::new());
    }
    let binary = HaproxyBinary::of(&settings.haproxy);
    let (version, _) = binary.version().await?;
    let trial = Trial::open(binary, log)?;
    if let Some(directory) = &settings.haproxy.certificates {
        // HAProxy reads the copies that a daemon would have; mistakes in them are reported apart from this.
        CertificateStore::new(directory.clone(), trial.certificates_path(), log.clone()).scan();
    }
    let file = rendered(settings, Some(version), &trial.map_path(), None, services);
    let map = file.has_frontends.then(|| Arc::from(""));
    match trial.check(ConfigText { pieces: file.pieces.clone(), map, lists: file.lists.clone() }).await {
        Ok(_warnings) => Ok(Vec::new()),
        Err(CheckFailure::Failed(problem)) => Err(problem),
        Err(CheckFailure::Rejected { messages }) => {
            Ok(messages.iter().map(|message| refusal(message, &file)).collect())
        }
    }
}

/// Assigns a message of HAProxy to the service that its line comes from, or to the operator's own file.
fn refusal(message: &ConfigMessage, file: &Rendered) -> Refusal {
    let found = message.line.and_then(|line| piece_with(line, &file.pieces));
    let service = found.and_then(|(piece, _)| {
        let (name, _) = file.sections.iter().find(|(_, section)| Arc::ptr_eq(section, piece))?;
        Some(name.clone())
    });
    Refusal {
        place: message.line.and_then(|line| file.places.get(line.checked_sub(1)?)?.clone()),
        service,
        line: found.map(|(_, line)| line.to_owned()).unwrap_or_default(),
        message: message.text.clone(),
    }
}

/// Returns a refusal with the key of the definition, or the place in the operator's own file.
fn mistake(refusal: &Refusal, services: &[JudgedService]) -> Mistake {
    let problem = format!("HAProxy refuses it: {}", refusal.text());
    if let Some(place) = &refusal.place {
        return Mistake { place: place.to_string(), key: String::new(), problem };
    }
    let refused = refusal
        .service
        .as_ref()
        .and_then(|name| services.iter().find(|judged| judged.service.definition.name == *name));
    let Some(JudgedService { service, lines }) = refused else {
        return Mistake { place: String::new(), key: String::new(), problem };
    };
    let (options, line) = (&service.definition.listen_options, &*refusal.line);
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
