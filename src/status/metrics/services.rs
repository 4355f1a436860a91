//! Servers, of all services together and per service.

use std::collections::BTreeMap;
use std::fmt;

use proxymgr_actors::limits::METRICS_SERVICES_MAX;
use proxymgr_actors::model::{AdminState, ServerState};
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ServiceState, WatcherState};

use super::exposition::{Families, Labels};
use super::sources::watchers;
use super::{flag, seconds};

/// Figures of servers and services.
pub fn write(families: &mut Families<'_>, states: &[ActorState], per_service: bool) -> fmt::Result {
    let haproxy = states.iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    let Some(haproxy) = haproxy else { return Ok(()) };
    together(families, haproxy)?;
    let limit = if per_service { METRICS_SERVICES_MAX } else { 0 };
    let watchers: BTreeMap<&str, &WatcherState> =
        watchers(states).map(|watcher| (watcher.service.as_str(), watcher)).collect();
    let services: Vec<Known<'_>> = haproxy
        .services
        .iter()
        .take(limit)
        .map(|(name, state)| Known { name: name.as_str(), state, watcher: watchers.get(name.as_str()).copied() })
        .collect();
    let without = haproxy.services.len().saturating_sub(services.len());
    let help = "Services without their own series, because there are too many or the settings disable them; sums \
                include them";
    families.gauge("services_without_series", help, without as f64)?;
    each(families, &services)
}

/// Snapshots of one service.
struct Known<'a> {
    name: &'a str,
    state: &'a ServiceState,
    watcher: Option<&'a WatcherState>,
}

fn together(families: &mut Families<'_>, haproxy: &HaproxyState) -> fmt::Result {
    let services = || haproxy.services.values();
    let desired: usize = services().map(|service| service.desired).sum();
    families.gauge("servers_desired", "Desired servers of all services", desired as f64)?;
    let by_state = ServerState::ALL.map(|state| {
        let servers: usize = services().map(|service| service.count(state)).sum();
        (vec![("state", state.as_str().to_owned())], servers as f64)
    });
    families.gauges("servers", "Servers in HAProxy of all services, by state", by_state)?;
    let choices = || services().flat_map(|service| service.exceptions.operator.values());
    let overrides = [AdminState::Ready, AdminState::Drain, AdminState::Maint].map(|state| {
        let count = choices().filter(|choice| choice.state == state).count();
        (vec![("state", state.as_str().to_owned())], count as f64)
    });
    families.gauges("overrides", "Servers whose state an operator has set, by that state", overrides)?;
    let with_problem = services().filter(|service| service.problem.is_some()).count();
    let help = "Services that are not served as defined";
    families.gauge("services_with_problem", help, with_problem as f64)?;
    let without_ready =
        services().filter(|service| service.desired > 0 && service.count(ServerState::Ready) == 0).count();
    let help = "Services with hosts of which none takes traffic";
    families.gauge("services_without_ready_server", help, without_ready as f64)
}

fn each(families: &mut Families<'_>, services: &[Known<'_>]) -> fmt::Result {
    let gauge = |value: &dyn Fn(&Known<'_>) -> Option<f64>| -> Vec<(Labels, f64)> {
        services.iter().filter_map(|service| Some((labels(service), value(service)?))).collect()
    };
    let desired = gauge(&|service| Some(service.state.desired as f64));
    families.gauges("service_servers_desired", "Desired servers", desired)?;
    let by_state = services.iter().flat_map(|service| {
        ServerState::ALL.map(|state| {
            let mut labels = labels(service);
            labels.push(("state", state.as_str().to_owned()));
            (labels, service.state.count(state) as f64)
        })
    });
    families.gauges("service_servers", "Servers in HAProxy, by state", by_state)?;
    let free_slots = gauge(&|service| Some(service.state.free_slots? as f64));
    families.gauges("service_free_slots", "Free slots", free_slots)?;
    let up = gauge(&|service| Some(flag(service.watcher?.source.error.is_none())));
    families.gauges("service_source_up", "1 while the source of the service can be read", up)?;
    let read_at = gauge(&|service| Some(seconds(service.watcher?.source.read_at_unix_ms?)));
    families.gauges("service_last_read_timestamp_seconds", "When the source of the service was last read", read_at)?;
    let held = gauge(&|service| Some(flag(service.watcher?.held.is_some())));
    families.gauges(
        "service_held",
        "1 while a guard blocks a change of hosts and no operator has decided yet",
        held,
    )?;
    let rejected = gauge(&|service| Some(flag(service.watcher?.rejected.is_some())));
    families.gauges("service_rejected", "1 while a change of hosts is rejected by an operator", rejected)?;
    let problem = gauge(&|service| Some(flag(service.state.problem.is_some())));
    families.gauges("service_problem", "1 while the service is not served as defined", problem)?;
    let took = gauge(&|service| Some(service.state.last.took_us? as f64 / 1_000_000.0));
    families.gauges("service_last_apply_seconds", "Duration of the last change of the service", took)
}

fn labels(service: &Known<'_>) -> Labels {
    vec![("service", service.name.to_owned())]
}
