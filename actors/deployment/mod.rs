//! A deployment: listening sockets, candidate, check, start of a new HAProxy, hand-over of health, first observation.
//!
//! A service that cannot listen, or whose section HAProxy refuses, never keeps the others from being served: its last good
//! section stays, or it is left out, and it is named. Where nothing serves any more and no new file can be had, on a full
//! disk for one, HAProxy is started on the file of the last process.
//!
//! [`candidate`] decides what the file contains; this module executes it.

mod candidate;
mod health_handover;
mod isolation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use actix::{MailboxError, Recipient};
use slog::{Logger, info, warn};

use self::candidate::Candidate;
use crate::decide::deployment::{
    BoundSection, ConfigContext, DeployFailure, DeployOrder, Deployed, HealthSource, LastFile, RestartedProcess,
    ServiceSection, ServingProcess,
};
use crate::decide::routing::parse_map;
use crate::message::{AdoptSockets, FindOrphans, HoldSockets, LaunchError, LaunchProxy, SocketsHeld, WantedSocket};
use crate::model::{Blocker, Observation, ServiceName};
use crate::port::{ConfigFile, RuntimeApi};

/// Whom a deployment asks for sockets.
#[derive(Clone)]
pub struct SocketPeers {
    /// Opens them.
    pub hold: Recipient<HoldSockets>,
    /// Takes over those of an orphaned HAProxy.
    pub adopt: Recipient<AdoptSockets>,
}

/// What a deployment works with.
pub struct DeploymentPeers {
    /// The listening sockets.
    pub sockets: SocketPeers,
    /// Finds orphaned HAProxys.
    pub orphans: Recipient<FindOrphans>,
    /// Starts the process.
    pub launch: Recipient<LaunchProxy>,
    /// Candidate, live file and map.
    pub config_file: Rc<dyn ConfigFile>,
    /// The process that serves, before and after.
    pub runtime: Rc<dyn RuntimeApi>,
}

/// Brings a new process up. A failure leaves the process before, if any, serving. `is_first` says that this daemon has
/// deployed nothing before, so that there may be an orphaned HAProxy of an earlier one.
pub async fn deploy(
    mut order: DeployOrder,
    is_first: bool,
    peers: DeploymentPeers,
    log: Logger,
) -> Result<Deployed, DeployFailure> {
    let last_file = order.last_file.take();
    let failure = match deploy_new_file(order, is_first, &peers, &log).await {
        Err(failure) if !failure.file_is_ahead => failure,
        outcome => return outcome,
    };
    match last_file {
        Some(file) => restart_on(file, failure, &peers, &log).await,
        None => Err(failure),
    }
}

/// Builds the candidate, has it checked, and starts a process on it.
async fn deploy_new_file(
    order: DeployOrder,
    is_first: bool,
    peers: &DeploymentPeers,
    log: &Logger,
) -> Result<Deployed, DeployFailure> {
    let DeployOrder { mut context, services, only_for, state_file, health_source, .. } = order;
    let mut orphan_observation = None;
    if is_first {
        restore_routes(&mut context, &*peers.config_file).await;
        orphan_observation = adopt_orphans(peers, log).await?;
    }
    let held = hold_sockets(&services, peers).await?;
    let mut candidate = Candidate::new(context, services, held);
    isolation::settle(&mut candidate, &*peers.config_file).await?;
    log_blockers(&candidate, log);
    if only_for.is_some_and(|services| services.iter().all(|name| candidate.is_stuck(name))) {
        return Ok(Deployed::NothingToGain(candidate.blockers));
    }
    let state_file = match state_file {
        Some(path) => Some(state_of(path, health_source, &candidate, peers, log).await),
        None => None,
    };
    let start = LaunchProxy { with_candidate: true, descriptors: candidate.descriptors(), state_file };
    let process = peers.launch.send(start).await.map_err(gone)?.map_err(start_failure)?;
    let observation = peers.runtime.observe(None).await;
    if let Err(error) = &observation {
        warn!(log, "the new process does not report its servers"; "error" => %error);
    }
    let (frontends, routing) = (candidate.frontends(), candidate.routing());
    let Candidate { context: ConfigContext { base, style, .. }, sections, blockers, .. } = candidate;
    let sections: BTreeMap<ServiceName, BoundSection> =
        sections.into_iter().map(|(name, section)| (name, section.section)).collect();
    let observation = observation.ok();
    Ok(Deployed::Serving(Box::new(ServingProcess {
        process,
        base,
        style,
        sections,
        frontends,
        routing,
        blockers,
        observation,
        orphan_observation,
    })))
}

/// Which service each domain belonged to in an earlier run is in the map file that it left.
async fn restore_routes(context: &mut ConfigContext, config_file: &dyn ConfigFile) {
    if let Ok(Some(map)) = config_file.read_map().await {
        context.previous_routes = parse_map(&map);
    }
}

/// Takes over the sockets of orphaned HAProxys. Returns what the one that serves reports.
async fn adopt_orphans(peers: &DeploymentPeers, log: &Logger) -> Result<Option<Observation>, String> {
    let orphans = peers.orphans.send(FindOrphans).await.map_err(gone)?;
    let observation = match orphans.is_empty() {
        true => None,
        false => peers.runtime.observe(None).await.ok(),
    };
    for pid in orphans {
        if let Err(error) = peers.sockets.adopt.send(AdoptSockets { pid }).await.map_err(gone)? {
            warn!(log, "the ports of an orphaned HAProxy are opened again once it closes them"; "pid" => pid, "error" => error);
        }
    }
    Ok(observation)
}

/// Has every socket opened that a desired section listens on, and those of last good sections of an earlier run.
async fn hold_sockets(
    services: &BTreeMap<ServiceName, ServiceSection>,
    peers: &DeploymentPeers,
) -> Result<SocketsHeld, String> {
    let desired = |(name, service): (&ServiceName, &ServiceSection)| {
        Some((name.clone(), WantedSocket::of(&service.desired.definition)?))
    };
    let elsewhere = |(name, service): (&ServiceName, &ServiceSection)| match &service.last_good {
        Some(BoundSection { spec, descriptor: None })
            if spec.definition.listen != service.desired.definition.listen =>
        {
            Some((name.clone(), WantedSocket::of(&spec.definition)?))
        }
        _ => None,
    };
    let hold = HoldSockets {
        wanted: services.iter().filter_map(desired).collect(),
        last_good: services.iter().filter_map(elsewhere).collect(),
    };
    peers.sockets.hold.send(hold).await.map_err(gone)
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
                info!(log, "a service waits for its port"; "service" => service, "cause" => cause, "consequence" => consequence);
            }
            Blocker::Rejected { .. } => {
                warn!(log, "HAProxy refuses a service"; "service" => service, "message" => cause, "consequence" => consequence);
            }
        }
    }
}

async fn state_of(
    path: PathBuf,
    source: Option<HealthSource>,
    candidate: &Candidate,
    peers: &DeploymentPeers,
    log: &Logger,
) -> (PathBuf, String) {
    let text = health_handover::state_file_text(source, candidate, &*peers.config_file, &*peers.runtime, log).await;
    (path, text)
}

/// Starts a process on the file of the last one, if that is still in place.
async fn restart_on(
    last_file: LastFile,
    failure: DeployFailure,
    peers: &DeploymentPeers,
    log: &Logger,
) -> Result<Deployed, DeployFailure> {
    if !peers.config_file.read().await.is_ok_and(|text| last_file.is(&text)) {
        return Err(failure);
    }
    warn!(log, "nothing serves, HAProxy is started on the last file"; "error" => &failure.error);
    let descriptors = last_file.descriptors.into_iter().collect();
    match peers.launch.send(LaunchProxy { with_candidate: false, descriptors, state_file: None }).await {
        Ok(Ok(process)) => {
            let observation = peers.runtime.observe(None).await.ok();
            Ok(Deployed::OnLastFile(Box::new(RestartedProcess { process, observation, failure })))
        }
        _ => Err(failure),
    }
}

fn start_failure(error: LaunchError) -> DeployFailure {
    let suspects_base = matches!(error, LaunchError::Ended(_) | LaunchError::Silent(_));
    let file_is_ahead = suspects_base || matches!(error, LaunchError::Start(_));
    DeployFailure { error: error.to_string(), suspects_base, file_is_ahead }
}

fn gone(_: MailboxError) -> String {
    "the daemon is stopping".to_owned()
}
