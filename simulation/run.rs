//! One run: a function of its seed and its plan.

use std::cell::RefCell;
use std::panic;
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::checks::Memory;
use super::chronicle::Chronicle;
use super::invariant::{Invariant, Violation};
use super::plan::Plan;
use super::planted_bug::PlantedBug;
use super::trace::TraceLine;
use super::world::{World, in_virtual_time};

/// How long the actors may take to converge after all faults are healed, in seconds. The longest sequence: a start that
/// is silent for 30 s, a pause of 30 s, a socket that hangs for 10 s, and the changes after that.
const CONVERGENCE_MAX_S: u64 = 150;

/// How long the world is observed at rest, in seconds: longer than the interval of observations.
const REST_S: u64 = 35;

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first invariant that did not hold; `None` if all held.
    pub violation: Option<Violation>,
    /// The trace.
    pub lines: Vec<TraceLine>,
    /// How often HAProxy was started or reloaded.
    pub starts: usize,
    /// Number of runtime commands.
    pub commands: usize,
    /// Time until convergence, in virtual seconds, rounded up.
    pub converged_after_s: u64,
}

/// Runs this plan with the latencies of this seed, and optionally a planted bug.
pub fn run(seed: u64, plan: &Plan, planted: Option<PlantedBug>) -> Outcome {
    run_in(seed, plan, planted, false).0
}

/// Runs a plan like [`run`], and records a chronicle.
pub fn chronicled(seed: u64, plan: &Plan, planted: Option<PlantedBug>) -> (Outcome, Chronicle) {
    run_in(seed, plan, planted, true)
}

/// Returns seed and plan of the current run of this thread. If a panic ends the program, a panic hook prints them.
pub fn under_way() -> Option<String> {
    UNDER_WAY.with(|run| run.try_borrow().ok()?.clone())
}

/// Makes a panic in a run end the program, as in a release build.
pub fn end_at_panics() {
    END_AT_PANICS.store(true, Ordering::Relaxed);
}

static END_AT_PANICS: AtomicBool = AtomicBool::new(false);

fn panics_end_the_program() -> bool {
    cfg!(panic = "abort") || END_AT_PANICS.load(Ordering::Relaxed)
}

fn run_in(seed: u64, plan: &Plan, planted: Option<PlantedBug>, keeps_chronicle: bool) -> (Outcome, Chronicle) {
    let words = || {
        let planted = planted.map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        let plan = serde_json::to_string(plan).unwrap_or_else(|_| format!("{plan:?}"));
        format!("seed {seed}{planted}, plan {plan}\nAgain: proxymgr simulate --seed {seed}{planted} --trace")
    };
    let ((mut outcome, chronicle), panicked) = watched(seed, words, async |world| {
        planted.into_iter().for_each(|bug| world.plant(bug));
        world.furnish(plan);
        if keeps_chronicle {
            world.keep_chronicle();
        }
        let converged_after_s = story(&world, plan).await;
        let outcome = Outcome {
            violation: world.violation(),
            lines: world.trace().lines(),
            starts: world.starts(),
            commands: world.commands(),
            converged_after_s,
        };
        (outcome, world.chronicle())
    });
    outcome.violation = panicked.or(outcome.violation);
    (outcome, chronicle)
}

/// Runs a test in a new world. A panic violates an invariant, or ends the program, whose panic hook prints `words`.
pub(super) fn watched<T>(
    seed: u64,
    words: impl FnOnce() -> String,
    story: impl AsyncFnOnce(World) -> T,
) -> (T, Option<Violation>) {
    if panics_end_the_program() {
        UNDER_WAY.with(|known| *known.borrow_mut() = Some(words()));
    }
    catch_panics();
    PANIC.with(|panic| *panic.borrow_mut() = Some(Vec::new()));
    let result = in_virtual_time(seed, story);
    let panicked = PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_default();
    let what = panicked.into_iter().next();
    (result, what.map(|what| Violation { invariant: Invariant::ActorsLive, what }))
}

async fn story(world: &World, plan: &Plan) -> u64 {
    let mut memory = Memory::default();
    world.start_manager();
    for step in &plan.steps {
        world.apply(step).await;
        world.look(&mut memory).await;
        if world.violation().is_some() || has_panicked() {
            return 0;
        }
    }
    // Events that the plan has started (a flap, a session that expires) end first.
    world.wait(6).await;
    world.heal_for_good();
    world.note("the plan", "the world", "everything is healed");
    let mut unrest = None;
    for second in 1..=CONVERGENCE_MAX_S {
        world.wait(1).await;
        world.look(&mut memory).await;
        if world.violation().is_some() || has_panicked() {
            return second;
        }
        unrest = world.at_rest().await.err();
        if unrest.is_none() {
            stay_at_rest(world, &mut memory).await;
            return second;
        }
    }
    if let Some(Violation { invariant, what }) = unrest {
        world.violate(invariant, format!("{CONVERGENCE_MAX_S} s after all faults were healed: {what}"));
    }
    CONVERGENCE_MAX_S
}

async fn stay_at_rest(world: &World, memory: &mut Memory) {
    let starts = world.starts();
    world.note("the plan", "the world", "all is at rest");
    world.wait(REST_S).await;
    world.look(memory).await;
    if world.violation().is_some() {
        return;
    }
    if world.starts() > starts {
        world.violate(Invariant::ReloadsHaveACause, "HAProxy was reloaded at rest");
    } else if let Err(Violation { invariant, what }) = world.at_rest().await {
        world.violate(invariant, format!("no longer at rest: {what}"));
    }
}

thread_local! {
    /// The current run of this thread.
    static UNDER_WAY: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The panics in the current run of this thread.
    static PANIC: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

fn has_panicked() -> bool {
    PANIC.with(|panic| panic.borrow().as_ref().is_some_and(|panics| !panics.is_empty()))
}

/// Installs a hook that records panics: an actor whose handler panics vanishes without a message.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let of_run = PANIC.with(|panic| match panic.try_borrow_mut().as_deref_mut() {
                Ok(Some(panics)) => {
                    panics.push(info.to_string());
                    true
                }
                _ => false,
            });
            // If a panic ends the program, there is no later report.
            if !of_run || panics_end_the_program() {
                before(info);
            }
            if of_run && END_AT_PANICS.load(Ordering::Relaxed) {
                process::abort();
            }
        }));
    });
}

/// Returns numbers that do not depend on the seed, for the planted bug that must be found.
pub(super) fn dice() -> u64 {
    static THROWN: AtomicU64 = AtomicU64::new(0);
    THROWN.fetch_add(1, Ordering::Relaxed) % 3
}
