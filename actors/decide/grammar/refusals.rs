//! The lines that a service may not use, with their reasons.

use crate::decide::quoting::escaped_control;
use crate::model::Word;

/// The keywords that begin a section.
#[rustfmt::skip]
const SECTIONS: &[&str] = &[
    "global", "defaults", "listen", "frontend", "backend", "peers", "resolvers", "userlist", "mailers", "program",
    "cache", "ring", "log-forward", "log-profile", "http-errors", "fcgi-app", "crt-store", "traces", "acme",
    "namespace_list", "healthcheck", "ruleset",
];

const OUTSIDE: &str = "it reaches outside the service's own section";
const FILES: &str = "it reads a file of HAProxy's machine";
const BYTES: &str = "its bytes may hold line breaks, which would end an answer in a connection that services share";
const CODE: &str = "it runs code outside HAProxy, or hands traffic to it";
const MARKS: &str = "marks choose routes and firewall rules of HAProxy's machine";

/// Beginnings of lines that only the operator grants, with the reasons.
#[rustfmt::skip]
pub const GRANTED: &[(&[&str], &str)] = &[
    (&["bind", "bind-process"], "proxymgr opens the listening socket; use the keys \"port\" and \"bind\""),
    (&["use_backend", "default_backend", "use-server"], "a service only forwards to the hosts of its source"),
    (&["dispatch", "source", "transparent", "option transparent", "http-request do-resolve", "tcp-request content do-resolve"],
     OUTSIDE),
    (&["errorfile", "errorfiles", "load-server-state-from-file", "server-state-file-name", "ssl-f-use",
       "http-request set-map", "http-request del-map", "http-request add-acl", "http-request del-acl",
       "http-response set-map", "http-response del-map", "http-response add-acl", "http-response del-acl"], FILES),
    (&["external-check", "filter", "filter-sequence", "use-fcgi-app", "option external-check", "http-request use-service",
       "tcp-request content use-service", "http-request send-spoe-group", "http-response send-spoe-group",
       "tcp-request content send-spoe-group", "tcp-response content send-spoe-group"], CODE),
    (&["http-request set-headers-bin", "http-request add-headers-bin", "http-response set-headers-bin",
       "http-response add-headers-bin", "http-after-response set-headers-bin", "http-after-response add-headers-bin"], BYTES),
    (&["email-alert"], "a service cannot send mail"),
    (&["disabled", "enabled"], "a service is taken out by removing its definition"),
    (&["guid", "id"], "it has to be unique in the whole file"),
    (&["stats admin"], "it lets visitors of the page change the state of servers; the status page of proxymgr does that"),
    (&["stats socket"], "it opens a socket of HAProxy's Runtime API"),
    (&["http-request cache-use", "http-response cache-store"], "it refers to a cache, which is a section of the base configuration"),
    (&["http-request set-mark", "http-request set-fc-mark", "http-request set-bc-mark", "http-response set-mark",
       "http-response set-fc-mark", "tcp-request connection set-mark", "tcp-request connection set-fc-mark",
       "tcp-request session set-mark", "tcp-request session set-fc-mark", "tcp-request content set-mark",
       "tcp-request content set-fc-mark", "tcp-request content set-bc-mark", "tcp-response content set-mark",
       "tcp-response content set-fc-mark"], MARKS),
    (&["http-request set-bandwidth-limit", "http-response set-bandwidth-limit"], "it needs a filter"),
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

/// Returns why a keyword is refused regardless of `haproxy.extra_options`: it would end the section, or conflict with
/// lines that proxymgr writes.
pub fn structural(keyword: &str) -> Option<String> {
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

/// Lines of which HAProxy writes words into messages or logs as they are.
const WRITTEN: &[&str] = &[
    "http-request",
    "http-response",
    "http-after-response",
    "http-error",
    "redirect",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "cookie",
    "stats",
    "unique-id-format",
    "log-format",
    "log-format-sd",
    "error-log-format",
    "log-tag",
    "description",
];

/// Returns why a line is refused whose text would add lines to a message or to a log. The body of an answer may have
/// several lines. HAProxy encodes the results of expressions, but not this text.
pub fn line_break(words: &[Word]) -> Option<String> {
    let texts = Vec::from_iter(words.iter().map(Word::as_str));
    if !WRITTEN.contains(texts.first()?) {
        return None;
    }
    let has_body = texts[0] == "http-error" || matches!(texts.get(1), Some(&("return" | "deny" | "tarpit")));
    let is_body =
        |at: usize| has_body && at >= 2 && matches!(texts[at - 1], "string" | "lf-string") && texts[at - 2] != "hdr";
    let breaks = |text: &str| text.chars().any(|c| matches!(escaped_control(c), Some('\n' | '\r')));
    let at = (0..texts.len()).find(|at| breaks(texts[*at]) && !is_body(*at))?;
    Some(format!("{:?} holds \\n or \\r, which would add a line to a message or to a log", texts[at]))
}

/// Returns the replacement for a line that current HAProxy versions refuse, regardless of `haproxy.extra_options`.
pub fn removed(words: &[Word]) -> Option<String> {
    let (name, successor) = REMOVED
        .iter()
        .find_map(|(names, successor)| Some((names.iter().find(|name| begins_with(words, name))?, successor)))?;
    Some(format!("{name:?} was removed from HAProxy; use {successor}"))
}

/// Returns why only the operator grants this line.
pub fn granted(words: &[Word]) -> Option<String> {
    let text = |at: usize| words.get(at).map_or("", Word::as_str);
    if text(0) == "log" {
        return Some("a service cannot choose where logs go; \"log global\" uses what the operator has set".to_owned());
    }
    let found =
        GRANTED.iter().find_map(|(names, reason)| Some((names.iter().find(|name| begins_with(words, name))?, reason)));
    if let Some((name, reason)) = found {
        return Some(format!("{name:?} is not allowed: {reason}"));
    }
    let keyword = text(0);
    if matches!(keyword, "http-request" | "http-response" | "http-after-response" | "http-error") {
        let file = words
            .iter()
            .map(Word::as_str)
            .find(|word| matches!(*word, "file" | "lf-file" | "errorfile" | "errorfiles"));
        return file.map(|file| format!("{keyword:?} with {file:?} reads a file"));
    }
    (matches!(keyword, "http-check" | "tcp-check") && words.iter().any(|word| word.as_str() == "via-socks4"))
        .then(|| format!("{keyword:?} with \"via-socks4\" connects by another path than the service"))
}

/// Returns whether a line begins with these words; the last one may have brackets.
fn begins_with(words: &[Word], beginning: &str) -> bool {
    let mut words = words.iter().map(Word::as_str);
    beginning
        .split(' ')
        .all(|part| words.next().is_some_and(|word| word == part || word.split('(').next() == Some(part)))
}
