//! Settings of Marathon and Mesos.

use super::super::TakesEffect::OnRestart;
use super::super::Unset::{Otherwise, Text};
use super::super::{Key, Kind, key};
use super::{HOUR, duration};

/// `marathon` and `mesos`.
pub(super) const MESOSPHERE: &[Key] = &[
    key(
        "marathon.servers",
        Kind::Urls,
        Text("http://127.0.0.1:8080"),
        OnRestart,
        "The servers of Marathon: URLs, separated by commas or as a list. When one fails, the next is tried.",
    ),
    key(
        "marathon.auth",
        Kind::Secret,
        Otherwise("no authentication"),
        OnRestart,
        "user:password for these servers. Better set as PROXYMGR_MARATHON__AUTH. Never shown.",
    )
    .example("proxymgr:secret"),
    key(
        "marathon.token",
        Kind::Secret,
        Otherwise("no token"),
        OnRestart,
        "A bearer token, in place of marathon.auth. Better set as PROXYMGR_MARATHON__TOKEN. Never shown.",
    )
    .example("eyJhbGciOi..."),
    key(
        "marathon.interval",
        duration(1_000, HOUR),
        Text("30s"),
        OnRestart,
        "The polling interval for all apps, in addition to Marathon's events.",
    )
    .details(
        "Hosts are the tasks that pass their health checks. After a change of leaders, a task whose health is not known yet \
         stays as it was.",
    ),
    key(
        "marathon.callback",
        Kind::Urls,
        Otherwise("events are read from Marathon's event stream"),
        OnRestart,
        "The URL at which Marathon reaches status.listen, to post its events there.",
    )
    .details(
        "For old versions of Marathon without an event stream (flag --event_subscriber http_callback). The URL is registered \
         with a secret appended, and removed when proxymgr stops.",
    )
    .example("http://10.0.0.5:8470"),
    key(
        "marathon.host_ports",
        Kind::Choice(&["assigned", "service"]),
        Text("assigned"),
        OnRestart,
        "The ports that tasks on the host's network listen on.",
    )
    .details("assigned: $PORT0, $PORT1 and so on; service: the service ports of the app, as in proxym."),
    key(
        "marathon.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities of the servers' certificates.",
    )
    .example("/etc/proxymgr/marathon-ca.pem"),
    key(
        "marathon.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, if the servers require one. Needs marathon.tls.key.",
    )
    .example("/etc/proxymgr/marathon-client.pem"),
    key(
        "marathon.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of marathon.tls.certificate.",
    )
    .example("/etc/proxymgr/marathon-client.key"),
    key(
        "mesos.interval",
        duration(1_000, HOUR),
        Text("10s"),
        OnRestart,
        "How often every master is queried for the leader.",
    ),
    key(
        "mesos.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities of the masters' certificates.",
    )
    .example("/etc/proxymgr/mesos-ca.pem"),
];
