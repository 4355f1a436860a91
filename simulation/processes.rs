//! HAProxy's processes and its configuration file, simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use proxymgr_actors::decide::loaded_config::{inherited_descriptors, parse_sections};
use proxymgr_actors::model::ProcessInfo;
use proxymgr_actors::port::{
    CheckFailure, ConfigFile, ConfigMessage, ConfigText, PortFuture, ProcessExit, ProcessSignal, ProcessUsage,
    ProxyProcesses, RunningProcess, RuntimeApi,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, sleep};

use super::durations::Work;
use super::haproxy_model::HaproxyModel;
use super::invariant::Invariant;
use super::operator_base;
use super::plan::StartFailure;
use super::planted_bug::PlantedBug;
use super::process_runtime::ProcessRuntime;
use super::route_map::RouteMap;
use super::things::{Things, numbers};
use super::world::World;

/// The release of every version.
const RELEASE: u16 = 9;

/// One process of HAProxy.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) model: HaproxyModel,
    /// The map that it loaded, if its file has one.
    pub(super) map: Option<RouteMap>,
    pub(super) version: proxymgr_actors::model::ProxyVersion,
    pub(super) listens: BTreeSet<SocketAddr>,
    pub(super) sections: BTreeSet<String>,
    pub(super) started: Instant,
    /// Whether it answers on its socket.
    pub(super) answers: bool,
    /// Wakes the tasks that wait for that; dropped when the process ends.
    pub(super) up: Rc<Notify>,
    /// Since when it has answered the current manager.
    pub(super) attached_at: Option<Instant>,
    /// Whether the current manager found it, and answers count from its first observation.
    pub(super) is_adopted: bool,
    /// Whether another process served when it was started.
    pub(super) replaces: bool,
    /// Whether it is draining.
    pub(super) draining: bool,
    /// The manager that started it.
    pub(super) generation: u64,
    pub(super) fault: Option<SocketFault>,
    /// Whether its socket ever had a fault: its supervisor may then conclude that it never answered.
    pub(super) was_faulty: bool,
    /// Whether it has refused a command, which is then left to a reload.
    pub(super) has_refused: bool,
    exit: watch::Sender<Option<ProcessExit>>,
}

/// Fault of a process's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketFault {
    /// No answer arrives; the commands may be executed.
    Hangs { obeys: bool },
    /// Connections are refused.
    Down,
}

/// How long after its first answer a process counts as young.
const YOUNG: Duration = Duration::from_secs(2);

impl Process {
    /// Returns whether it has replaced another process a moment ago.
    pub(super) fn is_a_young_successor(&self) -> bool {
        self.replaces && self.attached_at.is_some_and(|at| at.elapsed() < YOUNG)
    }

    /// Returns the answer to `show info`.
    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            pid: self.pid,
            version: self.version,
            version_text: format!("{}.{RELEASE}", self.version),
            uptime_s: self.started.elapsed().as_secs(),
            stopping: self.draining,
        }
    }

    fn watched(&self) -> RunningProcess {
        let mut exit = self.exit.subscribe();
        let ended = async move {
            let found = exit.wait_for(Option::is_some).await;
            found.ok().and_then(|exit| exit.clone()).unwrap_or(ProcessExit::Unknown)
        };
        RunningProcess { pid: self.pid, exit: Box::pin(ended), runtime: None, is_continued: false }
    }
}

/// Returns the servers that take traffic, by section, with their weights.
pub(super) fn ready_in(model: &HaproxyModel) -> BTreeMap<String, BTreeMap<u8, u16>> {
    let observation = model.observe(None);
    observation.services.iter().map(|(name, servers)| (name.to_string(), numbers(servers.values()))).collect()
}

impl World {
    /// Ends the process.
    pub(super) fn end_process(&self, pid: u32, how: ProcessExit) {
        let Some(process) = self.with(|things| things.processes.remove(&pid)) else { return };
        process.up.notify_waiters();
        self.note(format_args!("HAProxy ({pid})"), "the system", format!("ended: {how}"));
        self.with(|things| things.ended.insert(pid, Instant::now()));
        self.chronicled(|chronicle, now_ms| chronicle.process(pid, |life| life.ended_ms = Some(now_ms)));
        self.chronicle_all();
        if !process.draining {
            self.with(|things| things.oracle.cause(format!("HAProxy ({pid}) ended")));
        }
        if !(process.draining && self.has(PlantedBug::MissesAnExit)) {
            process.exit.send_replace(Some(how));
        } else {
            // The task that waits for the exit never resumes.
            std::mem::forget(process.exit);
        }
    }

    /// Makes the process close its listeners, drain, and end.
    pub(super) fn soft_stop(&self, pid: u32) {
        let first = self.with(|things| {
            let process = things.processes.get_mut(&pid)?;
            let first = !std::mem::replace(&mut process.draining, true);
            things.drains.entry(pid).or_insert_with(Instant::now);
            first.then_some(())
        });
        if first.is_none() {
            return;
        }
        self.note(format_args!("HAProxy ({pid})"), "", "stops listening, drains");
        self.chronicled(|chronicle, now_ms| chronicle.process(pid, |life| life.drains_ms = Some(now_ms)));
        self.chronicle_all();
        let world = self.clone();
        self.naturally(async move {
            // Most have few sessions; some have clients that stay.
            if world.draw("is busy", 0, 1) == 0 && !world.with(|things| things.durations.contains_key(&Work::Finish)) {
                world.latency(Work::Finish.purpose(), 0, 5).await;
            } else {
                world.take(Work::Finish).await;
            }
            world.end_process(pid, ProcessExit::Code(0));
        });
    }

    /// Ends the process by force, which is allowed only if it never answered or has been draining beyond the limits.
    fn hard_stop(&self, pid: u32, how: ProcessExit) {
        let is_well = |process: &Process| process.answers && !process.was_faulty;
        let is_well = self.with(|things| things.processes.get(&pid).is_some_and(is_well));
        if is_well && !self.with(|things| things.is_beyond_limits(pid)) {
            self.violate(Invariant::ConnectionsAreNotCut, format!("HAProxy ({pid}) was killed with open connections"));
        }
        self.end_process(pid, how);
    }

    fn start_process(&self, descriptors: &[RawFd], replaces: Vec<u32>) -> Result<RunningProcess, String> {
        let text = self.file();
        self.check_sections(&text);
        let (failure, causes) = self.with(|things| {
            things.started_at.push(Instant::now());
            (things.start_fails.take().or(things.starts_fail), things.oracle.started())
        });
        let causes_text = causes.iter().cloned().collect::<Vec<_>>().join("; ");
        if causes.is_empty() {
            self.violate(Invariant::ReloadsHaveACause, "HAProxy was started without a cause");
        }
        if self.has(PlantedBug::ClosesASocket)
            && !replaces.is_empty()
            && let Some(address) = self.with(|things| things.sockets.values().next().copied())
        {
            self.socket_closed(address);
        }
        if failure == Some(StartFailure::NotStarted) {
            self.with(|things| things.oracle.cause("the start failed"));
            return Err("cannot allocate memory".to_owned());
        }
        let mut process = self.make_process(&text, descriptors)?;
        process.replaces = !replaces.is_empty();
        let pid = process.pid;
        let runtime: Rc<dyn RuntimeApi> = Rc::new(ProcessRuntime { world: self.clone(), pid });
        let running = RunningProcess { runtime: Some(runtime), ..process.watched() };
        self.note("ProcessSupervisorActor", format_args!("HAProxy ({pid})"), format!("start; causes: {causes_text}"));
        self.with(|things| things.processes.insert(pid, process));
        self.chronicled(|chronicle, now_ms| chronicle.started(pid, causes.into_iter().collect(), now_ms));
        let world = self.clone();
        self.naturally(async move {
            world.take(Work::FirstAnswer).await;
            match failure {
                Some(StartFailure::EndsAtOnce) => world.end_process(pid, ProcessExit::Code(1)),
                Some(_) => {}
                None => world.process_answers(pid, &replaces),
            }
        });
        Ok(running)
    }

    fn make_process(&self, text: &str, descriptors: &[RawFd]) -> Result<Process, String> {
        let version = self.with(|things| things.version);
        let model = self.with(|things| {
            // The result of the check is reused: host names always resolve to the same addresses.
            let is_checked = things.live_file == things.candidate;
            let checked = things.checked.take_if(|model| is_checked && model.version() == version);
            checked.map_or_else(|| HaproxyModel::start_resolving(version, text, &things.names), Ok)
        });
        let model = model.map_err(|messages| format!("{messages:?}"))?;
        let sections = parse_sections(text);
        self.with(|things| {
            let mut listens = BTreeSet::new();
            for descriptor in inherited_descriptors(text) {
                match things.sockets.get(&descriptor).filter(|_| descriptors.contains(&descriptor)) {
                    Some(address) => listens.insert(*address),
                    None => return Err(format!("descriptor {descriptor} of the file is not inherited")),
                };
            }
            things.last_pid += 1;
            Ok(Process {
                pid: things.last_pid,
                model,
                map: things.live_file.map.as_deref().map(|text| RouteMap::load(text, version)),
                version,
                listens,
                sections: sections.keys().map(ToString::to_string).collect(),
                started: Instant::now(),
                answers: false,
                up: Rc::new(Notify::new()),
                attached_at: None,
                is_adopted: false,
                replaces: false,
                draining: false,
                generation: things.generation,
                fault: None,
                was_faulty: false,
                has_refused: false,
                exit: watch::Sender::new(None),
            })
        })
    }

    /// Replaces the serving process by an external HAProxy with this configuration.
    pub(super) fn run_external(&self, config: &str) {
        let before = self.with(|things| things.serving());
        let mut process = self.make_process(config, &[]).expect("a configuration in a test is accepted");
        // A manager that starts must not adopt it as an orphan.
        (process.answers, process.generation) = (true, u64::MAX);
        self.with(|things| things.processes.insert(process.pid, process));
        before.into_iter().for_each(|pid| self.end_process(pid, ProcessExit::Code(0)));
    }

    fn process_answers(&self, pid: u32, replaces: &[u32]) {
        let alive = self.with(|things| {
            let Some(process) = things.processes.get_mut(&pid) else { return false };
            process.answers = true;
            let (is_ours, serves) = (process.generation == things.generation, !process.draining);
            // One whose manager was killed meanwhile obeys the next one from its adoption on.
            if is_ours && !process.is_adopted {
                process.attached_at = Some(Instant::now());
            }
            process.up.notify_waiters();
            if is_ours && things.oracle.serves() {
                things.note_slots_left();
            }
            serves
        });
        if alive {
            self.note(format_args!("HAProxy ({pid})"), "", "serves");
            self.ask_agents_soon();
            self.chronicled(|chronicle, now_ms| chronicle.process(pid, |life| life.serves_ms = Some(now_ms)));
            self.chronicle_all();
            let cuts = self.has(PlantedBug::CutsConnections);
            for old in replaces {
                if cuts { self.hard_stop(*old, ProcessExit::Signal(15)) } else { self.soft_stop(*old) }
            }
            self.expect_removals();
        }
    }

    /// Checks that every served service that is still defined is in the file of the next process.
    fn check_sections(&self, text: &str) {
        let sections = parse_sections(text);
        let missing = self.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get(&pid))?;
            let stays = |name: &&String| things.oracle.must_stay(name);
            let lost = |name: &&String| !sections.keys().any(|section| section.as_str() == name.as_str());
            let mut served = serving.sections.iter().filter(stays);
            if things.planted == Some(PlantedBug::LeavesAServiceOut) { served.next() } else { served.find(lost) }
                .cloned()
        });
        if let Some(name) = missing {
            self.violate(
                Invariant::ServicesStay,
                format!("{name} is defined and was served, but is missing in the file"),
            );
        }
    }
}

impl ProxyProcesses for World {
    fn start(&self, descriptors: Vec<RawFd>, replaces: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        let world = self.clone();
        Box::pin(async move {
            world.take(Work::Start).await;
            world.start_process(&descriptors, replaces)
        })
    }

    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        let world = self.clone();
        self.with(|things| things.oracle.launch_begins());
        Box::pin(async move {
            world.take(Work::FindOrphan).await;
            let found = world.with(|things| {
                let (generation, serving) = (things.generation, things.serving());
                let strange = things.processes.values_mut().filter(|process| process.generation != generation);
                let answers = |process: &&mut Process| Some(process.pid) == serving && process.fault.is_none();
                let orphan = strange.max_by_key(|process| (answers(process), process.pid))?;
                (orphan.generation, orphan.is_adopted) = (generation, true);
                Some(orphan.watched())
            });
            let words = found.as_ref().map_or("none".to_owned(), |process| process.pid.to_string());
            world.note("ProcessSupervisorActor", "the system", format!("find an orphan: {words}"));
            found
        })
    }

    fn usage(&self, pids: Vec<u32>) -> PortFuture<BTreeMap<u32, ProcessUsage>> {
        let usage = self.with(|things| things.usage);
        Box::pin(std::future::ready(pids.into_iter().filter_map(|pid| Some((pid, usage?))).collect()))
    }

    fn signal(&self, pid: u32, signal: ProcessSignal) -> Result<(), String> {
        self.note("ProcessSupervisorActor", format_args!("HAProxy ({pid})"), format!("{signal:?}"));
        self.with(|things| things.signals.push((pid, signal)));
        match signal {
            ProcessSignal::SoftStop => self.soft_stop(pid),
            ProcessSignal::Kill => self.hard_stop(pid, ProcessExit::Signal(9)),
        }
        Ok(())
    }
}

impl ConfigFile for World {
    fn check(&self, text: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        let world = self.clone();
        self.with(|things| things.oracle.launch_begins());
        Box::pin(async move {
            world.disk().await;
            world.with(|things| things.checks += 1);
            world.take(Work::Check).await;
            let hung = world.hanging_check().await;
            world.with(|things| things.checks = things.checks.saturating_sub(1));
            let outcome = world.with(|things| {
                hung.map_err(CheckFailure::Failed)?;
                things.checked = Some(things.read_config(&text)?);
                things.candidate = text;
                Ok(Vec::new())
            });
            world.note("ProcessSupervisorActor", "haproxy -c", verdict(&outcome));
            outcome
        })
    }

    fn try_part(&self, text: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        let world = self.clone();
        Box::pin(async move {
            world.take(Work::Trial).await;
            world.hanging_check().await.map_err(CheckFailure::Failed)?;
            let outcome = world.with(|things| things.read_config(&text).map(|_| Vec::new()));
            world.note("ProcessSupervisorActor", "haproxy -c", verdict(&outcome));
            outcome
        })
    }

    fn promote(&self) -> PortFuture<Result<(), String>> {
        let world = self.clone();
        Box::pin(async move {
            world.disk().await;
            world.take(Work::Promote).await;
            world.with(|things| {
                things.live_file = things.candidate.clone();
                things.oracle.promoted();
            });
            world.note("ProcessSupervisorActor", "haproxy.cfg", "replaced by the candidate");
            Ok(())
        })
    }

    fn read_map(&self) -> PortFuture<Result<Option<String>, String>> {
        let text = self.with(|things| things.live_file.map.as_deref().map(str::to_owned));
        Box::pin(std::future::ready(Ok(text)))
    }

    fn read(&self) -> PortFuture<Result<String, String>> {
        Box::pin(std::future::ready(Ok(self.file())))
    }

    fn write(&self, text: ConfigText) -> PortFuture<Result<(), String>> {
        let world = self.clone();
        Box::pin(async move {
            world.disk().await;
            world.take(Work::Write).await;
            let outcome = world.with(|things| {
                if things.disk_full {
                    return Err("no space left on device".to_owned());
                }
                if things.planted != Some(PlantedBug::SkipsTheFile) {
                    things.live_file = text;
                }
                Ok(())
            });
            let words = outcome.as_ref().err().map_or("written", String::as_str);
            world.note("HaproxyStateActor", "haproxy.cfg", words);
            outcome
        })
    }
}

fn verdict(outcome: &Result<Vec<ConfigMessage>, CheckFailure>) -> String {
    outcome.as_ref().err().map_or("good".to_owned(), ToString::to_string)
}

impl Things {
    /// Reads a text as HAProxy would.
    fn read_config(&self, text: &ConfigText) -> Result<HaproxyModel, CheckFailure> {
        if self.disk_full {
            return Err(CheckFailure::Failed("no space left on device".to_owned()));
        }
        let mut whole = text.joined();
        if self.planted == Some(PlantedBug::DropsAReference) {
            whole = operator_base::without_stand_ins(&whole);
        }
        let read = || HaproxyModel::start_resolving(self.version, &whole, &self.names);
        self.refusal(&whole).map_or_else(read, Err).map_err(|messages| CheckFailure::Rejected { messages })
    }
}

/// Duration of a connection attempt to a dead socket.
pub(super) const CONNECT: Duration = Duration::from_millis(1);

/// Waits as long as the adapter does for an answer.
pub(super) async fn until_given_up() {
    sleep(proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT).await;
}
