//! External changes of HAProxy and its file, and changes of settings.

use std::collections::BTreeSet;
use std::time::Duration;

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::PolicyChanged;
use proxymgr_actors::model::{
    AdminState, BaseConfig, LifeCyclePolicy, OldProcessLimits, OnStop, ProxyManagement, ProxyPolicy, RuntimeCommand,
    ServerId, ServerName, ServiceName, UpdateChoice,
};
use proxymgr_actors::port::{ConfigText, SavedService};
use tokio::time::sleep;

use super::besides::Besides;
use super::haproxy_model::HaproxyModel;
use super::operator_base;
use super::plan::Tampering;
use super::slots::{host_of, server_in};
use super::things::Things;
use super::truth::server_of;
use super::world::{SERVICES_REMOVAL_MAX, World};

/// A line of the settings that HAProxy refuses.
pub(super) const POISON_SETTING: &str = "no-such-keyword";

/// Number of the settings that HAProxy refuses.
pub(super) const REFUSED_SETTINGS: u8 = 3;

/// A weight that discovery never sets.
const STRANGE_WEIGHT: u16 = 77;

/// How often an operator checks, once a second, whether an ended drain has returned.
const UNDRAINS: usize = 60;

/// Life cycle of servers in runs with slow changes.
pub(super) const SLOW: LifeCyclePolicy =
    LifeCyclePolicy { drain_timeout: Duration::from_secs(5), ramp_up: Duration::from_secs(10) };

/// Limits of old processes in runs with slow changes.
pub(super) const NARROW: OldProcessLimits = OldProcessLimits { count_max: 2, age_max: Some(Duration::from_secs(8)) };

/// Returns the default settings of a manager.
pub(super) fn default_policy() -> ProxyPolicy {
    policy(0)
}

/// Returns the settings of this number.
fn policy(settings: u8) -> ProxyPolicy {
    let global: &[&str] = match settings {
        2 => &["maxconn 1000"],
        REFUSED_SETTINGS => &[POISON_SETTING],
        _ => &[],
    };
    let global = global.iter().map(|line| (*line).to_owned()).collect();
    let (reload_s, observe_s) = if settings == 1 { (3, 10) } else { (1, 30) };
    ProxyPolicy {
        base_config: BaseConfig {
            files: Vec::new(),
            global,
            defaults: vec![],
            socket_path: "/run/haproxy.sock".into(),
            map_path: "/etc/haproxy/haproxy.cfg.domains".into(),
            state_file: Some("/etc/haproxy/haproxy.cfg.state".into()),
            management: ProxyManagement::Supervised,
        },
        reload_interval: Duration::from_secs(reload_s),
        stop_timeout: Duration::from_secs(30),
        on_stop: OnStop::Stop,
        observe_interval: Duration::from_secs(observe_s),
        life_cycle: LifeCyclePolicy::default(),
        update: UpdateChoice::default(),
        old_processes: OldProcessLimits::default(),
        descriptors_max: None,
    }
}

/// Returns the server of a host.
pub(super) fn server(service: &str, host: u8) -> Option<ServerId> {
    Some(ServerId { service: ServiceName::new(service).ok()?, server: ServerName::new(&server_of(host)).ok()? })
}

/// Returns the servers that a manager with this saved state considers ready, by their names in a HAProxy with or
/// without slots. It must take a drain of one of them for an operator's.
pub(super) fn wanted_ready(saved: &[SavedService], in_slots: bool) -> BTreeSet<ServerId> {
    let mut wanted = BTreeSet::new();
    for SavedService { definition, hosts, choices, slots, .. } in saved {
        let hosts = hosts.iter().flat_map(|hosts| hosts.iter());
        let ready = hosts.filter(|(name, host)| host.state == AdminState::Ready && !choices.contains_key(*name));
        let names = ready.map(|(name, _)| if in_slots { slots.in_haproxy(name) } else { name });
        wanted.extend(names.map(|name| ServerId { service: definition.name.clone(), server: name.clone() }));
    }
    wanted
}

/// Returns the draining servers of a HAProxy that are `left` to an operator, by service and number of the host.
pub(super) fn drained_of(model: &HaproxyModel, left: impl Fn(&ServerId) -> bool) -> BTreeSet<(String, u8)> {
    let mut drained = BTreeSet::new();
    for (service, servers) in model.observe(None).services {
        for (server, _) in servers.iter().filter(|(_, server)| server.in_drain() && !server.in_maintenance()) {
            let id = ServerId { service: service.clone(), server: server.clone() };
            let host = host_of(model, &id).filter(|_| left(&id));
            drained.extend(host.map(|host| (service.to_string(), host)));
        }
    }
    drained
}

impl Things {
    /// Handles the end of a manager: the next one cannot distinguish a drain whose reason was not saved from a drain on
    /// the socket, so an operator must end it.
    pub(super) fn leave_unsaved_drains(&mut self) {
        let wanted = wanted_ready(&self.saved, true);
        let processes = self.processes.values().filter(|process| !process.draining);
        let drained: Vec<_> = processes.map(|process| drained_of(&process.model, |id| wanted.contains(id))).collect();
        self.drained.extend(drained.into_iter().flatten());
        self.besides.iter_mut().for_each(|besides| besides.leave_unsaved_drains(&self.saved));
    }
}

impl World {
    /// Changes a server of the serving HAProxy as another program would.
    pub(super) fn tamper_with_server(&self, service: &str, host: u8, how: Tampering) {
        let found = self.with(|things| {
            let serving = things.serving()?;
            Some((serving, server_in(&things.processes.get(&serving)?.model, service, host)?))
        });
        let Some((pid, id)) = found else { return };
        let commands = match how {
            Tampering::Drain => vec![RuntimeCommand::SetDrain(id.clone())],
            Tampering::Maintenance => vec![RuntimeCommand::SetMaintenance(id.clone())],
            Tampering::Weight => vec![RuntimeCommand::SetWeight(id.clone(), STRANGE_WEIGHT)],
            Tampering::Delete => {
                vec![RuntimeCommand::SetMaintenance(id.clone()), RuntimeCommand::DeleteServer(id.clone())]
            }
        };
        self.with(|things| {
            if let Some(process) = things.processes.get_mut(&pid) {
                commands.iter().for_each(|command| drop(process.model.run(command)));
            }
            things.tampered.insert(id);
            if how == Tampering::Drain {
                things.undrained.remove(&(service.to_owned(), host));
                things.drained.insert((service.to_owned(), host));
            }
            things.oracle.cause("another program changed a server");
        });
        self.ask_agents_soon();
        commands
            .iter()
            .for_each(|command| self.note("another program", format_args!("HAProxy ({pid})"), command.to_string()));
    }

    /// Truncates haproxy.cfg to its first half, but not between its replacement and HAProxy's start, because no manager
    /// could notice that.
    pub(super) fn cut_the_file_short(&self) {
        self.with(|things| {
            if things.oracle.is_launching() && things.live_file == things.candidate {
                return;
            }
            let whole = things.live_file.joined();
            let kept: String = whole.split_inclusive('\n').take(whole.lines().count() / 2).collect();
            things.live_file = ConfigText { pieces: vec![kept.into()], ..things.live_file.clone() };
        });
    }

    /// Returns a manager's settings for HAProxy.
    pub(super) fn policy(&self) -> ProxyPolicy {
        let (takes_time, has_base, settings) =
            self.with(|things| (things.takes_time, things.has_base, things.settings));
        let mut policy = policy(settings);
        if has_base {
            policy.base_config.global.clear();
            policy.base_config.files = vec![operator_base::file(settings)];
        }
        if takes_time { ProxyPolicy { life_cycle: SLOW, old_processes: NARROW, ..policy } } else { policy }
    }

    /// Changes the settings of the manager, which reads them again.
    pub(super) fn change_settings(&self, settings: u8) {
        self.with(|things| {
            things.settings = settings;
            things.oracle.cause("the settings changed");
            // A base that could not be deployed is tried again.
            things.oracle.cause_at_any_time("its base configuration is tried again");
        });
        let changed = PolicyChanged {
            policy: self.policy().into(),
            options: OptionPolicy::default(),
            services_removal_max: SERVICES_REMOVAL_MAX,
        };
        self.actors().iter().for_each(|actors| actors.change_policy(&changed));
    }

    /// Ends, as an operator, the drains on the socket, and reverts settings that HAProxy refuses.
    pub(super) fn end_tampering(&self) {
        let begins = self.with(|things| {
            let drained = std::mem::take(&mut things.drained);
            let begins = !drained.is_empty() || things.besides.as_ref().is_some_and(Besides::has_unsaved_drains);
            things.undrained.extend(drained);
            begins
        });
        if begins {
            // A manager that knows a drain restores it after a reload, until it has observed its end.
            let world = self.clone();
            self.naturally(async move {
                for _ in 0..UNDRAINS {
                    world.undrain();
                    world.undrain_target();
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
        if self.with(|things| things.settings) == REFUSED_SETTINGS {
            self.change_settings(0);
        }
    }

    fn undrain(&self) {
        let undrained = self.with(|things| things.undrained.clone());
        for (service, host) in undrained {
            self.with(|things| {
                let takes_traffic = things.wanted(&service).contains_key(&host);
                let Some(serving) = things.serving().filter(|_| takes_traffic) else { return };
                let Some(process) = things.processes.get_mut(&serving) else { return };
                undrain(&mut process.model, &service, host);
            });
        }
    }
}

/// Ends a drain as an operator would.
pub(super) fn undrain(model: &mut HaproxyModel, service: &str, host: u8) {
    let Some(id) = server_in(model, service, host) else { return };
    let observed = model.observe(Some(std::slice::from_ref(&id.service)));
    let server = observed.services.get(&id.service).and_then(|servers| servers.get(&id.server));
    if server.is_some_and(|server| server.in_drain() && !server.in_maintenance()) {
        model.run(&RuntimeCommand::SetReady(id));
    }
}
