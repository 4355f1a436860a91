//! The actor test harness: the production actors, unchanged, against a simulated world in virtual time.
//!
//! # A test
//!
//! ```
//! use proxymgr_simulation::in_virtual_time;
//!
//! in_virtual_time(1, async |world| {
//!     world.define("web");
//!     world.join("web", 1);
//!     world.join("web", 2);
//!     world.start_manager();
//!     world.settle().await;
//!     assert_eq!(world.ready("web"), [1, 2]);
//!
//!     world.lose_session();
//!     world.leave("web", 1);
//!     world.wait(3600).await;
//!     assert_eq!(world.ready("web"), [1, 2], "a failed discovery takes nothing away");
//!
//!     world.heal();
//!     world.settle().await;
//!     assert_eq!(world.ready("web"), [2]);
//!     assert_eq!(world.starts(), 1, "without a reload");
//!     assert_eq!(world.violation(), None);
//! });
//! ```
//!
//! # Thousands of runs
//!
//! A run is a function of its seed and its [`Plan`], and the plan is drawn from the seed. After the plan all faults are
//! healed, and the actors must converge within a bound of virtual time. [`Invariant`] lists what must hold until then.
//! Every seed is run twice, and both runs must be the same, line by line.
//!
//! ```
//! use proxymgr_simulation::sweep;
//!
//! let (figures, failure) = sweep(0..3, None, 1);
//! assert!(failure.is_none(), "{}", failure.unwrap());
//! assert_eq!(figures.seeds, 3);
//! ```
//!
//! `proxymgr simulate --seeds 10000` does it from the command line; a failure is reported with the command that repeats
//! it.
//!
//! # How it works
//!
//! | file | content |
//! | --- | --- |
//! | `world.rs`, `things.rs`, `managers.rs`, `durations.rs` | the world: its content, its managers, and how long
//! everything takes |
//! | `faults.rs`, `deployments.rs`, `tampering.rs`, `orders.rs`, `vanishing.rs` | faults, external changes and orders |
//! | `truth.rs`, `sources.rs`, `annotations.rs`, `slots.rs`, `domains.rs`, `agents.rs`, `operator_base.rs` | services
//! and hosts, and how discovery, the operator and HAProxy show them |
//! | `haproxy_model.rs`, `runtime_api.rs`, `process_runtime.rs`, `processes.rs`, `refusals.rs`, `sockets.rs` | HAProxy and the system |
//! | `plan/`, `random.rs` | what happens, drawn from a seed |
//! | `invariant.rs`, `oracle.rs`, `choices.rs`, `checks/` | the invariants and their checks |
//! | `scripted/` | a world in which a test decides every input |
//! | `run.rs`, `sweep.rs`, `shrink.rs`, `trace.rs` | one run, many runs, smaller runs, and their reports |
//! | `timeline/` | a run as a drawing |
//! | `scenario/`, `load.rs` | scenarios from files, and days of thousands of changes |
//! | `chronicle.rs`, `day.rs`, `ancestors.rs`, `fleet.rs` | their results, compared with the rules of older managers |
//! | `courier.rs` | delivery of messages between actors, with delays |
//! | `playback.rs` | replays recorded discovery to the actors |
//! | `planted_bug.rs` | bugs planted on purpose, which the invariants must find |
//!
//! Time is tokio's paused clock: it jumps to the next timer when no task can run. Every latency is drawn from a stream
//! of its own purpose, so that a plan that lost a step keeps the latencies of the others.

#![forbid(unsafe_code)]

mod agents;
mod ancestors;
mod annotations;
mod backends;
mod besides;
mod checks;
mod choices;
mod chronicle;
mod courier;
mod day;
mod deployments;
mod domains;
mod durations;
mod faults;
mod fleet;
mod guard_model;
pub mod haproxy_model;
mod host_numbers;
mod hosts;
mod invariant;
mod load;
mod managers;
mod mishaps;
mod name_resolver;
mod operator_base;
mod oracle;
mod orders;
mod plan;
mod planted_bug;
mod playback;
mod process_runtime;
mod processes;
mod random;
mod refusals;
pub mod route_map;
mod run;
mod runtime_api;
pub mod scenario;
pub mod scripted;
mod shrink;
mod slots;
mod sockets;
mod sources;
mod sweep;
mod tampering;
mod things;
mod timeline;
mod trace;
mod truth;
mod vanishing;
mod world;

pub use self::ancestors::Rule;
pub use self::chronicle::{AppliedChange, Chronicle, Fault, HostLife, ProcessLife, Span};
pub use self::day::{Day, Figures as DayFigures};
pub use self::deployments::Pace;
pub use self::durations::Work;
pub use self::fleet::{DayInShort, Fleet, Spread, fleet};
pub use self::haproxy_model::HaproxyModel;
pub use self::invariant::{Invariant, Violation};
pub use self::load::{Change, Load, Update, Way};
pub use self::plan::{Plan, Refused, StartFailure, Step, Tampering};
pub use self::planted_bug::PlantedBug;
pub use self::playback::{Beginning, Happening, Heard, Played, play};
pub use self::random::Random;
pub use self::run::{Outcome, chronicled, end_at_panics, run, under_way};
pub use self::shrink::{Shrunk, shrink};
pub use self::slots::Slots;
pub use self::sweep::{Failure, Figures, replay, sweep};
pub use self::timeline::timeline;
pub use self::trace::{Trace, TraceLine};
pub use self::world::{World, in_virtual_time};
