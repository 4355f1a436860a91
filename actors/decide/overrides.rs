//! Overrides: operators' choices for the servers of one service, which take precedence over discovery.

use std::collections::BTreeMap;

use crate::limits::CHOICE_KEEP;
use crate::model::{AdminState, HostList, OperatorChoice, ServerName};

/// The overrides, by server.
#[derive(Debug, Default)]
pub struct OverrideSet(BTreeMap<ServerName, OperatorChoice>);

impl OverrideSet {
    /// Restores the overrides that an earlier run of the daemon saved.
    pub fn restored(saved: BTreeMap<ServerName, OperatorChoice>) -> Self {
        Self(saved)
    }

    /// Returns all overrides, including those for absent hosts.
    pub fn all(&self) -> &BTreeMap<ServerName, OperatorChoice> {
        &self.0
    }

    /// Sets an override, which replaces an earlier one.
    pub fn set(&mut self, server: ServerName, choice: OperatorChoice) {
        self.0.insert(server, choice);
    }

    /// Removes an override, so that the server follows discovery again.
    pub fn remove(&mut self, server: &ServerName) {
        self.0.remove(server);
    }

    /// Handles a new list of hosts. An override outlives its host for a while, because a host that restarts leaves
    /// discovery, too, and must not get traffic before the operator agrees. Returns whether anything changed.
    pub fn hosts_changed(&mut self, discovered: &HostList, now_unix_ms: u64) -> bool {
        let before = self.0.clone();
        for (server, choice) in &mut self.0 {
            if discovered.contains_key(server) {
                choice.gone_unix_ms = None;
            } else {
                choice.gone_unix_ms.get_or_insert(now_unix_ms);
            }
        }
        // A `ready` override ends once discovery reports the same state.
        let agrees = |server: &ServerName| discovered.get(server).is_some_and(|host| host.state == AdminState::Ready);
        self.0.retain(|server, choice| choice.state != AdminState::Ready || !agrees(server));
        self.0 != before
    }

    /// Ends expired overrides. Returns each with the reason why it ended.
    pub fn end(&mut self, now_unix_ms: u64) -> Vec<(ServerName, OperatorChoice, &'static str)> {
        let over = |choice: &OperatorChoice| ends_at(choice).is_some_and(|at| at <= now_unix_ms);
        let names: Vec<_> = self.0.iter().filter(|(_, choice)| over(choice)).map(|(name, _)| name.clone()).collect();
        let ended = names.into_iter().filter_map(|server| Some((self.0.remove(&server)?, server)));
        ended
            .map(|(choice, server)| {
                let expired = choice.until_unix_ms.is_some_and(|until| until <= now_unix_ms);
                (server, choice, if expired { "it has expired" } else { "its host has been gone for too long" })
            })
            .collect()
    }

    /// Returns when the next override ends, in milliseconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        self.0.values().filter_map(ends_at).min()
    }
}

fn ends_at(choice: &OperatorChoice) -> Option<u64> {
    let keep_ms = u64::try_from(CHOICE_KEEP.as_millis()).unwrap_or(u64::MAX);
    let forgotten = choice.gone_unix_ms.map(|gone| gone.saturating_add(keep_ms));
    choice.until_unix_ms.into_iter().chain(forgotten).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Endpoint, Host};

    fn name() -> ServerName {
        ServerName::new("a").unwrap()
    }

    fn list(state: AdminState) -> HostList {
        let endpoint = Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() };
        HostList::from_iter([(name(), Host { state, ..Host::at(endpoint) }.into())])
    }

    fn chosen(state: AdminState, until_unix_ms: Option<u64>) -> OverrideSet {
        let choice =
            OperatorChoice { state, reason: None, since_unix_ms: 0, until_unix_ms, gone_unix_ms: None, by: None };
        OverrideSet::restored([(name(), choice)].into())
    }

    #[test]
    fn override_ends_at_its_time() {
        let mut choices = chosen(AdminState::Maint, Some(1_000));
        assert!(choices.end(999).is_empty());
        assert_eq!(choices.next_end(), Some(1_000));
        assert_eq!(choices.end(1_000)[0].2, "it has expired");
        assert!(choices.all().is_empty());
    }

    #[test]
    fn override_outlives_its_host() {
        let keep = u64::try_from(CHOICE_KEEP.as_millis()).unwrap();
        let mut choices = chosen(AdminState::Maint, None);
        choices.hosts_changed(&HostList::new(), 5);
        choices.hosts_changed(&HostList::new(), 7);
        assert!(choices.end(keep + 4).is_empty());
        choices.hosts_changed(&list(AdminState::Ready), keep + 4);
        assert_eq!(choices.next_end(), None, "the host is back");
        choices.hosts_changed(&HostList::new(), 5);
        assert_eq!(choices.end(keep + 5).len(), 1);
    }

    #[test]
    fn ready_override_ends_when_discovery_agrees() {
        let mut choices = chosen(AdminState::Ready, None);
        choices.hosts_changed(&list(AdminState::Drain), 0);
        assert_eq!(choices.all().len(), 1);
        choices.hosts_changed(&list(AdminState::Ready), 0);
        assert!(choices.all().is_empty());
    }

    #[test]
    fn newest_override_applies_until_it_is_removed() {
        let mut choices = chosen(AdminState::Maint, None);
        let drain = OperatorChoice { state: AdminState::Drain, ..choices.all()[&name()].clone() };
        choices.set(name(), drain.clone());
        assert_eq!(choices.all()[&name()], drain);
        choices.remove(&name());
        assert!(choices.all().is_empty());
    }

    #[test]
    fn change_of_overrides_by_a_list_is_reported() {
        let mut choices = chosen(AdminState::Maint, None);
        assert!(!choices.hosts_changed(&list(AdminState::Ready), 5));
        assert!(choices.hosts_changed(&HostList::new(), 5));
        assert!(!choices.hosts_changed(&HostList::new(), 6));
    }
}
