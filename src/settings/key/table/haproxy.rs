//! Settings of HAProxy.

use proxymgr_actors::model::UpdateChoice;

use super::super::TakesEffect::{OnReload, OnRestart};
use super::super::Unset::{Empty, Otherwise, Text};
use super::super::{Key, Kind, ON_STOP, RUN_WAYS, key};
use super::{DAY, HOUR, WEEK, duration};

/// `haproxy`.
pub(super) const HAPROXY: &[Key] = &[
    key(
        "haproxy.path",
        Kind::Path,
        Text("haproxy"),
        OnRestart,
        "The HAProxy binary. A bare name is looked up in PATH.",
    ),
    key(
        "haproxy.config_path",
        Kind::Path,
        Text("/etc/haproxy/haproxy.cfg"),
        OnRestart,
        "The configuration file that proxymgr writes and HAProxy reads. Do not edit it: use global and defaults below.",
    )
    .details(
        "Its directory must be writable: candidates, the lock, and the map of domains of services that share a port \
         (haproxy.cfg.domains) are kept there.",
    ),
    key(
        "haproxy.socket_path",
        Kind::Path,
        Otherwise("haproxy.sock in the directory of config_path"),
        OnRestart,
        "The Runtime API socket of HAProxy, with mode 600.",
    )
    .details("The socket of a process that is being started has the suffix .next until the process answers.")
    .example("/var/run/haproxy/stats.sock"),
    key("haproxy.run", Kind::Choice(RUN_WAYS), Text("supervise"), OnRestart, "How HAProxy is run.").details(
        "  supervise  proxymgr starts the process, holds its listening sockets, restarts it after a crash, and stops it \
                      when proxymgr itself stops.\n\
         \x20 systemd    a systemd unit (unit): `systemctl reload` while it is active, else `systemctl start`.\n\
         \x20 binary     HAProxy's binary in the background with a master process: -W -D -p pid_file, and -x and -sf for a \
                      reload.\n\
         \x20 command    commands of your own: start_command, check_command, reload_command. HAProxy may run in a \
                      container.\n\
         \x20 none       an external HAProxy: proxymgr applies runtime changes only, and neither writes nor checks \
                      haproxy.cfg. Changes that need a reload are shown as pending. Sections named like a service are \
                      managed with all their servers: a server that discovery does not know goes into maintenance.\n\
         Except with supervise, HAProxy binds its ports itself, keeps running without proxymgr, and passes its sockets on \
         through `stats socket ... expose-fd listeners`. proxymgr writes that line; a line of your own must contain it, too. \
         A reload that fails or hangs leaves the running process as it is, and is retried after pauses that double up to \
         40 s.",
    ),
    key("haproxy.unit", Kind::Text, Text("haproxy.service"), OnRestart, "With run: systemd, the unit. It must use config_path."),
    key(
        "haproxy.pid_file",
        Kind::Path,
        Otherwise("haproxy.pid in the directory of config_path"),
        OnRestart,
        "With run: binary, the file with the process id of the master.",
    )
    .example("/run/haproxy.pid"),
    key(
        "haproxy.start_command",
        Kind::Lines,
        Empty,
        OnRestart,
        "With run: command, starts HAProxy when nothing answers on its socket.",
    )
    .details(
        "Without it, reload_command does so. A list of words, or one text that is split at white space: \
         [docker, start, haproxy].",
    ),
    key(
        "haproxy.check_command",
        Kind::Lines,
        Empty,
        OnRestart,
        "With run: command, checks a candidate in place of `haproxy -c`; {candidate} is its path.",
    )
    .details(
        "With it the HAProxy binary need not be on this machine. Its output is parsed like that of `haproxy -c`.",
    ),
    key(
        "haproxy.reload_command",
        Kind::Lines,
        Empty,
        OnRestart,
        "With run: command (required there), makes HAProxy load the file, for example [docker, kill, -s, HUP, haproxy].",
    )
    .details("The reload is complete when another process answers on socket_path."),
    key(
        "haproxy.command_shell",
        Kind::Switch,
        Text("false"),
        OnRestart,
        "Whether a shell runs these commands. Each is one text then.",
    ),
    key(
        "haproxy.command_timeout",
        duration(100, HOUR),
        Text("30s"),
        OnRestart,
        "The time-out of each of these commands, and of each call of systemctl. Then it is killed.",
    ),
    key(
        "haproxy.environment",
        Kind::Lines,
        Empty,
        OnRestart,
        "Names of environment variables that HAProxy and the commands of these settings inherit from proxymgr.",
    )
    .details(
        "HAProxy, its checks, the commands above and those of outputs start with PATH, HOME, TZ, LANG and LC_* only, because \
         the environment of proxymgr may contain credentials. List the variables that lines of global and defaults use \
         (\"${PROXY_REGION}\", env(PROXY_REGION)), or that a command needs (DOCKER_HOST).",
    ),
    key(
        "haproxy.targets",
        Kind::Lines,
        Empty,
        OnRestart,
        "Targets: further external HAProxies, by the addresses of their Runtime APIs.",
    )
    .details(
        "On other machines, or the processes of an `nbproc`: unix:/run/haproxy2.sock or tcp://10.0.0.2:9999. With a \
         name (edge=tcp://10.0.0.2:9999), status, metrics, page and journal use that name, else the address. Each \
         target is managed on its own at run time, as with run: none above. A target that was unreachable is \
         synchronized when it answers again. With run: none and without socket_path, the first target is the HAProxy \
         that status and metrics describe. Anyone who can reach such a TCP port controls that HAProxy: keep it within \
         a trusted network.",
    ),
    key(
        "haproxy.base_config",
        Kind::Path,
        Otherwise("global and defaults are the base configuration"),
        OnReload,
        "Your own haproxy.cfg, or a directory of *.cfg, in place of global and defaults below.",
    )
    .details(
        "Every section and line of HAProxy's language may be in it. proxymgr adds to it: the servers and sections of \
         services, the sockets that it holds for every `bind` line, the Runtime API socket and the state file, and where \
         they are missing, `global` and `defaults`. A backend or listen section with the name of a service gets that service's \
         servers at the line `# proxymgr: servers`, else at its end. A change of the files is noticed, checked and \
         applied; a bad one is refused with its file and line, and the last good one stays in use.",
    )
    .example("/etc/proxymgr/haproxy.cfg"),
    key(
        "haproxy.certificates",
        Kind::Path,
        Otherwise("definitions cannot have \"tls\""),
        OnRestart,
        "Your directory of certificates, which definitions use by name.",
    )
    .details(
        "NAME.pem with the chain and the key, NAME.crt and NAME.key, or a folder NAME with fullchain.pem and privkey.pem \
         (/etc/letsencrypt/live of certbot). Changed files are noticed, checked and used without a restart. HAProxy reads \
         copies in config_path with .certs appended; a bad file is reported, and the last good one stays in use.",
    )
    .example("/etc/proxymgr/certs"),
    key(
        "haproxy.ocsp_update",
        Kind::Switch,
        Text("false"),
        OnRestart,
        "Whether HAProxy fetches OCSP responses for these certificates and staples them. Needs HAProxy 2.8.",
    )
    .details(
        "HAProxy then sends requests to the responders that the certificates name. Certificates that name none, or whose \
         issuer is not in the chain, get no responses; proxymgr check and the log name them.",
    ),
    key(
        "haproxy.global",
        Kind::Lines,
        Empty,
        OnReload,
        "Lines of the global section, one per entry. proxymgr adds the stats socket.",
    )
    .details("For example: [\"maxconn 20000\", \"log /dev/log local0\", \"hard-stop-after 30m\"]"),
    key(
        "haproxy.user",
        Kind::Text,
        Otherwise("the user of proxymgr, unless haproxy.global has a line for it"),
        OnReload,
        "The user that HAProxy changes to after its start. Recommended wherever proxymgr is root.",
    )
    .details("The user must exist; the package of HAProxy has one. HAProxy opens its sockets and reads its files before.")
    .example("haproxy"),
    key(
        "haproxy.group",
        Kind::Text,
        Otherwise("the group of proxymgr, unless haproxy.global has a line for it"),
        OnReload,
        "The group that HAProxy changes to after its start.",
    )
    .example("haproxy"),
    key("haproxy.defaults", Kind::Lines, Empty, OnReload, "Lines of the defaults section, one per entry.")
        .details(
            "If empty: mode tcp, option redispatch, timeout connect 5s, timeout client 1m, timeout server 1m, timeout tunnel \
             1h. The first three time-outs are added wherever you set none. For example: [\"mode http\", \"timeout connect \
             5s\", \"timeout client 50s\", \"timeout server 50s\", \"option idle-close-on-response\"]",
        ),
    key(
        "haproxy.state_file",
        Kind::Switch,
        Text("true"),
        OnReload,
        "Whether a reload, or a start after a crash, keeps the health and the weights of servers.",
    )
    .details(
        "Otherwise the new process considers every server healthy until its first check. proxymgr reads the state of \
         the old process (show servers state) before a reload and some seconds after changes, and the new process \
         loads it from config_path with .state appended, which must be the same file for both (run: command). Only \
         servers that stay unchanged are in it. Turned off by lines of your own above that mention server-state or \
         zero-warning, with which HAProxy refuses to start while a server is down.",
    ),
    key(
        "haproxy.reload_interval",
        duration(0, HOUR),
        Text("1s"),
        OnReload,
        "The least time between two reloads. The first happens at once; further ones within that time are merged.",
    )
    .details("Runtime changes (a host that leaves, returns or is new) never wait for it."),
    key(
        "haproxy.stop_timeout",
        duration(0, DAY),
        Text("30s"),
        OnReload,
        "How long HAProxy may finish open connections after proxymgr was stopped. Then it is killed.",
    ),
    key(
        "haproxy.on_stop",
        Kind::Choice(ON_STOP),
        Text("stop"),
        OnReload,
        "What happens to HAProxy when proxymgr stops (SIGTERM, SIGINT), with run: supervise.",
    )
    .details(
        "  stop   new clients are refused at once, requests in progress finish within stop_timeout, HAProxy exits.\n\
         \x20 leave  HAProxy keeps serving, and the next proxymgr adopts it: a restart by a package manager or a supervisor \
                  loses no request. To end HAProxy for good, send it SIGUSR1, or set stop and stop proxymgr.\n\
         With any other run, HAProxy keeps serving.",
    ),
    key(
        "haproxy.observe_interval",
        duration(1_000, DAY),
        Text("30s"),
        OnReload,
        "How often the observed servers of HAProxy are compared with the desired state.",
    ),
    key(
        "haproxy.drain_timeout",
        duration(0, DAY),
        Text("0s"),
        OnReload,
        "How long a server drains after its host left discovery, before it goes into maintenance. 0s: not at all.",
    )
    .details(
        "It goes into maintenance once it has no sessions left or the time is over. Maintenance cuts no session \
         either, but turns away clients that a cookie sends to this server. Services can override it. A host that \
         returns during that time is ready again.",
    ),
    key(
        "haproxy.ramp_up",
        duration(0, DAY),
        Text("0s"),
        OnReload,
        "How long the weight of a new server takes to rise to its full value, in ten steps. 0s: full weight at once.",
    )
    .details(
        "It needs weights above 1, which is a server's weight unless it has another one (server_options: [\"weight 100\"]). \
         Services can override it.",
    ),
    key(
        "haproxy.update",
        Kind::Choice(&UpdateChoice::NAMES),
        Text("auto"),
        OnReload,
        "How changes of hosts are applied to the running HAProxy. Services can override it.",
    )
    .details(
        "  dynamic  servers are added at run time (HAProxy 2.6 and later).\n\
         \x20 slots    new hosts take slots of the service.\n\
         \x20 toggle   servers are only enabled and disabled; a new host needs a reload.\n\
         \x20 reload   hosts are added, removed and moved by reloads; their states and weights still change at run time.\n\
         \x20 auto     the first of these that HAProxy and the service support.\n\
         The page and `proxymgr plan` show which one is used.",
    ),
    key(
        "haproxy.max_old_processes",
        Kind::Number { min: 1, max: 1_000 },
        Text("20"),
        OnReload,
        "How many old HAProxy processes may finish their connections after reloads. Beyond it the oldest is stopped.",
    )
    .details("It is asked to stop once more, then killed, which cuts its connections. Each uses the memory of a whole HAProxy."),
    key(
        "haproxy.old_process_timeout",
        duration(0, WEEK),
        Text("0s"),
        OnReload,
        "How long an old process may take to finish, before it is stopped in the same way. 0s: no limit.",
    ),
    key(
        "haproxy.extra_options",
        Kind::Lines,
        Empty,
        OnReload,
        "First words of listen and server options, and names of fetches and converters, that services may use besides those known to be harmless.",
    )
    .details("Every author of a service's definition may use them, unchecked: consider files read, ports bound, scripts run. `options` of \
         grants allow them to some services only."),
];
