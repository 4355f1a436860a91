//! Settings of the status listener, the outputs, the saved state and the log.

use super::super::TakesEffect::{OnReload, OnRestart};
use super::super::Unset::{Empty, Otherwise, Text};
use super::super::{Key, Kind, LEVELS, key};
use super::{DAY, duration};

/// `status`, `metrics`, `outputs`, `state_dir`, `record` and `log`.
pub(super) const OPERATION: &[Key] = &[
    key(
        "status.listen",
        Kind::Listen,
        Text("127.0.0.1:8470"),
        OnRestart,
        "The address of the status page, /healthz, /readyz and the API below /api/v1/. none turns it off.",
    )
    .details("Each daemon on a machine needs its own port."),
    key(
        "status.hosts",
        Kind::Lines,
        Empty,
        OnRestart,
        "Host names that requests may use (Host header), in addition to loopback names and the address above.",
    )
    .details("Requests for other names are refused, so that no web page can read it through a name that leads here."),
    key(
        "status.socket",
        Kind::Path,
        Otherwise("proxymgr.sock in state_dir"),
        OnRestart,
        "The unix socket for orders of the command line, which needs no token there. none turns it off.",
    )
    .details(
        "Root, the user of the daemon and the members of status.socket_group may use it; the kernel reports who they are. A token is \
         sent over TCP only to a URL that is given explicitly, or over TLS: while the daemon is down, any local user could \
         listen at its port.",
    )
    .example("/run/proxymgr/proxymgr.sock"),
    key(
        "status.socket_group",
        Kind::Text,
        Otherwise("root and the user of the daemon only"),
        OnRestart,
        "The group whose members may give orders over status.socket. Its directory must be accessible for them.",
    )
    .example("proxymgr"),
    key(
        "status.token",
        Kind::Secret,
        Otherwise("operator commands are refused"),
        OnRestart,
        "The token for operator commands over HTTP. Better in status.token_file. Never shown.",
    )
    .details(
        "Such as a refresh, a reload, accepting a pending change, draining a server. At least 16 characters, as from `openssl \
         rand -hex 16`.",
    )
    .example("8f1c5d0a4be7f3920c6d"),
    key(
        "status.token_file",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "A file whose first line is the token, in place of status.token. SIGHUP reads its content again.",
    )
    .example("/etc/proxymgr/token"),
    key(
        "status.tokens",
        Kind::Entries,
        Empty,
        OnRestart,
        "Further tokens, by their hashes: [{name: deploy, sha256: HEX, role: operate}].",
    )
    .details(
        "`printf %s \"$TOKEN\" | sha256sum` prints the hash. Roles: read (where status.reads is token), operate (orders), admin \
         (also changes of annotations; the role of status.token). Journal and log name the token of each order.",
    ),
    key(
        "status.reads",
        Kind::Choice(&["open", "token"]),
        Text("open"),
        OnRestart,
        "Whether reading needs the token as well (open or token). /healthz and /readyz never do.",
    )
    .details("A browser asks for it as a password, with any user name."),
    key(
        "status.tls_cert",
        Kind::Path,
        Otherwise("no TLS"),
        OnRestart,
        "PEM file with the certificate of the status listener, the leaf first. Enables TLS. SIGHUP reads it again.",
    )
    .example("/etc/proxymgr/status.pem"),
    key(
        "status.tls_key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of status.tls_cert.",
    )
    .example("/etc/proxymgr/status.key"),
    key(
        "metrics.per_service",
        Kind::Switch,
        Text("true"),
        OnRestart,
        "Whether /metrics has series per service (ten each, for the first 2,000 by name) in addition to the totals.",
    ),
    key(
        "outputs",
        Kind::Entries,
        Empty,
        OnRestart,
        "Further outputs that are kept in sync with the same services and hosts. None of them delays changes of HAProxy.",
    )
    .details(
        "- {type: template, template: FILE, path: FILE}: any proxy, by a minijinja (Jinja2) template. It receives `services`, \
           each with `name`, `port`, `domains`, `path_prefix`, `default`, `hosts`, and `domains`, each with `name`, `port` and \
           `services`, one for each `path_prefix`; config/templates/ has one for nginx. `check` runs on a candidate before it \
           is used ({candidate} is its path), `reload` after the file was replaced, each within `timeout` (30s); neither runs \
           if only comments (`comment`, \"#\") differ. Commands are lists of words, or one text that is split at white space; \
           a shell runs them only with `shell: true`. With `service: NAME`, `{{ nodes }}` is the `server` lines of that \
           service, for templates of your own haproxy.cfg.\n\
         - {type: hipache, server: \"127.0.0.1:6379\"}: Hipache's lists frontend:<domain> in Redis, for services with \
           domains. `password`, `database` (\"0\"), `owner` (proxymgr): lists of another owner are not changed. With \
           TLS: \"rediss://redis.example:6380\", trusting `ca` (a PEM file; by default the authorities of this \
           machine), with `certificate` and `key` if Redis requires them.\n\
         - {type: stdout, format: text}: prints every change, as text or json.\n\
         An operator's drain and maintenance of a server apply to outputs, too.",
    ),
    key(
        "state_dir",
        Kind::Path,
        Text("/var/lib/proxymgr"),
        OnRestart,
        "The directory for the last good hosts of every service and other state that survives a restart.",
    )
    .details("With it proxymgr serves at once even if discovery is not reachable when it starts."),
    key(
        "restart_timeout",
        duration(1_000, DAY),
        Text("60s"),
        OnReload,
        "How long a new program may take to be ready after `proxymgr restart`. Then the previous program runs again.",
    )
    .details("The first lists of hosts are waited for up to 10 s, and HAProxy checks the whole configuration once."),
    key(
        "record",
        Kind::Path,
        Otherwise("nothing is recorded"),
        OnRestart,
        "A file to which everything from discovery, and every action of proxymgr, is appended, for proxymgr replay.",
    )
    .details("`proxymgr replay FILE -c new.yml` runs it again with other settings. It contains no credentials.")
    .example("/var/lib/proxymgr/recording.jsonl"),
    key(
        "log.level",
        Kind::Choice(LEVELS),
        Text("info"),
        OnReload,
        "The log level: critical, error, warning, info, debug or trace.",
    ),
    key(
        "log.format",
        Kind::Choice(&["text", "json"]),
        Text("text"),
        OnRestart,
        "text (one line per record) or json (one object per record), on standard error.",
    ),
    key(
        "log.levels",
        Kind::Levels,
        Empty,
        OnReload,
        "Levels of single components; dependencies have the name of their crate. For example: {zookeeper_client: debug}",
    ),
];
