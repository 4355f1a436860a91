//! The program: parses the command line, executes the command and returns its exit code.

use std::process::ExitCode;

use clap::Parser;
use proxymgr::cli::{self, Cli};
use proxymgr::failure::Failure;
use proxymgr::status::severity::Severity;

#[allow(clippy::print_stderr, reason = "the failure of a command is printed to its user")]
fn main() -> ExitCode {
    let result = cli::execute(Cli::parse());
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::Reported | Failure::Problems(_) | Failure::Logged(_)) {
        eprintln!("proxymgr: {failure}");
    }
    ExitCode::from(exit_code(&failure))
}

/// Exit code of a failure; `--help` lists all. 2 comes from clap, too, for an invalid command line.
fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Settings(_) | Failure::Scenario(_) | Failure::NotAsExpected(_) | Failure::Reported => 1,
        Failure::Problems(severity) => match severity {
            Severity::Critical => 2,
            Severity::Warning | Severity::Ok => 1,
        },
        Failure::Logged(failure) => exit_code(failure),
        Failure::AlreadyRunning(_) => 3,
        Failure::CannotStart(_) => 4,
        Failure::InvariantBroken(_) | Failure::Internal(_) => 70,
        Failure::Refused(_) => 5,
    }
}
