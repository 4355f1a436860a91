//! Requests to AWS, with its official client. The only file that uses it.
//!
//! Two requests: the instances of the groups that are in service (DescribeAutoScalingGroups), and their addresses
//! (DescribeInstances), both in pages. Retries of the client are turned off: `groups` decides when to retry.

use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::types::LifecycleState;
use aws_sdk_ec2::types::{Filter, InstanceStateName};
use proxymgr_actors::limits::{
    AWS_ANSWER_TIMEOUT, AWS_GROUPS_AT_ONCE, AWS_INSTANCES_AT_ONCE, AWS_PAGE, HTTP_CONNECT_TIMEOUT,
};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::discovery::http::{HttpError, HttpFailure};

/// The error codes of throttled requests.
const THROTTLED: [&str; 7] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
];

/// The account, whose credentials are looked up with the first request.
pub(super) struct Account {
    inner: Rc<Inner>,
}

struct Inner {
    region: Option<String>,
    endpoint: Option<String>,
    config: OnceCell<SdkConfig>,
}

impl Account {
    /// `region` is that of services without one.
    pub(super) fn new(region: Option<String>, endpoint: Option<String>) -> Self {
        Self { inner: Rc::new(Inner { region, endpoint, config: OnceCell::new() }) }
    }

    /// The region with this name, or that of the settings or the usual chain.
    pub(super) fn region(&self, name: Option<String>) -> Region {
        Region { account: self.inner.clone(), name, clients: OnceCell::new() }
    }
}

/// One region of AWS.
pub(super) struct Region {
    account: Rc<Inner>,
    name: Option<String>,
    clients: OnceCell<Clients>,
}

struct Clients {
    region: String,
    scaling: aws_sdk_autoscaling::Client,
    compute: aws_sdk_ec2::Client,
}

/// The relevant part of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Instance {
    /// Whether it is neither starting nor stopping.
    pub(super) is_running: bool,
    pub(super) private: Option<String>,
    pub(super) public: Option<String>,
    pub(super) ipv6: Option<String>,
}

impl Region {
    /// Its name.
    pub(super) async fn name(&self) -> Result<&str, HttpError> {
        Ok(&self.clients().await?.region)
    }

    /// The instances that are in service and healthy, by group. Groups that do not exist are left out.
    pub(super) async fn members(&self, groups: &[String]) -> Result<BTreeMap<String, Vec<String>>, HttpError> {
        let clients = self.clients().await?;
        let mut members = BTreeMap::new();
        for names in groups.chunks(AWS_GROUPS_AT_ONCE) {
            let request = clients.scaling.describe_auto_scaling_groups();
            let request = request.set_auto_scaling_group_names(Some(names.to_vec()));
            let mut pages = request.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| clients.failure("DescribeAutoScalingGroups", error))?;
                for group in page.auto_scaling_groups() {
                    let in_service = group.instances().iter().filter(|instance| {
                        let is_healthy = instance.health_status().is_some_and(|it| it.eq_ignore_ascii_case("healthy"));
                        is_healthy && instance.lifecycle_state() == Some(&LifecycleState::InService)
                    });
                    let ids = in_service.filter_map(|instance| instance.instance_id()).map(str::to_owned);
                    let name = group.auto_scaling_group_name().unwrap_or_default().to_owned();
                    members.entry(name).or_insert_with(Vec::new).extend(ids);
                }
            }
        }
        Ok(members)
    }

    /// Those of the instances that EC2 knows. The request has a filter: with a list of ids, one unknown id would be an
    /// error for all.
    pub(super) async fn instances(&self, ids: &[String]) -> Result<BTreeMap<String, Instance>, HttpError> {
        let clients = self.clients().await?;
        let mut instances = BTreeMap::new();
        for ids in ids.chunks(AWS_INSTANCES_AT_ONCE) {
            let filter = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
            let request = clients.compute.describe_instances().filters(filter);
            let mut pages = request.into_paginator().page_size(AWS_PAGE).send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| clients.failure("DescribeInstances", error))?;
                for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                    let id = instance.instance_id().unwrap_or_default().to_owned();
                    instances.insert(id, read(instance));
                }
            }
        }
        Ok(instances)
    }

    async fn clients(&self) -> Result<&Clients, HttpError> {
        self.clients
            .get_or_try_init(async || {
                let config = self.account.config().await?;
                let region = self.name.clone().or_else(|| config.region().map(ToString::to_string));
                let Some(region) = region else {
                    let text = "the AWS region is not known; set aws.region, or \"region\" in the definition";
                    return Err(HttpError::new(HttpFailure::Local, text));
                };
                let config = config.to_builder().region(aws_config::Region::new(region.clone())).build();
                let (scaling, compute) = (aws_sdk_autoscaling::Client::new(&config), aws_sdk_ec2::Client::new(&config));
                Ok(Clients { region, scaling, compute })
            })
            .await
    }
}

impl Inner {
    async fn config(&self) -> Result<&SdkConfig, HttpError> {
        let timeouts = TimeoutConfig::builder().connect_timeout(HTTP_CONNECT_TIMEOUT);
        let timeouts = timeouts.operation_timeout(AWS_ANSWER_TIMEOUT).operation_attempt_timeout(AWS_ANSWER_TIMEOUT);
        let load = async || {
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .timeout_config(timeouts.build())
                .retry_config(RetryConfig::disabled());
            if let Some(region) = &self.region {
                loader = loader.region(aws_config::Region::new(region.clone()));
            }
            if let Some(endpoint) = &self.endpoint {
                loader = loader.endpoint_url(endpoint);
            }
            timeout(AWS_ANSWER_TIMEOUT, loader.load()).await.map_err(|_| {
                let text = "the AWS region was not determined in time; set aws.region";
                HttpError::new(HttpFailure::TimedOut, text)
            })
        };
        self.config.get_or_try_init(load).await
    }
}

fn read(instance: &aws_sdk_ec2::types::Instance) -> Instance {
    let state = instance.state().and_then(|state| state.name());
    let interfaces = instance.network_interfaces().iter();
    let ipv6 = interfaces.flat_map(|interface| interface.ipv6_addresses()).find_map(|ipv6| ipv6.ipv6_address());
    Instance {
        is_running: state == Some(&InstanceStateName::Running),
        private: instance.private_ip_address().map(str::to_owned),
        public: instance.public_ip_address().map(str::to_owned),
        ipv6: instance.ipv6_address().or(ipv6).map(str::to_owned),
    }
}

impl Clients {
    /// The error, without the request id that AWS adds.
    fn failure<E>(&self, action: &str, error: SdkError<E>) -> HttpError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (kind, cause) = match &error {
            SdkError::TimeoutError(_) => {
                (HttpFailure::TimedOut, format!("no answer within {} s", AWS_ANSWER_TIMEOUT.as_secs()))
            }
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                (HttpFailure::TimedOut, "no connection in time".to_owned())
            }
            SdkError::DispatchFailure(failure) if failure.is_io() => (HttpFailure::Unreachable, innermost(&error)),
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code(), service.err().message());
                let status = service.raw().status().as_u16();
                let text = match (code, message) {
                    (Some(code), message) => format!("{code}: {}", message.unwrap_or("no reason given")),
                    (None, _) => format!("status {status} without a readable reason"),
                };
                if code.is_some_and(|code| THROTTLED.contains(&code)) {
                    (HttpFailure::Status(429), format!("{text}; polling less often for a while"))
                } else {
                    (HttpFailure::Status(status), text)
                }
            }
            SdkError::ResponseError(_) => (HttpFailure::Malformed, innermost(&error)),
            _ => (HttpFailure::Local, innermost(&error)),
        };
        let hint = match kind {
            HttpFailure::Local => {
                "; credentials come from the environment, the shared files, or the role of this machine or container"
            }
            HttpFailure::Status(401 | 403) => {
                "; check the credentials and their permissions: autoscaling:DescribeAutoScalingGroups and ec2:DescribeInstances"
            }
            _ => "",
        };
        HttpError::new(kind, format!("AWS {action} in {}: {cause}{hint}", self.region))
    }
}

/// The text of the innermost cause.
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
