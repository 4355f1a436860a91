//! `proxymgr simulate`: runs the actors against a simulated world, from seeds or from a scenario.

mod tables;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::output::{self, Progress};
use crate::failure::Failure;
use proxymgr_simulation::scenario::{Report, Scenario};
use proxymgr_simulation::{
    Chronicle, PlantedBug, TraceLine, chronicled, end_at_panics, fleet, replay, sweep, timeline, under_way,
};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("one run").args(["seed", "scenario"]).multiple(true))]
pub struct SimulateArgs {
    /// Number of seeds to run, each twice, starting at --from.
    #[arg(long, value_name = "N", default_value_t = 1_000, conflicts_with = "seed")]
    seeds: u64,
    /// First seed.
    #[arg(long, value_name = "SEED", default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Run only this seed.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Run only these steps of the seed's plan, counted from 0, or `none`; a failure prints the ones that it needs.
    #[arg(long, value_name = "PLACES", requires = "seed", value_parser = places)]
    keep: Option<Places>,
    /// Run the scenario in FILE; with --seed, with the latencies and load of that seed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "from", "keep", "plant"])]
    scenario: Option<PathBuf>,
    /// Run the scenario on N machines, each with its own seed.
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "trace")]
    machines: Option<u64>,
    /// Print the trace of the run of --seed or --scenario.
    #[arg(long, requires = "one run")]
    trace: bool,
    /// Draw the run of --seed or --scenario into FILE, as SVG.
    #[arg(long, value_name = "FILE", requires = "one run", conflicts_with = "machines")]
    svg: Option<PathBuf>,
    /// Plant a bug that an invariant must find.
    #[arg(long, value_name = "BUG")]
    plant: Option<PlantedBug>,
    /// Exit at the first panic, as a release build always does, instead of shrinking its plan.
    #[arg(long)]
    end_at_panic: bool,
    /// Number of threads; one per core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Places of steps within a plan.
#[derive(Debug, Clone)]
struct Places(Vec<usize>);

fn places(text: &str) -> Result<Places, String> {
    if text == "none" {
        return Ok(Places(Vec::new()));
    }
    let places = text.split(',').map(|place| place.trim().parse().map_err(|_| format!("{place:?} is not a place")));
    places.collect::<Result<_, _>>().map(Places)
}

/// Prints the seed at a panic that ends the program; otherwise the seed would be lost.
fn print_the_seed_of_a_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(run) = under_way() {
            output::remark(&format!("An actor panics in the run of {run}"));
        }
        before(info);
    }));
}

/// Runs the simulation. A violated invariant is a failure.
pub fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    print_the_seed_of_a_panic();
    if args.end_at_panic {
        end_at_panics();
    }
    match (&args.scenario, args.seed) {
        (Some(file), _) => story(file, args),
        (None, Some(seed)) => one(seed, args),
        (None, None) => many(args),
    }
}

fn story(file: &Path, args: &SimulateArgs) -> Result<(), Failure> {
    let mut scenario = Scenario::read(file)?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let begun = Instant::now();
    if let Some(machines) = args.machines {
        let progress = Progress::on_terminal("machines", machines);
        let fleet = fleet(&scenario, machines, threads(args), |well| progress.show(well));
        progress.end();
        if let Some(report) = fleet.failed {
            let others = fleet.well;
            output::remark(&format!(
                "The machine with seed {} fails; {others} other machines met all expectations.",
                report.seed
            ));
            return as_expected(&report);
        }
        output::print(&tables::fleet(&scenario, &fleet, begun.elapsed()));
        return Ok(());
    }
    let report = scenario.run_with(scenario.seed, args.trace);
    if args.trace {
        print_lines(&report.lines);
    }
    draw(args, &scenario.about, &report.chronicle)?;
    as_expected(&report)?;
    output::print(&tables::story(&scenario, &report, begun.elapsed()));
    Ok(())
}

fn as_expected(report: &Report) -> Result<(), Failure> {
    match report.problem() {
        None => Ok(()),
        Some(problem) if report.violation.is_some() => Err(Failure::InvariantBroken(problem)),
        Some(problem) => Err(Failure::NotAsExpected(problem)),
    }
}

fn draw(args: &SimulateArgs, title: &str, chronicle: &Chronicle) -> Result<(), Failure> {
    let Some(file) = &args.svg else { return Ok(()) };
    std::fs::write(file, timeline(title, chronicle))
        .map_err(|error| Failure::CannotStart(format!("cannot write the drawing {}: {error}", file.display())))
}

fn print_lines(lines: &[TraceLine]) {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    output::print(&lines.concat());
}

/// Returns the number of threads to run.
fn threads(args: &SimulateArgs) -> usize {
    args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn one(seed: u64, args: &SimulateArgs) -> Result<(), Failure> {
    let (plan, outcome) = replay(seed, args.keep.as_ref().map(|places| places.0.as_slice()), args.plant);
    if args.trace {
        print_lines(&outcome.lines);
    }
    if args.svg.is_some() {
        let (_, chronicle) = chronicled(seed, &plan, args.plant);
        draw(args, &format!("Seed {seed}, HAProxy {}", plan.version), &chronicle)?;
    }
    let (steps, starts, commands) = (plan.steps.len(), outcome.starts, outcome.commands);
    output::print(&format!(
        "seed {seed}: {steps} steps, {starts} starts of HAProxy, {commands} commands; converged {} s after the last fault\n",
        outcome.converged_after_s
    ));
    match outcome.violation {
        None => Ok(()),
        Some(violation) => Err(Failure::InvariantBroken(format!("seed {seed} breaks an invariant: {violation}"))),
    }
}

fn many(args: &SimulateArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let (figures, failure) = sweep(args.from..args.from + args.seeds, args.plant, threads(args));
    if let Some(failure) = failure {
        return Err(Failure::InvariantBroken(failure.to_string()));
    }
    let took_s = begun.elapsed().as_secs_f64();
    let hours = figures.virtual_ms / 3_600_000;
    output::print(&format!(
        "{} seeds, each twice: no invariant was violated.\n\
         {hours} virtual hours in {took_s:.1} s; {} starts and reloads, {} commands at run time;\n\
         converged at most {} s after the last fault.\n",
        figures.seeds, figures.starts, figures.commands, figures.converged_after_s_max
    ));
    Ok(())
}
