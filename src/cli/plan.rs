//! `proxymgr plan`: pending changes of the running HAProxy and of each target, with reasons.

mod backends;
mod external;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use proxymgr_actors::decide::base;
use proxymgr_actors::decide::capabilities::{Capabilities, HASH_BY_ID};
use proxymgr_actors::decide::guid;
use proxymgr_actors::decide::haproxy_config::SectionStyle;
use proxymgr_actors::decide::loaded_config::{LoadedSection, parse_sections};
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{
    AppliedServer, AppliedService, Ground, ServicePlan, WantedService, plan_service, split_weight,
};
use proxymgr_actors::decide::quoting::split_line;
use proxymgr_actors::decide::routing::{Claim, RouteStep, assign, mapped_at, plan_routes};
use proxymgr_actors::decide::visible::visible_lines;
use proxymgr_actors::model::{
    Endpoint, Observation, ObservedRoutes, PersistentId, PlanClass, ProcessInfo, ProxyManagement, ServerName,
    ServiceDefinition, ServiceName, UpdateStrategy,
};
use proxymgr_actors::port::RuntimeApi;

use self::backends::{Backends, push_arrival, push_departure};
use super::desired::{Desired, Placed, gather_desired};
use super::{block_on, output, quiet_log};
use crate::daemon::adapters;
use crate::failure::Failure;
use crate::logging;
use crate::proxy::haproxy_socket::{HaproxySocket, command_text};
use crate::settings::{Settings, Target};

/// Prints the plan to standard output, and remarks on it to standard error.
pub fn plan(settings: &Settings, timeout: Duration) -> Result<(), Failure> {
    let logging = quiet_log(settings);
    let log = logging::component(logging.root(), "plan");
    let haproxy = &settings.haproxy;
    let (desired, first, file, targets) = block_on(async {
        let desired = gather_desired(settings, timeout, logging.root()).await;
        let socket = adapters::runtime(haproxy, &log);
        let first = match haproxy.run.management() {
            ProxyManagement::External => First::External(external::observe(&socket).await),
            ProxyManagement::Supervised | ProxyManagement::Delegated => First::Own(observe(settings, &socket).await),
        };
        let mut targets = Vec::new();
        for Target { name, address } in &haproxy.targets {
            targets.push((name, external::observe(&HaproxySocket::of_others(address, log.clone())).await));
        }
        let file = match (&desired, &first) {
            (Ok(desired), First::Own(running)) => {
                let version = running.as_ref().ok().map(|running| running.0.version);
                file::changes(settings, desired, version, &log).await
            }
            _ => String::new(),
        };
        (desired, first, file, targets)
    });
    let desired = desired?;
    for remark in &desired.remarks {
        output::remark(&format!("# {remark}"));
    }
    let mut text = match first {
        First::Own(running) => describe_own(settings, &desired, running),
        First::External(found) => external::describe(settings, &desired, &found),
    };
    push_list(&mut text, "blocked, until an operator accepts it or the source changes", &desired.blocked);
    text.push_str(&file);
    for (name, found) in targets {
        let _ = write!(text, "\ntarget {name}\n{}", external::describe(settings, &desired, &found));
    }
    output::print(&visible_lines(&text));
    Ok(())
}

/// The first HAProxy.
enum First {
    Own(Result<Running, String>),
    External(external::Observed),
}

fn describe_own(settings: &Settings, desired: &Desired, running: Result<Running, String>) -> String {
    let path = &settings.haproxy.config_path;
    match (running, std::fs::read_to_string(path)) {
        (Err(error), _) => {
            output::remark(&format!("# {error}"));
            "HAProxy is not running: it would be started with all services.\n".to_owned()
        }
        (Ok(_), Err(error)) => {
            output::remark(&format!("# {} cannot be read: {error}", path.display()));
            "reload\n    the configuration that HAProxy runs is not known\n".to_owned()
        }
        (Ok(running), Ok(file)) => {
            output::remark(&format!("# HAProxy {}, pid {}", running.0.version_text, running.0.pid));
            describe(settings, desired, &running, &file)
        }
    }
}

/// Observed state of HAProxy: the process, its servers, its map of domains.
type Running = (ProcessInfo, Observation, ObservedRoutes);

async fn observe(settings: &Settings, socket: &HaproxySocket) -> Result<Running, String> {
    let process = socket.process().await.map_err(|error| error.to_string())?;
    let observation = socket.observe(None).await.map_err(|error| error.to_string())?;
    let routes = socket.routes(settings.haproxy.policy.base_config.map_path.clone()).await;
    let routes = routes.map_err(|error| error.to_string())?.unwrap_or_default();
    Ok((process, observation, routes))
}

/// The plan as text: the runtime commands per service, and the reasons for a reload.
fn describe(settings: &Settings, desired: &Desired, (process, observation, routes): &Running, file: &str) -> String {
    let base_config = &settings.haproxy.policy.base_config;
    let base = base::layout(base_config);
    let inherited = base.default_server_words();
    let ground = Ground {
        capabilities: Capabilities::of(process.version),
        inherited: &inherited,
        style: SectionStyle::of(&base, Some(process.version)),
        is_external: false,
    };
    let sections = parse_sections(file);
    let of_base = (&base, base_config.map_path.as_path());
    let backends = Backends::of(desired, of_base, (process, ground.style), (file, &sections));
    let mut in_process: BTreeSet<&ServiceName> = sections.keys().collect();
    let mut reload = Vec::new();
    let mut commands = String::new();
    if !base.is_in(file) {
        reload.push("the base configuration changed".to_owned());
    }
    for (name, service) in &desired.services {
        let Placed { strategy, servers, slots, ids } = service.placed(settings, Some(process.version), false);
        if strategy.strategy != UpdateStrategy::Dynamic {
            output::remark(&format!("# {name}: {} ({})", strategy.strategy.as_str(), strategy.why));
        }
        let definition = base.applied_to(&service.definition);
        let wanted = WantedService {
            definition: &definition,
            hosts: &servers,
            ids: &ids,
            overlay: &Overlay::NONE,
            strategy: strategy.strategy,
            slots: slots.as_ref(),
        };
        let set = backends.set_for(&definition, strategy.strategy);
        let (loaded, observed) = match (sections.get(name), &set) {
            (Some(section), _) => {
                let loaded = applied_service(section, &definition);
                let observed = observation.services.get(name).cloned();
                let observed = observed.map(|servers| loaded.without_others(servers));
                (loaded, observed)
            }
            (None, Ok(_)) => (backends.just_added(&definition), Some(Arc::default())),
            (None, Err(reason)) => {
                reload.push(format!("{name}: {}", reason.text()));
                continue;
            }
        };
        let plan = plan_service(wanted, Some(&loaded), observed.as_deref(), &BTreeMap::new(), ground);
        reload.extend(plan.reload.iter().map(|reason| format!("{name}: {reason}")));
        let mut steps = String::new();
        push_steps(&mut steps, name, &plan);
        match set {
            Ok(set) if !sections.contains_key(name) => {
                if plan.reload.is_empty() {
                    push_arrival(&mut commands, name, set, ground.style, &steps);
                    in_process.insert(name);
                }
            }
            Ok(_) | Err(_) => commands.push_str(&steps),
        }
    }
    for step in plan_domains(desired, &in_process, routes) {
        let map = base_config.map_path.to_string_lossy();
        let service = step.service.map_or_else(|| "the map of domains".to_owned(), |service| service.to_string());
        let _ = writeln!(commands, "{} {service}: {}", PlanClass::RuntimeEnable.as_str(), step.reason);
        let _ = writeln!(commands, "    {}", step.command.text(&map, step.command.key().as_str()));
    }
    for (name, section) in sections.iter().filter(|(name, _)| !desired.services.contains_key(*name)) {
        match backends.can_delete(name, section) {
            true => push_departure(&mut commands, name),
            false => reload.push(format!("{name}: service removed")),
        }
    }
    conclude(commands, "reload", &reload)
}

/// Appends the runtime changes with their commands.
fn push_steps(text: &mut String, service: &ServiceName, plan: &ServicePlan) {
    for step in &plan.steps {
        let _ = writeln!(text, "{} {service}/{}: {}", step.class.as_str(), step.known_as(), step.reason);
        for command in &step.commands {
            let _ = writeln!(text, "    {}", command_text(command));
        }
    }
}

/// Changes of the map of domains, for services that HAProxy has.
fn plan_domains(desired: &Desired, in_process: &BTreeSet<&ServiceName>, observed: &ObservedRoutes) -> Vec<RouteStep> {
    let claims = desired.services.iter().filter(|(name, _)| in_process.contains(name)).filter_map(|(name, service)| {
        let definition = &*service.definition;
        Some(Claim { service: name, listen: mapped_at(definition)?, definition, is_leaving: false })
    });
    let had = observed.iter().filter_map(|(key, service)| Some((key.clone(), ServiceName::new(service).ok()?)));
    plan_routes(&assign(claims, &BTreeSet::new(), &had.collect()).routes, observed)
}

/// The runtime changes, followed by what cannot be changed at run time, under the heading `otherwise`.
fn conclude(commands: String, otherwise: &str, reasons: &[String]) -> String {
    if reasons.is_empty() && commands.is_empty() {
        return "Nothing to do: HAProxy is in sync.\n".to_owned();
    }
    let mut text = commands;
    push_list(&mut text, otherwise, reasons);
    text
}

/// Appends a list with its heading, unless it is empty.
fn push_list(text: &mut String, heading: &str, entries: &[String]) {
    if !entries.is_empty() {
        let _ = writeln!(text, "{heading}");
        entries.iter().for_each(|entry| text.push_str(&format!("    {entry}\n")));
    }
}

/// The last applied state of a service, from its section in the file.
fn applied_service(section: &LoadedSection, definition: &ServiceDefinition) -> AppliedService {
    let mut servers: BTreeMap<ServerName, AppliedServer> =
        section.server_lines.iter().filter_map(|(name, line)| Some((name.clone(), loaded_server(line)?))).collect();
    for (position, name) in (0..=u16::MAX).zip(&section.order) {
        if let Some(server) = servers.get_mut(name) {
            server.priority = Some(position);
        }
    }
    AppliedService { header: section.header.as_str().into(), servers, in_base: definition.in_base.clone() }
}

/// Parses a line that [`server_line`](haproxy_config::server_line) wrote.
fn loaded_server(line: &str) -> Option<AppliedServer> {
    let words = split_line(line).ok()?;
    let [_, _, endpoint, options @ ..] = &*words else { return None };
    let (id, options) = match options {
        [id, number, options @ ..] if id.as_str() == "id" => (number.as_str().parse::<u32>().ok(), options),
        options => (None, options),
    };
    let options = match options {
        [option, value, options @ ..] if guid::is_ours(option, value) => options,
        options => options,
    };
    let (endpoint, id) = (Endpoint::parse(endpoint.as_str())?, id.and_then(|id| PersistentId::try_from(id).ok()));
    let options = match options {
        [options @ .., last] if last.as_str() == "disabled" => options,
        options => options,
    };
    let (options, weight) = split_weight(match (&endpoint, options) {
        // They are no options of the host.
        (Endpoint::Unix(_), [options @ .., key, id]) if [key.as_str(), id.as_str()] == HASH_BY_ID => options,
        (_, options) => options,
    });
    Some(AppliedServer { endpoint, options, id, weight, priority: None, disabled_by: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_line_is_parsed_without_weight_and_state() {
        let line = "    server a 10.0.0.1:80 id 70000 check inter 2s weight 5 backup disabled";
        let server = loaded_server(line).unwrap();
        let words: Vec<&str> = server.options.iter().map(|word| word.as_str()).collect();
        assert_eq!(words, ["check", "inter", "2s", "backup"]);
        assert_eq!((server.id.map(PersistentId::get), server.weight), (Some(70_000), Some(5)));
    }

    #[test]
    fn only_an_id_of_the_operator_is_an_option() {
        let options = |line| {
            let server = loaded_server(line).unwrap();
            server.options.iter().map(|word| word.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(options("    server a 10.0.0.1:80 id 70000 guid proxymgr:web:a check"), ["check"]);
        assert_eq!(options("    server a 10.0.0.1:80 id 70000 guid mine check"), ["guid", "mine", "check"]);
    }

    #[test]
    fn hash_key_of_a_unix_socket_is_no_option_of_its_host() {
        let server = loaded_server("    server a unix@/run/a.sock id 70000 check hash-key id disabled").unwrap();
        assert_eq!(server.options.iter().map(|word| word.as_str()).collect::<Vec<_>>(), ["check"]);
    }

    #[test]
    fn empty_plan_says_so() {
        assert!(conclude(String::new(), "reload", &[]).starts_with("Nothing to do"));
        assert_eq!(conclude(String::new(), "reload", &["web: new".into()]), "reload\n    web: new\n");
    }
}
