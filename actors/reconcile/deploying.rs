//! Deployment lane: starts a new process with a new file. Runtime changes continue during a deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::deployment_lane::{CatchUp, Deployment};
use super::desired::DesiredService;
use super::effect::{Effect, info};
use super::reload_queue::in_short;
use super::state::State;
use crate::decide::base::BaseLayout;
use crate::decide::deployment::{
    BoundSection, ConfigContext, DeployOrder, HealthSource, LastFile, SectionSpec, ServiceSection,
};
use crate::decide::proxy_plan::Refusal;
use crate::limits::FIRST_LISTS_WAIT;
use crate::model::{Blocker, HostList, Moment, Observation, ProxyManagement, ReloadCause, ServerName, ServiceName};

impl State {
    /// Begins a deployment when one is due.
    pub(super) fn begin_deployment(&mut self, now: Moment) {
        if self.deployment.is_some() || self.settings.is_external() || !self.deployment_is_due(now) {
            return;
        }
        if self.deployment_can_begin(now) {
            self.deploy(now);
        }
    }

    /// Returns whether a deployment can begin. An older text must not overwrite the candidate file, so a write under
    /// way ends first.
    pub(super) fn deployment_can_begin(&self, now: Moment) -> bool {
        self.deployment.is_none() && now.instant >= self.reloads.not_before && !self.files.config.is_writing()
    }

    /// Returns whether the first host lists of all services have arrived, or their timeout has passed.
    pub(super) fn may_start(&self, now: Moment) -> bool {
        let deadline = self.desired.loaded_at.map(|at| at + FIRST_LISTS_WAIT);
        self.desired.is_complete() || deadline.is_some_and(|deadline| now.instant >= deadline)
    }

    fn deployment_is_due(&mut self, now: Moment) -> bool {
        if self.process.is_stopping() {
            return false;
        }
        if self.process.is_serving() {
            let is_overdue = self.reloads.is_overdue(now.instant);
            let is_free = self.lane.changing.is_none() && self.work.is_empty() && !self.work.is_observing();
            return self.reloads.is_due() && (is_overdue || is_free);
        }
        if self.running().is_some() || self.reloads.is_due() {
            return true;
        }
        let may_start = self.may_start(now);
        if may_start {
            self.reloads.request(ReloadCause::Start.because("the daemon starts"));
        }
        may_start
    }

    fn deploy(&mut self, now: Moment) {
        self.desired.services.values_mut().for_each(DesiredService::shrink_slots);
        let reasons = self.reload_reasons();
        let mut causes = self.reloads.causes();
        causes.extend(self.process.exit().map(|_| ReloadCause::Exit));
        let only_for =
            (!self.reloads.is_due_for_all() && self.process.exit().is_none()).then(|| self.reloads.services());
        let order = self.deploy_order(only_for);
        let line = info("deploying a new HAProxy process").with("reasons", in_short(&reasons));
        self.outbox.log(line.with("services", order.services.len()));
        self.deployment = Some(Deployment {
            reasons,
            causes,
            general: self.reloads.begin(),
            begun: now.instant,
            newest: self.desired.newest_change(),
            base: order.context.base.clone(),
            certificates: self.files.certificates.in_files(),
            refused: self.refused_changes(),
            opened: BTreeSet::new(),
            exited: None,
            takes_over: false,
            successor: CatchUp::default(),
        });
        self.outbox.push(Effect::Deploy(Box::new(order)));
    }

    fn deploy_order(&self, only_for: Option<BTreeSet<ServiceName>>) -> DeployOrder {
        let (base, style) = self.base();
        let running = self.running();
        let mut services = self.service_sections();
        if let Some(only_for) = only_for.as_ref().filter(|_| running.is_some_and(|running| running.base.layout == base))
        {
            for (name, section) in services.iter_mut().filter(|(name, _)| !only_for.contains(*name)) {
                section.refused = self.desired.services.get(name).and_then(|service| refused_before(service, section));
            }
        }
        DeployOrder {
            health_source: self.health_source(&base),
            state_file: base.state_file.clone(),
            stats_file: base.stats_file.clone().filter(|_| style.guids),
            context: ConfigContext {
                base,
                style,
                map_path: self.settings.policy.base_config.map_path.clone(),
                previous_routes: running.map(|running| running.routing.routes.clone()).unwrap_or_default(),
                descriptors_max: self.settings.descriptors_max(self.version()),
                stapled: self.files.certificates.stapled.clone(),
            },
            services,
            only_for,
            last_file: self.last_file(),
        }
    }

    /// Returns the runtime changes that HAProxy refused, by service.
    fn refused_changes(&self) -> BTreeMap<ServiceName, BTreeMap<ServerName, Refusal>> {
        let sections = self.running().into_iter().flat_map(|running| &running.sections);
        let refused = sections.filter(|(_, section)| !section.attempts.refused.is_empty());
        refused.map(|(name, section)| (name.clone(), section.attempts.refused.clone())).collect()
    }

    /// Returns the source of server health: the process that serves, where it answers, else the state file. `None`
    /// where the base of that process differs, because its health checks may have differed.
    fn health_source(&self, base: &Arc<BaseLayout>) -> Option<HealthSource> {
        let path = base.state_file.as_ref()?;
        let running = self.running().filter(|running| running.base.layout == *base)?;
        let sections = running.sections.iter().map(|(name, section)| (name.clone(), section.spec())).collect();
        Some(match self.process.is_serving() && self.lane.link.failures() == 0 {
            true => HealthSource::Process { sections },
            false => HealthSource::File { path: path.clone(), sections },
        })
    }

    /// Returns the expected content of the live file, where no process serves and the file was not replaced since.
    fn last_file(&self) -> Option<LastFile> {
        let is_ours = !self.process.is_serving() && !self.files.config.is_ahead();
        let ended = self.running().filter(|_| is_ours)?;
        let of_sections = ended.sections.values().map(|section| &section.descriptors);
        let descriptors = of_sections.chain([&ended.base.descriptors]).flat_map(|descriptors| descriptors.values());
        let descriptors = descriptors.copied().flatten().collect();
        Some(LastFile { descriptors, services: ended.sections.keys().cloned().collect() })
    }

    /// Returns the reasons for a reload as texts.
    pub(super) fn reload_reasons(&self) -> Vec<String> {
        let exit = self.process.exit().map(|exit| exit.text.clone());
        exit.into_iter().chain(self.reloads.reasons()).collect()
    }

    /// Returns the sections for a new file.
    pub(super) fn service_sections(&self) -> BTreeMap<ServiceName, ServiceSection> {
        let (_, style) = self.base();
        let is_same_style = self.running().is_some_and(|running| running.style == style);
        let section = |(name, service): (&ServiceName, &DesiredService)| {
            let section = self.running().and_then(|running| running.sections.get(name));
            // After the first start, a new service is added once its hosts are known.
            if section.is_none() && self.running().is_some() && !service.source.known {
                return None;
            }
            let last_good = match section {
                Some(section) => {
                    let spec = section.spec();
                    let text = is_same_style.then(|| section.file.text.clone());
                    Some(BoundSection { spec, descriptors: Some(section.descriptors.clone()), text })
                }
                // The definition of an earlier run; its socket is not held yet.
                None => service
                    .earlier
                    .definition
                    .as_ref()
                    .map(|definition| BoundSection::new(service.section_by(definition), None)),
            };
            let definition = match section {
                // A port in use is requested again each time; a refused definition is not retried.
                Some(section) if service.is_rejected(Some(&section.definition)) => &section.definition,
                _ => &service.definition,
            };
            let desired = service.section_by(definition);
            let is_running = section.is_some_and(|section| section.is_of_file) && self.process.is_serving();
            Some((
                name.clone(),
                ServiceSection {
                    desired,
                    last_good,
                    earlier_listens: service.earlier.listens.clone(),
                    is_running,
                    refused: None,
                },
            ))
        };
        self.desired.services.iter().filter_map(section).collect()
    }

    /// Records the state of an orphaned process. Servers that discovery meanwhile removed are disabled in it.
    pub(super) fn orphan_adopted(&mut self, observation: Observation) {
        if self.process.is_serving() {
            // It was replaced meanwhile.
            return;
        }
        let services = self.desired.services.iter();
        let is_read = services.filter(|(_, service)| service.source.revision.is_some()).map(|(name, _)| name.clone());
        self.unmanaged = Some(CatchUp::orphan(&observation, is_read.collect()));
        self.orphan = Some(observation);
        self.catch_up(None);
    }

    /// Records that the deployment started a process, and catches it up.
    pub(super) fn process_started(
        &mut self,
        pid: u32,
        takes_commands: bool,
        servers: BTreeMap<ServiceName, Arc<HostList>>,
    ) {
        if let Some(deployment) = &mut self.deployment {
            deployment.successor.started(pid, takes_commands, servers, &self.desired.services);
            self.catch_up(None);
        }
    }

    /// Records that the new process takes over the socket: what it gets from now on are the commands of its catch-up.
    pub(super) fn successor_takes_over(&mut self) {
        self.unmanaged = None;
        self.deployment.iter_mut().for_each(|deployment| deployment.takes_over = true);
    }

    /// Sends the new process what changed while it answered. If it was taken over meanwhile, changes may go on.
    pub(super) fn successor_answered(&mut self, pid: u32) {
        if let Some(Deployment { successor, .. }) = &mut self.deployment
            && successor.pid == Some(pid)
        {
            successor.is_answering = false;
            self.catch_up(None);
        }
        if let Some(answered) = self.lane.still_answering.take_if(|process| process.pid == pid) {
            self.work.observe.extend(answered.services);
        }
    }

    /// Disables servers that must not get traffic in the new process, and in an unmanaged one.
    pub(super) fn catch_up(&mut self, only: Option<&ServiceName>) {
        let services = &self.desired.services;
        let catch_up = |process: &mut CatchUp| {
            only.into_iter().for_each(|service| process.service_changed(service));
            process.catch_up(services, only)
        };
        let to_unmanaged = self.unmanaged.as_mut().map(catch_up).unwrap_or_default();
        if !to_unmanaged.is_empty() {
            self.outbox.push(Effect::CommandUnmanaged(to_unmanaged));
        }
        let Some(Deployment { successor, .. }) = &mut self.deployment else { return };
        let to_successor = catch_up(successor);
        if let Some(pid) = successor.pid.filter(|_| !to_successor.is_empty()) {
            successor.is_answering = true;
            self.outbox.push(Effect::CommandSuccessor { pid, commands: to_successor });
        }
    }

    /// Returns whether HAProxy's process is started by this daemon, or by a process manager at its request.
    pub(super) fn deploys(&self) -> bool {
        self.settings.management != ProxyManagement::External
    }
}

/// Returns HAProxy's message, where it refused this very section before.
fn refused_before(service: &DesiredService, section: &ServiceSection) -> Option<String> {
    match service.blocker()? {
        Blocker::Rejected { message, definition, hosts } => {
            let SectionSpec { definition: desired, hosts: with, .. } = &section.desired;
            (desired == definition && with == hosts).then(|| message.clone())
        }
        Blocker::PortTaken { .. } => None,
    }
}
