mod haproxy_run;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;

/// Settings from YAML text, environment variables and `--set` flags.
fn load(yaml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let (environment, _) =
        Layer::environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let flags = flags.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned(), "--set".to_owned()));
    let file = Layer::yaml(yaml, Path::new("p.yml")).map_err(|mistake| vec![mistake.to_string()])?;
    let figment = Figment::from(Layer::defaults()).merge(file).merge(environment).merge(Layer::texts("flags", flags));
    let mut reader = Reader::new(figment);
    let settings = read(&mut reader);
    let (mistakes, effective) = reader.finish();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(Settings { effective: Effective(effective), ..settings }),
        _ => Err(mistakes.iter().map(ToString::to_string).collect()),
    }
}

#[track_caller]
fn check(yaml: &str, expect: &[&str]) {
    assert_eq!(load(yaml, &[], &[]).expect_err("it was accepted"), expect);
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = load("", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.binary, Path::new("haproxy"));
    assert_eq!(settings.haproxy.config_path, Path::new("/etc/haproxy/haproxy.cfg"));
    assert_eq!(settings.haproxy.policy.frame.socket_path, Path::new("/etc/haproxy/haproxy.sock"));
    assert_eq!(settings.haproxy.policy.reload_interval, Duration::from_secs(1));
    assert_eq!(settings.zookeeper.session_timeout, Duration::from_secs(6));
    assert_eq!(settings.status.listen, Some("127.0.0.1:8470".parse().unwrap()));
    assert_eq!(
        settings.service_config,
        ServiceConfigSettings::Zookeeper { servers: "localhost:2181".into(), path: "/service_config".into() }
    );
    assert_eq!(settings.log, LogSettings::default());
}

#[test]
fn the_ancestors_sample_loads_as_it_is() {
    let yaml = "---
haproxy:
  config_path: /etc/haproxy/haproxy.cfg
  socket_path: /var/run/haproxy/stats.sock

service_config:
  type: zookeeper
  servers: localhost:2181
  path: /service_config
";
    let settings = load(yaml, &[], &[]).unwrap();
    assert_eq!(settings.haproxy.policy.frame.socket_path, Path::new("/var/run/haproxy/stats.sock"));
}

#[test]
fn every_key_of_the_ancestor_is_understood() {
    let yaml = r#"
haproxy:
  path: /usr/sbin/haproxy
  stats_socket: /run/x.sock
  global: ["maxconn 100", "nbthread 2"]
  defaults:
    - mode http
    - timeout connect 5s
service_config: {type: zookeeper, servers: "a:2181, b:2181 ,c:2181/chroot", path: /x}
"#;
    let settings = load(yaml, &[], &[]).unwrap();
    let frame = &settings.haproxy.policy.frame;
    assert_eq!(frame.socket_path, Path::new("/run/x.sock"));
    assert_eq!(frame.global, ["maxconn 100", "nbthread 2"]);
    assert_eq!(frame.defaults, ["mode http", "timeout connect 5s"]);
    let ServiceConfigSettings::Zookeeper { servers, .. } = &settings.service_config else { panic!() };
    assert_eq!(servers, "a:2181,b:2181,c:2181/chroot");
}

#[test]
fn servers_may_be_a_list() {
    let settings = load("service_config: {servers: ['a:2181', 'b:2182', '[::1]:2183']}", &[], &[]).unwrap();
    let ServiceConfigSettings::Zookeeper { servers, .. } = &settings.service_config else { panic!() };
    assert_eq!(servers, "a:2181,b:2182,[::1]:2183");
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let yaml = "haproxy: {reload_interval: 2s, stop_timeout: 2s, observe_interval: 2s}";
    let environment =
        [("PROXYMGR_HAPROXY__STOP_TIMEOUT", "3s"), ("PROXYMGR_HAPROXY__OBSERVE_INTERVAL", "3s"), ("HOME", "/root")];
    let flags = [("haproxy.observe_interval", "4s")];
    let policy = load(yaml, &environment, &flags).unwrap().haproxy.policy;
    assert_eq!(policy.reload_interval, Duration::from_secs(2));
    assert_eq!(policy.stop_timeout, Duration::from_secs(3));
    assert_eq!(policy.observe_interval, Duration::from_secs(4));
}

#[test]
fn environment_variables_take_lists_maps_and_texts_that_look_like_numbers() {
    let settings = load(
        "",
        &[
            ("PROXYMGR_HAPROXY__GLOBAL", r#"["maxconn 100", nbthread 2]"#),
            ("PROXYMGR_HAPROXY__DEFAULTS", "mode http"),
            ("PROXYMGR_ZOOKEEPER__AUTH", "0123:1.10"),
            ("PROXYMGR_LOG__LEVELS__WATCHER", "debug"),
        ],
        &[("log.levels.haproxy", "warn")],
    )
    .unwrap();
    assert_eq!(settings.haproxy.policy.frame.global, ["maxconn 100", "nbthread 2"]);
    assert_eq!(settings.haproxy.policy.frame.defaults, ["mode http"]);
    assert_eq!(settings.zookeeper.auth.unwrap().reveal(), "0123:1.10");
    assert_eq!(settings.log.levels["watcher"], slog::Level::Debug);
    assert_eq!(settings.log.levels["haproxy"], slog::Level::Warning);
}

#[test]
fn a_switch_is_true_or_false_and_nothing_else() {
    let per_service = |yaml, environment: &[(&str, &str)]| {
        load(yaml, environment, &[]).map(|settings| settings.status.metrics_per_service)
    };
    assert!(per_service("", &[]).unwrap());
    assert!(!per_service("metrics: {per_service: false}", &[]).unwrap());
    assert!(!per_service("", &[("PROXYMGR_METRICS__PER_SERVICE", "false")]).unwrap());
    let mistakes = per_service("metrics: {per_service: 0}", &[]).unwrap_err();
    assert_eq!(mistakes[0], "p.yml:1: metrics.per_service: 0 must be true or false");
}

#[test]
fn every_mistake_is_told_at_once_with_its_key_and_place() {
    let yaml = "haproxy:
  socketpath: /x
  reload_interval: 5
  global:
    - maxconn 100
    - \"two\\nlines\"
service_config:
  type: eureka
statedir: /x
";
    let mistakes = load(
        yaml,
        &[("PROXYMGR_LOG__LEVEL", "inof"), ("PROXYMGR_HAPROXY__SOKET_PATH", "/y")],
        &[("status.listen", "8470")],
    )
    .unwrap_err();
    assert_eq!(
        mistakes,
        [
            "--set: status.listen: \"8470\" must be an address with a port, such as 127.0.0.1:8470 or [::1]:8470, or none",
            "environment variable PROXYMGR_HAPROXY__SOKET_PATH: haproxy.soket_path: is not a key; did you mean haproxy.socket_path?",
            "environment variable PROXYMGR_LOG__LEVEL: log.level: \"inof\" must be one of critical, error, warning, info, debug, trace; did you mean info?",
            "p.yml:2: haproxy.socketpath: is not a key; did you mean haproxy.socket_path?",
            "p.yml:3: haproxy.reload_interval: 5 has no unit: write 5s or 5ms",
            "p.yml:6: haproxy.global[2]: \"two\\nlines\" must be a single line; write one entry for each line",
            "p.yml:8: service_config.type: \"eureka\" must be one of zookeeper, consul, consul_catalog, etcd, marathon, file",
            "p.yml:9: statedir: is not a key; did you mean state_dir?",
        ]
    );
}

#[test]
fn bad_values_name_themselves_and_say_what_is_expected() {
    for (yaml, expect) in [
        ("haproxy: {config_path: etc/x}", "p.yml:1: haproxy.config_path: etc/x must be the absolute path of a file"),
        ("haproxy: {config_path: /}", "p.yml:1: haproxy.config_path: / must be the absolute path of a file"),
        ("haproxy: {path: ''}", "p.yml:1: haproxy.path: is empty; give a path, or leave the key out"),
        (
            "status: {token: short}",
            "p.yml:1: status.token: is too short: at least 16 characters, as from `openssl rand -hex 16`",
        ),
        (
            "status: {token: 0123456789 abcdef}",
            "p.yml:1: status.token: may have letters, digits and punctuation of ASCII only, and no white space",
        ),
        (
            "status: {token: 0123456789abcdef, token_file: /t}",
            "p.yml:1: status.token_file: stands beside status.token; set one of them",
        ),
        ("status: {reads: token}", "p.yml:1: status.reads: needs status.token or status.token_file"),
        ("status: {reads: closed}", "p.yml:1: status.reads: \"closed\" must be one of open, token"),
        ("status: {tls_cert: /a}", "p.yml:1: status.tls_cert: needs status.tls_key beside it"),
        ("status: {tls_key: /a}", "p.yml:1: status.tls_key: needs status.tls_cert beside it"),
        (
            "haproxy: {socket_path: none}",
            "p.yml:1: haproxy.socket_path: cannot be turned off: without its socket nobody knows what HAProxy has",
        ),
        (
            "haproxy: {socket_path: '/run/a b'}",
            "p.yml:1: haproxy.socket_path: \"/run/a b\" must not contain white space, quotes, backslashes, '#', '$' or ','",
        ),
        (
            "haproxy: {reload_interval: soon}",
            "p.yml:1: haproxy.reload_interval: \"soon\" is not a duration with a unit, such as 500ms, 2s or 1m",
        ),
        ("haproxy: {stop_timeout: '30'}", "p.yml:1: haproxy.stop_timeout: 30 has no unit: write 30s or 30ms"),
        ("haproxy: {observe_interval: 0s}", "p.yml:1: haproxy.observe_interval: 0s is out of bounds: from 1s to 1day"),
        ("haproxy: {global: 5}", "p.yml:1: haproxy.global: 5 must be a list of lines, such as [\"maxconn 1000\"]"),
        ("haproxy: {global: [5]}", "p.yml:1: haproxy.global[1]: 5 must be text: write it in quotes"),
        (
            "haproxy:\n  global:\n  - maxconn 9\n  - master-worker",
            "p.yml:4: haproxy.global[2]: master-worker must go: proxymgr itself starts, reloads and supervises HAProxy's process",
        ),
        ("haproxy: on fire", "p.yml:1: haproxy: \"on fire\" must be a map of keys"),
        (
            "service_config: {type: file}",
            "service_config.path: is missing: type file needs a directory with definitions",
        ),
        (
            "service_config: {type: file, path: services}",
            "p.yml:1: service_config.path: \"services\" must be the absolute path of a directory",
        ),
        (
            "service_config: {path: services//x}",
            "p.yml:1: service_config.path: \"services//x\" must be a znode such as /service_config",
        ),
        (
            "service_config: {servers: 'a:99999'}",
            "p.yml:1: service_config.servers: \"a:99999\": the port of \"a:99999\" must be a number from 1 to 65535",
        ),
        (
            "service_config: {servers: 'a:1/x,b:1'}",
            "p.yml:1: service_config.servers: \"a:1/x,b:1\": a chroot such as /x stands once, after the last server",
        ),
        (
            "service_config: {servers: 'a:1,,b:1'}",
            "p.yml:1: service_config.servers: \"a:1,,b:1\" must be host:port, separated by commas: \"\" is neither an IP address nor a host name",
        ),
        ("state_dir: 5", "p.yml:1: state_dir: 5 must be text: write it in quotes"),
        ("log: {levels: loud}", "p.yml:1: log.levels: \"loud\" must be a map, such as {haproxy: debug}"),
        (
            "log: {levels: {watcher: loud}}",
            "p.yml:1: log.levels.watcher: \"loud\" must be one of critical, error, warning, info, debug, trace",
        ),
        ("zookeeper: {tls: {key: /k}}", "p.yml:1: zookeeper.tls.key: needs zookeeper.tls.certificate beside it"),
    ] {
        check(yaml, &[expect]);
    }
}

#[test]
fn a_file_that_is_no_yaml_is_refused_with_its_line() {
    let mistakes = load("haproxy:\n  path: [unclosed\n", &[], &[]).unwrap_err();
    assert!(mistakes[0].starts_with("p.yml:") && mistakes[0].contains("is not valid YAML"), "{mistakes:?}");
    let mistakes = load("log:\n  level: info\n  level: debug\n", &[], &[]).unwrap_err();
    assert!(mistakes[0].starts_with("p.yml:3: is not valid YAML: duplicate"), "{mistakes:?}");
    check("just text", &["p.yml:1: the file must be a map of sections, such as `haproxy:`"]);
}

#[test]
fn a_missing_file_is_one_mistake_that_says_what_to_do() {
    let sources = SettingsSources { file: Some("/nonexistent/p.yml".into()), ..SettingsSources::default() };
    let mistakes = Settings::load(&sources).unwrap_err();
    assert_eq!(mistakes.0.len(), 1);
    assert!(mistakes.to_string().contains("/nonexistent/p.yml: cannot be read: No such file"), "{mistakes}");
}

#[test]
fn a_key_without_a_value_is_a_key_that_is_not_set() {
    let settings = load("haproxy:\n  socket_path:\n  path: ~\nzookeeper:\n", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.policy.frame.socket_path, Path::new("/etc/haproxy/haproxy.sock"));
}

#[test]
fn a_line_in_the_environment_is_refused_at_its_variable() {
    let mistakes = load("", &[("PROXYMGR_HAPROXY__GLOBAL", "[maxconn 9, nbproc 2]")], &[]).unwrap_err();
    let place = "environment variable PROXYMGR_HAPROXY__GLOBAL: haproxy.global[2]: nbproc must go";
    assert!(mistakes[0].starts_with(place), "{mistakes:?}");
}

#[test]
fn a_secret_is_shown_in_no_message() {
    for yaml in ["zookeeper: {auth: hunter2}", "zookeeper: {auth: 12345678}", "zookeeper: {auth: \"hunter2:\\nx\"}"] {
        let mistakes = load(yaml, &[], &[]).unwrap_err().join("\n");
        assert!(mistakes.contains("zookeeper.auth"), "{mistakes}");
        assert!(!mistakes.contains("hunter2") && !mistakes.contains("12345678"), "{mistakes}");
    }
    let settings = load("zookeeper: {auth: 'user:hunter2'}\nstatus: {token: hunter2hunter2hunter2}", &[], &[]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    let mistakes = load("status: {token: hunter2}", &[], &[]).unwrap_err();
    assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
}

#[test]
fn the_variables_that_kubernetes_makes_for_a_service_of_this_name_are_left_alone() {
    let environment = ["PROXYMGR_PORT", "PROXYMGR_SERVICE_HOST", "PROXYMGR_PORT_8470_TCP_ADDR"];
    let sources = SettingsSources {
        environment: environment.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
        ..SettingsSources::default()
    };
    assert_eq!(Settings::load(&sources).unwrap().remarks.len(), environment.len());
}

#[test]
fn one_underscore_for_two_is_a_mistake_and_not_left_alone() {
    let mistakes = load("", &[("PROXYMGR_HAPROXY_SOCKET_PATH", "/x"), ("PROXYMGR_STATEDIR", "/x")], &[]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].ends_with("is not a key; did you mean haproxy.socket_path?"), "{mistakes:?}");
}

#[test]
fn what_can_change_while_running_is_adopted_and_the_rest_waits_for_a_restart() {
    let mut running = load("haproxy: {reload_interval: 1s, global: [a], socket_path: /run/x}", &[], &[]).unwrap();
    let yaml = "haproxy: {reload_interval: 2s, global: [a, b], socket_path: /run/y, config_path: /y/h.cfg}
state_dir: /x
log: {level: debug, format: json}";
    let newer = load(yaml, &[], &[]).unwrap();
    let changed = running.adopt(newer.clone());
    assert_eq!(changed.in_force, ["haproxy.global", "haproxy.reload_interval", "log.level"]);
    assert_eq!(changed.need_restart, ["haproxy.config_path", "haproxy.socket_path", "state_dir", "log.format"]);
    assert_eq!(running.haproxy.policy.reload_interval, Duration::from_secs(2));
    let frame = &running.haproxy.policy.frame;
    assert_eq!(frame.socket_path, Path::new("/run/x"));
    assert_eq!(frame.state_file.as_deref(), Some(Path::new("/etc/haproxy/haproxy.cfg.state")));
    assert_eq!(running.log.level, slog::Level::Debug);
    assert_eq!(running.log.format, LogFormat::Text);
    let again = running.adopt(newer);
    assert!(again.in_force.is_empty());
    assert_eq!(again.need_restart, changed.need_restart, "what waits is told each time");
}

#[test]
fn the_shipped_file_loads_and_explains_every_key_with_its_default() {
    let shipped = include_str!("../../config/proxymgr.yml");
    let settings = load(shipped, &[], &[]).unwrap();
    assert_eq!(
        settings,
        load("", &[], &[]).map(|defaults| Settings { effective: settings.effective.clone(), ..defaults }).unwrap()
    );

    let figment = Figment::from(Layer::yaml(shipped, Path::new("proxymgr.yml")).unwrap());
    for key in KEYS {
        let last = key.path.rsplit('.').next().unwrap();
        let active = figment.find_value(key.path).ok();
        match key.default {
            Unset::Text(default) => {
                let text = |value: &figment::value::Value| match value {
                    figment::value::Value::Bool(_, on) => on.to_string(),
                    figment::value::Value::Num(..) => reader::shown(value),
                    _ => value.as_str().unwrap_or_default().to_owned(),
                };
                assert_eq!(active.as_ref().map(text).as_deref(), Some(default), "{}", key.path);
            }
            Unset::Empty => assert!(active.is_some(), "{} is missing", key.path),
            Unset::Otherwise(_) => {
                assert!(active.is_none(), "{} has no default that could be written", key.path);
                assert!(shipped.contains(&format!("#{last}: ")), "{} is not explained", key.path);
            }
        }
        let marked = doc_above(shipped, last).contains("[restart]");
        assert_eq!(marked, key.takes_effect == TakesEffect::OnRestart, "the mark [restart] of {}", key.path);
    }
}

/// The comment that stands above a key; that of the key before, where several stand together.
fn doc_above(shipped: &str, last: &str) -> String {
    let lines: Vec<&str> = shipped.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .rposition(|line| {
            line.strip_prefix('#').unwrap_or(line).starts_with(&format!("{last}: ")) && !line.starts_with("# ")
        })
        .unwrap();
    lines[..at].iter().rev().take_while(|line| line.starts_with('#')).copied().collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_of_the_table_is_read() {
    let yaml = "service_config: {path: /x}
record: /var/x
haproxy: {socket_path: /run/x, pid_file: /run/y}
zookeeper: {auth: 'a:b', tls: {ca: /a, certificate: /b, key: /c}}
annotations: {path: /a, servers: 'h:1'}
aws: {region: r, endpoint: 'http://h:1'}
consul: {token: t, datacenter: d, connections: 7, tls: {ca: /a, certificate: /b, key: /c}}
etcd: {auth: 'a:b', tls: {ca: /a, certificate: /b, key: /c}}
dns: {servers: 10.0.0.2}
mesos: {tls: {ca: /a}}
marathon: {auth: 'a:b', callback: 'http://h:1', tls: {ca: /a, certificate: /b, key: /c}}
status: {tls_cert: /a, tls_key: /b, token: 0123456789abcdef}";
    let settings = load(yaml, &[], &[]).unwrap();
    // They stand in the place of the tokens.
    let other = load("status: {token_file: /t}\nconsul: {token_file: /t}\nmarathon: {token: t}", &[], &[]).unwrap();
    let read: BTreeSet<&str> = settings.effective.0.keys().chain(other.effective.0.keys()).copied().collect();
    let all: BTreeSet<&str> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(read, all);
}

#[test]
fn dns_servers_are_addresses_and_the_intervals_fit() {
    let settings =
        load("dns: {servers: ['10.0.0.2', '[::1]:5353'], interval: 2s, interval_max: 2s}", &[], &[]).unwrap();
    assert_eq!(settings.dns.servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    let mistakes = load("dns: {servers: ns.example, interval: 2m}", &[], &[]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    for (mistake, expected) in mistakes.iter().zip([
        "p.yml:1: dns.interval: dns.interval must not be longer than dns.interval_max",
        "p.yml:1: dns.servers: \"ns.example\" is not the IP address of a name server",
    ]) {
        assert!(mistake.starts_with(expected), "{mistake}");
    }
}

#[test]
fn outputs_are_read_and_every_mistake_in_them_is_named() {
    let yaml = "outputs:
  - {type: template, template: /t.j2, path: /f, check: [nginx, -t, -c, '{candidate}'], reload: nginx -s reload}
  - type: hipache
    server: 127.0.0.1:6379
    password: hush
  - type: stdout
";
    let settings = load(yaml, &[], &[]).unwrap();
    let OutputSettings::Template(template) = &settings.outputs[0] else { panic!("{:?}", settings.outputs) };
    assert_eq!(template.reload.as_ref().unwrap().words, ["nginx", "-s", "reload"]);
    assert!(matches!(&settings.outputs[1], OutputSettings::Hipache(hipache) if hipache.owner == "proxymgr"));
    assert!(!format!("{settings:?}").contains("hush"));
    check(
        "outputs:\n  - type: temlate\n  - type: template\n    path: relative\n    relod: x\n  - 7\n",
        &[
            "p.yml:2: outputs[1].type: \"temlate\" must be one of template, hipache, stdout; did you mean template?",
            "p.yml:3: outputs[2].template: is missing; for example template: /etc/proxymgr/nginx.conf.j2",
            "p.yml:4: outputs[2].path: \"relative\" must be an absolute path",
            "p.yml:5: outputs[2].relod: is not a key here; did you mean reload?",
            "p.yml:6: outputs[3]: 7 must be a map of keys",
        ],
    );
    check(
        "outputs: [{type: template, template: /t, path: /f, reload: 'nginx -s reload; true'}]",
        &["p.yml:1: outputs[1].reload: has ';', which means something to a shell, and none runs it: write a list of \
           words, or set shell: true"],
    );
}

#[test]
fn consul_and_etcd_have_urls_and_their_secrets_are_not_shown() {
    let yaml = "consul: {servers: ['https://A:8501', 'https://b:8501'], token: s3cret, connections: 500}\n\
                etcd: {auth: 'user:s3cret'}\nservice_config: {type: consul_catalog, tag: lb}";
    let settings = load(yaml, &[("PROXYMGR_ETCD__SERVERS", "http://c:2379,http://d:2379")], &[]).unwrap();
    assert_eq!(settings.consul.servers.to_string(), "https://a:8501,https://b:8501");
    assert_eq!(settings.consul.connections_max, Some(500));
    assert_eq!(settings.etcd.servers.to_string(), "http://c:2379,http://d:2379");
    assert_eq!(settings.service_config, ServiceConfigSettings::ConsulCatalog { tag: "lb".into() });
    assert!(!format!("{settings:?}").contains("s3cret"));
    check(
        "consul: {servers: 'consul:8500', connections: 0, token: s3cret, token_file: /t}\netcd:\n  servers: http://u:s3cret@h\n  auth: s3cret\n\
         service_config: {type: etcd, path: /}",
        &[
            "p.yml:1: consul.connections: 0 must be a whole number from 1 to 100000",
            "p.yml:1: consul.servers: \"consul:8500\" is not a URL like http://host:port: it must begin with http:// or https://",
            "p.yml:1: consul.token_file: stands beside consul.token; one of them has to go",
            "p.yml:3: etcd.servers: a URL has a user or password in it; credentials have settings of their own",
            "p.yml:4: etcd.auth: must be user:password",
            "p.yml:5: service_config.path: \"/\" would take every key for a service",
        ],
    );
}
