//! `proxymgr replay`: replays the recording of a daemon with other settings in virtual time.

mod comparison;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::guard::RejectedList;
use proxymgr_actors::journal::JournalEntry;
use proxymgr_actors::model::{ProxyVersion, RawDefinition};
use proxymgr_actors::port::{SavedJournal, SavedState};

use super::{SettingsArgs, output};
use crate::daemon::adapters;
use crate::failure::Failure;
use crate::recording::{self, Header, Line, Numbered, Recording, Snapshots, What};
use crate::settings::Settings;
use comparison::Comparison;
use proxymgr_simulation::{Beginning, Happening, Heard, Played, play};
use tally::Tally;

/// The recording to replay, and with which settings.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// HAProxy version to simulate; the version of the recording by default.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    haproxy_version: Option<ProxyVersion>,
    /// Print the trace first.
    #[arg(long)]
    trace: bool,
}

fn version(text: &str) -> Result<ProxyVersion, String> {
    let parse =
        |(major, minor): (&str, &str)| Some(ProxyVersion { major: major.parse().ok()?, minor: minor.parse().ok()? });
    text.split_once('.').and_then(parse).ok_or_else(|| "must be two numbers, such as 2.6".to_owned())
}

/// Replays the recording and prints the results next to the recorded ones.
pub fn replay(args: &ReplayArgs, settings: &Settings) -> Result<(), Failure> {
    let recording = recording::read(&args.file).map_err(|error| Failure::CannotStart(error.to_string()))?;
    for remark in remarks(&args.file, &recording) {
        output::remark(&format!("# {remark}"));
    }
    let Recorded { header, runs, restored, outcomes } = Recorded::of(&recording);
    let version = args.haproxy_version.unwrap_or(header.haproxy);
    let orders = |restored| adapters::orders(settings, Some(version), restored, SavedJournal::default());
    let Header { at_unix_ms, derived_definitions, .. } = header;
    let beginning = Beginning { version, at_unix_ms, derived_definitions, restored };
    let played = play(heard(recording), beginning, orders).map_err(Failure::Internal)?;
    let Played { journal, states, lines } = &played;
    if args.trace {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
        output::print(&lines.concat());
    }
    let comparison = Comparison { recorded: Tally::of(&outcomes), played: Tally::of(journal) };
    let (recorder, of_version) = (&header.proxymgr, header.haproxy);
    output::print(&format!(
        "recorded by proxymgr {recorder} with HAProxy {of_version}, {runs}; played with HAProxy {version}\n\n{comparison}\n{}",
        comparison::final_state(states)
    ));
    Ok(())
}

/// Returns remarks on what the recording does not contain.
fn remarks(path: &Path, recording: &Recording) -> Vec<String> {
    let path = path.display();
    let missed: u64 = recording
        .lines
        .iter()
        .map(|line| match line {
            Numbered::Line(Line { what: What::Missed(lines), .. }) => *lines,
            _ => 0,
        })
        .sum();
    let missed =
        (missed > 0).then(|| format!("{path}: {missed} lines are missing because the disk was too slow or full"));
    recording.torn.iter().map(|torn| format!("{path}: {torn}")).chain(missed).collect()
}

/// What the recording contains about the recording daemon.
struct Recorded {
    header: Header,
    /// The duration, as text.
    runs: String,
    /// The state that its first run restored from an earlier one.
    restored: SavedState,
    /// Its journal, with times in milliseconds since the beginning.
    outcomes: Vec<JournalEntry>,
}

impl Recorded {
    fn of(recording: &Recording) -> Self {
        let mut header = None;
        let mut runs = 0;
        let mut restored = SavedState::default();
        let mut outcomes = Vec::new();
        for (at_ms, line) in dated(&recording.lines) {
            match line {
                Numbered::Run(run) => {
                    header.get_or_insert_with(|| run.clone());
                    runs += 1;
                }
                Numbered::Line(Line { what: What::Restored(services), .. }) if runs == 1 => {
                    restored.services.clone_from(services);
                }
                Numbered::Line(Line { what: What::RejectedDefinitions(definitions), .. }) if runs == 1 => {
                    let named = |(name, raw): (&String, &RawDefinition)| (Arc::from(name.as_str()), raw.clone());
                    let list = Arc::new(definitions.iter().map(named).collect());
                    restored.definitions_guard.rejected = Some(RejectedList { list, change: None });
                }
                Numbered::Line(Line { what: What::Outcome(entry), .. }) => {
                    // An event of a later version that this version does not know is not compared.
                    let entry = serde_json::from_value::<JournalEntry>(entry.clone()).ok();
                    outcomes.extend(entry.map(|entry| JournalEntry { at_unix_ms: at_ms, ..entry }));
                }
                Numbered::Line(_) => {}
            }
        }
        let took = Duration::from_millis(dated(&recording.lines).last().map_or(0, |(at_ms, _)| at_ms));
        let took = humantime::format_duration(Duration::from_secs(took.as_secs()));
        let times = if runs == 1 { String::new() } else { format!(" in {runs} runs") };
        let header = header.expect("a recording that was read begins with a run");
        Self { header, runs: format!("{took}{times}"), restored, outcomes }
    }
}

/// Returns every line with its time since the first run began, in milliseconds.
fn dated(lines: &[Numbered]) -> impl Iterator<Item = (u64, &Numbered)> {
    let mut first_unix_ms = None;
    let mut run_at_ms = 0;
    lines.iter().map(move |line| match line {
        Numbered::Run(run) => {
            run_at_ms = run.at_unix_ms.saturating_sub(*first_unix_ms.get_or_insert(run.at_unix_ms));
            (run_at_ms, line)
        }
        Numbered::Line(Line { at_ms, .. }) => (run_at_ms + at_ms, line),
    })
}

/// Returns the reports of discovery, as snapshots, and the orders of operators.
fn heard(recording: Recording) -> impl Iterator<Item = Heard> {
    let times: Vec<u64> = dated(&recording.lines).map(|(at_ms, _)| at_ms).collect();
    let ordered = ordered(&recording);
    let mut snapshots = Snapshots::default();
    let mut runs = 0;
    let shown = recording.lines.into_iter().zip(times).filter_map(move |(line, at_ms)| {
        let what = match line {
            Numbered::Run(_) => {
                snapshots = Snapshots::default();
                runs += 1;
                (runs > 1).then_some(Happening::Restart)
            }
            Numbered::Line(line) => happening(line.what, &mut snapshots),
        };
        Some(Heard { at: Duration::from_millis(at_ms), what: what? })
    });
    let mut heard: Vec<Heard> = shown.chain(ordered).collect();
    // The journal contains an order a little later than it was given.
    heard.sort_by_key(|heard| heard.at);
    heard.into_iter()
}

/// The orders of operators, from the journal.
fn ordered(recording: &Recording) -> Vec<Heard> {
    let mut first_unix_ms = None;
    let orders = recording.lines.iter().filter_map(|line| match line {
        Numbered::Run(run) => {
            first_unix_ms.get_or_insert(run.at_unix_ms);
            None
        }
        Numbered::Line(Line { what: What::Outcome(entry), .. }) => {
            let entry: JournalEntry = serde_json::from_value(entry.clone()).ok()?;
            let at = Duration::from_millis(entry.at_unix_ms.saturating_sub(first_unix_ms?));
            Some(Heard { at, what: Happening::Ordered(entry.order()?) })
        }
        Numbered::Line(_) => None,
    });
    orders.collect()
}

fn happening(what: What, snapshots: &mut Snapshots) -> Option<Happening> {
    match what {
        What::Definitions { set, gone } => Some(Happening::Definitions(Ok(snapshots.add_definitions(set, &gone)))),
        What::DefinitionsLost { error } => Some(Happening::Definitions(Err(error))),
        What::Hosts { service, set, gone } => {
            let hosts = snapshots.add_hosts(&service, set, &gone);
            Some(Happening::Hosts(service, Ok(hosts)))
        }
        What::HostsLost { service, error } => Some(Happening::Hosts(service, Err(error))),
        What::Missed(_) => {
            *snapshots = Snapshots::default();
            None
        }
        What::Restored(_) | What::RejectedDefinitions(_) | What::Outcome(_) => None,
    }
}
