//! `proxymgr check`: finds everything that would prevent the daemon or a service from working, before it is started.

pub(super) mod definitions;
mod environment;
mod lines;
pub(super) mod rendered;
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use nix::unistd::{AccessFlags, access};

use proxymgr_actors::model::ProxyManagement;

use self::definitions::Definitions;
use super::text::now_unix_ms;
use super::{SettingsArgs, block_on, connect, output, quiet_log};
use crate::certificates;
use crate::daemon::base_config_check;
use crate::discovery;
use crate::failure::Failure;
use crate::settings::{ConsulToken, DEFAULT_FILE, ServiceConfigSettings, Settings, SettingsSources};
use crate::status::format::counted;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check only this definition, or all of this directory, as they would be rendered with the settings; - is standard
    /// input. Without it, the settings are checked.
    #[arg(value_name = "DEFINITIONS", value_hint = ValueHint::AnyPath)]
    definitions: Option<PathBuf>,
    /// The name of the service whose definition is on standard input.
    #[arg(long, value_name = "SERVICE", default_value = "service", requires = "definitions")]
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Also query every source and HAProxy's socket.
    #[arg(long, conflicts_with = "definitions")]
    connect: bool,
    /// Time-out for each query.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(requires = "connect")]
    timeout: Duration,
}

impl CheckArgs {
    /// The settings; a definition can be checked without any.
    fn sources(&self) -> SettingsSources {
        let sources = self.settings.sources();
        let is_absent = self.definitions.is_some() && self.settings.config == Path::new(DEFAULT_FILE);
        let file = sources.file.filter(|file| !is_absent || file.exists());
        SettingsSources { file, ..sources }
    }
}

/// Prints all problems; fails if there are any.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = Settings::load(&args.sources())?;
    loaded.remarks.iter().for_each(|remark| output::remark(remark));
    let settings = loaded.settings;
    let logging = quiet_log(&settings);
    let read = |path: &Path, result: std::io::Result<Definitions>| {
        result.map_err(|error| Failure::CannotStart(format!("{} cannot be read: {error}", path.display())))
    };
    let definitions = match (&args.definitions, &settings.service_config) {
        (Some(path), _) if path == Path::new("-") => Some(read(path, Definitions::from_standard_input(&args.name))?),
        (Some(path), _) => Some(read(path, Definitions::at(path))?),
        // A directory that cannot be read is a problem of the settings.
        (None, ServiceConfigSettings::File { path }) => Definitions::at(path).ok(),
        (None, _) => None,
    };
    let mut problems = Vec::new();
    let mut is_base_valid = true;
    if args.definitions.is_none() {
        let mut warnings = environment::warnings(&settings.haproxy);
        warnings.extend(unstapled_certificates(&settings));
        warnings.iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
        problems.extend(directories(&settings));
        let of_base = block_on(base_config_check::mistakes(&settings, logging.root()));
        is_base_valid = of_base.is_empty();
        problems.extend(of_base);
        problems.extend(unreadable_files(&settings));
        problems.extend(unknown_sources(&settings));
        problems.extend(bad_certificates(&settings));
        problems.extend(writers::conflicts(&settings));
    }
    let mut judged = None;
    if let Some(definitions) = definitions {
        let found = judged.insert(definitions::judge(definitions, &settings, logging.root())?);
        if is_base_valid {
            found.mistakes.extend(block_on(rendered::mistakes(found, &settings, logging.root())));
        }
        found.warnings.drain(..).for_each(|warning| output::remark(&format!("warning: {warning}")));
        problems.extend(found.mistakes.iter().map(ToString::to_string));
    }
    if problems.is_empty() {
        if args.definitions.is_none() {
            output::print("The settings are valid.\n");
        }
        if let Some(judged) = &judged {
            output::print(&format!("The definitions are valid: {}.\n", counted(judged.services.len(), "service")));
        }
        return if args.connect { connect::connect(judged, &settings, args.timeout) } else { Ok(()) };
    }
    output::remark(&format!("{}:", counted(problems.len(), "problem")));
    problems.iter().for_each(|problem| output::remark(&format!("  {problem}")));
    Err(Failure::Reported)
}

/// Problems of the directories that the daemon writes to.
fn directories(settings: &Settings) -> Vec<String> {
    let haproxy = &settings.haproxy;
    let beside = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    let mut problems = Vec::new();
    let mut must_be_writable = |key: &str, directory: &Path| {
        if !directory.is_dir() {
            let directory = directory.display();
            problems.push(format!("{key}: directory {directory} does not exist; create it with mkdir -p {directory}"));
        } else if let Err(errno) = access(directory, AccessFlags::W_OK | AccessFlags::X_OK) {
            problems.push(format!("{key}: {} is not writable for this user: {errno}", directory.display()));
        }
    };
    must_be_writable("haproxy.config_path", &beside(&haproxy.config_path));
    if haproxy.run.management() == ProxyManagement::Supervised {
        must_be_writable("haproxy.socket_path", &beside(&haproxy.policy.base_config.socket_path));
    }
    // The daemon creates it.
    must_be_writable("state_dir", &nearest_existing(&settings.state_dir));
    if let ServiceConfigSettings::File { path } = &settings.service_config
        && let Err(error) = fs::read_dir(path)
    {
        problems.push(format!("service_config.path: {} cannot be read: {error}", path.display()));
    }
    problems
}

/// Problems of grants that name a kind of source which does not exist: a misspelt one would grant nothing.
fn unknown_sources(settings: &Settings) -> Vec<String> {
    let kinds = discovery::kind_names();
    let unknown = settings.haproxy.options.grants.sources().filter(|source| !kinds.contains(source));
    unknown.map(|source| format!("grants: sources: {source:?} is no kind of source: {}", kinds.join(", "))).collect()
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path).to_owned()
}

/// Problems of the operator's certificates.
fn bad_certificates(settings: &Settings) -> Vec<String> {
    let directory = settings.haproxy.certificates.as_deref();
    let mistakes = directory.map(|directory| certificates::mistakes(directory, now_unix_ms()));
    mistakes.into_iter().flatten().map(|mistake| format!("haproxy.certificates: {mistake}")).collect()
}

/// The operator's certificates for which HAProxy cannot fetch OCSP responses, although it is to.
fn unstapled_certificates(settings: &Settings) -> Vec<String> {
    let directory = settings.haproxy.certificates.as_deref().filter(|_| settings.haproxy.ocsp_update);
    directory.map(certificates::unstapled).unwrap_or_default()
}

/// Problems of the files for TLS and tokens.
fn unreadable_files(settings: &Settings) -> Vec<String> {
    let mut files = Vec::new();
    if let Some(tls) = &settings.zookeeper.tls {
        files.push(("zookeeper.tls.ca", &tls.ca));
        if let Some((certificate, key)) = &tls.identity {
            files.extend([("zookeeper.tls.certificate", certificate), ("zookeeper.tls.key", key)]);
        }
    }
    if let Some(ConsulToken::File(path)) = &settings.consul.token {
        files.push(("consul.token_file", path));
    }
    let problem = |(key, path): (&str, &PathBuf)| {
        fs::File::open(path).err().map(|error| format!("{key}: {} cannot be read: {error}", path.display()))
    };
    let mut problems: Vec<String> = files.into_iter().filter_map(problem).collect();
    let (consul, etcd) = (&settings.consul, &settings.etcd);
    for (key, servers, tls) in [("consul.tls", &consul.servers, &consul.tls), ("etcd.tls", &etcd.servers, &etcd.tls)] {
        if servers.use_tls() {
            problems.extend(tls.load().err().map(|error| format!("{key}: {error}")));
        }
    }
    problems
}
