//! Scenarios: steps and expectations in a file.
//!
//! ```yaml
//! about: A host that leaves is disabled at once.
//! haproxy: "3.0"
//! services: {web: 3}                 # each with its hosts, numbered from 1
//! steps:
//!   - {at: 5s, leave: {service: web, host: 2}}
//!   - expect: {service: web, enabled: [1, 3], reloads: 0}
//!   - session_lost                   # a step without a time happens right after the one before
//!   - {after: 1h, expect: {service: web, enabled: [1, 3]}}
//! ```
//!
//! | key | meaning |
//! | --- | --- |
//! | `about` | a sentence about what it shows |
//! | `haproxy` | the version of HAProxy, default 3.0 |
//! | `seed` | the seed of latencies and load, default 1 |
//! | `mail_delay_max_ms` | maximum delay of a message between two actors, in milliseconds, default 0 |
//! | `services` | the services defined at the beginning, each with the number of its hosts |
//! | `load` | a day of changes in addition to the steps: [`Load`] has its keys |
//! | `steps` | the steps, in order |
//!
//! A step is one [`Step`], by its name, or `expect` with an [`Expectation`]. `at` is the time since the start of the
//! manager, `after` that since the previous step. An expectation without a time has a second to be met (`within`); one
//! with a time must be met then, or within its `within`.
//!
//! ```
//! use proxymgr_simulation::scenario::Scenario;
//!
//! let text = "
//! services: {web: 2}
//! steps:
//!   - {at: 5s, process_dies: }
//!   - expect: {service: web, enabled: [1, 2], processes: 1}
//! ";
//! let report = Scenario::parse(text, "story.yml").unwrap().run();
//! assert_eq!(report.problem(), None);
//! ```
//!
//! In addition to its expectations, every invariant of the simulation must hold.

mod expectation;
mod reader;
mod running;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use proxymgr_actors::decide::nearest::nearest;
use proxymgr_actors::model::ProxyVersion;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde_saphyr::Spanned;
use thiserror::Error;

pub use self::expectation::Expectation;
use self::reader::{Wrong, line_of, read, read_variant};
pub use self::running::{Report, Unmet};
use super::load::Load;
use super::plan::Step;
use proxymgr_yaml::{self as yaml, Mistake, Node};

/// A scenario, read from a file and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// The version of HAProxy.
    pub version: ProxyVersion,
    /// The seed of latencies and load.
    pub seed: u64,
    /// Maximum delay of a message between two actors, in milliseconds.
    pub mail_delay_max_ms: u64,
    /// The services defined at the beginning, each with the number of its hosts.
    pub services: BTreeMap<String, u8>,
    /// Changes in addition to the steps.
    pub load: Option<Load>,
    /// The steps, in order.
    pub entries: Vec<Entry>,
    /// Path of its file.
    pub file: String,
}

/// One step of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its line in the file.
    pub line: u64,
    /// Time of the step.
    pub when: When,
    /// The step.
    pub what: What,
}

/// Time of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Directly after the previous step.
    Next,
    /// This long after the start of the manager.
    At(Duration),
    /// This long after the previous step.
    After(Duration),
}

/// Content of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A step of a plan.
    Happens(Step),
    /// An expectation.
    Expects(Box<Expectation>),
}

/// All mistakes in a scenario; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ScenarioMistakes(pub Vec<Mistake>);

impl fmt::Display for ScenarioMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "mistake" } else { "mistakes" };
        write!(f, "{} {noun} in the scenario:", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// The keys of a scenario.
const KEYS: [&str; 7] = ["about", "haproxy", "seed", "mail_delay_max_ms", "services", "load", "steps"];

/// Longer delays look like actors that do not answer.
const MAIL_DELAY_MAX_MS: u64 = 1_000;

/// Keys of an entry of `steps`, besides the names of steps.
const ENTRY_KEYS: [&str; 3] = ["at", "after", "expect"];

impl Scenario {
    /// Reads the scenario from this file.
    ///
    /// # Errors
    /// The file is unreadable, or has mistakes: all of them, each with its line and key.
    pub fn read(path: &Path) -> Result<Self, ScenarioMistakes> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let problem = format!("cannot be read: {error}; config/scenarios has some to start from");
            ScenarioMistakes(vec![Mistake { place: file.clone(), key: String::new(), problem }])
        })?;
        Self::parse(&text, &file)
    }

    /// Parses a scenario from the text of `file`.
    ///
    /// # Errors
    /// All mistakes, each with its line and key.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScenarioMistakes> {
        let root = yaml::read(text, Path::new(file)).map_err(|mistake| ScenarioMistakes(vec![mistake]))?;
        let mut wrongs = Vec::new();
        let scenario = parse(root.as_ref(), file, &mut wrongs);
        if wrongs.is_empty() {
            return Ok(scenario);
        }
        wrongs.sort_by_key(|wrong| wrong.line);
        let mistake = |wrong: Wrong| Mistake {
            place: format!("{file}:{}", wrong.line),
            key: wrong.path.join("."),
            problem: wrong.to_string(),
        };
        Err(ScenarioMistakes(wrongs.into_iter().map(mistake).collect()))
    }
}

fn parse(root: Option<&Spanned<Node>>, file: &str, wrongs: &mut Vec<Wrong>) -> Scenario {
    let mut scenario = Scenario {
        about: String::new(),
        version: ProxyVersion { major: 3, minor: 0 },
        seed: 1,
        mail_delay_max_ms: 0,
        services: BTreeMap::new(),
        load: None,
        entries: Vec::new(),
        file: file.to_owned(),
    };
    let entries = match root.map(|root| (&root.value, line_of(root))) {
        Some((Node::Map(entries), _)) => entries.as_slice(),
        Some((_, line)) => {
            wrongs.push(Wrong::at(line, format!("must be a map with the keys {}", KEYS.join(", "))));
            &[]
        }
        None => &[],
    };
    for (name, node) in entries {
        let outcome = match name.as_str() {
            "about" => read(node).map(|about| scenario.about = about),
            "haproxy" => read(node).map(|Version(version)| scenario.version = version),
            "seed" => read(node).map(|seed| scenario.seed = seed),
            "mail_delay_max_ms" => read(node).and_then(|late_ms: u64| {
                scenario.mail_delay_max_ms = late_ms;
                let is_within = late_ms <= MAIL_DELAY_MAX_MS;
                let too_late = || Wrong::at(line_of(node), format!("must be {MAIL_DELAY_MAX_MS} at the most"));
                is_within.then_some(()).ok_or_else(too_late)
            }),
            "services" => read(node).map(|services| scenario.services = services),
            "load" => read(node).and_then(|load: Load| {
                load.check().map_err(|problem| Wrong::at(line_of(node), problem))?;
                scenario.load = Some(load);
                Ok(())
            }),
            "steps" => {
                scenario.entries = parse_steps(node, wrongs);
                Ok(())
            }
            name => {
                wrongs.push(Wrong::unknown(line_of(node), name, KEYS));
                Ok(())
            }
        };
        wrongs.extend(outcome.err().map(|wrong| wrong.within(name)));
    }
    check(&scenario, wrongs);
    scenario
}

fn parse_steps(node: &Spanned<Node>, wrongs: &mut Vec<Wrong>) -> Vec<Entry> {
    let Node::Seq(nodes) = &node.value else {
        wrongs.push(Wrong::at(line_of(node), "must be a list").within("steps"));
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match parse_entry(node) {
            Ok(entry) => entries.push(entry),
            Err(wrong) => wrongs.push(wrong.within(&format!("steps[{}]", at + 1))),
        }
    }
    entries
}

fn parse_entry(node: &Spanned<Node>) -> Result<Entry, Wrong> {
    let line = line_of(node);
    let Node::Map(fields) = &node.value else {
        // A step without parameters: `- heal`.
        return read(node).map(|step| Entry { line, when: When::Next, what: What::Happens(step) });
    };
    let (mut when, mut what) = (When::Next, None);
    for (name, value) in fields {
        match name.as_str() {
            "at" => when = When::At(read::<Time>(value).map_err(|wrong| wrong.within(name))?.0),
            "after" => when = When::After(read::<Time>(value).map_err(|wrong| wrong.within(name))?.0),
            _ if what.is_some() => {
                return Err(Wrong::at(line_of(value), "an entry has one step, or one `expect`").within(name));
            }
            "expect" => {
                let expectation = read(value).map_err(|wrong| wrong.within(name))?;
                what = Some(What::Expects(Box::new(expectation)));
            }
            _ => {
                let step = read_variant(name, value).map_err(|mut wrong| {
                    if wrong.path.len() == 1 && !wrong.known.is_empty() {
                        wrong.known.extend(ENTRY_KEYS.map(ToOwned::to_owned));
                    }
                    wrong
                })?;
                what = Some(What::Happens(step));
            }
        }
    }
    let what = what.ok_or_else(|| Wrong::at(line, "has a time, and no step and no `expect`"))?;
    Ok(Entry { line, when, what })
}

/// Checks the scenario as a whole: all services exist, and times do not decrease.
fn check(scenario: &Scenario, wrongs: &mut Vec<Wrong>) {
    let mut known: BTreeSet<String> = scenario.services.keys().cloned().collect();
    known.extend(scenario.load.iter().flat_map(|load| (0..load.services).map(Load::service)));
    let mut past = Duration::ZERO;
    for (at, entry) in scenario.entries.iter().enumerate() {
        let place = format!("steps[{}]", at + 1);
        match entry.when {
            When::At(time) if time < past => {
                let past = humantime::format_duration(past);
                wrongs.push(Wrong::at(entry.line, format!("the step before is at {past}")).within("at").within(&place));
            }
            When::At(time) => past = time,
            When::After(time) => past += time,
            When::Next => {}
        }
        let service = match &entry.what {
            What::Happens(Step::DefineService { service }) => {
                known.insert(service.clone());
                None
            }
            What::Happens(step) => step.service(),
            What::Expects(expectation) => expectation.service.clone(),
        };
        if let Some(service) = service.filter(|service| !known.contains(service)) {
            let near = nearest(&service, known.iter().map(String::as_str));
            let hint =
                near.map_or_else(|| "name it under `services`".to_owned(), |near| format!("did you mean {near}?"));
            wrongs.push(
                Wrong::at(entry.line, format!("there is no service {service:?}; {hint}"))
                    .within("service")
                    .within(&place),
            );
        }
    }
}

/// A duration with its unit.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration(deserializer).map(Self)
    }
}

/// Reads `500ms`, `2s`, `1h 30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Words;

    impl Visitor<'_> for Words {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time with a unit, such as 500ms, 2s or 1h")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text.trim()).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Words)
}

/// A version of HAProxy.
struct Version(ProxyVersion);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl Visitor<'_> for Words {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version of HAProxy from 2.2 on, in quotes, such as \"2.6\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Version, E> {
                let version =
                    ProxyVersion::parse(text).filter(|version| *version >= ProxyVersion { major: 2, minor: 2 });
                version.map(Version).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Words)
    }
}
