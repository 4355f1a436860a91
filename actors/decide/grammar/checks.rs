//! The lines of health checks that a service may use. They connect to the server, or to an address that is not HAProxy's
//! own machine: a unix socket or a loopback address could be HAProxy's Runtime API.
//!
//! Source: `configuration.txt` 4.2, "http-check" and "tcp-check", of HAProxy 2.2 to 3.4.

/// The notations of these lines.
#[rustfmt::skip]
pub const CHECK_LINES: &[&str] = &[
    "{ http-check | tcp-check } comment <text>",
    "{ http-check | tcp-check } connect { default | port <checked-port> | addr <checked-ip> | ssl | sni <text> | alpn <text> | \
        proto <name> | send-proxy | linger | comment <text> }*",
    "http-check disable-on-404",
    "http-check send-state",
    "http-check expect { min-recv <-1..2147483647> | comment <text> | ok-status { L4OK | L7OK | L6OK | L7OKC } | \
        error-status { L7OKC | L7RSP | L7STS | L6RSP | L4CON } | tout-status { L7TOUT | L6TOUT | L4TOUT } | \
        on-success <format> | on-error <format> | status-code <expression> | [ ! ] \
        { status <statuses> | rstatus <regex> | string <text> | string-lf <format> | rstring <regex> | \
        { hdr | fhdr } { name { -m reg <regex> | [ -m { str | beg | end | sub } ] <text> | \
        -m { str | beg | end | sub } <text> } | name-lf [ -m { str | beg | end | sub } ] <format> | \
        value { -m reg <regex> | -m { str | beg | end | sub } <text> | <text> } | \
        value-lf [ -m { str | beg | end | sub } ] <format> }* } }*",
    "http-check send { meth <token> | { uri <text> | uri-lf <format> } | ver <text> | hdr <token> <format> * | \
        { body <text> | body-lf <format> } | comment <text> }*",
    "tcp-check expect { min-recv <-1..2147483647> | comment <text> | ok-status { L4OK | L7OK | L6OK | L7OKC } | \
        error-status { L7OKC | L7RSP | L7STS | L6RSP | L4CON } | tout-status { L7TOUT | L6TOUT | L4TOUT } | \
        on-success <format> | on-error <format> | status-code <expression> | [ ! ] \
        { string <text> | string-lf <format> | rstring <regex> | binary <hex> | binary-lf <format> | rbinary <regex> } }*",
    "tcp-check send <text> [ comment <text> ]",
    "tcp-check send-lf <format> [ comment <text> ]",
    "tcp-check send-binary <hex> [ comment <text> ]",
    "tcp-check send-binary-lf <format> [ comment <text> ]",
    "{ http-check | tcp-check } set-var(variable,set-condition*) <expression>",
    "{ http-check | tcp-check } set-var-fmt(variable,set-condition*) <format>",
    "{ http-check | tcp-check } unset-var(variable)",
];
