mod grants;
mod haproxy_run;
mod reference;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proxymgr_yaml::Mistake;

use super::*;

/// Settings from YAML text, environment variables and `--set` flags.
fn load(yaml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, Vec<Mistake>> {
    let (environment, _) =
        Layer::environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let flags = flags.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned(), "--set".to_owned()));
    let file = Layer::yaml(yaml, Path::new("p.yml")).map_err(|mistake| vec![mistake])?;
    let figment = Figment::from(Layer::defaults()).merge(file).merge(environment).merge(Layer::texts("flags", flags));
    let mut reader = Reader::new(figment);
    let settings = read(&mut reader, None);
    let (mistakes, effective) = reader.finish();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(Settings { effective: Effective(effective), ..settings }),
        _ => Err(mistakes),
    }
}

/// The places and keys of mistakes.
fn places(mistakes: &[Mistake]) -> Vec<(&str, &str)> {
    mistakes.iter().map(|mistake| (mistake.place.as_str(), mistake.key.as_str())).collect()
}

/// Asserts that the YAML text has mistakes at these places.
#[track_caller]
fn check(yaml: &str, expected: &[(&str, &str)]) {
    let mistakes = load(yaml, &[], &[]).expect_err("it was accepted");
    assert_eq!(places(&mistakes), expected, "{mistakes:?}");
}

#[test]
fn runtime_apis_of_the_base_are_own_places() {
    let yaml = "haproxy:\n  global: ['stats socket ipv4@127.0.0.1:9999 level admin', 'stats socket *:9998']\n";
    let own = load(yaml, &[], &[]).unwrap().haproxy.options.own;
    assert!(own.at_port(9_999).is_some() && own.at_port(9_998).is_some());
    assert!(own.are_at("127.0.0.1".parse().unwrap()));
}

#[test]
fn empty_file_gives_the_defaults() {
    let settings = load("", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.binary, Path::new("haproxy"));
    assert_eq!(settings.haproxy.config_path, Path::new("/etc/haproxy/haproxy.cfg"));
    assert_eq!(settings.haproxy.policy.base_config.socket_path, Path::new("/etc/haproxy/haproxy.sock"));
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
fn sample_of_the_ruby_proxymgr_loads() {
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
    assert_eq!(settings.haproxy.policy.base_config.socket_path, Path::new("/var/run/haproxy/stats.sock"));
}

#[test]
fn every_key_of_the_ruby_proxymgr_loads() {
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
    let base_config = &settings.haproxy.policy.base_config;
    assert_eq!(base_config.socket_path, Path::new("/run/x.sock"));
    assert_eq!(base_config.global, ["maxconn 100", "nbthread 2"]);
    assert_eq!(base_config.defaults, ["mode http", "timeout connect 5s"]);
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
fn environment_overrides_file_and_flags_override_both() {
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
fn environment_variables_can_be_lists_and_maps() {
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
    assert_eq!(settings.haproxy.policy.base_config.global, ["maxconn 100", "nbthread 2"]);
    assert_eq!(settings.haproxy.policy.base_config.defaults, ["mode http"]);
    assert_eq!(settings.zookeeper.auth.unwrap().reveal(), "0123:1.10");
    assert_eq!(settings.log.levels["watcher"], slog::Level::Debug);
    assert_eq!(settings.log.levels["haproxy"], slog::Level::Warning);
}

#[test]
fn switches_are_true_or_false() {
    let per_service = |yaml, environment: &[(&str, &str)]| {
        load(yaml, environment, &[]).map(|settings| settings.status.metrics_per_service)
    };
    assert!(per_service("", &[]).unwrap());
    assert!(!per_service("metrics: {per_service: false}", &[]).unwrap());
    assert!(!per_service("", &[("PROXYMGR_METRICS__PER_SERVICE", "false")]).unwrap());
    check("metrics: {per_service: 0}", &[("p.yml:1", "metrics.per_service")]);
}

/// The one test of wording: a mistake has its place, its key, the value, what is expected, and a hint.
#[test]
fn all_mistakes_are_reported_together() {
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
        Vec::from_iter(mistakes.iter().map(ToString::to_string)),
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
fn invalid_values_are_refused() {
    for (yaml, key) in [
        ("haproxy: {config_path: etc/x}", "haproxy.config_path"),
        ("haproxy: {config_path: /}", "haproxy.config_path"),
        ("haproxy: {config_path: '/etc/[x]/haproxy.cfg'}", "haproxy.config_path"),
        ("haproxy: {path: ''}", "haproxy.path"),
        ("status: {token: short}", "status.token"),
        ("status: {token: 0123456789 abcdef}", "status.token"),
        ("status: {token: 0123456789abcdef, token_file: /t}", "status.token_file"),
        ("status: {reads: token}", "status.reads"),
        ("status: {reads: closed}", "status.reads"),
        ("status: {tls_cert: /a}", "status.tls_cert"),
        ("status: {tls_key: /a}", "status.tls_key"),
        ("haproxy: {socket_path: none}", "haproxy.socket_path"),
        ("haproxy: {socket_path: '/run/a b'}", "haproxy.socket_path"),
        ("haproxy: {reload_interval: soon}", "haproxy.reload_interval"),
        ("haproxy: {stop_timeout: '30'}", "haproxy.stop_timeout"),
        ("haproxy: {observe_interval: 0s}", "haproxy.observe_interval"),
        ("haproxy: {global: 5}", "haproxy.global"),
        ("haproxy: {global: [5]}", "haproxy.global[1]"),
        ("haproxy: on fire", "haproxy"),
        ("service_config: {type: file, path: services}", "service_config.path"),
        ("service_config: {path: services//x}", "service_config.path"),
        ("service_config: {servers: 'a:99999'}", "service_config.servers"),
        ("service_config: {servers: 'a:1/x,b:1'}", "service_config.servers"),
        ("service_config: {servers: 'a:1,,b:1'}", "service_config.servers"),
        ("state_dir: 5", "state_dir"),
        ("log: {levels: loud}", "log.levels"),
        ("log: {levels: {watcher: loud}}", "log.levels.watcher"),
        ("zookeeper: {tls: {key: /k}}", "zookeeper.tls.key"),
    ] {
        check(yaml, &[("p.yml:1", key)]);
    }
    check("service_config: {type: file}", &[("", "service_config.path")]);
    check("haproxy:\n  global:\n  - maxconn 9\n  - master-worker", &[("p.yml:4", "haproxy.global[2]")]);
}

#[test]
fn invalid_yaml_is_refused_with_its_line() {
    let mistakes = load("haproxy:\n  path: [unclosed\n", &[], &[]).unwrap_err();
    assert!(mistakes[0].place.starts_with("p.yml:"), "{mistakes:?}");
    check("log:\n  level: info\n  level: debug\n", &[("p.yml:3", "")]);
    check("just text", &[("p.yml:1", "")]);
}

#[test]
fn missing_file_is_one_mistake() {
    let sources = SettingsSources { file: Some("/nonexistent/p.yml".into()), ..SettingsSources::default() };
    let mistakes = Settings::load(&sources).unwrap_err();
    assert_eq!(places(&mistakes.0), [("/nonexistent/p.yml", "")]);
}

#[test]
fn key_without_a_value_is_not_set() {
    let settings = load("haproxy:\n  socket_path:\n  path: ~\nzookeeper:\n", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.policy.base_config.socket_path, Path::new("/etc/haproxy/haproxy.sock"));
}

#[test]
fn mistakes_in_the_environment_have_the_variable_as_place() {
    let mistakes = load("", &[("PROXYMGR_HAPROXY__GLOBAL", "[maxconn 9, nbproc 2]")], &[]).unwrap_err();
    assert_eq!(places(&mistakes), [("environment variable PROXYMGR_HAPROXY__GLOBAL", "haproxy.global[2]")]);
}

#[test]
fn secrets_are_never_shown() {
    for yaml in ["zookeeper: {auth: hunter2}", "zookeeper: {auth: 12345678}", "zookeeper: {auth: \"hunter2:\\nx\"}"] {
        let mistakes = format!("{:?}", load(yaml, &[], &[]).unwrap_err());
        assert!(!mistakes.contains("hunter2") && !mistakes.contains("12345678"), "{mistakes}");
    }
    let settings = load("zookeeper: {auth: 'user:hunter2'}\nstatus: {token: hunter2hunter2hunter2}", &[], &[]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    let mistakes = load("status: {token: hunter2}", &[], &[]).unwrap_err();
    assert!(!format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
}

#[test]
fn variables_of_kubernetes_are_ignored() {
    let environment = ["PROXYMGR_PORT", "PROXYMGR_SERVICE_HOST", "PROXYMGR_PORT_8470_TCP_ADDR"];
    let sources = SettingsSources {
        environment: environment.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
        ..SettingsSources::default()
    };
    assert_eq!(Settings::load(&sources).unwrap().remarks.len(), environment.len());
}

#[test]
fn single_underscore_is_a_mistake() {
    let mistakes = load("", &[("PROXYMGR_HAPROXY_SOCKET_PATH", "/x"), ("PROXYMGR_STATEDIR", "/x")], &[]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].problem.contains("haproxy.socket_path"), "{mistakes:?}");
}

#[test]
fn adopt_applies_only_settings_that_can_change() {
    let mut running = load("haproxy: {reload_interval: 1s, global: [a], socket_path: /run/x}", &[], &[]).unwrap();
    let yaml = "haproxy: {reload_interval: 2s, global: [a, b], socket_path: /run/y, config_path: /y/h.cfg}
state_dir: /x
log: {level: debug, format: json}";
    let newer = load(yaml, &[], &[]).unwrap();
    let changed = running.adopt(newer.clone());
    assert_eq!(changed.applied, ["haproxy.global", "haproxy.reload_interval", "log.level"]);
    assert_eq!(changed.need_restart, ["haproxy.config_path", "haproxy.socket_path", "state_dir", "log.format"]);
    assert_eq!(running.haproxy.policy.reload_interval, Duration::from_secs(2));
    let base_config = &running.haproxy.policy.base_config;
    assert_eq!(base_config.socket_path, Path::new("/run/x"));
    assert_eq!(base_config.state_file.as_deref(), Some(Path::new("/etc/haproxy/haproxy.cfg.state")));
    assert_eq!(running.log.level, slog::Level::Debug);
    assert_eq!(running.log.format, LogFormat::Text);
    let again = running.adopt(newer);
    assert!(again.applied.is_empty());
    assert_eq!(again.need_restart, changed.need_restart, "pending settings are listed each time");
}

#[test]
fn every_key_of_the_table_is_read() {
    let yaml = "service_config: {path: /x}
record: /var/x
guards: {max_removal: 0.5}
haproxy: {socket_path: /run/x, pid_file: /run/y, user: u, group: g, certificates: /c}
zookeeper: {auth: 'a:b', tls: {ca: /a, certificate: /b, key: /c}}
annotations: {path: /a, servers: 'h:1'}
aws: {region: r, endpoint: 'http://h:1'}
consul: {token: t, datacenter: d, connections: 7, tls: {ca: /a, certificate: /b, key: /c}}
etcd: {auth: 'a:b', tls: {ca: /a, certificate: /b, key: /c}}
dns: {servers: 10.0.0.2}
mesos: {tls: {ca: /a}}
marathon: {auth: 'a:b', callback: 'http://h:1', tls: {ca: /a, certificate: /b, key: /c}}
status: {socket: /s, socket_group: g, tls_cert: /a, tls_key: /b, token: 0123456789abcdef}";
    let settings = load(yaml, &[], &[]).unwrap();
    // They exclude the tokens.
    let other = load("status: {token_file: /t}\nconsul: {token_file: /t}\nmarathon: {token: t}", &[], &[]).unwrap();
    let base = Settings::load(&SettingsSources {
        flags: vec![("haproxy.base_config".to_owned(), "/x".to_owned(), "--set".to_owned())],
        base_files: Some(Vec::new()),
        ..SettingsSources::default()
    });
    let base = base.unwrap().settings;
    let read = [&settings, &other, &base].into_iter().flat_map(|settings| settings.effective.0.keys());
    let read: BTreeSet<&str> = read.copied().collect();
    let all: BTreeSet<&str> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(read, all);
}

#[test]
fn dns_servers_are_addresses_and_intervals_are_ordered() {
    let settings =
        load("dns: {servers: ['10.0.0.2', '[::1]:5353'], interval: 2s, interval_max: 2s}", &[], &[]).unwrap();
    assert_eq!(settings.dns.servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    let yaml = "dns:\n  servers: ns.example\n  interval: 2m";
    check(yaml, &[("p.yml:2", "dns.servers"), ("p.yml:3", "dns.interval")]);
}

#[test]
fn mistakes_in_outputs_have_their_keys() {
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
            ("p.yml:2", "outputs[1].type"),
            ("p.yml:3", "outputs[2].template"),
            ("p.yml:4", "outputs[2].path"),
            ("p.yml:5", "outputs[2].relod"),
            ("p.yml:6", "outputs[3]"),
        ],
    );
    check(
        "outputs: [{type: template, template: /t, path: /f, reload: 'nginx -s reload; true'}]",
        &[("p.yml:1", "outputs[1].reload")],
    );
}

#[test]
fn consul_and_etcd_have_urls() {
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
            ("p.yml:1", "consul.connections"),
            ("p.yml:1", "consul.servers"),
            ("p.yml:1", "consul.token_file"),
            ("p.yml:3", "etcd.servers"),
            ("p.yml:4", "etcd.auth"),
            ("p.yml:5", "service_config.path"),
        ],
    );
}
