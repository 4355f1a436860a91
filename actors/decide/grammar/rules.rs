//! The actions of `http-request`, `tcp-request` and their kin that a service may use.
//!
//! `set-dst` and `set-dst-port` change where HAProxy connects only for a server with an unspecified address or without a
//! port, which no host has; elsewhere they change what the service's own rules see. `set-nice` with a negative number and
//! `set-mark` have an effect on other services (the scheduling of HAProxy, routing and firewalls of its machine), so that
//! only the operator grants them.
//!
//! Source: `configuration.txt` 4.3 and 4.4, "Actions keywords", of HAProxy 2.2 to 3.4.

/// The rule sets: a letter for the table below, the beginning of a line.
pub const RULE_SETS: &[(char, &str)] = &[
    ('Q', "http-request"),
    ('S', "http-response"),
    ('A', "http-after-response"),
    ('c', "tcp-request connection"),
    ('s', "tcp-request session"),
    ('t', "tcp-request content"),
    ('r', "tcp-response content"),
];

/// Lines of the rule sets that are no actions.
pub const DELAYS: &[&str] = &["{ tcp-request | tcp-response } inspect-delay <duration>"];

/// The actions with the letters of their rule sets. A condition may follow each.
#[rustfmt::skip]
pub const ACTIONS: &[(&str, &str)] = &[
    ("QSA", "{ add-header | set-header } <header> <format>"),
    ("QSA", "del-headers-bin <expression>"),
    ("QSA", "allow"),
    ("Q", "auth [ realm <text> ]"),
    ("QSAt", "capture <expression> { len <capture-bytes> | id <0..65535> }"),
    ("QSA", "del-header <header> [ -m { str | beg | end | sub } ]"),
    ("QSA", "del-header <regex> -m reg"),
    ("QS", "deny { { status | deny_status } <status> | content-type <text> | \
        { default-errorfiles | string <text> | lf-string <format> } | hdr <header> <format> * }*"),
    ("Q", "tarpit { { status | deny_status } <status> | content-type <text> | \
        { default-errorfiles | string <text> | lf-string <format> } | hdr <header> <format> * }*"),
    ("QS", "return { status <status> | content-type <text> | { default-errorfiles | string <text> | lf-string <format> } | \
        hdr <header> <format> * }*"),
    ("Q", "disable-l7-retry"),
    ("QSAcstr", "do-log"),
    ("Q", "early-hint <header> <format>"),
    ("Q", "normalize-uri { fragment-encode | fragment-strip | path-merge-slashes | path-strip-dot | \
        path-strip-dotdot [ full ] | percent-decode-unreserved [ strict ] | percent-to-uppercase [ strict ] | \
        query-sort-by-name }"),
    ("QS", "pause { <duration> | <expression> }"),
    ("QS", "redirect { { location | prefix | scheme } <format> | code { 301 | 302 | 303 | 307 | 308 } | drop-query | \
        append-slash | ignore-empty | keep-query | { set-cookie | clear-cookie } <text> | set-cookie-fmt <format> }*"),
    ("Qcstr", "reject"),
    ("QSA", "{ replace-header | replace-value } <header> <regex> <format>"),
    ("Q", "{ replace-path | replace-pathq | replace-uri } <regex> <format>"),
    ("QSAcstr", "{ sc-inc-gpc0(number) | sc-inc-gpc1(number) | sc-inc-gpc(number,number) }"),
    ("QSAcstr", "sc-add-gpc(number,number) { <number> | <expression> }"),
    ("QSAcstr", "{ sc-set-gpt0(number) | sc-set-gpt(number,number) } { <number> | <expression> }"),
    ("Qcst", "{ set-dst | set-dst-port | set-src | set-src-port } <expression>"),
    ("QSAcstr", "{ set-tos | set-fc-tos } { <tos> | <expression> }"),
    ("Qt", "set-bc-tos { <tos> | <expression> }"),
    ("QSAtr", "set-log-level { emerg | alert | crit | err | warning | notice | info | debug | silent }"),
    ("Q", "{ set-method | set-path | set-pathq | set-query | set-uri } <format>"),
    ("QStr", "set-nice <0..1024>"),
    ("Qt", "{ set-priority-class | set-priority-offset } <expression>"),
    ("Qt", "set-retries { <0..100> | <expression> }"),
    ("SA", "set-status { <200..203> | <205..303> | <305..599> } [ reason <text> ]"),
    ("QS", "set-timeout { client | connect | queue | server | tarpit | tunnel } { <duration> | <expression> }"),
    ("QSAcstr", "set-var(variable,set-condition*) <expression>"),
    ("QSAcstr", "set-var-fmt(variable,set-condition*) <format>"),
    ("QSAcstr", "unset-var(variable)"),
    ("QSAcstr", "silent-drop [ rst-ttl <1..255> ]"),
    ("QSA", "strict-mode { on | off }"),
    ("Qcst", "{ track-sc0 | track-sc1 | track-sc2 | track-sc3 | track-sc4 | track-sc5 | track-sc6 | track-sc7 | track-sc8 | \
        track-sc9 } <expression> [ table <own-section> ]"),
    ("QS", "wait-for-body { time <duration> | at-least <size> | use-large-buffer }*"),
    ("Q", "wait-for-handshake"),
    ("cstr", "accept"),
    ("r", "close"),
    ("c", "{ expect-proxy | expect-netscaler-cip } layer4"),
    ("t", "switch-mode http [ proto <name> ]"),
];

/// `redirect` as a line of its own.
pub const REDIRECT: &str = "redirect { { location | prefix | scheme } <format> | code { 301 | 302 | 303 | 307 | 308 } | \
    drop-query | append-slash | ignore-empty | keep-query | { set-cookie | clear-cookie } <text> | set-cookie-fmt <format> }* \
    [ <condition> ]";
