//! Options of a server: which HAProxy accepts in the file and in `add server`, and their effect. Measured on 2.2.9,
//! 2.6.12, 3.0.11 and 3.2.26, each option in both places; versions in between know an option from the first of these
//! four on that knows it. The table is no copy of the allow-list in `decide`: it lists what HAProxy accepts, not what a
//! service may use.

use std::collections::BTreeSet;

use proxymgr_actors::model::{ProxyVersion, Word};

/// Effect of a server's options, as far as the Runtime API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerOptions {
    /// `weight`.
    pub(super) weight: u16,
    /// The last of `disabled` and `enabled`; `None` without either.
    pub(super) disabled: Option<bool>,
    /// Whether health checks are configured.
    pub(super) check: bool,
    /// `init-addr`, if set.
    pub(super) init_addr: Option<String>,
    /// Server that `track` refers to.
    pub(super) track: Option<String>,
    /// Whether there is a `cookie`.
    pub(super) cookie: bool,
    /// `id`, if set.
    pub(super) id: Option<u32>,
    /// Whether the server has an agent.
    pub(super) agent_check: bool,
    agent_port: bool,
    tls: bool,
    check_tls: bool,
    verified: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            weight: 1,
            disabled: None,
            check: false,
            init_addr: None,
            track: None,
            cookie: false,
            id: None,
            agent_check: false,
            agent_port: false,
            tls: false,
            check_tls: false,
            verified: false,
        }
    }
}

/// Context in which options are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    /// The version of HAProxy.
    pub(super) version: ProxyVersion,
    /// Whether they are read from `add server`, not from the file.
    pub(super) at_run_time: bool,
    /// Whether the section is in HTTP mode.
    pub(super) http: bool,
    /// The server's name, which some messages contain.
    pub(super) server: &'a str,
    /// The ids of the section's other servers.
    pub(super) taken: &'a BTreeSet<u32>,
}

impl ServerOptions {
    /// Reads the words after a server's address, or those of a `default-server` line.
    ///
    /// # Errors
    /// HAProxy's message about the first word that it refuses.
    pub(super) fn read(&mut self, words: &[Word], reading: Reading<'_>) -> Result<(), String> {
        let mut rest = words.iter().map(Word::as_str);
        while let Some(name) = rest.next() {
            let option = OPTIONS.iter().find(|option| option.name == name && reading.version >= version(option.since));
            // The real message may add a suggestion.
            let option = option.ok_or_else(|| format!("unknown keyword '{name}'."))?;
            if reading.at_run_time && !option.at_run_time.holds(reading.version) {
                return Err(format!("'{name}' option is not accepted for dynamic server"));
            }
            let value = if option.value == Value::None { None } else { rest.next() };
            if let Some(mistake) = option.value.mistake(name, value, reading) {
                return Err(mistake);
            }
            self.take(name, value.unwrap_or_default());
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "weight" => self.weight = leading_number(value).and_then(|number| number.try_into().ok()).unwrap_or(0),
            "disabled" => self.disabled = Some(true),
            "enabled" => self.disabled = Some(false),
            "check" => self.check = true,
            "no-check" => self.check = false,
            "agent-check" => self.agent_check = true,
            "no-agent-check" => self.agent_check = false,
            "agent-port" => self.agent_port = true,
            "ssl" => self.tls = true,
            "no-ssl" => self.tls = false,
            "check-ssl" => self.check_tls = true,
            "no-check-ssl" => self.check_tls = false,
            "verify" => self.verified = value == "none",
            "ca-file" => self.verified = true,
            "init-addr" => self.init_addr = Some(value.to_owned()),
            "cookie" => self.cookie = true,
            "id" => self.id = leading_number(value).and_then(|number| number.try_into().ok()),
            "track" => self.track = Some(value.to_owned()),
            _ => {}
        }
    }

    /// Checks the options as a whole. `verify_by_default` is the global `ssl-server-verify`.
    ///
    /// # Errors
    /// HAProxy's message.
    pub(super) fn finish(&self, server: &str, verify_by_default: bool) -> Result<(), String> {
        if self.agent_check && !self.agent_port {
            return Err(format!("server {server} does not have agent port. Agent check has been disabled."));
        }
        if (self.tls || self.check_tls) && verify_by_default && !self.verified {
            return Err("verify is enabled by default but no CA file specified. If you're running on a LAN where \
                        you're certain to trust the server's certificate, please set an explicit 'verify none' \
                        statement on the 'server' line, or use 'ssl-server-verify none' in the global section to \
                        disable server-side verifications by default."
                .to_owned());
        }
        Ok(())
    }
}

/// Parses a number like C's `atol`.
fn leading_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    text[..text.len() - digits.len() + length].parse().ok()
}

/// Value of an option, as far as it is checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Nothing.
    None,
    /// Any value, or none.
    Optional,
    /// Anything.
    Any,
    /// 0 to 256; a text that is no number counts as 0.
    Weight,
    /// A duration.
    Duration,
    /// A duration that is not 0.
    Interval,
    /// A number above 0.
    Positive,
    /// A number above 0 that no other server of the section has.
    Id,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Value {
    /// Returns HAProxy's message about an invalid value.
    fn mistake(self, name: &str, value: Option<&str>, reading: Reading<'_>) -> Option<String> {
        let server = reading.server;
        let text = match (self, value) {
            (Self::None | Self::Optional, _) | (Self::Weight, None) => return None,
            (_, None) => return Some(format!("'{name}' expects a value as argument..")),
            (_, Some(text)) => text,
        };
        match self {
            Self::Weight => {
                let number = leading_number(text).unwrap_or(0);
                (!(0..=256).contains(&number))
                    .then(|| format!("weight of server {server} is not within 0 and 256 ({number}).."))
            }
            Self::Duration | Self::Interval => match duration_ms(text) {
                Err(Some(c)) => Some(format!("unexpected character '{c}' in '{name}' argument of server {server}..")),
                Err(None) => Some(format!("timer overflow in argument <{text}> to <{name}> of server {server}..")),
                Ok(0) if self == Self::Interval => {
                    Some(format!("invalid value 0 for argument '{name}' of server {server}.."))
                }
                Ok(_) => None,
            },
            Self::Positive => {
                leading_number(text).is_none_or(|number| number <= 0).then(|| format!("'{name}' has to be > 0.."))
            }
            Self::Id => match leading_number(text).filter(|number| *number > 0) {
                None => Some("'id' : custom id has to be > 0.".to_owned()),
                // HAProxy also names the place; the model does not.
                Some(id) if u32::try_from(id).is_ok_and(|id| reading.taken.contains(&id)) => {
                    Some(format!("'id' : custom id {id} already used"))
                }
                Some(_) => None,
            },
            Self::OneOf(["layer4", "layer7"]) if text == "layer7" && !reading.http => {
                Some("'layer7' can only be used in http proxies..".to_owned())
            }
            Self::OneOf(known) => (!known.contains(&text)).then(|| {
                let known: Vec<_> = known.iter().map(|word| format!("'{word}'")).collect();
                format!("'{name}' expects one of {} but got '{text}'.", known.join(", "))
            }),
            Self::None | Self::Optional | Self::Any => None,
        }
    }
}

/// Parses HAProxy's durations into milliseconds. The error is the first invalid character, or `None` if the duration is
/// too long.
fn duration_ms(text: &str) -> Result<u64, Option<char>> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(length);
    let number: u64 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| None)? };
    let (multiplier, divisor) = match unit {
        "us" => (1, 1_000),
        "" | "ms" => (1, 1),
        "s" => (1_000, 1),
        "m" => (60_000, 1),
        "h" => (3_600_000, 1),
        "d" => (86_400_000, 1),
        _ => return Err(unit.chars().next()),
    };
    let ms = number.checked_mul(multiplier).ok_or(None)?.div_ceil(divisor);
    if ms > i32::MAX as u64 { Err(None) } else { Ok(ms) }
}

/// Range of versions in which `add server` accepts an option.
#[derive(Debug, Clone, Copy)]
enum AtRunTime {
    Always,
    From(Branch),
    Before(Branch),
    Never,
}

impl AtRunTime {
    fn holds(self, running: ProxyVersion) -> bool {
        match self {
            Self::Always => true,
            Self::From(first) => running >= version(first),
            Self::Before(first) => running < version(first),
            Self::Never => false,
        }
    }
}

type Branch = (u16, u16);

fn version((major, minor): Branch) -> ProxyVersion {
    ProxyVersion { major, minor }
}

#[derive(Debug, Clone, Copy)]
struct KnownOption {
    name: &'static str,
    value: Value,
    since: Branch,
    at_run_time: AtRunTime,
}

const fn option(name: &'static str, value: Value) -> KnownOption {
    KnownOption { name, value, since: (2, 2), at_run_time: AtRunTime::Always }
}

const fn flag(name: &'static str) -> KnownOption {
    option(name, Value::None)
}

impl KnownOption {
    const fn since(self, major: u16, minor: u16) -> Self {
        Self { since: (major, minor), ..self }
    }

    const fn file_only(self) -> Self {
        Self { at_run_time: AtRunTime::Never, ..self }
    }

    const fn at_run_time(self, at_run_time: AtRunTime) -> Self {
        Self { at_run_time, ..self }
    }
}

#[rustfmt::skip]
const OPTIONS: &[KnownOption] = &[
    // Health checks.
    flag("check"), flag("no-check").file_only(),
    option("inter", Value::Interval), option("fastinter", Value::Interval), option("downinter", Value::Interval),
    option("rise", Value::Positive), option("fall", Value::Positive),
    option("port", Value::Any), option("addr", Value::Any),
    flag("check-ssl"), flag("no-check-ssl").file_only(),
    flag("check-send-proxy"), flag("no-check-send-proxy").file_only(), flag("check-via-socks4"),
    flag("check-reuse-pool").since(3, 2), flag("no-check-reuse-pool").since(3, 2).file_only(),
    option("check-sni", Value::Any), option("check-alpn", Value::Any), option("check-proto", Value::Any),
    option("check-pool-conn-name", Value::Any).since(3, 2),
    flag("check-sni-auto").since(3, 3).file_only(), flag("no-check-sni-auto").since(3, 3),
    flag("agent-check"), flag("no-agent-check").file_only(), option("agent-inter", Value::Interval),
    option("agent-port", Value::Any), option("agent-addr", Value::Any), option("agent-send", Value::Any),
    option("on-error", Value::OneOf(&["fastinter", "fail-check", "sudden-death", "mark-down"])),
    option("on-marked-down", Value::OneOf(&["shutdown-sessions"])),
    option("on-marked-up", Value::OneOf(&["shutdown-backup-sessions"])),
    option("observe", Value::OneOf(&["layer4", "layer7"])), option("error-limit", Value::Positive),
    option("init-state", Value::OneOf(&["fully-up", "up", "down", "fully-down"])).since(3, 1),
    option("track", Value::Any),
    // Load, persistence, state.
    option("weight", Value::Weight), flag("backup"), flag("no-backup"), flag("disabled"),
    flag("enabled").at_run_time(AtRunTime::Before((3, 0))),
    option("maxconn", Value::Optional), option("minconn", Value::Optional), option("maxqueue", Value::Optional),
    flag("strict-maxconn").since(3, 2), option("slowstart", Value::Duration),
    option("shard", Value::Any).since(3, 0), option("id", Value::Id), option("guid", Value::Any).since(3, 0),
    option("hash-key", Value::OneOf(&["id", "addr", "addr-port"])).since(3, 0),
    option("cookie", Value::Any).at_run_time(AtRunTime::From((3, 0))),
    flag("stick").file_only(), flag("non-stick").file_only(), option("redir", Value::Any).file_only(),
    // Connections to the server.
    option("max-reuse", Value::Any).file_only(), option("pool-max-conn", Value::Any),
    option("pool-low-conn", Value::Any), option("pool-purge-delay", Value::Duration),
    option("pool-conn-name", Value::Any).since(3, 0), option("idle-ping", Value::Duration).since(3, 2),
    option("tcp-ut", Value::Duration).file_only(), flag("tfo"), flag("no-tfo"), option("proto", Value::Any),
    option("ws", Value::OneOf(&["auto", "h1", "h2"])).since(2, 6),
    flag("send-proxy"), flag("no-send-proxy"), flag("send-proxy-v2"), flag("no-send-proxy-v2"),
    flag("send-proxy-v2-ssl"), flag("no-send-proxy-v2-ssl").file_only(),
    flag("send-proxy-v2-ssl-cn"), flag("no-send-proxy-v2-ssl-cn").file_only(),
    option("proxy-v2-options", Value::Any), option("source", Value::Any),
    option("socks4", Value::Any).file_only(), option("namespace", Value::Any).file_only(),
    option("log-proto", Value::Any).file_only(), option("log-bufsize", Value::Any).since(3, 0).file_only(),
    // Names that are resolved.
    option("init-addr", Value::Any).file_only(), option("resolvers", Value::Any).file_only(),
    option("resolve-opts", Value::Any).file_only(), option("resolve-net", Value::Any).file_only(),
    option("resolve-prefer", Value::OneOf(&["ipv4", "ipv6"])).file_only(),
    // TLS.
    flag("ssl"), flag("no-ssl").file_only(), option("verify", Value::OneOf(&["none", "required"])),
    option("verifyhost", Value::Any), option("sni", Value::Any), flag("sni-auto").since(3, 3).file_only(),
    flag("no-sni-auto").since(3, 3), option("alpn", Value::Any), option("npn", Value::Any), flag("allow-0rtt"),
    option("ciphers", Value::Any), option("ciphersuites", Value::Any), option("crt", Value::Any),
    option("ca-file", Value::Any), option("crl-file", Value::Any), option("curves", Value::Any).since(3, 0),
    option("sigalgs", Value::Any).since(3, 0), option("client-sigalgs", Value::Any).since(3, 0),
    option("ssl-min-ver", Value::Any), option("ssl-max-ver", Value::Any), flag("ssl-reuse").file_only(),
    flag("no-ssl-reuse"), flag("tls-tickets"), flag("no-tls-tickets"), flag("no-sslv3"), flag("no-tlsv10"),
    flag("no-tlsv11"), flag("no-tlsv12"), flag("no-tlsv13"), flag("force-sslv3"), flag("force-tlsv10"),
    flag("force-tlsv11"), flag("force-tlsv12"), flag("force-tlsv13"), flag("renegotiate").since(3, 4),
    flag("no-renegotiate").since(3, 4), option("ktls", Value::OneOf(&["on", "off"])).since(3, 4),
];
