//! ElasticPyProxy: its `ep2.conf`, and its HAProxy template.
//!
//! Its single backend becomes one service, and its template the base configuration. Sources are watched instead of
//! polled; slots are used where HAProxy cannot add servers at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proxymgr_actors::decide::base::is_marker;
use proxymgr_actors::decide::base::sections::{File, Line, Section};

use super::yaml_text::YamlText;
use super::{BASE_FILE, BaseFile, Imported, SERVICES};

/// Keys without an equivalent, and what proxymgr does instead.
const REPLACED: &[(&str, &str)] = &[
    ("pid_file", "systemd manages the process; there is no pid file"),
    ("start_by", "neither systemd nor binary: proxymgr starts and supervises HAProxy itself"),
    ("lock_dir", "the lock is in the directory of haproxy.config_path"),
    ("sleep_before_next_run", "sources are watched, not polled"),
    ("log_file", "the log goes to standard error, for systemd or supervisord"),
    ("update_type", "changes are applied at run time where HAProxy can do so, else by a reload"),
    ("template_file", "the template is haproxy.base_config"),
    ("service_name", "haproxy.unit, with run: systemd"),
    ("aws_access_key_id", "credentials come from the usual chain: environment, shared files, the instance's role"),
    ("aws_secret_access_key", "credentials come from the usual chain: environment, shared files, the instance's role"),
];

/// The default name of the backend.
const DEFAULT_BACKEND: &str = "haproxynode";

/// Converts the text of an `ep2.conf`, for this directory of settings. `template` is the text of its `template_file`, if
/// it can be read.
///
/// # Errors
/// A line is neither a section, nor a comment, nor `key = value`.
pub fn from_ep2(text: &str, template: Option<&str>, directory: &Path) -> Result<Imported, String> {
    let conf = Conf::parse(text)?;
    let backend = conf.get("backend_name").unwrap_or(DEFAULT_BACKEND).to_owned();
    let template = template.map(|template| Template::read(template, &backend));
    let mut used = BTreeSet::from(["backend_name"]);
    let settings = settings(&conf, template.is_some(), directory, &mut used);
    let service = service(&conf, template.as_ref(), &mut used);
    let mut imported = Imported {
        settings: with_rest(settings, &conf, &used),
        services: BTreeMap::from([(format!("{backend}.yml"), service)]),
        ..Imported::default()
    };
    if let Some(Template { text, notes, .. }) = template {
        imported.base.push(BaseFile { name: BASE_FILE.to_owned(), text });
        imported.notes = notes;
    }
    Ok(imported)
}

/// The path of the template in an `ep2.conf`.
pub fn template_file(text: &str) -> Option<String> {
    Some(Conf::parse(text).ok()?.get("template_file")?.to_owned())
}

fn settings<'a>(conf: &'a Conf, has_template: bool, directory: &Path, used: &mut BTreeSet<&'a str>) -> YamlText {
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
            if by == "systemd"
                && let Some(service) = unit(conf)
            {
                take("service_name");
                haproxy.key("unit", service);
            }
            if by == "binary"
                && let Some(file) = take("pid_file")
            {
                haproxy.key("pid_file", file);
            }
        }
        match has_template {
            true => haproxy.key("base_config", directory.join(BASE_FILE).to_string_lossy()),
            false => haproxy.comment("base_config: the template_file, which is missing"),
        }
    });
    yaml.blank();
    yaml.section("service_config", |services| {
        services.key("type", "file");
        services.key("path", directory.join(SERVICES).to_string_lossy());
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
    if template.is_none_or(|template| !template.has_backend) {
        yaml.comment("port: where clients connect, unless the base configuration has a section of this name");
    }
    used.insert("node_slots");
    if let Some(slots) = conf.get("node_slots").filter(|value| !value.is_empty()) {
        yaml.key("slots", number_or_text(slots));
    }
    used.extend(["check_interval", "backend_maxconn"]);
    yaml.list("server_options", &server_options(conf));
    yaml.finish()
}

/// Returns the options of every server. ElasticPyProxy checks them all.
fn server_options(conf: &Conf) -> Vec<String> {
    let value = |key| conf.get(key).filter(|value| !value.is_empty());
    let check = value("check_interval").map_or_else(|| "check".to_owned(), |time| format!("check inter {time}"));
    let connections = value("backend_maxconn").map(|connections| format!("maxconn {connections}"));
    [check].into_iter().chain(connections).collect()
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

/// Returns HAProxy's systemd unit. The section of Consul has the same key for the service in Consul.
fn unit(conf: &Conf) -> Option<String> {
    let consul = conf.keys.iter().find(|(_, known, _)| known == "consul_ip").map(|(section, _, _)| section);
    let mut names = conf.keys.iter().filter(|(section, key, _)| key == "service_name" && Some(section) != consul);
    let (_, _, name) = names.next().filter(|(_, _, name)| !name.is_empty())?;
    Some(if name.contains('.') { name.clone() } else { format!("{name}.service") })
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

/// The template of haproxy.cfg, as the base configuration: `{{ nodes }}` marks where proxymgr puts the servers.
struct Template {
    text: String,
    /// Whether it has the section of the backend.
    has_backend: bool,
    /// What differs from the template.
    notes: Vec<String>,
}

impl Template {
    fn read(text: &str, backend: &str) -> Self {
        let file = File::read(BASE_FILE, text);
        let is_own = |section: &Section| {
            matches!(section.keyword, "listen" | "backend") && section.name.as_deref() == Some(backend)
        };
        let has_backend = file.sections.iter().any(is_own);
        let mut template = Self { text: String::new(), has_backend, notes: Vec::new() };
        for line in &file.preamble {
            template.push(line);
        }
        for section in &file.sections {
            template.push(&section.header);
            section.lines.iter().for_each(|line| template.push(line));
        }
        if !has_backend {
            template.notes.push(format!(
                "the template has no section for backend_name = {backend}: give services/{backend}.yml a port, or add \
                 `backend {backend}` to {BASE_FILE}"
            ));
        }
        template
    }

    /// Adds a line. Jinja2 replaces a variable that ElasticPyProxy does not set by nothing, so that HAProxy would refuse
    /// the line.
    fn push(&mut self, line: &Line) {
        let other_variable = line.text.contains("{{") && !line.is_blank() && !is_marker(line);
        if other_variable {
            self.notes.push(format!("{}: `{}` has a variable and became a comment", line.place, line.text.trim()));
            self.text.push_str("# ");
        }
        self.text.push_str(&line.text);
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

    fn import(conf: &str, template: Option<&str>) -> Imported {
        from_ep2(conf, template, Path::new("/x")).unwrap()
    }

    #[test]
    fn sample_becomes_settings_a_base_and_a_service() {
        let imported = import(CONF, Some(TEMPLATE));
        let expected = json!({
            "path": "/usr/sbin/haproxy", "config_path": "/etc/haproxy/haproxy.cfg", "run": "systemd",
            "unit": "haproxy.service", "socket_path": "/var/run/haproxy/haproxy.sock", "base_config": "/x/haproxy.cfg",
        });
        assert_eq!(read(&imported.settings)["haproxy"], expected);
        let expected = json!({
            "type": "aws", "groups": ["web-asg"], "region": "eu-west-1", "remote_port": 6003, "slots": 5,
            "server_options": ["check inter 3000"],
        });
        assert_eq!(read(&imported.services["haproxynode.yml"]), expected);
        assert_eq!(imported.base, [BaseFile { name: "haproxy.cfg".to_owned(), text: TEMPLATE.to_owned() }]);
        assert_eq!(imported.notes, Vec::<String>::new());
    }

    #[test]
    fn servers_are_always_checked() {
        let imported = import("asg_name = a\nbackend_port = 80\nbackend_maxconn = 9\n", None);
        assert_eq!(read(&imported.services["haproxynode.yml"])["server_options"], json!(["check", "maxconn 9"]));
    }

    #[test]
    fn variable_of_the_template_becomes_a_comment() {
        let template = "listen haproxynode\n  acl x {{ y }}\n  # {{ z }}\n  {{nodes}}\n";
        let imported = import(CONF, Some(template));
        assert_eq!(imported.base[0].text, template.replace("  acl", "#   acl"));
        assert_eq!(imported.notes.len(), 1);
        assert!(imported.notes[0].starts_with("haproxy.cfg:2:"), "{:?}", imported.notes);
    }

    #[test]
    fn template_without_the_backend_is_reported() {
        let imported = import(CONF, Some("listen other\n  {{ nodes }}\n"));
        assert!(imported.notes[0].contains("haproxynode"), "{:?}", imported.notes);
        assert!(imported.services["haproxynode.yml"].contains("# port:"), "{:?}", imported.services);
    }

    #[test]
    fn unknown_keys_are_listed_without_secrets() {
        let text = import(CONF, Some(TEMPLATE)).settings;
        for listed in ["two.sock", "pid_file = /run/haproxy.pid", "aws_secret_access_key:"] {
            assert!(text.contains(listed), "{listed} is not in\n{text}");
        }
        assert!(!text.contains("hush") && !text.contains("AKIA"), "{text}");
    }

    #[test]
    fn consul_is_read_from_its_own_section() {
        let conf = "[MAIN]\nservice_name = haproxy\norchestrator = consul\nbackend_name = web\n[CONSUL]\nservice_name = api\n\
                    consul_ip = 10.0.0.9\nconsul_port = 8501\nonly_passing = False\ntags = a, b\n";
        let imported = import(conf, None);
        let expected = json!({
            "type": "consul", "server": "http://10.0.0.9:8501", "service": "api", "tags": ["a", "b"], "passing": false,
            "server_options": ["check"],
        });
        assert_eq!(read(&imported.services["web.yml"]), expected);
    }

    #[test]
    fn start_by_binary_is_kept() {
        let conf = "start_by = binary\npid_file = /run/haproxy.pid\n";
        let haproxy = read(&import(conf, None).settings)["haproxy"].clone();
        assert_eq!(haproxy, json!({"run": "binary", "pid_file": "/run/haproxy.pid"}));
    }

    #[test]
    fn invalid_line_is_an_error() {
        assert_eq!(
            from_ep2("a = 1\nwhat\n", None, Path::new("/x")).unwrap_err(),
            "line 2: \"what\" is neither a section nor key = value"
        );
    }
}
