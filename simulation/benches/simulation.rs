//! Measures the cost of the simulation: `cargo bench -p proxymgr-simulation [-- day seeds]`. It asserts only that the
//! measured runs succeed.

#![allow(missing_docs, clippy::print_stdout, reason = "the figures are what a bench is for")]
#![allow(clippy::disallowed_types, reason = "a bench measures real time")]

use std::path::Path;
use std::time::{Duration, Instant};

use actix::prelude::*;
use proxymgr_simulation::scenario::Scenario;
use proxymgr_simulation::{in_virtual_time, sweep};

/// Runs of a day; the fastest counts, as the one that is disturbed least by other programs.
const DAYS: usize = 5;

/// Seeds of the sweep, each run twice.
const SEEDS: u64 = 1_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if chosen("day") {
        day();
    }
    if chosen("seeds") {
        seeds();
    }
}

fn day() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/scenarios/busy-day.yml");
    let scenario = Scenario::read(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let updates = scenario.load.as_ref().map_or(0, |load| load.updates);
    let floor = quickest(|| floor(updates));
    let took = quickest(|| {
        let report = scenario.run();
        assert_eq!(report.problem(), None);
    });
    println!(
        "A machine's busy day, {updates} updates: {:.2} s on one core, {:.0} us an update; {:.0} times the floor of {:.0} ms.\n\
         (Floor: in virtual time, one timer, one message to an actor and its answer for each update.)",
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / updates as f64,
        took.as_secs_f64() / floor.as_secs_f64(),
        floor.as_secs_f64() * 1e3,
    );
}

fn quickest(mut run: impl FnMut()) -> Duration {
    let once = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    (0..DAYS).map(once).min().expect("there are several days")
}

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Call(usize);

impl Handler<Call> for Echo {
    type Result = usize;

    fn handle(&mut self, Call(number): Call, _: &mut Context<Self>) -> usize {
        number
    }
}

fn floor(updates: usize) {
    let answered = in_virtual_time(1, async |_| {
        let echo = Echo.start();
        let mut answered = 0;
        for number in 0..updates {
            tokio::time::sleep(Duration::from_secs(4)).await;
            answered += usize::from(echo.send(Call(number)).await.is_ok_and(|answer| answer == number));
        }
        answered
    });
    assert_eq!(answered, updates);
}

fn seeds() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let (figures, failure) = sweep(0..SEEDS, None, threads);
    let took_s = begun.elapsed().as_secs_f64();
    assert!(failure.is_none(), "{}", failure.map_or_else(String::new, |failure| failure.to_string()));
    println!(
        "{SEEDS} random seeds, each twice, on {threads} threads: {took_s:.1} s; virtual time passes {:.0} times as fast.",
        2.0 * figures.virtual_ms as f64 / 1e3 / took_s
    );
}
