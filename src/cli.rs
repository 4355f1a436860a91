//! The command line: what can be asked of proxymgr, and the way from flags to settings.

mod check;
mod connect;
mod desired;
mod events;
mod import;
mod orders;
mod output;
mod place;
mod plan;
mod render;
mod replay;
mod service_row;
mod simulate;
mod status;
mod terminal;
mod top;
mod wording;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use slog::{crit, info};

use crate::daemon::Daemon;
use crate::demo;
use crate::failure::Failure;
use crate::logging::{self, Logging};
use crate::settings::{DEFAULT_FILE, Loaded, LogFormat, LogSettings, Settings, SettingsSources};

const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PROXYMGR_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  proxymgr demo                                    see it work, without ZooKeeper
  proxymgr check -c /etc/proxymgr/proxymgr.yml     every mistake in the settings
  proxymgr run -c /etc/proxymgr/proxymgr.yml       the daemon, in the foreground
  proxymgr plan                                    what would happen to the running HAProxy, and why
  proxymgr status                                  how the running daemon is; top follows it
  proxymgr events --follow --service web           what happens to a service, and why
  proxymgr server drain web 10.0.0.1:80 --for 10m  let a server finish what it has

Settings:
  defaults < the YAML file < environment < flags.
  The key haproxy.socket_path is PROXYMGR_HAPROXY__SOCKET_PATH in the environment
  and --set haproxy.socket_path=/run/haproxy.sock on the command line.

Signals to the daemon:
  SIGTERM, SIGINT   stop HAProxy softly and exit; a second one ends it at once
  SIGHUP            read the settings again; with any mistake in them those before stay in force
  SIGUSR1           read every source again

Exit codes:
  0   done
  1   mistakes in the settings or in a scenario, or a scenario that does not go as it expects
  2   mistakes on the command line
  3   another proxymgr manages the same haproxy.cfg
  4   something needed is missing, taken or not permitted, or no daemon answers
  5   the daemon refuses the order; nothing has changed
  70  a bug of proxymgr";

/// Keeps HAProxy in step with the hosts that really provide each service.
#[derive(Debug, Parser)]
#[command(name = "proxymgr", version = LONG_VERSION, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground, as supervisord and systemd want it.
    Run(RunArgs),
    /// Check the settings, HAProxy's binary, and what both need; change nothing.
    Check(check::CheckArgs),
    /// Print the haproxy.cfg that would be written for what discovery shows now.
    Render(GatherArgs),
    /// Print what would be done to the running HAProxy, and why; do nothing.
    Plan(GatherArgs),
    /// Tell how the running daemon is.
    Status(status::StatusArgs),
    /// Show how it is on a screen that follows it; services with trouble first.
    Top(top::TopArgs),
    /// Tell what happened, and why.
    Events(events::EventsArgs),
    /// Choose the state of one server, whatever discovery says: drain, maint, or ready to leave it to discovery again.
    Server(orders::ServerArgs),
    /// Apply a change that the guard blocks, also one that was rejected.
    Accept(orders::BlockedArgs),
    /// Keep what is in service; a rejected change is pending again only when the source shows another list.
    Reject(orders::BlockedArgs),
    /// Read every source again, or that of one service.
    Refresh(orders::RefreshArgs),
    /// Reload HAProxy, as soon as its time has come.
    Reload(orders::ReloadArgs),
    /// Turn the configuration of ElasticPyProxy or proxym into proxymgr's, with a comment for what has no equivalent.
    Import(import::ImportArgs),
    /// Show it at work: a real HAProxy before three tiny backends, services in a directory of files.
    Demo(DemoArgs),
    /// Play what a daemon recorded (run --record FILE) with other settings, and tell what would be different.
    Replay(replay::ReplayArgs),
    /// Run the actors against a simulated world with every kind of fault, from seeds, in virtual time.
    Simulate(simulate::SimulateArgs),
    /// Print completions for a shell, such as: proxymgr completions bash > /etc/bash_completion.d/proxymgr
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// The settings file; config/proxymgr.yml explains every key.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE, value_hint = ValueHint::FilePath)]
    config: PathBuf,
    /// Set one key, over file and environment; can be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Log everything down to debug: short for --log-level debug.
    #[arg(short, long)]
    debug: bool,
    /// What to log: critical, error, warning, info, debug or trace.
    #[arg(long, value_name = "LEVEL", conflicts_with = "debug")]
    log_level: Option<String>,
    /// Append what discovery says to this file, for `proxymgr replay`: short for --set record=FILE.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// How to log.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<FormatArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// A line for people.
    Text,
    /// An object for machines.
    Json,
}

#[derive(Debug, Args)]
struct GatherArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// How long discovery may take before its last saved answer is used instead.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The port that HAProxy listens on; without it 8080, or a free one where that is taken.
    #[arg(short, long)]
    port: Option<u16>,
    /// HAProxy's binary.
    #[arg(long, value_name = "FILE", default_value = "haproxy", value_hint = ValueHint::ExecutablePath)]
    haproxy: PathBuf,
    /// Show what the daemon logs.
    #[arg(short, long)]
    debug: bool,
}

/// Does what was asked.
pub fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check::check(&args),
        Command::Render(args) => render::render(&load(&args.settings.sources())?, args.timeout),
        Command::Plan(args) => plan::plan(&load(&args.settings.sources())?, args.timeout),
        Command::Status(args) => status::status(&args),
        Command::Top(args) => top::top(&args),
        Command::Events(args) => events::events(&args),
        Command::Server(args) => orders::server(&args),
        Command::Accept(args) => orders::accept(&args),
        Command::Reject(args) => orders::reject(&args),
        Command::Refresh(args) => orders::refresh(&args),
        Command::Reload(args) => orders::reload(&args),
        Command::Import(args) => import::import(&args),
        Command::Demo(args) => demo::run(&args.haproxy, args.port, args.debug),
        Command::Replay(args) => replay::replay(&args, &load(&args.settings.sources())?),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "proxymgr", &mut script);
            output::print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

fn run(args: &RunArgs) -> Result<(), Failure> {
    let sources = args.sources();
    let Loaded { settings, remarks } = Settings::load(&sources)
        .map_err(|mistakes| in_the_log(mistakes.into(), &Settings::log_despite_mistakes(&sources)))?;
    let log = settings.log.clone();
    let logging = Logging::to_stderr(&log);
    for remark in remarks {
        info!(logging::component(logging.root(), "settings"), "{}", remark);
    }
    let ended = Daemon::prepare(settings, Some(sources), logging).and_then(|daemon| daemon.run(|_| {}));
    ended.map_err(|failure| in_the_log(failure, &log))
}

/// Machines that read the log are told in it why the daemon ends; people are told in words by `main`.
fn in_the_log(failure: Failure, settings: &LogSettings) -> Failure {
    if settings.format == LogFormat::Text {
        return failure;
    }
    let logging = Logging::to_stderr(settings);
    crit!(logging::component(logging.root(), "daemon"), "{}", failure);
    Failure::Logged(Box::new(failure))
}

fn load(sources: &SettingsSources) -> Result<Settings, Failure> {
    Ok(Settings::load(sources)?.settings)
}

impl SettingsArgs {
    fn sources(&self) -> SettingsSources {
        let set = self.set.iter().map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned()));
        // The daemon may be asked to read the file again from wherever it is then.
        let config = std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone());
        SettingsSources { flags: set.collect(), ..SettingsSources::at(&config) }
    }
}

impl RunArgs {
    fn sources(&self) -> SettingsSources {
        let mut sources = self.settings.sources();
        let mut flag = |key: &str, value: &str, flag: &str| {
            sources.flags.push((key.to_owned(), value.to_owned(), flag.to_owned()));
        };
        if self.debug {
            flag("log.level", "debug", "--debug");
        }
        if let Some(level) = &self.log_level {
            flag("log.level", level, "--log-level");
        }
        if let Some(path) = &self.record {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            flag("record", &path.to_string_lossy(), "--record");
        }
        match self.log_format {
            Some(FormatArg::Text) => flag("log.format", "text", "--log-format"),
            Some(FormatArg::Json) => flag("log.format", "json", "--log-format"),
            None => {}
        }
        sources
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE, such as haproxy.reload_interval=2s".to_owned()),
    }
}

/// What every command that drives discovery by itself logs: troubles only, beside its own output.
fn quiet_log(settings: &Settings) -> Logging {
    Logging::to_stderr(&LogSettings { level: slog::Level::Warning, ..settings.log.clone() })
}

/// Resolves when Ctrl-C is typed.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without it the signal itself ends the program.
        std::future::pending().await
    }
}

/// Runs a future on an actix system of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    actix::System::new().block_on(future)
}

pub use output::print;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_may_contain_an_equals_sign() {
        assert_eq!(key_and_value("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(key_and_value("ab").is_err());
        assert!(key_and_value("=b").is_err());
    }
}
