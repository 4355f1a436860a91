//! The keys that every definition and every host may have.

use crate::model::DefinitionKey;
use crate::model::definition_key::key;

/// The keys of the service itself; all others belong to the source of its hosts.
pub const SERVICE_KEYS: &[DefinitionKey] = &[
    key("type", "kind of source", "Where its hosts are. Required."),
    key(
        "port",
        "1 to 65535",
        "Port that it listens on. Without an address it is a backend for the frontends of the base configuration.",
    ),
    key("bind", "IP address", "Address that it listens on. Default: `*`, all IPv4 addresses."),
    key(
        "binds",
        "list of addresses",
        "Further addresses: `10.0.0.1:8443`, `[::]:8443`, `unix@/run/web/x.sock`. Unix sockets need a grant.",
    ),
    key(
        "bind_options",
        "list of options",
        "Options of all its `bind` lines: `accept-proxy`, `defer-accept`, `maxconn`, `mss`, `nice`, `proto`, `tcp-ut`, `tfo`.",
    ),
    key(
        "tls",
        "map",
        "TLS on its listeners: `{\"certificates\": [\"shop\"], \"alpn\": [\"h2\", \"http/1.1\"], \"min_version\": \"TLSv1.2\"}`. \
         Certificates are names in the directory `haproxy.certificates`, never paths. HAProxy chooses by SNI; the first one is for \
         clients without SNI.",
    ),
    key(
        "defaults",
        "name",
        "The `defaults` section of the base configuration that applies to its section, instead of the last one. HAProxy 2.4 \
         or later. Without `haproxy.base_config`: `http` or `tcp`, which is `haproxy.defaults` in that mode.",
    ),
    key(
        "redirect_to_https",
        "true or false",
        "`true`: it also listens on port 80 of the same address, without TLS, and redirects requests there to HTTPS.",
    ),
    key(
        "listen_options",
        "list of lines",
        "Lines of its section. Every word has to be understood: see the allowed options, to which `haproxy.extra_options` \
         adds. A section with `stats` lines shows itself only.",
    ),
    key("server_options", "list of options", "Options of each of its servers, from the allowed options."),
    key(
        "domains",
        "list of host names",
        "Host names for HTTP; `*.` at the beginning matches all names below. Services with domains share a port, and domains \
         change without a reload. Such a service is a `backend`: lines about clients (`maxconn`, `timeout client`) belong in \
         `haproxy.defaults`. With `mode tcp` they are names in TLS (SNI), and connections are passed through as they are; \
         clients that wait for the server's greeting (SMTP, MySQL) wait 5 s there.",
    ),
    key(
        "path_prefix",
        "path",
        "Only requests of its domains whose path begins with this, such as `/api`. Services can share a domain by their \
         paths. A newer service takes no path, and no name below a `*.` domain, from a running one unless it is granted.",
    ),
    key(
        "match",
        "map",
        "Conditions of its requests, all of which must hold: `domains` and `path_prefix`, as beside it, `headers`, `methods` \
         and `sources`. With `mode tcp`: `domains` and `sources`. `tags` (all of a list) and `meta` (`{\"zone\": \"a\"}`) select hosts: \
         only hosts of the source that have them belong to the service.",
    ),
    key("default", "true or false", "`true`: it gets all domains of its port that no other service has."),
    key(
        "min_hosts",
        "whole number",
        "Guard: a list that shrinks below this number of serving hosts is blocked. `0` allows a service without hosts. \
         Default: `guards.min_hosts`.",
    ),
    key(
        "max_removal",
        "0 to 1",
        "Guard: a list that lacks a larger share of the most serving hosts within `guards.window` is blocked. `1` leaves the \
         limit to `min_hosts`. Default: `guards.max_removal`, which is half for services of four hosts or more.",
    ),
    key(
        "drain_timeout",
        "duration",
        "How long a server may drain after its host is gone, such as `\"30s\"`. Default: `haproxy.drain_timeout`.",
    ),
    key(
        "ramp_up",
        "duration",
        "How long the weight of a new server takes to rise to its full value. Default: `haproxy.ramp_up`.",
    ),
    key(
        "update",
        "`dynamic`, `slots`, `toggle`, `reload` or `auto`",
        "How changes of its hosts are applied; `auto` is the best way that HAProxy supports. Default: `haproxy.update`.",
    ),
    key(
        "slots",
        "number or map",
        "Spare servers, for versions of HAProxy that cannot add servers at run time: `20`, or `{\"base\": 20, \"grow_by\": 20, \
         \"min_free\": 2}`.",
    ),
];

/// The keys of a host.
pub const HOST_KEYS: &[DefinitionKey] = &[
    key(
        "address",
        "address",
        "IPv4 address, IPv6 address or host name. HAProxy resolves a host name when it reads its configuration. With a grant also a \
         unix socket, `unix@/run/web/x.sock`. Required.",
    ),
    key("port", "1 to 65535", "Port. Required, except for a unix socket, which has none."),
    key("name", "name", "Name of its server in HAProxy. Default: `address:port`."),
    key("weight", "0 to 256", "Share of the traffic, relative to the other servers of the service."),
    key("backup", "true or false", "`true`: it gets traffic only while no other server is up."),
    key(
        "priority",
        "0 to 65535",
        "Of several backups HAProxy uses the one with the lowest number. Default: the order of `static` hosts and of a file.",
    ),
    key("cookie", "text", "Value of the cookie that `cookie` lines of the service insert."),
    key(
        "state",
        "`ready`, `drain` or `maint`",
        "`drain`: no new sessions. `maint`: no traffic. Only hosts that are `ready` count for guards.",
    ),
    key("options", "list of options", "Options of its server, in addition to `server_options` of the service."),
    key(
        "tags",
        "list of texts",
        "Tags, by which `match` of a definition selects hosts; templates of outputs get them, too. In Consul: those of the \
         instance.",
    ),
    key(
        "meta",
        "map of texts",
        "Meta data, used like `tags`. In Consul: that of the instance; nerve: `labels`; Curator: `metadata` of the payload; \
         serversets: `metadata`.",
    ),
];
