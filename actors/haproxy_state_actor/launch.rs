//! How a new HAProxy process is brought up: sockets, candidate, check, start, first look.
//!
//! One service that cannot listen, or whose section HAProxy refuses, never keeps the others from being served: its
//! last good section stays, or it is left out, and it is named. Where nothing serves any more and no new file can be
//! had, on a full disk for one, the file that the last process ran on is good enough.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use actix::{MailboxError, Recipient};
use slog::{Logger, warn};

use super::candidate::{Candidate, Chosen, Entrant, Surroundings};
use super::desired::Obstacle;
use super::health::Witness;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::loaded_config::{inherited_descriptors, parse_sections};
use crate::decide::routing::{Routing, parse_map};
use crate::decide::state_file::NOTHING_KNOWN;
use crate::message::{
    AdoptSockets, CheckCandidate, FindOrphans, HoldSockets, LaunchError, LaunchProxy, ReleaseSockets, WaitOnlyFor,
    WantedSocket,
};
use crate::model::{Observation, ProcessInfo, Routes, ServiceName};
use crate::port::{ConfigFile, RuntimeApi};

/// Whom a launch needs.
#[derive(Clone)]
pub struct LaunchPeers {
    /// Opens the sockets.
    pub hold: Recipient<HoldSockets>,
    /// Closes sockets that are no longer in use.
    pub release: Recipient<ReleaseSockets>,
    /// Forgets who waits for a port and is no more.
    pub wait_only_for: Recipient<WaitOnlyFor>,
    /// Takes over the sockets of HAProxys that outlived their daemon.
    pub adopt: Recipient<AdoptSockets>,
    /// Finds them.
    pub orphans: Recipient<FindOrphans>,
    /// Checks a candidate.
    pub check: Recipient<CheckCandidate>,
    /// Starts the process.
    pub launch: Recipient<LaunchProxy>,
    /// Tells what the new process has.
    pub runtime: Rc<dyn RuntimeApi>,
    /// Tells who had which domain in an earlier run.
    pub config_file: Rc<dyn ConfigFile>,
}

/// What a launch starts from.
pub struct LaunchOrder {
    /// The text before the sections.
    pub frame: Arc<str>,
    /// What it means for every section.
    pub style: SectionStyle,
    /// The map that frontends look into.
    pub map_path: PathBuf,
    /// Who has what is asked for.
    pub had: Routes,
    /// The services.
    pub entrants: BTreeMap<ServiceName, Entrant>,
    /// The services it is for; none where it is for all, or must be in any case.
    pub only_for: Option<BTreeSet<ServiceName>>,
    /// Whether this is the first launch of the daemon, which may find a HAProxy that outlived the last one.
    pub first: bool,
    /// What the live file should say, where that ran until its process ended; none where one serves.
    pub live_file: Option<LiveFile>,
    /// Where the new process finds the health that servers have; none where it reads no such file.
    pub state_file: Option<PathBuf>,
    /// Who says how servers are; none where nobody can.
    pub witness: Option<Witness>,
}

/// By what the live file is known for that of the last process.
pub struct LiveFile {
    /// The descriptors that it names.
    pub descriptors: BTreeSet<RawFd>,
    /// The services that it has sections for.
    pub services: BTreeSet<ServiceName>,
}

impl LiveFile {
    /// Whether this is it. Servers may differ, because they follow; a file of somebody else's does in the rest.
    fn is(&self, text: &str) -> bool {
        inherited_descriptors(text) == self.descriptors
            && parse_sections(text).into_keys().eq(self.services.iter().cloned())
    }
}

/// Why a launch brought no process.
pub struct Failure {
    /// In words.
    pub error: String,
    /// Whether the head of the file may be at fault, so that trying it again is of no use: not where a disk was full.
    pub suspects_head: bool,
    /// Whether the file may be ahead of what runs: it was made the live one for a process that does not serve.
    pub file_is_ahead: bool,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self { error, suspects_head: false, file_is_ahead: false }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        let suspects_head = matches!(error, LaunchError::Ended(_) | LaunchError::Silent(_));
        let file_is_ahead = suspects_head || matches!(error, LaunchError::Start(_));
        Self { error: error.to_string(), suspects_head, file_is_ahead }
    }
}

/// What came of a launch.
pub enum Outcome {
    /// A new process serves.
    Serving(Box<Launched>),
    /// A new process serves what the last one did, from the file that is there, because no other could be had.
    Revived(Box<Revived>),
    /// Something stands in the way of every service it was for: what runs already is all that can be served.
    Blocked(BTreeMap<ServiceName, Obstacle>),
}

/// A process that serves.
pub struct Launched {
    /// The process.
    pub process: ProcessInfo,
    /// The text before its sections.
    pub frame: Arc<str>,
    /// What it means for every section.
    pub style: SectionStyle,
    /// Its sections.
    pub sections: BTreeMap<ServiceName, Chosen>,
    /// Its frontends.
    pub frontends: BTreeMap<SocketAddr, Arc<str>>,
    /// Who is asked for what.
    pub routing: Routing,
    /// What stands in the way of services that are not as wanted.
    pub obstacles: BTreeMap<ServiceName, Obstacle>,
    /// What it says it has; none where it did not say.
    pub observation: Option<Observation>,
    /// What the process had that outlived the last daemon; none where there was none, or where it did not say.
    pub outlived: Option<Observation>,
}

/// A process that runs what the one before it ran.
pub struct Revived {
    /// The process.
    pub process: ProcessInfo,
    /// What it says it has; none where it did not say.
    pub observation: Option<Observation>,
    /// Why it does not run what is wanted.
    pub failure: Failure,
}

/// Brings a new process up. An error leaves the process before, if any, serving.
pub async fn launch(mut order: LaunchOrder, peers: LaunchPeers, log: Logger) -> Result<Outcome, Failure> {
    let live_file = order.live_file.take();
    let failure = match renew(order, peers.clone(), log.clone()).await {
        Err(failure) if !failure.file_is_ahead => failure,
        outcome => return outcome,
    };
    let text = peers.config_file.read().await;
    let Some(file) = live_file.filter(|file| text.is_ok_and(|text| file.is(&text))) else { return Err(failure) };
    warn!(log, "nothing serves, HAProxy is started with the file that it had"; "error" => &failure.error);
    let order =
        LaunchProxy { with_candidate: false, descriptors: file.descriptors.into_iter().collect(), state_file: None };
    match peers.launch.send(order).await {
        Ok(Ok(process)) => {
            let observation = peers.runtime.observe(None).await.ok();
            Ok(Outcome::Revived(Box::new(Revived { process, observation, failure })))
        }
        _ => Err(failure),
    }
}

/// Has a candidate made of the order, checked, and put in force by a new process.
async fn renew(order: LaunchOrder, peers: LaunchPeers, log: Logger) -> Result<Outcome, Failure> {
    let LaunchOrder { frame, style, map_path, mut had, entrants, only_for, first, state_file, witness, .. } = order;
    if first && let Ok(Some(map)) = peers.config_file.read_map().await {
        had = parse_map(&map);
    }
    let mut outlived = None;
    let outlivers = if first { peers.orphans.send(FindOrphans).await.map_err(gone)? } else { Vec::new() };
    if !outlivers.is_empty() {
        outlived = peers.runtime.observe(None).await.ok();
    }
    for pid in outlivers {
        if let Err(error) = peers.adopt.send(AdoptSockets { pid }).await.map_err(gone)? {
            warn!(log, "its ports are bound anew once it lets go of them"; "pid" => pid, "error" => error);
        }
    }
    let wanted = entrants
        .iter()
        .filter_map(|(name, entrant)| Some((name.clone(), WantedSocket::of(&entrant.wanted.definition)?)));
    let hold = HoldSockets { wanted: wanted.collect(), last_good: listened_elsewhere(&entrants) };
    let held = peers.hold.send(hold).await.map_err(gone)?;
    let mut candidate = Candidate::new(Surroundings { frame, style, map_path, had }, entrants, held, log.clone());
    candidate.settle(&peers.check).await?;
    if only_for.is_some_and(|services| services.iter().all(|name| candidate.is_stuck(name))) {
        return Ok(Outcome::Blocked(candidate.obstacles));
    }
    let descriptors = candidate.descriptors();
    let state_file = match state_file {
        Some(path) => {
            let said = match witness {
                Some(witness) => witness.says(&peers, &candidate.sections, style, &log).await,
                None => NOTHING_KNOWN.to_owned(),
            };
            Some((path, said))
        }
        None => None,
    };
    let process =
        peers.launch.send(LaunchProxy { with_candidate: true, descriptors, state_file }).await.map_err(gone)??;
    let observation = peers.runtime.observe(None).await;
    if let Err(error) = &observation {
        warn!(log, "the new process does not tell what it has"; "error" => %error);
    }
    let (frontends, routing) = (candidate.frontends(), candidate.routing());
    let Candidate { around: Surroundings { frame, .. }, sections, obstacles, .. } = candidate;
    let observation = observation.ok();
    Ok(Outcome::Serving(Box::new(Launched {
        process,
        frame,
        style,
        sections,
        frontends,
        routing,
        obstacles,
        observation,
        outlived,
    })))
}

/// Where the last good sections of an earlier run listened that are wanted elsewhere now.
fn listened_elsewhere(entrants: &BTreeMap<ServiceName, Entrant>) -> BTreeMap<ServiceName, WantedSocket> {
    let elsewhere = |(name, entrant): (&ServiceName, &Entrant)| match &entrant.last_good {
        Some((good, None)) if good.definition.listen != entrant.wanted.definition.listen => {
            Some((name.clone(), WantedSocket::of(&good.definition)?))
        }
        _ => None,
    };
    entrants.iter().filter_map(elsewhere).collect()
}

/// Said where the one who was asked is no more.
pub fn gone(_: MailboxError) -> String {
    "an actor is gone".to_owned()
}
