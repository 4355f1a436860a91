//! The server options that a service or a host may use: an allow-list, with what each takes as its value.
//!
//! Source: `configuration.txt` 5.2, "Server and default-server options", of HAProxy 2.2 to 3.2.

use std::net::IpAddr;

/// A server option and its value.
#[derive(Debug, Clone, Copy)]
pub struct ServerKeyword {
    /// The option.
    pub name: &'static str,
    /// What its value has to be; none where it takes none.
    pub value: Option<Value>,
}

/// What the value of a server option has to be.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Anything: a name, a list, an expression.
    Any,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A duration in HAProxy's notation: `2000`, `2s`, `500ms`.
    Duration,
    /// A duration that is not 0.
    Interval,
    /// A single IP address.
    Ip,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `init-addr`'s list of `last`, `libc`, `none` and IP addresses.
    InitAddr,
}

impl Value {
    /// What is wrong with the value.
    pub fn mistake(self, text: &str) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Number(min, max) => {
                let in_bounds = plain_number(text).is_some_and(|n| (min..=max).contains(&n));
                (!in_bounds).then(|| format!("is not a whole number from {min} to {max}"))
            }
            Self::Duration => {
                duration_us(text).is_none().then(|| "is not a duration such as 2000, 2s or 500ms".to_owned())
            }
            Self::Interval => {
                let positive = duration_us(text).is_some_and(|us| us > 0);
                (!positive).then(|| "is not a duration above 0 such as 2000, 2s or 500ms".to_owned())
            }
            Self::Ip => text.parse::<IpAddr>().is_err().then(|| "is not an IP address".to_owned()),
            Self::OneOf(words) => (!words.contains(&text)).then(|| format!("is none of {}", words.join(", "))),
            Self::InitAddr => {
                let known = |part: &str| matches!(part, "last" | "libc" | "none") || part.parse::<IpAddr>().is_ok();
                (!text.split(',').all(known)).then(|| "is not a list of last, libc, none or IP addresses".to_owned())
            }
        }
    }
}

/// Digits with an optional minus, without the plus sign and the blanks that other parsers let pass.
fn plain_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// HAProxy's durations: milliseconds, or with a unit; at most 2^31 ms, about 24 days.
fn duration_us(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 6] =
        [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];
    let with_unit = UNITS.iter().find_map(|(unit, us)| Some((text.strip_suffix(unit)?, *us)));
    let (number, unit_us) = with_unit.unwrap_or((text, 1_000));
    let us = plain_number(number)?.checked_mul(unit_us)?;
    (0..=i64::from(i32::MAX) * 1_000).contains(&us).then_some(us)
}

/// The allowed option of this name.
pub fn allowed(name: &str) -> Option<&'static ServerKeyword> {
    ALLOWED.iter().find(|keyword| keyword.name == name)
}

/// The names of all allowed options.
pub fn allowed_names() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|keyword| keyword.name)
}

/// A refused option: the words of its value that follow it, and why it is refused.
pub fn refused(name: &str) -> Option<(usize, &'static str)> {
    REFUSED.iter().find(|(refused, ..)| *refused == name).map(|(_, values, reason)| (*values, *reason))
}

const fn flag(name: &'static str) -> ServerKeyword {
    ServerKeyword { name, value: None }
}

const fn with(name: &'static str, value: Value) -> ServerKeyword {
    ServerKeyword { name, value: Some(value) }
}

const COUNT: Value = Value::Number(0, 2_147_483_647);
const POSITIVE: Value = Value::Number(1, 2_147_483_647);
const COUNT_OR_UNLIMITED: Value = Value::Number(-1, 2_147_483_647);
const PORT: Value = Value::Number(1, 65_535);
const TLS_VERSION: Value = Value::OneOf(&["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);

#[rustfmt::skip]
const ALLOWED: &[ServerKeyword] = &[
    // Health checks.
    flag("check"), flag("no-check"),
    with("inter", Value::Interval), with("fastinter", Value::Interval), with("downinter", Value::Interval),
    with("rise", POSITIVE), with("fall", POSITIVE),
    with("port", PORT), with("addr", Value::Ip),
    flag("check-ssl"), flag("no-check-ssl"), flag("check-send-proxy"), flag("no-check-send-proxy"),
    flag("check-reuse-pool"), flag("no-check-reuse-pool"),
    with("check-sni", Value::Any), with("check-alpn", Value::Any), with("check-proto", Value::Any),
    with("check-pool-conn-name", Value::Any), flag("check-sni-auto"), flag("no-check-sni-auto"),
    flag("agent-check"), flag("no-agent-check"), with("agent-inter", Value::Interval), with("agent-port", PORT),
    with("agent-addr", Value::Ip), with("agent-send", Value::Any),
    with("on-error", Value::OneOf(&["fastinter", "fail-check", "sudden-death", "mark-down"])),
    with("on-marked-down", Value::OneOf(&["shutdown-sessions"])),
    with("on-marked-up", Value::OneOf(&["shutdown-backup-sessions"])),
    with("observe", Value::OneOf(&["layer4", "layer7"])), with("error-limit", POSITIVE),
    with("init-state", Value::OneOf(&["fully-up", "up", "down", "fully-down"])),
    // Load and persistence.
    with("weight", Value::Number(0, 256)), flag("backup"), flag("no-backup"),
    with("maxconn", COUNT), with("minconn", COUNT), with("maxqueue", COUNT), flag("strict-maxconn"),
    with("slowstart", Value::Duration), with("shard", POSITIVE), with("cookie", Value::Any),
    flag("stick"), flag("non-stick"), with("redir", Value::Any),
    with("hash-key", Value::OneOf(&["id", "addr", "addr-port"])),
    // Connections to the server.
    with("max-reuse", COUNT_OR_UNLIMITED), with("pool-max-conn", COUNT_OR_UNLIMITED), with("pool-low-conn", COUNT),
    with("pool-min-conn", COUNT), with("pool-purge-delay", Value::Duration), with("pool-conn-name", Value::Any),
    with("idle-ping", Value::Duration), with("tcp-ut", Value::Duration), flag("tfo"), flag("no-tfo"),
    with("proto", Value::Any), with("ws", Value::OneOf(&["auto", "h1", "h2"])),
    flag("send-proxy"), flag("no-send-proxy"), flag("send-proxy-v2"), flag("no-send-proxy-v2"),
    flag("send-proxy-v2-ssl"), flag("no-send-proxy-v2-ssl"),
    flag("send-proxy-v2-ssl-cn"), flag("no-send-proxy-v2-ssl-cn"), with("proxy-v2-options", Value::Any),
    // Names that are resolved.
    with("init-addr", Value::InitAddr), with("resolvers", Value::Any), with("resolve-opts", Value::Any),
    with("resolve-prefer", Value::OneOf(&["ipv4", "ipv6"])), with("resolve-net", Value::Any),
    // TLS.
    flag("ssl"), flag("no-ssl"), with("verify", Value::OneOf(&["none", "required"])),
    with("verifyhost", Value::Any), flag("no-verifyhost"), with("sni", Value::Any), flag("sni-auto"),
    flag("no-sni-auto"), with("alpn", Value::Any), with("npn", Value::Any), flag("allow-0rtt"),
    with("ciphers", Value::Any), with("ciphersuites", Value::Any), with("curves", Value::Any),
    with("sigalgs", Value::Any), with("client-sigalgs", Value::Any),
    with("ssl-min-ver", TLS_VERSION), with("ssl-max-ver", TLS_VERSION), flag("ssl-reuse"), flag("no-ssl-reuse"),
    flag("tls-tickets"), flag("no-tls-tickets"), flag("no-sslv3"), flag("no-tlsv10"), flag("no-tlsv11"),
    flag("no-tlsv12"), flag("no-tlsv13"), flag("force-sslv3"), flag("force-tlsv10"), flag("force-tlsv11"),
    flag("force-tlsv12"), flag("force-tlsv13"),
];

const READS_A_FILE: &str = "it reads a file of HAProxy's machine";
const OUR_STATE: &str =
    "proxymgr sets the state of servers; a host says it with the key \"state\" (ready, drain, maint)";
const OUTGOING: &str = "it chooses where HAProxy's own connections come from";
const UNIQUE: &str = "it has to be unique, and these options are those of every server";

const REFUSED: &[(&str, usize, &str)] = &[
    ("crt", 1, READS_A_FILE),
    ("ca-file", 1, READS_A_FILE),
    ("crl-file", 1, READS_A_FILE),
    ("source", 1, OUTGOING),
    ("usesrc", 1, OUTGOING),
    ("interface", 1, OUTGOING),
    ("namespace", 1, OUTGOING),
    ("socks4", 1, OUTGOING),
    ("check-via-socks4", 0, OUTGOING),
    ("disabled", 0, OUR_STATE),
    ("enabled", 0, OUR_STATE),
    ("id", 1, UNIQUE),
    ("guid", 1, UNIQUE),
    ("track", 1, "a server that others track cannot be removed while HAProxy runs"),
    ("log-proto", 1, "a service forwards connections, not log messages"),
    ("log-bufsize", 1, "a service forwards connections, not log messages"),
];
