//! Has HAProxy check a configuration before and after its import.

use std::path::Path;

use proxymgr_actors::decide::base::sections::Base;
use proxymgr_actors::port::{CheckFailure, ConfigMessage, ConfigText};
use slog::{Discard, Logger, o};

use super::super::check::definitions::Definitions;
use super::super::check::rendered;
use super::super::{block_on, output};
use super::{set_up, written};
use crate::child_environment::ChildEnvironment;
use crate::failure::Failure;
use crate::import::Imported;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::proxy::trial::Trial;
use crate::settings::Settings;

/// Reports both checks. A HAProxy that accepts the original must accept the result.
pub(super) fn with_haproxy(original: Option<&Base>, imported: &Imported, haproxy: &Path) -> Result<(), Failure> {
    let binary = HaproxyBinary::new(haproxy).with_environment(ChildEnvironment::with(imported.environment.clone()));
    block_on(async {
        let version = match binary.version().await {
            Ok((_, version)) => format!("HAProxy {version}"),
            Err(error) => {
                output::remark(&format!("not checked by HAProxy (--haproxy FILE): {error}"));
                return Ok(());
            }
        };
        let mut was_valid = false;
        if let Some(original) = original {
            let problems = problems_of(&original.to_string(), binary).await;
            was_valid = problems.is_empty();
            output::remark(&format!("{version}: the original is {}", verdict(&problems)));
        }
        let problems = problems_of_result(imported, haproxy).await?;
        output::remark(&format!("{version}: the result is {}", verdict(&problems)));
        if was_valid && !problems.is_empty() { Err(Failure::Reported) } else { Ok(()) }
    })
}

async fn problems_of(text: &str, binary: HaproxyBinary) -> Vec<String> {
    let trial = match Trial::open(binary, &silent()) {
        Ok(trial) => trial,
        Err(problem) => return vec![problem],
    };
    match trial.check(ConfigText { pieces: vec![text.into()], ..ConfigText::default() }).await {
        Ok(_warnings) => Vec::new(),
        Err(CheckFailure::Failed(problem)) => vec![problem],
        Err(CheckFailure::Rejected { messages }) => messages.iter().map(|message| described(message, text)).collect(),
    }
}

/// Checks the result as `check` would, in a directory of its own.
async fn problems_of_result(imported: &Imported, haproxy: &Path) -> Result<Vec<String>, Failure> {
    let cannot = |error: std::io::Error| Failure::CannotStart(format!("cannot use a temporary directory: {error}"));
    let directory = tempfile::Builder::new().prefix("proxymgr-import-").tempdir().map_err(cannot)?;
    written(imported, directory.path())?;
    let settings = match Settings::load(&set_up(imported, directory.path(), haproxy)) {
        Ok(loaded) => loaded.settings,
        Err(mistakes) => return Ok(mistakes.0.iter().map(|mistake| shown(mistake, directory.path())).collect()),
    };
    let services = directory.path().join(crate::import::SERVICES);
    let judged = Definitions::at(&services).map_err(cannot)?.judge(&settings);
    let of_haproxy = rendered::mistakes(&judged, &settings, &silent()).await;
    Ok(judged.mistakes.iter().chain(&of_haproxy).map(|mistake| shown(mistake, directory.path())).collect())
}

fn silent() -> Logger {
    Logger::root(Discard, o!())
}

/// The mistake, without the temporary directory.
fn shown(mistake: &proxymgr_yaml::Mistake, directory: &Path) -> String {
    mistake.to_string().replace(&format!("{}/", directory.display()), "")
}

fn verdict(problems: &[String]) -> String {
    match problems {
        [] => "valid".to_owned(),
        problems => format!("refused:\n  {}", problems.join("\n  ")),
    }
}

/// The message, with the line that it is about.
fn described(message: &ConfigMessage, text: &str) -> String {
    let line = message.line.and_then(|number| Some((number, text.lines().nth(number.checked_sub(1)?)?.trim())));
    line.map_or_else(|| message.text.clone(), |(number, line)| format!("line {number}, {line:?}: {}", message.text))
}
