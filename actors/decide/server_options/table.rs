//! The table of server options. Unless marked otherwise, `add server` accepts an option since 2.6, the first version
//! that can add servers.

use super::option::{ServerOption, flag, with};
use super::value::Value;

const COUNT: Value = Value::Number(0, 2_147_483_647);
const POSITIVE: Value = Value::Number(1, 2_147_483_647);
const COUNT_OR_UNLIMITED: Value = Value::Number(-1, 2_147_483_647);
const PORT: Value = Value::Number(1, 65_535);
const TLS_VERSION: Value = Value::OneOf(&["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);

const READS_A_FILE: &str = "it reads a file of HAProxy's machine";
const OUR_STATE: &str =
    "proxymgr sets the state of servers; a host sets it with the key \"state\" (ready, drain, maint)";
const OUTGOING: &str = "it chooses where HAProxy's own connections come from";
const UNIQUE: &str = "it has to be unique, and these options are those of every server";
const TRACKED: &str = "a server that other servers track cannot be removed while HAProxy runs";
const OPERATORS_SECTION: &str = "it refers to a section of the base configuration";
const EXPERIMENTAL: &str = "it is experimental in HAProxy";
const NO_LOGS: &str = "a service forwards connections, not log messages";

#[rustfmt::skip]
pub(super) const TABLE: &[ServerOption] = &[
    // Health checks and agents.
    flag("check"), flag("no-check").file_only(), with("inter", Value::Interval), with("fastinter", Value::Interval),
    with("downinter", Value::Interval), with("rise", POSITIVE), with("fall", POSITIVE), with("port", PORT),
    with("addr", Value::Ip), flag("check-ssl"), flag("no-check-ssl").file_only(), flag("check-send-proxy"),
    flag("no-check-send-proxy").file_only(), flag("check-reuse-pool").since(3, 2),
    flag("no-check-reuse-pool").file_only(), with("check-sni", Value::Any), with("check-alpn", Value::Any),
    with("check-proto", Value::Any), with("check-pool-conn-name", Value::Any).since(3, 2),
    flag("check-sni-auto").file_only(), flag("no-check-sni-auto").since(3, 4),
    with("healthcheck", Value::Any).since(3, 4).refused(OPERATORS_SECTION),
    flag("check-via-socks4").refused(OUTGOING), flag("agent-check"), flag("no-agent-check").file_only(),
    with("agent-inter", Value::Interval), with("agent-port", PORT), with("agent-addr", Value::Ip),
    with("agent-send", Value::Any),
    with("on-error", Value::OneOf(&["fastinter", "fail-check", "sudden-death", "mark-down"])),
    with("on-marked-down", Value::OneOf(&["shutdown-sessions"])),
    with("on-marked-up", Value::OneOf(&["shutdown-backup-sessions"])),
    with("observe", Value::OneOf(&["layer4", "layer7"])), with("error-limit", POSITIVE),
    with("init-state", Value::OneOf(&["fully-up", "up", "down", "fully-down"])).since(3, 2),
    with("track", Value::Any).refused(TRACKED),
    // Load, persistence and state.
    with("weight", Value::Number(0, 256)), flag("backup"), flag("no-backup"), with("maxconn", COUNT),
    with("minconn", COUNT), with("maxqueue", COUNT), flag("strict-maxconn").since(3, 2),
    with("slowstart", Value::Duration), with("shard", POSITIVE).since(3, 0), with("cookie", Value::Any).since(3, 0),
    flag("stick").file_only(), flag("non-stick").file_only(), with("redir", Value::Any).file_only(),
    with("hash-key", Value::OneOf(&["id", "addr", "addr-port"])).since(3, 0), with("id", Value::Any).refused(UNIQUE),
    with("guid", Value::Any).since(3, 0).refused(UNIQUE), flag("disabled").refused(OUR_STATE),
    flag("enabled").file_only().refused(OUR_STATE),
    // Connections to the server.
    with("max-reuse", COUNT_OR_UNLIMITED).file_only(), with("pool-max-conn", COUNT_OR_UNLIMITED),
    with("pool-low-conn", COUNT), with("pool-purge-delay", Value::Duration),
    with("pool-conn-name", Value::Any).since(3, 0), with("idle-ping", Value::Duration).since(3, 2),
    with("tcp-ut", Value::Duration).file_only(), flag("tfo"), flag("no-tfo"), with("proto", Value::Any),
    with("ws", Value::OneOf(&["auto", "h1", "h2"])), flag("send-proxy"), flag("no-send-proxy"), flag("send-proxy-v2"),
    flag("no-send-proxy-v2"), flag("send-proxy-v2-ssl"), flag("no-send-proxy-v2-ssl").file_only(),
    flag("send-proxy-v2-ssl-cn"), flag("no-send-proxy-v2-ssl-cn").file_only(), with("proxy-v2-options", Value::Any),
    with("source", Value::Any).refused(OUTGOING), with("usesrc", Value::Any).refused(OUTGOING),
    with("interface", Value::Any).file_only().refused(OUTGOING),
    with("namespace", Value::Any).file_only().refused(OUTGOING),
    with("socks4", Value::Any).file_only().refused(OUTGOING),
    with("log-proto", Value::Any).file_only().refused(NO_LOGS),
    with("log-bufsize", Value::Any).file_only().refused(NO_LOGS),
    // Resolution of host names.
    with("init-addr", Value::InitAddr).resolution(), with("resolvers", Value::Any).resolution(),
    with("resolve-opts", Value::Any).resolution(),
    with("resolve-prefer", Value::OneOf(&["ipv4", "ipv6"])).resolution(),
    with("resolve-net", Value::Any).resolution(),
    // TLS.
    flag("ssl"), flag("no-ssl").file_only(), with("verify", Value::OneOf(&["none", "required"])),
    with("verifyhost", Value::Any), with("sni", Value::Any), flag("sni-auto").file_only(),
    flag("no-sni-auto").since(3, 4), with("alpn", Value::Any), with("npn", Value::Any), flag("allow-0rtt"),
    with("ciphers", Value::Any), with("ciphersuites", Value::Any), with("curves", Value::Any).since(3, 0),
    with("sigalgs", Value::Any).since(3, 0), with("client-sigalgs", Value::Any).since(3, 0),
    with("ssl-min-ver", TLS_VERSION), with("ssl-max-ver", TLS_VERSION), flag("ssl-reuse").file_only(),
    flag("no-ssl-reuse"), flag("tls-tickets"), flag("no-tls-tickets"), flag("no-sslv3"), flag("no-tlsv10"),
    flag("no-tlsv11"), flag("no-tlsv12"), flag("no-tlsv13"), flag("force-sslv3"), flag("force-tlsv10"),
    flag("force-tlsv11"), flag("force-tlsv12"), flag("force-tlsv13"), with("crt", Value::Any).refused(READS_A_FILE),
    flag("renegotiate").since(3, 4), flag("no-renegotiate").since(3, 4),
    with("ktls", Value::OneOf(&["on", "off"])).since(3, 4).refused(EXPERIMENTAL),
    with("ca-file", Value::Any).refused(READS_A_FILE), with("crl-file", Value::Any).refused(READS_A_FILE),
];
