//! A deployment: listening sockets, candidate, check, start of a new HAProxy, handover of health.
//!
//! A service that cannot listen, or whose section HAProxy refuses, never blocks other services: its last good section
//! stays, or it is left out, and the problem is reported. Where no process serves and no new file is usable, HAProxy is
//! started with the last good one ([`last_file`]).
//!
//! | decision, all pure | where |
//! | --- | --- |
//! | the content of the candidate, the owners of sockets | `candidate.rs` |
//! | the checks, and the consequences of HAProxy's verdicts | `isolation.rs`, with `search.rs` and `references.rs` |
//! | the translation of HAProxy's messages to keys of the definition | `complaint.rs` |
//!
//! This module executes them.

mod candidate;
mod complaint;
mod counters_handover;
mod health_handover;
mod isolation;
mod last_file;
mod peers;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod references;
mod shared_tls;
mod sockets;

#[cfg(test)]
mod fixture;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;

use slog::{Logger, info, warn};
use tokio::task::yield_now;
use tokio::time::sleep;

use self::candidate::{Candidate, ConfigPart};
use self::isolation::{Isolation, Step};
use self::last_file::EarlierFile;
use self::peers::gone;
pub use self::peers::{DeploymentPeers, SocketPeers};
use self::sockets::{adopt, hold_sockets};
use crate::decide::continued_file;
use crate::decide::deployment::{
    BoundSection, ConfigContext, DeployFailure, DeployOrder, Deployed, SectionSpec, ServingProcess, Warnings,
};
use crate::decide::routing::parse_map;
use crate::limits::PROXY_READY_POLL;
use crate::message::{FindOrphans, LaunchError, LaunchProxy, NotOpened, OrphanAdopted, Orphans};
use crate::model::{Blocker, ProcessInfo, ServiceName};
use crate::port::{CheckFailure, ConfigFile};

/// The state of HAProxy's processes at the begin of a deployment.
#[derive(Debug, Clone, Copy)]
pub struct Processes {
    /// Whether this daemon has deployed nothing before, so that there may be an orphaned HAProxy of an earlier one.
    pub may_be_orphaned: bool,
    /// Whether a process serves.
    pub serve: bool,
}

/// Starts a new process. After a failure the previous process, if any, still serves.
pub async fn deploy(
    mut order: DeployOrder,
    mut processes: Processes,
    peers: DeploymentPeers,
) -> Result<Deployed, DeployFailure> {
    let mut orphan_is_silent = false;
    let mut continued = None;
    if processes.may_be_orphaned {
        restore_routes(&mut order.context, &*peers.config_file).await;
        let Orphans { pids, first_is_continued } = peers.orphans.send(FindOrphans).await.map_err(gone)?;
        processes.serve |= !pids.is_empty();
        orphan_is_silent = !pids.is_empty() && !report_orphan(&peers).await;
        if first_is_continued && !orphan_is_silent {
            continued = peers.runtime.process().await.ok().filter(|process| pids.first() == Some(&process.pid));
        }
        adopt(pids, &peers).await?;
    }
    let deployed = deploy_or_fall_back(order, processes, continued, &peers);
    if !orphan_is_silent {
        return deployed.await;
    }
    // It may have been started just before the daemon was.
    tokio::select! {
        biased;
        outcome = deployed => outcome,
        never = keep_reporting_orphan(&peers) => match never {},
    }
}

/// Passes on the reported state of an orphaned HAProxy. Returns whether it answered.
async fn report_orphan(peers: &DeploymentPeers) -> bool {
    let observation = peers.runtime.observe(None).await;
    let answered = observation.is_ok();
    observation.into_iter().for_each(|observation| peers.adopted.do_send(OrphanAdopted { observation }));
    answered
}

async fn keep_reporting_orphan(peers: &DeploymentPeers) -> Infallible {
    while !report_orphan(peers).await {
        sleep(PROXY_READY_POLL).await;
    }
    pending().await
}

/// Deploys a new file. If that fails where no process serves, the last good file is used.
async fn deploy_or_fall_back(
    mut order: DeployOrder,
    processes: Processes,
    continued: Option<ProcessInfo>,
    peers: &DeploymentPeers,
) -> Result<Deployed, DeployFailure> {
    let last_file = order.last_file.take();
    let earlier_file = match &last_file {
        None if !processes.serve => EarlierFile::read(&order.services, &*peers.config_file).await,
        _ => None,
    };
    let failure = match deploy_new_file(order, processes, continued, peers).await {
        Err(failure) => failure,
        outcome => return outcome,
    };
    match (last_file, earlier_file) {
        (Some(file), _) if !failure.file_is_ahead => last_file::restart_on(file, failure, peers).await,
        (None, Some(file)) => Err(file.start(failure, peers).await),
        _ => Err(failure),
    }
}

/// Builds the candidate, has it checked, and starts a process with it, unless the one from before a restart in place runs
/// it already.
async fn deploy_new_file(
    order: DeployOrder,
    processes: Processes,
    continued: Option<ProcessInfo>,
    peers: &DeploymentPeers,
) -> Result<Deployed, DeployFailure> {
    let DeployOrder { context, services, only_for, state_file, stats_file, health_source, .. } = order;
    let held = hold_sockets(context.base.listens(), &services, BTreeMap::new(), peers).await?;
    if let Some(NotOpened { address, error }) = held.base_failed.first() {
        let place = context.base.place_of(address).unwrap_or("haproxy.base_config");
        return Err(DeployFailure { suspects_base: true, ..DeployFailure::from(format!("{place}: {error}")) });
    }
    let candidate = Candidate::new(context, services, held);
    // With thousands of services each step takes long: runtime changes go on in between.
    yield_now().await;
    let (candidate, mut warnings) = isolate(candidate, &*peers.config_file).await?;
    // Both files are written later, for the new process: the check may not find them.
    if let Some(path) = state_file.as_ref().map(|path| path.to_string_lossy()) {
        warnings.base.retain(|warning| !warning.contains(&*path));
    }
    if stats_file.is_some() {
        warnings.base.retain(|warning| !counters_handover::is_about_its_file(warning));
    }
    log_blockers(&candidate, &peers.log);
    if only_for.is_some_and(|services| services.iter().all(|name| candidate.is_stuck(name))) {
        return Ok(Deployed::NothingToGain(candidate.blockers));
    }
    if let Some(process) = continued
        && let Some(sections) = continued_sections(&candidate, &*peers.config_file).await
    {
        return Ok(Deployed::Continuing(Box::new(serving(process, candidate, sections, warnings))));
    }
    let state_file = match state_file {
        Some(path) => Some((path, health_handover::state_file_text(health_source, &candidate, peers).await)),
        None => None,
    };
    let stats_file = match stats_file {
        Some(path) => Some((path, counters_handover::stats_file_text(processes.serve, peers).await)),
        None => None,
    };
    yield_now().await;
    let servers = candidate.sections.iter().map(|(name, section)| (name.clone(), section.section.spec.hosts.clone()));
    let start = LaunchProxy {
        with_candidate: true,
        descriptors: candidate.whole().descriptors,
        state_file,
        stats_file,
        servers: servers.collect(),
    };
    let process = peers.launch.send(start).await.map_err(gone)?.map_err(start_failure)?;
    let sections = candidate.sections.iter().map(|(name, section)| (name.clone(), section.section.clone())).collect();
    Ok(Deployed::Serving(Box::new(serving(process, candidate, sections, warnings))))
}

/// Returns the process with the file of this candidate and with these sections.
fn serving(
    process: ProcessInfo,
    candidate: Candidate,
    sections: BTreeMap<ServiceName, BoundSection>,
    warnings: Warnings,
) -> ServingProcess {
    let (frontends, routing, line_sets) = (candidate.frontends(), candidate.routing(), candidate.line_sets());
    let Candidate { context: ConfigContext { style, .. }, base, blockers, .. } = candidate;
    ServingProcess { process, base, style, sections, frontends, line_sets, routing, blockers, warnings }
}

/// Returns the sections of a process from before a restart in place. `None` where the candidate needs a new process.
async fn continued_sections(
    candidate: &Candidate,
    config_file: &dyn ConfigFile,
) -> Option<BTreeMap<ServiceName, BoundSection>> {
    let file = config_file.read().await.ok()?;
    let specs = candidate.sections.iter().map(|(name, section)| (name.clone(), section.section.spec.clone())).collect();
    let continued =
        continued_file::continued_sections(&file, &candidate.whole().text.joined(), &specs, candidate.context.style)?;
    let bound = |(name, spec): (ServiceName, SectionSpec)| {
        let descriptors = candidate.sections.get(&name)?.section.descriptors.clone();
        Some((name, BoundSection::new(spec, descriptors)))
    };
    Some(continued.into_iter().filter_map(bound).collect())
}

/// Restores the assignment of domains of an earlier run from its map file.
async fn restore_routes(context: &mut ConfigContext, config_file: &dyn ConfigFile) {
    if let Ok(Some(map)) = config_file.read_map().await {
        context.previous_routes = parse_map(&map);
    }
}

/// Has HAProxy check the candidate, and removes the refused sections.
async fn isolate(candidate: Candidate, config_file: &dyn ConfigFile) -> Result<(Candidate, Warnings), DeployFailure> {
    let mut isolation = Isolation::new(candidate);
    loop {
        yield_now().await;
        let verdict = match isolation.next_step() {
            Step::CheckWhole(ConfigPart { text, descriptors, .. }) => config_file.check(text, descriptors).await,
            Step::TryPart(ConfigPart { text, descriptors, .. }) => config_file.try_part(text, descriptors).await,
            Step::Done(outcome) => return outcome.map(|warnings| (isolation.into_candidate(), warnings)),
        };
        isolation.judged(match verdict {
            Ok(warnings) => Ok(warnings),
            Err(CheckFailure::Rejected { messages }) => Err(messages),
            Err(CheckFailure::Failed(error)) => return Err(error.into()),
        });
    }
}

fn log_blockers(candidate: &Candidate, log: &Logger) {
    for (name, blocker) in &candidate.blockers {
        let consequence = match candidate.sections.contains_key(name) {
            true => "its last good section stays",
            false => "it is left out",
        };
        let (service, cause) = (name.as_str(), blocker.text());
        match blocker {
            Blocker::PortTaken { .. } => {
                info!(log, "a service waits for its port";
                    "service" => service, "cause" => cause, "consequence" => consequence);
            }
            Blocker::Rejected { .. } => {
                warn!(log, "HAProxy refuses a service";
                    "service" => service, "message" => cause, "consequence" => consequence);
            }
        }
    }
}

fn start_failure(error: LaunchError) -> DeployFailure {
    let suspects_base = matches!(error, LaunchError::Ended(_) | LaunchError::Silent(_));
    let file_is_ahead = suspects_base || matches!(error, LaunchError::Start(_));
    DeployFailure { suspects_base, file_is_ahead, ..DeployFailure::from(error.to_string()) }
}
