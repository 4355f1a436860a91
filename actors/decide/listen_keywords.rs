//! The lines that a service may put into its `listen` section: an allow-list by keyword, and by the arguments where
//! they decide whether the line only affects the section.
//!
//! Source: `configuration.txt` 4.2, "Proxy keywords", and 4.3, "Actions keywords", of HAProxy 2.2 to 3.2.

use std::net::IpAddr;

use super::expression::reaches_outside;
use super::nearest::nearest;
use crate::model::Word;

/// The rule for the arguments of a keyword.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Any arguments: none of them affects anything outside the section.
    Any,
    /// The next word is one of these, or one of these followed by `(`.
    OneOf(&'static [&'static str]),
    /// The word after next is one of these: `tcp-request content ACTION`. The next word is the phase.
    InPhase { phases: &'static [&'static str], actions: &'static [&'static str] },
}

/// Returns why a keyword is refused regardless of `haproxy.extra_options`: it would end the section, or conflict with
/// lines that proxymgr writes.
pub fn structural_refusal(keyword: &str) -> Option<String> {
    if SECTIONS.contains(&keyword) {
        return Some(format!("{keyword:?} would begin another section; a service has its own section only"));
    }
    if keyword.starts_with('.') {
        return Some(format!("{keyword:?} is a conditional of the whole file"));
    }
    if matches!(keyword, "server" | "server-template") {
        return Some(format!(
            "{keyword:?} lines are written by proxymgr; hosts come from the service's source (\"type\": \"static\" takes \
             them from the definition), their options from \"server_options\""
        ));
    }
    None
}

/// Returns the replacement for a line that current HAProxy versions refuse, regardless of `haproxy.extra_options`.
pub fn removed(words: &[Word]) -> Option<String> {
    let (keyword, arguments) = positive(words);
    let with_argument = arguments.first().map(|argument| format!("{keyword} {}", argument.as_str()));
    let is_meant = |name: &&str| *name == keyword || Some(*name) == with_argument.as_deref();
    let (name, successor) =
        REMOVED.iter().find_map(|(names, successor)| Some((names.iter().find(|name| is_meant(name))?, successor)))?;
    Some(format!("{name:?} was removed from HAProxy; use {successor}"))
}

/// Returns why a service may not use this line.
pub fn refusal(words: &[Word]) -> Option<String> {
    let (keyword, arguments) = positive(words);
    if let Some((_, reason)) = REFUSED.iter().find(|(names, _)| names.contains(&keyword)) {
        return Some(format!("{keyword:?} is not allowed: {reason}"));
    }
    if keyword == "log" && !is_plain_log(words) {
        return Some("a service cannot choose where logs go; \"log global\" uses what the operator has set".to_owned());
    }
    let Some((_, rule)) = ALLOWED.iter().find(|(name, _)| *name == keyword) else {
        let suggestion = suggestion(keyword, ALLOWED.iter().map(|(name, _)| *name));
        return Some(format!("{keyword:?} is not an option that a service may use{suggestion}"));
    };
    rule_refusal(keyword, *rule, arguments)
        .or_else(|| reaches_outside(words).map(|reason| format!("{keyword:?}: {reason}")))
        .or_else(|| argument_refusal(keyword, arguments))
}

/// Returns whether the line is `log global` or `no log`.
fn is_plain_log(words: &[Word]) -> bool {
    matches!(words, [first, second] if matches!((first.as_str(), second.as_str()), ("log", "global") | ("no", "log")))
}

/// Returns the keyword of a line, without a leading `no`, and its arguments.
pub fn positive(words: &[Word]) -> (&str, &[Word]) {
    match words {
        [no, keyword, arguments @ ..] if no.as_str() == "no" => (keyword.as_str(), arguments),
        [keyword, arguments @ ..] => (keyword.as_str(), arguments),
        [] => ("", &[]),
    }
}

fn suggestion(word: &str, known: impl IntoIterator<Item = &'static str>) -> String {
    nearest(word, known).map_or_else(String::new, |known| format!("; did you mean {known:?}?"))
}

fn rule_refusal(keyword: &str, rule: Rule, arguments: &[Word]) -> Option<String> {
    let word = |index: usize| arguments.get(index).map_or("", Word::as_str);
    let (path, word, known) = match rule {
        Rule::Any => return None,
        Rule::OneOf(known) => (keyword.to_owned(), word(0), known),
        Rule::InPhase { phases, actions } => {
            if word(0) == "inspect-delay" {
                return None;
            }
            if !phases.contains(&word(0)) {
                return Some(format!("{:?} after {keyword:?} is none of {}", word(0), phases.join(", ")));
            }
            (format!("{keyword} {}", word(0)), word(1), actions)
        }
    };
    let name = word.split('(').next().unwrap_or(word);
    let counter = name.strip_prefix("track-sc").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let allowed = known.contains(&name) || (counter && known.contains(&"track-sc0"));
    (!allowed).then(|| match word {
        "" => format!("{path:?} is not complete"),
        _ => {
            let suggestion = suggestion(word, known.iter().copied());
            format!("{word:?} after {path:?} is not something that a service may use{suggestion}")
        }
    })
}

/// Returns why the arguments of an allowed line are refused.
fn argument_refusal(keyword: &str, arguments: &[Word]) -> Option<String> {
    let position = |wanted: &str| arguments.iter().position(|word| word.as_str() == wanted);
    match keyword {
        "http-request" | "http-response" | "http-after-response" | "http-error" | "tcp-request" | "stick" => {
            let file = ["file", "lf-file", "errorfile", "errorfiles"].into_iter().find(|file| position(file).is_some());
            if let Some(file) = file.filter(|_| keyword.starts_with("http-")) {
                return Some(format!("{keyword:?} with {file:?} reads a file"));
            }
            let shares = keyword == "stick" || arguments.iter().any(|word| word.as_str().starts_with("track-sc"));
            (shares && position("table").is_some())
                .then(|| format!("{keyword:?} with \"table\" uses the stick table of another section"))
        }
        "http-check" | "tcp-check" if arguments.first().is_some_and(|word| word.as_str() == "connect") => {
            if position("via-socks4").is_some() {
                return Some(format!("{keyword:?} with \"via-socks4\" connects by another path than the service"));
            }
            let address = position("addr").map(|at| arguments.get(at + 1).map_or("", Word::as_str));
            let mistaken = address.filter(|text| text.parse::<IpAddr>().is_err());
            mistaken.map(|text| format!("the address {text:?} in {keyword:?} is not an IP address"))
        }
        _ => None,
    }
}

#[rustfmt::skip]
const SECTIONS: &[&str] = &[
    "global", "defaults", "listen", "frontend", "backend", "peers", "resolvers", "userlist", "mailers", "program",
    "cache", "ring", "log-forward", "log-profile", "http-errors", "fcgi-app", "crt-store", "traces", "acme",
    "namespace_list", "healthcheck", "ruleset",
];

const OUTSIDE: &str = "it reaches outside the service's own section";
const FILES: &str = "it reads a file of HAProxy's machine";
const CODE: &str = "it runs code outside HAProxy, or hands traffic to it";

#[rustfmt::skip]
const REFUSED: &[(&[&str], &str)] = &[
    (&["bind", "bind-process"], "proxymgr opens the listening socket; use the keys \"port\" and \"bind\""),
    (&["use_backend", "default_backend", "use-server"], "a service only forwards to the hosts of its source"),
    (&["dispatch", "source", "transparent"], OUTSIDE),
    (&["errorfile", "errorfiles", "load-server-state-from-file", "server-state-file-name", "ssl-f-use"], FILES),
    (&["external-check", "filter", "filter-sequence", "use-fcgi-app"], CODE),
    (&["email-alert"], "a service cannot send mail"),
    (&["disabled", "enabled"], "a service is taken out by removing its definition"),
    (&["id", "guid"], "proxymgr does not keep them unique among services"),
];

/// Removed keywords, with their first argument where it matters, and their successors. Source: the messages of HAProxy
/// 2.2 to 3.2, which refuse these lines (2.2 still accepts `monitor-net`, `mode health`, `grace` and `option
/// forceclose`).
#[rustfmt::skip]
const REMOVED: &[(&[&str], &str)] = &[
    (&["reqadd"], "\"http-request add-header\""),
    (&["reqallow", "reqiallow", "reqpass", "reqipass"], "\"http-request allow\""),
    (&["reqdel", "reqidel"], "\"http-request del-header\""),
    (&["reqdeny", "reqideny", "block"], "\"http-request deny\""),
    (&["reqrep", "reqirep"], "\"http-request replace-path\", \"http-request replace-uri\" or \"http-request replace-header\""),
    (&["reqtarpit", "reqitarpit"], "\"http-request tarpit\""),
    (&["rspadd"], "\"http-response add-header\""),
    (&["rspdel", "rspidel"], "\"http-response del-header\""),
    (&["rspdeny", "rspideny"], "\"http-response deny\""),
    (&["rsprep", "rspirep"], "\"http-response replace-header\""),
    (&["clitimeout"], "\"timeout client\""),
    (&["contimeout"], "\"timeout connect\""),
    (&["srvtimeout"], "\"timeout server\""),
    (&["redispatch", "redisp"], "\"option redispatch\""),
    (&["appsession"], "\"cookie\", or \"stick on req.cook(NAME)\" with a \"stick-table\""),
    (&["monitor-net"], "\"http-request return status 200 if { src NETWORK }\""),
    (&["mode health"], "\"http-request return status 200\""),
    (&["grace"], "\"hard-stop-after\", which the operator sets"),
    (&["option forceclose"], "\"option httpclose\""),
    (&["option http_proxy"], "\"http-request set-dst\" and \"http-request set-uri\""),
    (&["option tcpsplice"], "\"option splice-auto\""),
    (&["option independant-streams"], "\"option independent-streams\""),
];

#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "abortonclose", "accept-invalid-http-request", "accept-invalid-http-response",
    "accept-unsafe-violations-in-http-request", "accept-unsafe-violations-in-http-response", "allbackups",
    "checkcache", "clitcpka", "contstats", "disable-h2-upgrade", "dontlog-normal", "dontlognull", "forwarded",
    "forwardfor", "h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server", "http-buffer-request",
    "http-drop-request-trailers", "http-drop-response-trailers", "http-ignore-probes", "http-keep-alive",
    "http-no-delay", "http-pretend-keepalive", "http-restrict-req-hdr-names", "http-server-close", "http-tunnel",
    "http-use-htx", "http-use-proxy-header", "httpchk", "httpclose", "httplog", "httpslog",
    "idle-close-on-response", "independent-streams", "ldap-check", "log-health-checks", "log-separate-errors",
    "logasap", "mysql-check", "nolinger", "originalto", "persist", "pgsql-check", "prefer-last-server",
    "redis-check", "redispatch", "smtpchk", "socket-stats", "splice-auto", "splice-request", "splice-response",
    "spop-check", "srvtcpka", "ssl-hello-chk", "tcp-check", "tcp-smart-accept", "tcp-smart-connect", "tcpka",
    "tcplog",
];

#[rustfmt::skip]
const TIMEOUTS: &[&str] = &[
    "check", "client", "client-fin", "client-hs", "connect", "http-keep-alive", "http-request", "queue", "server",
    "server-fin", "tarpit", "tunnel",
];

#[rustfmt::skip]
const HTTP_ACTIONS: &[&str] = &[
    "add-header", "allow", "auth", "capture", "del-header", "deny", "disable-l7-retry", "do-log", "early-hint",
    "normalize-uri", "pause", "redirect", "reject", "replace-header", "replace-path", "replace-pathq", "replace-uri",
    "replace-value", "return", "sc-add-gpc", "sc-inc-gpc", "sc-inc-gpc0", "sc-inc-gpc1", "sc-set-gpt", "sc-set-gpt0",
    "set-cookie-fmt", "set-dst", "set-dst-port", "set-fc-mark", "set-fc-tos", "set-header", "set-header-bin",
    "set-headers-bin", "set-log-level", "set-mark", "set-method", "set-nice", "set-path", "set-pathq",
    "set-priority-class", "set-priority-offset", "set-query", "set-retries", "set-src", "set-src-port", "set-status",
    "set-timeout", "set-tos", "set-uri", "set-var", "set-var-fmt", "silent-drop", "strict-mode", "tarpit",
    "track-sc0", "unset-var", "wait-for-body", "wait-for-handshake",
];

#[rustfmt::skip]
const TCP_ACTIONS: &[&str] = &[
    "accept", "capture", "close", "do-log", "expect-netscaler-cip", "expect-proxy", "reject", "sc-add-gpc",
    "sc-inc-gpc", "sc-inc-gpc0", "sc-inc-gpc1", "sc-set-gpt", "sc-set-gpt0", "set-dst", "set-dst-port",
    "set-fc-mark", "set-fc-tos", "set-log-level", "set-mark", "set-nice", "set-priority-class",
    "set-priority-offset", "set-retries", "set-src", "set-src-port", "set-tos", "set-var", "set-var-fmt",
    "silent-drop", "switch-mode", "track-sc0", "unset-var",
];

#[rustfmt::skip]
const CHECK_STEPS: &[&str] = &[
    "comment", "connect", "disable-on-404", "expect", "send", "send-binary", "send-binary-lf", "send-lf",
    "send-state", "set-var", "set-var-fmt", "unset-var",
];

#[rustfmt::skip]
const STATS: &[&str] = &[
    "auth", "enable", "hide-version", "http-request", "realm", "refresh", "scope", "show-desc", "show-legends",
    "show-modules", "show-node", "uri",
];

#[rustfmt::skip]
const ALLOWED: &[(&str, Rule)] = &[
    ("acl", Rule::Any), ("backlog", Rule::Any), ("balance", Rule::Any), ("capture", Rule::Any),
    ("clitcpka-cnt", Rule::Any), ("clitcpka-idle", Rule::Any), ("clitcpka-intvl", Rule::Any),
    ("compression", Rule::Any), ("cookie", Rule::Any), ("declare", Rule::OneOf(&["capture"])),
    ("default-server", Rule::Any), ("description", Rule::Any), ("dynamic-cookie-key", Rule::Any),
    ("error-log-format", Rule::Any),
    ("errorloc", Rule::Any), ("errorloc302", Rule::Any), ("errorloc303", Rule::Any),
    ("force-persist", Rule::Any), ("fullconn", Rule::Any), ("hash-balance-factor", Rule::Any),
    ("hash-preserve-affinity", Rule::Any), ("hash-type", Rule::Any),
    ("http-after-response", Rule::OneOf(HTTP_ACTIONS)), ("http-check", Rule::OneOf(CHECK_STEPS)),
    ("http-error", Rule::Any), ("http-request", Rule::OneOf(HTTP_ACTIONS)),
    ("http-response", Rule::OneOf(HTTP_ACTIONS)), ("http-reuse", Rule::Any),
    ("http-send-name-header", Rule::Any), ("ignore-persist", Rule::Any), ("log", Rule::Any),
    ("log-format", Rule::Any), ("log-format-sd", Rule::Any), ("log-steps", Rule::Any), ("log-tag", Rule::Any),
    ("max-keep-alive-queue", Rule::Any), ("max-session-srv-conns", Rule::Any), ("maxconn", Rule::Any),
    ("mode", Rule::OneOf(&["http", "tcp"])), ("monitor", Rule::OneOf(&["fail"])), ("monitor-uri", Rule::Any),
    ("option", Rule::OneOf(OPTIONS)), ("persist", Rule::OneOf(&["rdp-cookie"])),
    ("rate-limit", Rule::OneOf(&["sessions"])), ("redirect", Rule::Any), ("retries", Rule::Any),
    ("retry-on", Rule::Any), ("srvtcpka-cnt", Rule::Any), ("srvtcpka-idle", Rule::Any),
    ("srvtcpka-intvl", Rule::Any), ("stats", Rule::OneOf(STATS)), ("stick", Rule::Any),
    ("stick-table", Rule::Any), ("tcp-check", Rule::OneOf(CHECK_STEPS)),
    ("tcp-request", Rule::InPhase { phases: &["connection", "session", "content"], actions: TCP_ACTIONS }),
    ("tcp-response", Rule::InPhase { phases: &["content"], actions: TCP_ACTIONS }),
    ("timeout", Rule::OneOf(TIMEOUTS)), ("unique-id-format", Rule::Any), ("unique-id-header", Rule::Any),
];
