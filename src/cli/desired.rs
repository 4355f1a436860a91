//! The desired state, read once from discovery, without the actors of the daemon: for `render` and `plan`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient};
use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::annotation;
use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::guard::{Capacity, Guard, GuardLimits, GuardMemory};
use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::decide::overlay::with_choices;
use proxymgr_actors::decide::server_ids::{Numbering, ServerIdRegistry, ServerIds};
use proxymgr_actors::decide::service_hosts::ServiceHosts;
use proxymgr_actors::decide::slots::SlotTable;
use proxymgr_actors::decide::update_strategy::{self, ChosenStrategy};
use proxymgr_actors::decide::{rivals, server_order, unknown_keys};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::{BlockedChange, HostList, ProxyVersion, ServiceDefinition, ServiceName, UpdateStrategy};
use proxymgr_actors::port::{DefinitionList, HostSources, OpenSource, SavedService};
use slog::Logger;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::text::now_unix_ms;
use crate::daemon::adapters::{Discovery, networks_of_hosts, saved_state_path};
use crate::discovery::KINDS;
use crate::failure::Failure;
use crate::saved_state;
use crate::settings::Settings;
use crate::status::format::counted;

/// Why a change stays out that an operator rejected.
const REJECTED: &str = "rejected by an operator";

/// The desired state and remarks on its origin.
#[derive(Debug, Default)]
pub struct Desired {
    /// Services with their hosts.
    pub services: BTreeMap<ServiceName, DesiredService>,
    /// What does not come from discovery, is invalid, or is not known.
    pub remarks: Vec<String>,
    /// Changes that a guard or an operator's rejection keeps out, with reasons.
    pub blocked: Vec<String>,
}

/// One service and its hosts.
#[derive(Debug, Clone)]
pub struct DesiredService {
    /// Its definition.
    pub definition: Arc<ServiceDefinition>,
    /// Its hosts.
    pub hosts: Arc<HostList>,
    /// Slots of the hosts in the last saved state.
    slots: SlotTable,
    /// Ids of the hosts in the last saved state.
    ids: ServerIdRegistry,
}

/// A service as it should be in a HAProxy of some version.
pub struct Placed {
    /// Its update strategy.
    pub strategy: ChosenStrategy,
    /// Its servers; with slots, by the names of the slots, free slots included.
    pub servers: Arc<HostList>,
    /// Its slots; none if it does not use slots.
    pub slots: Option<SlotTable>,
    /// The servers' ids.
    pub ids: ServerIds,
}

impl DesiredService {
    /// A service with these hosts, without a saved state.
    pub fn new(definition: Arc<ServiceDefinition>, hosts: Arc<HostList>) -> Self {
        Self { definition, hosts, slots: SlotTable::default(), ids: ServerIdRegistry::default() }
    }

    /// The service as it should be in a HAProxy of this version, which is external or not.
    pub fn placed(&self, settings: &Settings, version: Option<ProxyVersion>, is_external: bool) -> Placed {
        let update = settings.haproxy.policy.update;
        let strategy = update_strategy::choose(&self.definition, update, version.map(Capabilities::of), is_external);
        let (servers, slots) = if strategy.strategy == UpdateStrategy::Slots {
            let mut slots = self.slots.clone();
            slots.place(&self.hosts, update_strategy::slot_rules(&self.definition), |_| false);
            (Arc::new(slots.servers(&self.hosts)), Some(slots))
        } else {
            (Arc::clone(&self.hosts), None)
        };
        let mut ids = self.ids.clone();
        ids.assign(&servers, Numbering::of(&self.definition, strategy.strategy));
        Placed { strategy, servers, slots, ids: ids.ids().clone() }
    }
}

/// Reads discovery for at most `timeout`; sources that do not answer in time are replaced by the saved state. Must be
/// called within an actix system.
pub async fn gather_desired(settings: &Settings, timeout: Duration, log: &Logger) -> Result<Desired, Failure> {
    let deadline = Instant::now() + timeout;
    let discovery = Discovery::to_look(settings, log)?;
    let saved_path = saved_state_path(settings);
    let loaded = saved_state::look(&saved_path);
    let mut remarks: Vec<String> = loaded.problem.into_iter().collect();
    let services = loaded.state.services.into_iter();
    let saved: BTreeMap<ServiceName, SavedService> =
        services.map(|service| (service.definition.name.clone(), service)).collect();
    let mut blocked = Vec::new();

    let (inbox, definitions) = Inbox::open();
    let _definitions_open = discovery.definitions.open(inbox);
    let definitions = match first_good(definitions, deadline, |seen: DefinitionsSeen| seen.result).await {
        Ok(raw) => {
            let raw = DefinitionList::from(raw);
            let kept = kept_by_guard(&raw, loaded.state.definitions_guard, settings, &saved);
            let mut definitions = usable(raw, settings, &saved, &mut remarks);
            if let Some(kept) = kept {
                blocked.push(format!("removal of {}: {}", counted(kept.services.len(), "service"), kept.reason));
                definitions.extend(kept.services);
            }
            definitions
        }
        Err(error) if saved.is_empty() => {
            let from = saved_path.display();
            remarks.push(format!(
                "nothing is known: definitions cannot be read: {error}; the saved state {from} has none either; check \
                 service_config, or increase --timeout"
            ));
            return Err(Failure::CannotStart(remarks.join("\n")));
        }
        Err(error) => {
            let from = saved_path.display();
            remarks.push(format!("definitions cannot be read: {error}; using the saved state {from}"));
            saved.values().map(|service| Arc::clone(&service.definition)).collect()
        }
    };
    let opened: Vec<_> =
        definitions.into_iter().map(|definition| Opened::begin(definition, &discovery.hosts)).collect();
    let (networks, grants) = (networks_of_hosts(settings), &settings.haproxy.options.grants);
    let mut desired = Desired { remarks, blocked, ..Desired::default() };
    for opened in opened {
        let name = opened.definition.name.clone();
        let networks = networks.granted(&grants.hosts_of(name.as_str()));
        let service = opened.finish(deadline, saved.get(&name), &networks, &mut desired).await;
        desired.services.insert(name, service);
    }
    Ok(desired)
}

/// Services that the source no longer has, and that stay.
struct Kept {
    services: Vec<Arc<ServiceDefinition>>,
    reason: String,
}

/// Returns the saved services that the newest list lacks, where the guard blocks their removal.
fn kept_by_guard(
    newest: &DefinitionList,
    memory: GuardMemory<DefinitionList>,
    settings: &Settings,
    saved: &BTreeMap<ServiceName, SavedService>,
) -> Option<Kept> {
    let haproxy = &settings.haproxy;
    let limits = GuardLimits::of_services(haproxy.services_removal_max, haproxy.options.removal.window);
    let now = Clock::starting_at(now_unix_ms()).now();
    let missing = saved.iter().filter(|(name, _)| !newest.contains_key(name.as_str()));
    let services: Vec<_> = missing.map(|(_, service)| service.definition.clone()).collect();
    if services.is_empty() {
        return None;
    }
    let guard = Guard::restored(memory, Some(saved.len()), &limits, now, |_| BlockedChange::default());
    let reason = match guard.has_rejected(newest) {
        true => REJECTED.to_owned(),
        false => guard.check(Capacity::serving(saved.len() - services.len()), &limits, now).err()?.to_string(),
    };
    Some(Kept { services, reason })
}

/// The valid definitions; an invalid one is replaced by the last good one.
fn usable(
    raw: DefinitionList,
    settings: &Settings,
    saved: &BTreeMap<ServiceName, SavedService>,
    remarks: &mut Vec<String>,
) -> Vec<Arc<ServiceDefinition>> {
    let running = |name: &str| Some(saved.get(&ServiceName::new(name).ok()?)?.definition.origin.clone());
    let mut definitions = Vec::new();
    for (name, raw) in &*rivals::settle(raw, running) {
        match annotation::parse(name, raw, &settings.haproxy.options) {
            Ok(parsed) => {
                let unknown = unknown_keys::in_definition(&parsed.definition.source, &KINDS);
                remarks.extend(
                    parsed.warnings.iter().chain(&unknown).map(|warning| format!("{name} ({}): {warning}", raw.origin)),
                );
                definitions.push(Arc::new(parsed.definition));
            }
            Err(mistakes) => {
                let last_good = ServiceName::new(name).ok().and_then(|name| saved.get(&name));
                let consequence = if last_good.is_some() { "using its last good definition" } else { "left out" };
                let from = &raw.origin;
                remarks.extend(mistakes.iter().map(|mistake| format!("{name} ({from}): {mistake}; {consequence}")));
                definitions.extend(last_good.map(|service| Arc::clone(&service.definition)));
            }
        }
    }
    definitions
}

/// A service whose source is being read.
struct Opened {
    definition: Arc<ServiceDefinition>,
    seen: UnboundedReceiver<HostsSeen>,
    /// Closes the source when dropped.
    open: Result<Box<dyn OpenSource>, String>,
}

impl Opened {
    fn begin(definition: Arc<ServiceDefinition>, sources: &Rc<dyn HostSources>) -> Self {
        let (inbox, seen) = Inbox::open();
        let open = sources.open(&definition.name, &definition.source, inbox);
        Self { definition, seen, open }
    }

    async fn finish(
        self,
        deadline: Instant,
        saved: Option<&SavedService>,
        networks: &HostNetworks,
        Desired { remarks, blocked, .. }: &mut Desired,
    ) -> DesiredService {
        let name = self.definition.name.clone();
        let seen = match self.open {
            Ok(_open) => first_good(self.seen, deadline, |seen: HostsSeen| seen.result).await,
            Err(error) => Err(error),
        };
        let limits = GuardLimits::from(&self.definition.removal);
        let now = Clock::starting_at(now_unix_ms()).now();
        let (last_good, read_at, guard) = saved.map_or_else(Default::default, |saved| {
            (saved.hosts.clone(), Some(saved.seen_at_unix_ms), saved.guard.clone())
        });
        let mut hosts = ServiceHosts::restored(last_good, read_at, guard, &limits, now);
        match seen {
            Ok(mut seen) => {
                seen.retain(|host| host.has(&self.definition.source.labels));
                networks.judge(&mut seen);
                server_order::place(&mut seen, &self.definition, &KINDS);
                remarks.extend(unknown_keys::in_hosts(&seen).map(|remark| format!("{name}: {remark}")));
                hosts.show(&seen, &limits, now);
                remarks.extend(hosts.problems().iter().map(|(entry, problem)| format!("{name}: {entry}: {problem}")));
                blocked.extend(hosts.pending().map(|change| format!("{name}: {}", change.reason)));
                let rejected = hosts.rejected().map(|change| format!("{name}: {REJECTED}: {}", change.reason));
                blocked.extend(rejected);
            }
            Err(error) => {
                let consequence = if hosts.in_service().is_some() { "using the saved state" } else { "no hosts known" };
                remarks.push(format!("{name}: hosts cannot be read: {error}; {consequence}"));
            }
        }
        let hosts = hosts.in_service().cloned().unwrap_or_default();
        let choices = saved.iter().flat_map(|service| &service.choices).map(|(server, choice)| (server, choice.state));
        let slots = saved.map(|service| service.slots.clone()).unwrap_or_default();
        let ids = saved.map(|saved| {
            ServerIdRegistry::restored(&saved.definition, &saved.ids, &saved.hosts.clone().unwrap_or_default())
        });
        let (hosts, ids) = (with_choices(&hosts, choices), ids.unwrap_or_default());
        DesiredService { definition: self.definition, hosts, slots, ids }
    }
}

/// The first good message; the last error if none arrives in time.
pub(super) async fn first_good<M, T>(
    mut inbox: UnboundedReceiver<M>,
    deadline: Instant,
    result: impl Fn(M) -> Result<T, String>,
) -> Result<T, String> {
    let mut last_error = "no answer in time".to_owned();
    while let Ok(Some(message)) = timeout_at(deadline, inbox.recv()).await {
        match result(message) {
            Ok(list) => return Ok(list),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Receives the messages of a source.
pub(super) struct Inbox<M>(UnboundedSender<M>);

impl<M> Inbox<M>
where
    M: Message<Result = ()> + Send + Unpin + 'static,
{
    /// The recipient for the source, and the queue of its messages.
    pub(super) fn open() -> (Recipient<M>, UnboundedReceiver<M>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender).start().recipient(), receiver)
    }
}

impl<M: Unpin + 'static> Actor for Inbox<M> {
    type Context = Context<Self>;
}

impl<M> Handler<M> for Inbox<M>
where
    M: Message<Result = ()> + Unpin + 'static,
{
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Self::Context) {
        // The queue may be closed already.
        let _ = self.0.send(message);
    }
}
