//! Definitions of services: their own mistakes, and those that HAProxy finds in the rendered file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxymgr_actors::clock::Clock;
use proxymgr_actors::decide::base::{self, BaseLayout};
use proxymgr_actors::decide::guard::{GuardLimits, GuardMemory};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::routed_at;
use proxymgr_actors::decide::service_hosts::ServiceHosts;
use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::decide::{annotation, rivals, server_order, unknown_keys};
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::{
    Address, Endpoint, Host, HostList, ListenAddress, RawDefinition, SeenHost, ServerName, ServiceDefinition,
};
use proxymgr_actors::port::HostSources;
use proxymgr_yaml::Mistake;
use slog::Logger;

use super::super::block_on;
use super::super::desired::{DesiredService, Inbox};
use super::super::text::now_unix_ms;
use super::lines::Lines;
use crate::daemon::adapters::{Discovery, networks_of_hosts};
use crate::discovery::file::{FileText, by_name, read_files};
use crate::discovery::{KINDS, static_hosts};
use crate::failure::Failure;
use crate::settings::Settings;

/// The host of a service whose hosts are not known: an address for documentation (RFC 5737), so that HAProxy checks the
/// options of a server.
const EXAMPLE_HOST: [u8; 4] = [192, 0, 2, 1];

/// The kind of a source whose hosts are in the definition.
const STATIC: &str = "static";

/// The place of a definition from standard input.
const STANDARD_INPUT: &str = "standard input";

/// Judges definitions and the keys of their sources, without HAProxy.
///
/// # Errors
/// The settings of sources are invalid.
pub(in crate::cli) fn judge(definitions: Definitions, settings: &Settings, log: &Logger) -> Result<Judged, Failure> {
    let mut judged = definitions.judge(settings);
    let discovery = Discovery::to_look(settings, log)?;
    block_on(async { judged.open_sources(&*discovery.hosts) });
    Ok(judged)
}

/// Definitions from a source, with their texts as the author wrote them.
#[derive(Default)]
pub(in crate::cli) struct Definitions {
    raw: BTreeMap<Arc<str>, RawDefinition>,
    /// The texts of files, by origin. Other sources have the text in the definition.
    texts: BTreeMap<Arc<str>, FileText>,
}

impl Definitions {
    /// Reads a file, or every definition of a directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(in crate::cli) fn at(path: &Path) -> std::io::Result<Self> {
        Ok(Self::of_files(read_files(path)?))
    }

    /// Reads the definition of the service with this name from standard input: JSON or YAML.
    ///
    /// # Errors
    /// It cannot be read.
    pub(in crate::cli) fn from_standard_input(name: &str) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        let text = text_from(&bytes).map(Arc::from);
        let path = PathBuf::from(format!("{name}.yml"));
        let mut definitions = Self::of_files(vec![(path, text)]);
        for definition in definitions.raw.values_mut() {
            definition.origin = STANDARD_INPUT.into();
        }
        definitions.texts = definitions.texts.into_values().map(|text| (STANDARD_INPUT.into(), text)).collect();
        Ok(definitions)
    }

    /// Definitions that discovery reported.
    pub(in crate::cli) fn of(raw: BTreeMap<Arc<str>, RawDefinition>) -> Self {
        Self { raw, texts: BTreeMap::new() }
    }

    fn of_files(files: Vec<(PathBuf, FileText)>) -> Self {
        let texts = files.iter().map(|(path, text)| (path.display().to_string().into(), text.clone())).collect();
        Self { raw: by_name(files), texts }
    }

    fn lines(&self, raw: &RawDefinition) -> Lines {
        let text = match self.texts.get(&raw.origin) {
            Some(Ok(text)) => text,
            Some(Err(_)) => "",
            None => &raw.text,
        };
        Lines::of(&raw.origin, text)
    }

    /// Judges all definitions on their own.
    pub(in crate::cli) fn judge(self, settings: &Settings) -> Judged {
        let mut judged = Judged::default();
        let networks = networks_of_hosts(settings);
        let options = &settings.haproxy.options;
        let base = base::layout(&settings.haproxy.policy.base_config);
        for (name, raw) in &*rivals::settle(Arc::new(self.raw.clone()), |_| None) {
            let lines = self.lines(raw);
            match annotation::parse(name, raw, options) {
                Ok(parsed) => {
                    let definition = base.applied_to(&Arc::new(parsed.definition));
                    judged.warnings.extend(parsed.warnings.iter().map(|warning| lines.mistake(warning).to_string()));
                    let unknown = unknown_keys::of_definition(&definition.source, &KINDS);
                    judged.mistakes.extend(unknown.iter().map(|(key, problem)| lines.mistake_at(key, problem)));
                    let granted = networks.granted(&options.grants.hosts_of(name));
                    let hosts =
                        judged.hosts(&definition, &options.of_service(name), |seen| granted.judge(seen), &lines);
                    let service = DesiredService::new(definition, hosts.unwrap_or_else(example_hosts));
                    judged.services.push(JudgedService { service, lines });
                }
                Err(mistakes) => judged.mistakes.extend(mistakes.iter().map(|mistake| lines.mistake(mistake))),
            }
        }
        judged.find_rivals_for_addresses(&base);
        judged
    }
}

/// A valid service.
pub(in crate::cli) struct JudgedService {
    /// The service with its hosts, or with an example of one.
    pub(in crate::cli) service: DesiredService,
    pub(super) lines: Lines,
}

/// The result for all definitions.
#[derive(Default)]
pub(in crate::cli) struct Judged {
    /// The services with valid definitions, by name.
    pub(in crate::cli) services: Vec<JudgedService>,
    /// What is wrong.
    pub(in crate::cli) mistakes: Vec<Mistake>,
    /// What probably does not have the intended effect.
    pub(in crate::cli) warnings: Vec<String>,
}

impl Judged {
    /// Returns the hosts in the definition, if it has some.
    fn hosts(
        &mut self,
        definition: &ServiceDefinition,
        options: &OptionPolicy,
        judge: impl Fn(&mut [SeenHost]),
        lines: &Lines,
    ) -> Option<Arc<HostList>> {
        const KEY: &str = "hosts";
        if definition.source.kind != STATIC {
            return None;
        }
        let mut seen = match static_hosts::hosts(&definition.source, options) {
            Ok(seen) => seen,
            Err(problem) => {
                self.mistakes.push(lines.mistake(&problem));
                return None;
            }
        };
        judge(&mut seen);
        for (index, host) in seen.iter().enumerate() {
            self.mistakes.extend(host.record.as_ref().err().map(|problem| lines.mistake_in(KEY, index, problem)));
        }
        self.mistakes.extend(unknown_keys::in_hosts(&seen).map(|problem| lines.mistake_at(KEY, &problem)));
        seen.retain(|host| host.has(&definition.source.labels));
        server_order::place(&mut seen, definition, &KINDS);
        seen.retain(|host| host.record.is_ok());
        let now = Clock::starting_at(now_unix_ms()).now();
        let limits = GuardLimits::from(&definition.removal);
        let mut hosts = ServiceHosts::restored(None, None, GuardMemory::default(), &limits, now);
        hosts.show(&seen, &limits, now);
        let problems = hosts.problems().iter();
        self.mistakes.extend(problems.map(|(entry, problem)| lines.mistake_at(KEY, &format!("{entry}: {problem}"))));
        hosts.in_service().filter(|hosts| !hosts.is_empty()).cloned()
    }

    /// Finds sources whose keys are missing or invalid. Each is closed before it has a chance to connect.
    fn open_sources(&mut self, sources: &dyn HostSources) {
        for JudgedService { service, lines } in &self.services {
            let definition = &service.definition;
            let (inbox, _unread) = Inbox::<HostsSeen>::open();
            if definition.source.kind != STATIC
                && let Err(problem) = sources.open(&definition.name, &definition.source, inbox)
            {
                self.mistakes.push(lines.mistake(&problem));
            }
        }
    }

    /// Finds services that listen on one address, of the base or of another service, without sharing it by their domains.
    fn find_rivals_for_addresses(&mut self, base: &BaseLayout) {
        let mut owners: BTreeMap<ListenAddress, &JudgedService> = BTreeMap::new();
        for service in &self.services {
            let definition = &service.service.definition;
            for address in definition.addresses() {
                let is_shared = |service: &JudgedService| routed_at(&service.service.definition).is_some();
                let of_base = base.place_of(&address).map(|place| format!("that of {place}"));
                let rival = of_base.or_else(|| {
                    let owner = owners.get(&address).filter(|owner| !(is_shared(owner) && is_shared(service)))?;
                    let name = &owner.service.definition.name;
                    Some(format!("the address of {name}; services share one by their domains only"))
                });
                let is_port = definition.listen.map(ListenAddress::from).as_ref() == Some(&address);
                let key = if is_port { "port" } else { "binds" };
                let problem = rival.map(|rival| format!("{address} is also {rival}"));
                self.mistakes.extend(problem.map(|problem| service.lines.mistake_at(key, &problem)));
                owners.entry(address).or_insert(service);
            }
        }
    }
}

fn example_hosts() -> Arc<HostList> {
    let port = std::num::NonZeroU16::MIN;
    let host = Host::at(Endpoint::Tcp { address: Address::Ip(EXAMPLE_HOST.into()), port });
    let name = ServerName::new("example").expect("letters are a name");
    Arc::new(HostList::from_iter([(name, Arc::new(host))]))
}
