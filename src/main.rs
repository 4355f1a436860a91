//! The program: parses the command line, has it done, and turns the result into an exit code.

use std::process::ExitCode;

use clap::Parser;
use proxymgr::cli::{self, Cli};
use proxymgr::failure::Failure;

#[allow(clippy::print_stderr, reason = "a failure is reported to whoever started the program")]
fn main() -> ExitCode {
    let result = cli::execute(Cli::parse());
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::Told | Failure::Logged(_)) {
        eprintln!("proxymgr: {failure}");
    }
    ExitCode::from(exit_code(&failure))
}

/// The one place where exit codes are decided; `--help` tells them. 2 is clap's, for mistakes on the command line.
fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::Settings(_) | Failure::Scenario(_) | Failure::NotAsExpected(_) | Failure::Told => 1,
        Failure::Logged(failure) => exit_code(failure),
        Failure::AlreadyRunning(_) => 3,
        Failure::CannotStart(_) => 4,
        Failure::InvariantBroken(_) | Failure::Internal(_) => 70,
        Failure::Refused(_) => 5,
    }
}
