//! The command line: commands, flags and the settings that follow from them.

mod check;
mod connect;
mod daemon_args;
mod desired;
mod events;
mod host;
mod import;
mod log;
mod man;
mod orders;
mod plan;
mod render;
mod replay;
mod restart;
mod service_row;
mod simulate;
mod status;
mod text;
mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use slog::{crit, info};

use crate::daemon::restart::inheritance::Inheritance;
use crate::daemon::restart::program::Program;
use crate::daemon::restart::{SignalThread, Succession, trial};
use crate::daemon::{BUILD, Daemon, base_copy};
use crate::demo;
use crate::failure::Failure;
use crate::logging::{self, Logging};
use crate::settings::{DEFAULT_FILE, Loaded, LogFormat, LogSettings, Settings, SettingsSources};
use crate::terminal as output;

const EXAMPLES: &str = "\
Examples:
  proxymgr demo                                    run a demonstration, without ZooKeeper
  proxymgr check -c /etc/proxymgr/proxymgr.yml     check the settings
  proxymgr check services/web.yml                  check a definition, with HAProxy's own check
  proxymgr run -c /etc/proxymgr/proxymgr.yml       run the daemon in the foreground
  proxymgr plan                                    show pending changes of HAProxy, with reasons
  proxymgr status                                  show the status of the daemon; top follows it
  proxymgr status web                              show all about one service
  proxymgr events --follow --service web           follow the journal of a service
  proxymgr server drain web 10.0.0.1:80 --for 10m  drain a server for ten minutes
  proxymgr host drain 10.0.0.1 --reason 'new disk' drain all servers at an address, in every service

Settings:
  defaults < the YAML file < environment < flags.
  The key haproxy.socket_path is PROXYMGR_HAPROXY__SOCKET_PATH in the environment
  and --set haproxy.socket_path=/run/haproxy.sock on the command line.

Signals to the daemon:
  SIGTERM, SIGINT   stop HAProxy gracefully and exit; a second signal stops it at once
  SIGHUP            read the settings again; if they contain a mistake, none of them is applied
  SIGUSR1           read all sources again
  SIGUSR2           restart in place, as proxymgr restart: an upgrade that loses no request

Exit codes:
  0   success; of status: no problem
  1   invalid settings, definition or scenario, or an expectation of a scenario failed; of status: problems, and clients
      are served
  2   invalid command line; of status: HAProxy does not run the desired state, or clients of a service get no answer
  3   another proxymgr manages the same haproxy.cfg
  4   something required is missing, in use or not permitted, or no daemon answers
  5   the daemon refused the order, and nothing has changed; of restart: it failed, and the previous version runs
  70  a bug in proxymgr";

/// Keeps HAProxy in sync with the live instances of each service.
#[derive(Debug, Parser)]
#[command(name = "proxymgr", version = BUILD, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground, for supervisord or systemd.
    Run(RunArgs),
    /// Check the settings, the HAProxy binary, and the files and directories they need, or definitions of services;
    /// change nothing.
    Check(check::CheckArgs),
    /// Print the haproxy.cfg for the current state of discovery.
    Render(GatherArgs),
    /// Print the pending changes of the running HAProxy, with reasons; apply nothing.
    Plan(GatherArgs),
    /// Show the status of the running daemon, or all about one service. Exits with 1 or 2 if there are problems.
    Status(status::StatusArgs),
    /// Show the status on a screen that is updated; services with problems first.
    Top(top::TopArgs),
    /// Show what happened, and why.
    Events(events::EventsArgs),
    /// Override the state of one server: drain, maint, or ready to end the override.
    Server(orders::ServerArgs),
    /// Show where an address serves, its state everywhere and its recent events; or drain it in every service.
    Host(host::HostArgs),
    /// Accept a change that a guard blocks, also one that was rejected before.
    Accept(orders::GuardArgs),
    /// Reject a change that a guard blocks: the current list stays in use until the source changes.
    Reject(orders::GuardArgs),
    /// Read all sources again, or that of one service.
    Refresh(orders::RefreshArgs),
    /// Reload HAProxy, at most once per haproxy.reload_interval.
    Reload(orders::ReloadArgs),
    /// Restart the daemon in place, for example after an upgrade, and wait for the result. HAProxy keeps running.
    Restart(restart::RestartArgs),
    /// Show the log levels of the running daemon, or set some for a time: of a component, or of everything about a service.
    Log(log::LogArgs),
    /// Convert a haproxy.cfg, or the configuration of SmartStack's synapse, ElasticPyProxy or proxym.
    Import(import::ImportArgs),
    /// Run a demonstration: a real HAProxy in front of three small backends, with services in a directory of files.
    Demo(DemoArgs),
    /// Replay a recording (run --record FILE) with other settings, and show the differences.
    Replay(replay::ReplayArgs),
    /// Run the actors in a simulated world with faults, from seeds, in virtual time.
    Simulate(simulate::SimulateArgs),
    /// Write the manual pages into a directory: proxymgr.1 with one page per command, proxymgr.yml.5, proxymgr-service.5.
    Man(man::ManArgs),
    /// Print shell completions, for example: proxymgr completions bash > /etc/bash_completion.d/proxymgr
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// The settings file; config/proxymgr.yml documents every key.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE, value_hint = ValueHint::FilePath)]
    config: PathBuf,
    /// Set one key; overrides file and environment; can be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Short for --log-level debug.
    #[arg(short, long)]
    debug: bool,
    /// Log level: critical, error, warning, info, debug or trace.
    #[arg(long, value_name = "LEVEL", conflicts_with = "debug")]
    log_level: Option<String>,
    /// Append discovery events to this file, for `proxymgr replay`; short for --set record=FILE.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// Log format.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<FormatArg>,
    /// Only report whether this program could take over from a running one with these arguments.
    #[arg(long, hide = true)]
    trial: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// One line of text per record.
    Text,
    /// One JSON object per record.
    Json,
}

#[derive(Debug, Args)]
struct GatherArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Time-out for discovery; after it the last saved lists are used.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The port of HAProxy; by default 8080, or a free port if that is in use.
    #[arg(short, long)]
    port: Option<u16>,
    /// The HAProxy binary.
    #[arg(long, value_name = "FILE", default_value = "haproxy", value_hint = ValueHint::ExecutablePath)]
    haproxy: PathBuf,
    /// Show the debug log of the daemon.
    #[arg(short, long)]
    debug: bool,
}

/// Executes a command.
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
        Command::Host(args) => host::host(&args),
        Command::Accept(args) => orders::accept(&args),
        Command::Reject(args) => orders::reject(&args),
        Command::Refresh(args) => orders::refresh(&args),
        Command::Reload(args) => orders::reload(&args),
        Command::Restart(args) => restart::restart(&args),
        Command::Log(args) => log::log(&args),
        Command::Import(args) => import::import(&args),
        Command::Demo(args) => demo::run(&args.haproxy, args.port, args.debug),
        Command::Replay(args) => replay::replay(&args, &load(&args.settings.sources())?),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Man(args) => man::man(&args, &Cli::command()),
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
    if args.trial {
        let (Loaded { settings, .. }, _) = base_copy::load(&sources)?;
        output::print(&format!("{}\n", block_on(trial::passed(&settings))?));
        return Ok(());
    }
    // Before the first thread starts.
    SignalThread::block_elsewhere();
    let inheritance = Inheritance::received().map_err(Failure::CannotStart)?;
    let ended = run_daemon(sources, inheritance.clone());
    match (ended, inheritance) {
        // It ended before it was known whether it gets ready.
        (Err(failure), Some(inheritance)) => Err(Succession::after_failure(inheritance, failure)),
        (ended, _) => ended,
    }
}

fn run_daemon(sources: SettingsSources, inheritance: Option<Inheritance>) -> Result<(), Failure> {
    let (Loaded { settings, remarks }, base_refused) = base_copy::load(&sources)
        .map_err(|mistakes| log_failure(mistakes.into(), &Settings::log_despite_mistakes(&sources)))?;
    let log = settings.log.clone();
    let logging = Logging::to_stderr(&log);
    for remark in remarks {
        info!(logging::component(logging.root(), "settings"), "{}", remark);
    }
    let daemon = Daemon::prepare(settings, Some(sources), logging, inheritance);
    let daemon = daemon.map(|daemon| daemon.with_base_refused(base_refused).with_program(Program::of_this_process()));
    daemon.and_then(|daemon| daemon.run(|_| {})).map_err(|failure| log_failure(failure, &log))
}

/// With a JSON log, the reason why the daemon exits is a record of the log; otherwise `main` prints it.
fn log_failure(failure: Failure, settings: &LogSettings) -> Failure {
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
        // The daemon may change its working directory before it reads the file again.
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

/// The log of commands that run discovery themselves: warnings and errors only.
fn quiet_log(settings: &Settings) -> Logging {
    Logging::to_stderr(&LogSettings { level: slog::Level::Warning, ..settings.log.clone() })
}

/// Resolves at Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal itself ends the program.
        std::future::pending().await
    }
}

/// Runs a future on an actix system of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    actix::System::new().block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn value_may_contain_equals_sign() {
        assert_eq!(key_and_value("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(key_and_value("ab").is_err());
        assert!(key_and_value("=b").is_err());
    }
}
