//! The table of server options. Unless marked otherwise, `add server` accepts an option since 2.6, the first version
//! that can add servers.

use super::option::{ServerOption, flag, with};
use crate::decide::grammar::kind::Kind;

const COUNT: Kind = Kind::Number(0, 2_147_483_647);
const POSITIVE: Kind = Kind::Number(1, 2_147_483_647);
const COUNT_OR_UNLIMITED: Kind = Kind::Number(-1, 2_147_483_647);
const TLS_VERSION: Kind = Kind::OneOf(&["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);

const PROXY_V2_OPTIONS: Kind =
    Kind::ListOf(&["ssl", "cert-cn", "cert-key", "cert-sig", "ssl-cipher", "authority", "crc32c", "unique-id"]);
const RESOLVE_OPTIONS: Kind = Kind::ListOf(&["allow-dup-ip", "ignore-weight", "prevent-dup-ip"]);

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
    flag("check"), flag("no-check").file_only(), with("inter", Kind::Interval), with("fastinter", Kind::Interval),
    with("downinter", Kind::Interval), with("rise", POSITIVE), with("fall", POSITIVE), with("port", Kind::CheckedPort),
    with("addr", Kind::CheckedIp), flag("check-ssl"), flag("no-check-ssl").file_only(), flag("check-send-proxy"),
    flag("no-check-send-proxy").file_only(), flag("check-reuse-pool").since(3, 2),
    flag("no-check-reuse-pool").file_only(), with("check-sni", Kind::Text), with("check-alpn", Kind::Text),
    with("check-proto", Kind::Name), with("check-pool-conn-name", Kind::Expression).since(3, 2),
    flag("check-sni-auto").file_only(), flag("no-check-sni-auto").since(3, 4),
    with("healthcheck", Kind::Text).since(3, 4).refused(OPERATORS_SECTION),
    flag("check-via-socks4").refused(OUTGOING), flag("agent-check"), flag("no-agent-check").file_only(),
    with("agent-inter", Kind::Interval), with("agent-port", Kind::CheckedPort), with("agent-addr", Kind::CheckedIp),
    with("agent-send", Kind::Text),
    with("on-error", Kind::OneOf(&["fastinter", "fail-check", "sudden-death", "mark-down"])),
    with("on-marked-down", Kind::OneOf(&["shutdown-sessions"])),
    with("on-marked-up", Kind::OneOf(&["shutdown-backup-sessions"])),
    with("observe", Kind::OneOf(&["layer4", "layer7"])), with("error-limit", POSITIVE),
    with("init-state", Kind::OneOf(&["fully-up", "up", "down", "fully-down"])).since(3, 2),
    with("track", Kind::Text).refused(TRACKED),
    // Load, persistence and state.
    with("weight", Kind::Number(0, 256)), flag("backup"), flag("no-backup"), with("maxconn", COUNT),
    with("minconn", COUNT), with("maxqueue", COUNT), flag("strict-maxconn").since(3, 2),
    with("slowstart", Kind::Duration), with("shard", POSITIVE).since(3, 0), with("cookie", Kind::Text).since(3, 0),
    flag("stick").file_only(), flag("non-stick").file_only(), with("redir", Kind::Text).file_only(),
    with("hash-key", Kind::OneOf(&["id", "addr", "addr-port"])).since(3, 0), with("id", Kind::Text).refused(UNIQUE),
    with("guid", Kind::Text).since(3, 0).refused(UNIQUE), flag("disabled").refused(OUR_STATE),
    flag("enabled").file_only().refused(OUR_STATE),
    // Connections to the server.
    with("max-reuse", COUNT_OR_UNLIMITED).file_only(), with("pool-max-conn", COUNT_OR_UNLIMITED),
    with("pool-low-conn", COUNT), with("pool-purge-delay", Kind::Duration),
    with("pool-conn-name", Kind::Expression).since(3, 0), with("idle-ping", Kind::Duration).since(3, 2),
    with("tcp-ut", Kind::Duration).file_only(), flag("tfo"), flag("no-tfo"), with("proto", Kind::Name),
    with("ws", Kind::OneOf(&["auto", "h1", "h2"])), flag("send-proxy"), flag("no-send-proxy"), flag("send-proxy-v2"),
    flag("no-send-proxy-v2"), flag("send-proxy-v2-ssl"), flag("no-send-proxy-v2-ssl").file_only(),
    flag("send-proxy-v2-ssl-cn"), flag("no-send-proxy-v2-ssl-cn").file_only(), with("proxy-v2-options", PROXY_V2_OPTIONS),
    with("source", Kind::Text).refused(OUTGOING), with("usesrc", Kind::Text).refused(OUTGOING),
    with("interface", Kind::Text).file_only().refused(OUTGOING),
    with("namespace", Kind::Text).file_only().refused(OUTGOING),
    with("socks4", Kind::Text).file_only().refused(OUTGOING),
    with("log-proto", Kind::Text).file_only().refused(NO_LOGS),
    with("log-bufsize", Kind::Text).file_only().refused(NO_LOGS),
    // Resolution of host names.
    with("init-addr", Kind::InitAddr).resolution(), with("resolvers", Kind::Name).resolution(),
    with("resolve-opts", RESOLVE_OPTIONS).resolution(),
    with("resolve-prefer", Kind::OneOf(&["ipv4", "ipv6"])).resolution(),
    with("resolve-net", Kind::Text).resolution(),
    // TLS.
    flag("ssl"), flag("no-ssl").file_only(), with("verify", Kind::OneOf(&["none", "required"])),
    with("verifyhost", Kind::Text), with("sni", Kind::Expression), flag("sni-auto").file_only(),
    flag("no-sni-auto").since(3, 4), with("alpn", Kind::Text), with("npn", Kind::Text), flag("allow-0rtt"),
    with("ciphers", Kind::Text), with("ciphersuites", Kind::Text), with("curves", Kind::Text).since(3, 0),
    with("sigalgs", Kind::Text).since(3, 0), with("client-sigalgs", Kind::Text).since(3, 0),
    with("ssl-min-ver", TLS_VERSION), with("ssl-max-ver", TLS_VERSION), flag("ssl-reuse").file_only(),
    flag("no-ssl-reuse"), flag("tls-tickets"), flag("no-tls-tickets"), flag("no-sslv3"), flag("no-tlsv10"),
    flag("no-tlsv11"), flag("no-tlsv12"), flag("no-tlsv13"), flag("force-sslv3"), flag("force-tlsv10"),
    flag("force-tlsv11"), flag("force-tlsv12"), flag("force-tlsv13"), with("crt", Kind::Text).refused(READS_A_FILE),
    flag("renegotiate").since(3, 4), flag("no-renegotiate").since(3, 4),
    with("ktls", Kind::OneOf(&["on", "off"])).since(3, 4).refused(EXPERIMENTAL),
    with("ca-file", Kind::Text).refused(READS_A_FILE), with("crl-file", Kind::Text).refused(READS_A_FILE),
];
