//! Settings of AWS.

use std::time::Duration;

use super::reader::Reader;

/// Settings of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region of services without one.
    pub region: Option<String>,
    /// A server in place of AWS.
    pub endpoint: Option<String>,
    /// The polling interval of each service.
    pub interval: Duration,
    /// How many services are polled at once.
    pub requests_max: usize,
}

/// Reads the section `aws`.
pub fn read(reader: &mut Reader) -> Option<AwsSettings> {
    let region = reader.text("aws.region");
    let endpoint = reader.urls("aws.endpoint");
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.urls().len() > 1) {
        reader.refuse("aws.endpoint", "must be one URL");
    }
    let endpoint = endpoint.and_then(|endpoint| endpoint.urls().first().map(ToString::to_string));
    let interval = reader.duration("aws.interval");
    let requests_max = reader.count("aws.requests").and_then(|count| usize::try_from(count).ok());
    Some(AwsSettings { region, endpoint, interval: interval?, requests_max: requests_max? })
}
