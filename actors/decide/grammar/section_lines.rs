//! The lines that a service may put into its section, except rules and health checks.
//!
//! Source: `configuration.txt` 4.2, "Alphabetically sorted keywords reference", of HAProxy 2.2 to 3.4.

/// The notations of these lines.
#[rustfmt::skip]
pub const SECTION_LINES: &[&str] = &[
    "acl <new-acl> <acl-test>",
    "backlog <0..1000000>",
    "balance { roundrobin | static-rr | leastconn | first | sticky }",
    "balance source [ hash ]",
    "balance uri { whole | len <0..65535> | depth <0..65535> | path-only }*",
    "balance url_param <text> [ check_post [ <0..65535> ] ]",
    "balance hdr(text) [ use_domain_only ]",
    "balance random",
    "balance random(1..100)",
    "balance { rdp-cookie | rdp-cookie(text) }",
    "balance hash <expression>",
    "capture cookie <text> len <capture-bytes>",
    "capture { request | response } header <token> len <capture-bytes>",
    "{ clitcpka-cnt | srvtcpka-cnt } <0..1000>",
    "{ clitcpka-idle | clitcpka-intvl | srvtcpka-idle | srvtcpka-intvl } <duration>",
    "compression { algo | algo-req | algo-res } { identity | gzip | deflate | raw-deflate } ...",
    "compression { type | type-req | type-res } <text> ...",
    "compression { minsize-req | minsize-res } <size>",
    "compression offload",
    "compression direction { request | response | both }",
    "cookie <token> { rewrite | insert | prefix | indirect | nocache | postonly | preserve | httponly | secure | \
        domain <text> * | maxidle <duration> | maxlife <duration> | dynamic | attr <text> * }*",
    "declare capture { request | response } len <capture-bytes>",
    "default-server <server-options>",
    "description <page-text> ...",
    "dynamic-cookie-key <text>",
    "{ errorloc | errorloc302 | errorloc303 } <status> <text>",
    "{ force-persist | ignore-persist } <condition>",
    "fullconn <0..10000000>",
    "hash-balance-factor <0..65535>",
    "hash-preserve-affinity { always | maxconn | maxqueue }",
    "hash-type { map-based | consistent } [ { sdbm | djb2 | wt6 | crc32 | none } ] [ avalanche ]",
    "http-error status <status> { content-type <text> | { default-errorfiles | string <text> | lf-string <format> } | \
        hdr <header> <format> * }*",
    "http-reuse { never | safe | aggressive | always }",
    "http-send-name-header [ <header> ]",
    "log global",
    "no log",
    "{ log-format | log-format-sd | error-log-format } <log-format>",
    "log-steps <text>",
    "log-tag <text>",
    "max-keep-alive-queue <-1..10000000>",
    "max-session-srv-conns <-1..10000000>",
    "maxconn <0..10000000>",
    "mode { http | tcp }",
    "monitor fail <condition>",
    "monitor-uri <text>",
    "persist { rdp-cookie | rdp-cookie(text) }",
    "rate-limit sessions <0..10000000>",
    "retries <0..100>",
    "retry-on { none | conn-failure | empty-response | junk-response | response-timeout | 0rtt-rejected | 401 | 403 | 404 | \
        408 | 421 | 425 | 429 | 500 | 501 | 502 | 503 | 504 | all-retryable-errors } ...",
    "stats { enable | hide-version | show-legends | show-modules | show-version }",
    "stats auth <text>",
    "stats http-request { allow | deny | auth [ realm <text> ] } [ <condition> ]",
    "stats realm <text>",
    "stats refresh <duration>",
    "stats scope .",
    "stats show-desc [ <page-text> ... ]",
    "stats show-node [ <name> ]",
    "stats uri <text>",
    "stick { match | on | store-request | store-response } <expression> [ table <own-section> ] [ <condition> ]",
    "stick-table { type { ip | ipv6 | integer | { string | binary } [ len <table-key-bytes> ] } | size <table-entries> | \
        expire <duration> | nopurge | recv-only | srvkey { addr | name } | store <table-data> * | \
        { brates-factor } <1..1024> }*",
    "timeout { check | client | client-fin | client-hs | connect | http-keep-alive | http-request | queue | server | \
        server-fin | tarpit | tunnel } <duration>",
    "unique-id-format <format>",
    "unique-id-header <header>",
];

/// Options without an argument, which `no option` turns off.
#[rustfmt::skip]
pub const FLAGS: &[&str] = &[
    "abortonclose", "accept-invalid-http-request", "accept-invalid-http-response",
    "accept-unsafe-violations-in-http-request", "accept-unsafe-violations-in-http-response", "allbackups",
    "checkcache", "clitcpka", "contstats", "disable-h2-upgrade", "dontlog-normal", "dontlognull",
    "h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server", "http-buffer-request",
    "http-drop-request-trailers", "http-drop-response-trailers", "http-ignore-probes", "http-keep-alive",
    "http-no-delay", "http-pretend-keepalive", "http-server-close", "http-tunnel", "http-use-htx",
    "http-use-proxy-header", "httpclose", "idle-close-on-response", "independent-streams", "log-health-checks", "log-separate-errors", "logasap", "nolinger", "persist", "prefer-last-server",
    "socket-stats", "splice-auto", "splice-request", "splice-response", "srvtcpka",
    "tcp-smart-accept", "tcp-smart-connect", ];

/// Options with arguments, and those that cannot be turned off.
#[rustfmt::skip]
pub const OPTIONS: &[&str] = &[
    "option forwarded { proto | host | host-expr <expression> | by | by-expr <expression> | by_port | \
        by_port-expr <expression> | for | for-expr <expression> | for_port | for_port-expr <expression> }*",
    "option forwardfor { except <network> | header <token> | if-none }*",
    "option originalto { except <network> | header <token> }*",
    "option http-restrict-req-hdr-names { preserve | delete | reject }",
    "option httpchk [ <text> [ <text> [ <text> [ <text> ] ] ] ]",
    "option { httplog | tcplog } [ clf ]",
    "option httpslog",
    "option mysql-check { user <text> | post-41 | pre-41 }*",
    "option pgsql-check user <text>",
    "option redispatch [ <-1000..1000> ]",
    "option smtpchk [ { HELO | EHLO } <text> ]",
    "option { ldap-check | redis-check | spop-check | ssl-hello-chk | tcp-check | tcpka }",
    "no option { forwarded | redispatch }",
];
