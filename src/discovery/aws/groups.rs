//! The instances of Auto Scaling groups as hosts: those that are in service and healthy, at the kind of address that
//! the definition chooses. A group that does not exist is an error, never an empty list.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::limits::{AWS_GROUPS_MAX, AWS_INSTANCES_MAX, AWS_RETRY_MAX, AWS_RETRY_MIN};
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::{HostRecord, SourceSpec};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::AwsOptions;
use super::api::{Account, Instance, Region};
use crate::discovery::backoff::{Backoff, Random};
use crate::discovery::http::{HttpError, HttpFailure};
use crate::discovery::settings::{optional, required, texts};
use crate::discovery::snapshot_watch::{SnapshotReader, SnapshotWatch};

/// AWS, with one set of credentials for all services.
pub struct Aws {
    options: AwsOptions,
    account: Account,
    requests: Rc<Semaphore>,
}

impl Aws {
    /// Sends no request and looks up no credentials before a source is opened.
    pub fn new(options: AwsOptions) -> Self {
        let account = Account::new(options.region.clone(), options.endpoint.clone());
        Self { requests: Rc::new(Semaphore::new(options.requests_max.max(1))), account, options }
    }

    /// Watches the groups that the definition names.
    pub(in crate::discovery) fn open(
        &self,
        spec: &SourceSpec,
        policy: &Arc<OptionPolicy>,
        watcher: Recipient<HostsSeen>,
    ) -> Result<SnapshotWatch, String> {
        let groups = texts(spec, "groups")?;
        if groups.is_empty() || groups.iter().any(String::is_empty) {
            return Err(
                "\"groups\" is missing: the names of Auto Scaling groups, like [\"web-a\", \"web-b\"]".to_owned()
            );
        }
        if groups.len() > AWS_GROUPS_MAX {
            return Err(format!("\"groups\": {} groups are more than the {AWS_GROUPS_MAX} allowed", groups.len()));
        }
        let port = required::<NonZeroU16>(spec, "remote_port", "the port that the instances listen on, like 8080")?;
        let address_kind = AddressKind::of(spec)?;
        let region: Option<String> = optional(spec, "region")?;
        Ok(SnapshotWatch::start(Groups {
            region: self.account.region(region),
            requests: self.requests.clone(),
            groups,
            port,
            address_kind,
            policy: policy.clone(),
            watcher,
            interval: self.options.interval,
            next_at: Instant::now(),
            backoff: Backoff::new(AWS_RETRY_MIN, AWS_RETRY_MAX),
            random: Random::new(),
        }))
    }
}

/// The kind of address at which clients reach an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddressKind {
    Private,
    Public,
    Ipv6,
}

impl AddressKind {
    fn of(spec: &SourceSpec) -> Result<Self, String> {
        let address = optional::<String>(spec, "address")?;
        let is_public = match address.as_deref() {
            None | Some("private") => false,
            Some("public") => true,
            Some(other) => return Err(format!("\"address\" is {other:?}; it must be private or public")),
        };
        match optional::<String>(spec, "family")?.as_deref() {
            None | Some("ipv4") => Ok(if is_public { Self::Public } else { Self::Private }),
            // An IPv6 address is the same inside and outside.
            Some("ipv6") => Ok(Self::Ipv6),
            Some(other) => Err(format!("\"family\" is {other:?}; it must be ipv4 or ipv6")),
        }
    }

    fn address_of(self, instance: &Instance) -> Result<&str, String> {
        let (address, what) = match self {
            Self::Private => (&instance.private, "private IPv4 address"),
            Self::Public => (&instance.public, "public IPv4 address"),
            Self::Ipv6 => (&instance.ipv6, "IPv6 address"),
        };
        address.as_deref().ok_or_else(|| format!("it has no {what}"))
    }
}

struct Groups {
    region: Region,
    requests: Rc<Semaphore>,
    groups: Vec<String>,
    port: NonZeroU16,
    address_kind: AddressKind,
    policy: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
    interval: std::time::Duration,
    next_at: Instant,
    /// Slower than for other sources: AWS also counts the requests that it throttles.
    backoff: Backoff,
    random: Random,
}

impl SnapshotReader for Groups {
    type Snapshot = Vec<SeenHost>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        sleep_until(self.next_at).await;
        let _permit = self.requests.acquire().await;
        let seen_at = Instant::now();
        let snapshot = self.snapshot().await;
        let pause = match &snapshot {
            Ok(_) => {
                self.backoff.reset();
                // Services that were opened together drift apart.
                self.interval.mul_f64(0.9 + 0.2 * self.random.fraction())
            }
            Err(_) => self.backoff.pause(),
        };
        self.next_at = Instant::now() + pause;
        snapshot.map(|snapshot| (snapshot, seen_at))
    }

    fn start_over(&mut self) {
        self.next_at = Instant::now();
    }

    fn another(&self) -> Option<Self> {
        None
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, seen_at: Instant, missed: bool) {
        self.watcher.do_send(HostsSeen { result: snapshot.cloned(), seen_at, missed });
    }
}

impl Groups {
    async fn snapshot(&self) -> Result<Vec<SeenHost>, HttpError> {
        let members = self.region.members(&self.groups).await?;
        let missing = Vec::from_iter(self.groups.iter().filter(|group| !members.contains_key(*group)).cloned());
        if !missing.is_empty() {
            let (missing, region) = (missing.join(", "), self.region.name().await?);
            let text = format!("there is no Auto Scaling group {missing} in {region}; waiting until it is created");
            return Err(HttpError::new(HttpFailure::Status(404), text));
        }
        let in_service = Vec::from_iter(members.values().flatten().cloned());
        if in_service.len() > AWS_INSTANCES_MAX {
            let count = in_service.len();
            let text = format!("the groups have {count} instances, more than the {AWS_INSTANCES_MAX} that are read");
            return Err(HttpError::new(HttpFailure::Malformed, text));
        }
        let instances = self.region.instances(&in_service).await?;
        Ok(self.hosts(&members, &instances))
    }

    fn hosts(&self, members: &BTreeMap<String, Vec<String>>, instances: &BTreeMap<String, Instance>) -> Vec<SeenHost> {
        let mut hosts = Vec::new();
        for (group, ids) in members {
            for id in ids {
                let host = match instances.get(id) {
                    // The group does not know yet that it is stopping.
                    Some(instance) if !instance.is_running => continue,
                    Some(instance) => self.host(instance),
                    None => Err("EC2 does not know it yet".to_owned()),
                };
                let host = host.map_err(|error| format!("instance {id} of group {group}: {error}"));
                hosts.push(SeenHost::of_record(id.as_str(), host));
            }
        }
        hosts
    }

    fn host(&self, instance: &Instance) -> Result<HostRecord, String> {
        let address = self.address_kind.address_of(instance)?;
        host_record::from_json_value(&json!({"address": address, "port": self.port}), &self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(settings: serde_json::Value) -> SourceSpec {
        SourceSpec::new("aws", settings.as_object().unwrap().clone())
    }

    #[test]
    fn address_kind_follows_address_and_family() {
        let instance = Instance {
            is_running: true,
            private: Some("10.0.0.1".into()),
            public: Some("198.51.100.1".into()),
            ipv6: Some("2001:db8::1".into()),
        };
        for (settings, address) in [
            (json!({}), "10.0.0.1"),
            (json!({"address": "private", "family": "ipv4"}), "10.0.0.1"),
            (json!({"address": "public"}), "198.51.100.1"),
            (json!({"family": "ipv6"}), "2001:db8::1"),
            (json!({"address": "public", "family": "ipv6"}), "2001:db8::1"),
        ] {
            let kind = AddressKind::of(&spec(settings)).unwrap();
            assert_eq!(kind.address_of(&instance), Ok(address));
            assert!(kind.address_of(&Instance::default()).is_err());
        }
        assert!(AddressKind::of(&spec(json!({"address": "elastic"}))).is_err());
        assert!(AddressKind::of(&spec(json!({"family": "any"}))).is_err());
    }
}
