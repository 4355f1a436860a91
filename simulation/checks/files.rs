//! Invariants at rest: haproxy.cfg and the saved state agree with the running HAProxy.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::model::AdminState;

use super::ensure;
use crate::annotations;
use crate::haproxy_model::HaproxyModel;
use crate::invariant::{Invariant, Violation};
use crate::processes::ready_in;
use crate::things::Things;
use crate::truth::number_of_server;

impl Things {
    /// Checks that the file, which follows the applied state, contains the options of every definition.
    pub(super) fn options_are_in_force(&self) -> Result<(), Violation> {
        let sections = parse_sections(&self.live_file.joined());
        for (name, service) in self.defined() {
            let framed = self.framed_with(name);
            let option = framed.map_or_else(|| service.option(), str::to_owned);
            let section = sections.iter().find(|(known, _)| known.as_str() == name);
            let has_option =
                section.is_some_and(|(_, section)| section.header.lines().any(|line| line.trim() == option));
            ensure(has_option, Invariant::Converges, || format!("`{option}` of {name} is not applied"))?;
            let lines = section.into_iter().flat_map(|(_, section)| section.header.lines().map(str::trim));
            let added: Vec<&str> = lines.filter(|line| line.starts_with(annotations::OPTION)).collect();
            let annotated = Vec::from_iter(service.note_read.option().filter(|_| framed.is_none()));
            ensure(added == annotated, Invariant::Converges, || {
                format!("the annotation of {name} adds {annotated:?}, but {added:?} is applied")
            })?;
        }
        Ok(())
    }

    pub(super) fn file_says_what_runs(&self) -> Result<(), Violation> {
        let serving = self.serving().and_then(|pid| self.processes.get(&pid));
        let runs = serving.map(|process| process.ready_servers()).unwrap_or_default();
        let file = HaproxyModel::start_resolving(self.version, &self.live_file.joined(), &self.names)
            .map(|model| self.undrained(&model));
        let weighed = |sections: BTreeMap<String, BTreeMap<u8, u16>>| -> BTreeMap<String, BTreeMap<u8, u16>> {
            sections.into_iter().map(|(name, hosts)| (name, self.weighed(hosts))).collect()
        };
        let (file, runs) = (file.map(weighed), weighed(runs));
        ensure(file.as_ref() == Ok(&runs), Invariant::TheFileFollows, || {
            format!("the file describes {file:?}, but {runs:?} runs")
        })
    }

    /// Returns the ready servers of a process started from the file, without those that must drain: a file cannot set
    /// that.
    fn undrained(&self, model: &HaproxyModel) -> BTreeMap<String, BTreeMap<u8, u16>> {
        let mut ready = ready_in(model);
        for (name, hosts) in &mut ready {
            let drains = |host: u8| self.state(name, host) == Some(AdminState::Drain);
            hosts.retain(|host, _| !drains(*host));
        }
        ready
    }

    pub(super) fn saved_is_what_is_wanted(&self) -> Result<(), Violation> {
        let hosts = |service: &proxymgr_actors::port::SavedService| {
            let hosts = service.hosts.iter().flat_map(|hosts| hosts.keys());
            hosts.filter_map(|name| number_of_server(name.as_str())).collect::<BTreeSet<u8>>()
        };
        let saved: BTreeMap<String, BTreeSet<u8>> =
            self.saved.iter().map(|service| (service.definition.name.to_string(), hosts(service))).collect();
        let wanted = self.defined().map(|(name, service)| (name.clone(), service.hosts.numbers().iter().collect()));
        let wanted: BTreeMap<String, BTreeSet<u8>> = wanted.collect();
        ensure(saved == wanted, Invariant::TheSavedStateFollows, || format!("desired {wanted:?}, saved {saved:?}"))
    }
}
