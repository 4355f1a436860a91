//! `proxymgr check`: finds everything that would prevent the daemon from working, before it is started.

mod environment;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nix::unistd::{AccessFlags, access};

use proxymgr_actors::model::ProxyManagement;

use super::{SettingsArgs, block_on, connect, output, quiet_log};
use crate::daemon::base_config_check;
use crate::discovery;
use crate::failure::Failure;
use crate::settings::{ConsulToken, ServiceConfigSettings, Settings};
use crate::status::format::counted;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Also query every source and HAProxy's socket.
    #[arg(long)]
    connect: bool,
    /// Time-out for each query.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(requires = "connect")]
    timeout: Duration,
}

/// Prints all problems; fails if there are any.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = Settings::load(&args.settings.sources())?;
    loaded.remarks.iter().for_each(|remark| output::remark(remark));
    let settings = loaded.settings;
    environment::warnings(&settings.haproxy).iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
    let mut problems = directories(&settings);
    let logging = quiet_log(&settings);
    problems.extend(block_on(base_config_check::mistakes(&settings, logging.root())));
    problems.extend(unreadable_files(&settings));
    problems.extend(unknown_sources(&settings));
    if problems.is_empty() {
        output::print("The settings are valid.\n");
        return if args.connect { connect::connect(&settings, args.timeout) } else { Ok(()) };
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
