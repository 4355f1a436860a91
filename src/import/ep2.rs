//! ElasticPyProxy: its `ep2.conf`, and its HAProxy template.
//!
//! Its single backend becomes one service; the template's `global`, `defaults` and the backend's lines are kept.
//! Sources are watched instead of polled; slots are used where HAProxy cannot add servers at run time.

use std::collections::{BTreeMap, BTreeSet};

use super::yaml_text::YamlText;
use super::{Imported, SERVICES_DIRECTORY};

/// Keys without an equivalent, and what proxymgr does instead.
const REPLACED: &[(&str, &str)] = &[
    ("pid_file", "systemd manages the process; there is no pid file"),
    ("start_by", "neither systemd nor binary: proxymgr starts and supervises HAProxy itself"),
    ("lock_dir", "the lock is in the directory of haproxy.config_path"),
    ("sleep_before_next_run", "sources are watched, not polled"),
    ("log_file", "the log goes to standard error, for systemd or supervisord"),
    ("update_type", "changes are applied at run time where HAProxy can do so, else by a reload"),
    ("template_file", "the template's lines are in this file and in the service's definition"),
    ("aws_access_key_id", "credentials come from the usual chain: environment, shared files, the instance's role"),
    ("aws_secret_access_key", "credentials come from the usual chain: environment, shared files, the instance's role"),
];

/// The default name of the backend.
const DEFAULT_BACKEND: &str = "haproxynode";

/// Converts the text of an `ep2.conf`. `template` is the text of its `template_file`, if it can be read.
///
/// # Errors
/// A line is neither a section, nor a comment, nor `key = value`.
pub fn from_ep2(text: &str, template: Option<&str>) -> Result<Imported, String> {
    let conf = Conf::parse(text)?;
    let backend = conf.get("backend_name").unwrap_or(DEFAULT_BACKEND).to_owned();
    let template = template.map(|template| Template::parse(template, &backend));
    let mut used = BTreeSet::from(["backend_name"]);
    let settings = settings(&conf, template.as_ref(), &mut used);
    let service = service(&conf, template.as_ref(), &mut used);
    let settings = with_rest(settings, &conf, &used);
    Ok(Imported { settings, services: BTreeMap::from([(format!("{backend}.yml"), service)]) })
}

/// The path of the template in an `ep2.conf`.
pub fn template_file(text: &str) -> Option<String> {
    Some(Conf::parse(text).ok()?.get("template_file")?.to_owned())
}

fn settings<'a>(conf: &'a Conf, template: Option<&Template>, used: &mut BTreeSet<&'a str>) -> YamlText {
    let mut take = |key: &'a str| {
        used.insert(key);
        conf.get(key)
    };
    let mut yaml = YamlText::with_header(&[
        "Converted from an ep2.conf of ElasticPyProxy. Check it with `proxymgr check -c FILE`.",
    ]);
    yaml.section("haproxy", |haproxy| {
        for (theirs, ours) in [("haproxy_binary", "path"), ("haproxy_config_file", "config_path")] {
            if let Some(value) = take(theirs) {
                haproxy.key(ours, value);
            }
        }
        if let Some(sockets) = take("haproxy_socket_file") {
            let mut sockets = sockets.split(',').map(str::trim);
            haproxy.key("socket_path", sockets.next().unwrap_or_default());
            for other in sockets {
                haproxy.comment(&format!(
                    "haproxy_socket_file also had {other}: proxymgr starts one process, without nbproc; \
                     targets: [unix:{other}] is for an external HAProxy"
                ));
            }
        }
        if let Some(by @ ("systemd" | "binary")) = conf.get("start_by") {
            take("start_by");
            haproxy.comment(
                "Without run, proxymgr starts HAProxy itself and holds its ports, so that a crash closes none.",
            );
            haproxy.key("run", by);
            if by == "binary"
                && let Some(file) = take("pid_file")
            {
                haproxy.key("pid_file", file);
            }
        }
        match template {
            Some(template) => {
                haproxy.list("global", &template.global);
                haproxy.list("defaults", &template.defaults);
                for section in &template.others {
                    haproxy.comment(&format!(
                        "`{section}` of the template has no equivalent: proxymgr writes the whole file"
                    ));
                }
            }
            None => haproxy.comment("global and defaults: the lines of template_file, which is missing"),
        }
    });
    yaml.blank();
    yaml.section("service_config", |services| {
        services.key("type", "file");
        services.key("path", SERVICES_DIRECTORY);
    });
    yaml
}

fn service<'a>(conf: &'a Conf, template: Option<&Template>, used: &mut BTreeSet<&'a str>) -> String {
    let mut take = |key: &'a str| {
        used.insert(key);
        conf.get(key).filter(|value| !value.is_empty())
    };
    let mut yaml = YamlText::with_header(&["Converted from an ep2.conf of ElasticPyProxy: its backend."]);
    let is_consul = take("orchestrator").is_some_and(|kind| kind.eq_ignore_ascii_case("consul"));
    if is_consul || conf.get("consul_ip").is_some() {
        yaml.key("type", "consul");
        let host = take("consul_ip").unwrap_or("127.0.0.1");
        let port = take("consul_port").unwrap_or("8500");
        yaml.key("server", format!("http://{host}:{port}"));
        used.insert("service_name");
        match conf.in_section_of("consul_ip", "service_name") {
            Some(service) => yaml.key("service", service),
            None => yaml.comment("service: its name in Consul (service_name is missing)"),
        }
        let tags: Vec<&str> = conf
            .get("tags")
            .into_iter()
            .flat_map(|tags| tags.split(','))
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .collect();
        used.insert("tags");
        if !tags.is_empty() {
            yaml.key("tags", tags);
        }
        used.insert("only_passing");
        if conf.get("only_passing").is_some_and(|passing| passing.eq_ignore_ascii_case("false")) {
            yaml.key("passing", false);
        }
        if conf.get("backend_port").is_some() {
            used.insert("backend_port");
            yaml.comment("backend_port: the ports come from Consul");
        }
    } else {
        yaml.key("type", "aws");
        let groups: Vec<&str> = conf
            .get("asg_name")
            .into_iter()
            .flat_map(|names| names.split(','))
            .map(str::trim)
            .filter(|g| !g.is_empty())
            .collect();
        used.insert("asg_name");
        yaml.key("groups", groups);
        used.insert("region_name");
        if let Some(region) = conf.get("region_name").filter(|region| !region.is_empty()) {
            yaml.key("region", region);
        }
        used.insert("backend_port");
        if let Some(port) = conf.get("backend_port") {
            yaml.key("remote_port", number_or_text(port));
        }
    }
    listening(&mut yaml, template);
    used.insert("node_slots");
    if let Some(slots) = conf.get("node_slots").filter(|value| !value.is_empty()) {
        yaml.key("slots", number_or_text(slots));
    }
    let mut options = Vec::new();
    used.insert("check_interval");
    if let Some(interval) = conf.get("check_interval").filter(|value| !value.is_empty()) {
        options.push(format!("check inter {interval}"));
    }
    used.insert("backend_maxconn");
    if let Some(connections) = conf.get("backend_maxconn").filter(|value| !value.is_empty()) {
        options.push(format!("maxconn {connections}"));
    }
    if !options.is_empty() {
        yaml.list("server_options", &options);
    }
    yaml.finish()
}

fn listening(yaml: &mut YamlText, template: Option<&Template>) {
    let Some(template) = template else {
        yaml.comment("port: where clients connect (from template_file, which is missing)");
        return;
    };
    match template.bind.as_deref().and_then(|bind| bind.rsplit_once(':')) {
        Some((address, port)) => {
            yaml.key("port", number_or_text(port));
            if !matches!(address, "" | "*" | "0.0.0.0") {
                yaml.key("bind", address);
            }
        }
        None => yaml.comment("port: where clients connect (the template's backend has no `bind`)"),
    }
    yaml.list("listen_options", &template.options);
}

/// Adds the unused keys, with their replacements.
fn with_rest(mut yaml: YamlText, conf: &Conf, used: &BTreeSet<&str>) -> String {
    let rest: Vec<&(String, String, String)> =
        conf.keys.iter().filter(|(_, key, _)| !used.contains(key.as_str())).collect();
    if !rest.is_empty() {
        yaml.blank();
        yaml.comment("Further keys of ep2.conf:");
        for (_, key, value) in rest {
            let why = REPLACED.iter().find(|(known, _)| known == key).map_or("has no equivalent", |(_, why)| *why);
            // Secrets are not copied to another file.
            let shown = if key.starts_with("aws_") { String::new() } else { format!(" = {value}") };
            yaml.comment(&format!("  {key}{shown}: {why}"));
        }
    }
    yaml.finish()
}

fn number_or_text(text: &str) -> serde_json::Value {
    text.trim().parse::<u16>().map_or_else(|_| text.trim().into(), Into::into)
}

/// An INI file.
struct Conf {
    /// Section, key, value, in the file's order.
    keys: Vec<(String, String, String)>,
}

impl Conf {
    fn parse(text: &str) -> Result<Self, String> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.trim().to_owned();
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(format!("line {}: {line:?} is neither a section nor key = value", at + 1));
            };
            keys.push((section.clone(), key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self { keys })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(_, known, _)| known == key).map(|(_, _, value)| value.as_str())
    }

    /// The value of `key` in the section that has `neighbour`; without such a section, the last there is.
    fn in_section_of(&self, neighbour: &str, key: &str) -> Option<&str> {
        let section = self.keys.iter().find(|(_, known, _)| known == neighbour).map(|(section, _, _)| section);
        let mut of_key = self.keys.iter().filter(|(_, known, _)| known == key);
        let own = of_key.clone().rfind(|(of, _, _)| Some(of) == section);
        own.or_else(|| of_key.next_back()).map(|(_, _, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// A template of haproxy.cfg.
#[derive(Debug, Default)]
struct Template {
    global: Vec<String>,
    defaults: Vec<String>,
    bind: Option<String>,
    options: Vec<String>,
    /// The headers of other sections, and lines with variables.
    others: Vec<String>,
}

impl Template {
    fn parse(text: &str, backend: &str) -> Self {
        const SECTIONS: [&str; 12] = [
            "global",
            "defaults",
            "listen",
            "frontend",
            "backend",
            "resolvers",
            "peers",
            "mailers",
            "userlist",
            "program",
            "cache",
            "http-errors",
        ];
        #[derive(Clone, Copy)]
        enum Within {
            Global,
            Defaults,
            Own,
            Other,
        }
        let mut template = Self::default();
        let mut within = Within::Other;
        for line in
            text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
        {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if SECTIONS.contains(&first) {
                within = match (first, words.next()) {
                    ("global", _) => Within::Global,
                    ("defaults", _) => Within::Defaults,
                    ("listen" | "backend", Some(name)) if name == backend => Within::Own,
                    _ => {
                        template.others.push(line.to_owned());
                        Within::Other
                    }
                };
                continue;
            }
            match within {
                // proxymgr opens its own socket, and never forks.
                Within::Global
                    if line.starts_with("stats socket") || matches!(first, "daemon" | "master-worker" | "nbproc") => {}
                Within::Global => template.global.push(line.replace('\t', " ")),
                Within::Defaults => template.defaults.push(line.replace('\t', " ")),
                Within::Own if first == "bind" => template.bind = words.next().map(ToOwned::to_owned),
                Within::Own if first == "server" || line.starts_with("{{") => {}
                Within::Own if line.contains("{{") => template.others.push(line.to_owned()),
                Within::Own => template.options.push(line.replace('\t', " ")),
                Within::Other => {}
            }
        }
        template
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CONF: &str = "[HAPROXY]
haproxy_config_file = /etc/haproxy/haproxy.cfg
template_file = /etc/ep2/haproxy.cfg.template
backend_port = 6003
haproxy_binary = /usr/sbin/haproxy
start_by = systemd
haproxy_socket_file = /var/run/haproxy/haproxy.sock,/var/run/haproxy/two.sock
pid_file = /run/haproxy.pid
backend_name = haproxynode
update_type = update_by_runtime
node_slots = 5
service_name = haproxy
lock_dir = /var/lock
orchestrator = aws
sleep_before_next_run = 5
log_file = /var/log/ep2/ep2.log
check_interval = 3000
[AWS]
aws_access_key_id = AKIA
aws_secret_access_key = hush
asg_name = web-asg
region_name = eu-west-1
";

    const TEMPLATE: &str = "global
\tlog /dev/log\tlocal0
\tstats socket /var/run/haproxy/haproxy.sock mode 660 level admin
defaults
\tmode\thttp # as always
\ttimeout connect 5000
listen haproxynode
\tbind *:7001
\tbalance roundrobin
\toption forwardfor
{{ nodes }}
listen stats
    bind :32700
    stats enable
";

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn sample_becomes_settings_and_a_service() {
        let imported = from_ep2(CONF, Some(TEMPLATE)).unwrap();
        let settings = read(&imported.settings);
        assert_eq!(settings["haproxy"]["path"], "/usr/sbin/haproxy");
        assert_eq!(settings["haproxy"]["run"], "systemd");
        assert_eq!(settings["haproxy"]["socket_path"], "/var/run/haproxy/haproxy.sock");
        assert_eq!(settings["haproxy"]["global"], json!(["log /dev/log local0"]));
        assert_eq!(settings["haproxy"]["defaults"], json!(["mode http", "timeout connect 5000"]));
        let expected = json!({
            "type": "aws", "groups": ["web-asg"], "region": "eu-west-1", "remote_port": 6003, "port": 7001, "slots": 5,
            "listen_options": ["balance roundrobin", "option forwardfor"], "server_options": ["check inter 3000"],
        });
        assert_eq!(read(&imported.services["haproxynode.yml"]), expected);
    }

    #[test]
    fn unknown_keys_are_listed_without_secrets() {
        let text = from_ep2(CONF, Some(TEMPLATE)).unwrap().settings;
        for listed in ["two.sock", "`listen stats`", "pid_file = /run/haproxy.pid", "aws_secret_access_key:"] {
            assert!(text.contains(listed), "{listed} is not in\n{text}");
        }
        assert!(!text.contains("hush") && !text.contains("AKIA"), "{text}");
    }

    #[test]
    fn consul_is_read_from_its_own_section() {
        let conf = "[MAIN]\nservice_name = haproxy\norchestrator = consul\nbackend_name = web\n[CONSUL]\nservice_name = api\n\
                    consul_ip = 10.0.0.9\nconsul_port = 8501\nonly_passing = False\ntags = a, b\n";
        let imported = from_ep2(conf, None).unwrap();
        let expected = json!({
            "type": "consul", "server": "http://10.0.0.9:8501", "service": "api", "tags": ["a", "b"], "passing": false,
        });
        assert_eq!(read(&imported.services["web.yml"]), expected);
    }

    #[test]
    fn start_by_binary_is_kept() {
        let conf = "start_by = binary\npid_file = /run/haproxy.pid\n";
        let haproxy = read(&from_ep2(conf, None).unwrap().settings)["haproxy"].clone();
        assert_eq!(haproxy, json!({"run": "binary", "pid_file": "/run/haproxy.pid"}));
    }

    #[test]
    fn invalid_line_is_an_error() {
        assert_eq!(
            from_ep2("a = 1\nwhat\n", None).unwrap_err(),
            "line 2: \"what\" is neither a section nor key = value"
        );
    }
}
