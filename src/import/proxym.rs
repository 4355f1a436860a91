//! proxym: its environment file of `PROXYM_*` variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::yaml_text::YamlText;
use super::{Imported, SERVICES};

/// Converts the text of an environment file, for this directory of settings.
///
/// # Errors
/// A line is neither a comment nor `NAME=value`.
pub fn from_proxym(text: &str, directory: &Path) -> Result<Imported, String> {
    let mut environment = Environment::parse(text)?;
    let mut yaml = YamlText::with_header(&[
        "Converted from the PROXYM_ variables of proxym. Check it with `proxymgr check -c FILE`.",
    ]);
    let mut services = BTreeMap::new();
    definitions(&mut environment, &mut yaml, &mut services, &directory.join(SERVICES));
    outputs(&mut environment, &mut yaml);
    if let Some(address) = environment.take("LISTEN_ADDRESS") {
        // Without a host, Go listens on every interface.
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
        yaml.section("status", |status| status.key("listen", address));
    }
    if let Some(level) = environment.take("LOG_APPLOG_LEVEL") {
        let level = match level.to_ascii_lowercase().as_str() {
            "notice" => "info".to_owned(),
            other => other.to_owned(),
        };
        yaml.section("log", |log| log.key("level", level));
    }
    environment.rest(&mut yaml);
    Ok(Imported { settings: yaml.finish(), services, ..Imported::default() })
}

/// The source of definitions: one is used, further ones are mentioned in comments.
fn definitions(
    environment: &mut Environment,
    yaml: &mut YamlText,
    services: &mut BTreeMap<String, String>,
    directory: &Path,
) {
    let marathon = environment.take("MARATHON_SERVERS");
    let has_marathon = environment.flag("MARATHON_ENABLED").unwrap_or(marathon.is_some());
    let files = environment.take("FILE_CONFIGS_PATH");
    let has_files = environment.flag("FILE_ENABLED").unwrap_or_default();
    let masters = environment.take("MESOS_MASTER_MASTERS");
    let domain = environment.take("MESOS_MASTER_DOMAIN");
    environment.take("MESOS_MASTER_POLL_INTERVAL");
    let has_mesos = environment.flag("MESOS_MASTER_ENABLED").unwrap_or_default();
    let directory = files.filter(|_| has_files).unwrap_or_else(|| directory.to_string_lossy().into_owned());
    if let (true, Some(masters)) = (has_mesos, &masters) {
        let mut service = YamlText::with_header(&[
            "Converted from the PROXYM_MESOS_MASTER_ variables: the leading master as a service.",
        ]);
        service.key("type", "mesos");
        service.key("masters", masters.split(',').map(str::trim).collect::<Vec<_>>());
        if let Some(domain) = domain {
            service.key("domains", vec![domain]);
        }
        services.insert("mesos_master.yml".to_owned(), service.finish());
    }
    let from_marathon = has_marathon && marathon.is_some();
    yaml.section("service_config", |service_config| {
        if from_marathon {
            service_config.key("type", "marathon");
            if has_files || !services.is_empty() {
                service_config.comment(
                    "proxymgr has one source of definitions. proxym also had files or Mesos masters: run a second",
                );
                service_config.comment(&format!("proxymgr with {{type: file, path: {directory}}} for them."));
            }
        } else {
            service_config.key("type", "file");
            service_config.key("path", directory.as_str());
            if has_files {
                service_config.comment("The service files of proxym are read unchanged.");
            }
        }
    });
    if let (true, Some(servers)) = (from_marathon, marathon) {
        let url = |server: &str| if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let servers = servers.split(',').map(|server| url(server.trim())).collect::<Vec<_>>().join(",");
        yaml.section("marathon", |marathon| marathon.key("servers", servers));
    }
}

fn outputs(environment: &mut Environment, yaml: &mut YamlText) {
    let template = environment.take("PROXY_TEMPLATE_PATH");
    let path = environment.take("PROXY_CONFIG_FILE_PATH");
    let (check, reload) = (environment.take("PROXY_CHECK_COMMAND"), environment.take("PROXY_RELOAD_COMMAND"));
    let redis = environment.take("HIPACHE_REDIS_ADDRESS");
    environment.take("HIPACHE_DRIVER");
    let mut outputs = Vec::new();
    if environment.flag("PROXY_ENABLED").unwrap_or_default() {
        yaml.comment("Templates of proxym are Go templates: rewrite them in Jinja2; config/templates/nginx.conf.j2 is an example.");
        if check.is_some() {
            yaml.comment(
                "In `check`, {candidate} is the path of the file to check, which is not at its final place yet.",
            );
        }
        let keys = [("template", template), ("path", path), ("check", check), ("reload", reload)];
        let mut output = serde_json::json!({"type": "template", "shell": true});
        for (key, value) in keys {
            if let Some(value) = value {
                output[key] = value.into();
            }
        }
        outputs.push(output);
    }
    if let (true, Some(redis)) = (environment.flag("HIPACHE_ENABLED").unwrap_or_default(), redis) {
        outputs.push(serde_json::json!({"type": "hipache", "server": redis}));
    }
    if environment.flag("STDOUT_ENABLED").unwrap_or_default() {
        outputs.push(serde_json::json!({"type": "stdout"}));
    }
    if !outputs.is_empty() {
        yaml.key("outputs", outputs);
    }
}

/// The variables, without `PROXYM_`.
struct Environment {
    variables: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Environment {
    /// Parses `NAME=value` lines, with an optional `export` and optional quotes, as shells and systemd do.
    fn parse(text: &str) -> Result<Self, String> {
        let mut variables = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let assignment = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(format!("line {}: {line:?} is not NAME=value", at + 1));
            };
            let Some(name) = name.trim().strip_prefix("PROXYM_") else { continue };
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            variables.insert(name.to_owned(), bare.unwrap_or(value).to_owned());
        }
        Ok(Self { variables, used: BTreeSet::new() })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.used.insert(name.to_owned());
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name).map(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "yes" | "on"))
    }

    fn rest(&self, yaml: &mut YamlText) {
        let rest: Vec<_> = self.variables.iter().filter(|(name, _)| !self.used.contains(*name)).collect();
        if !rest.is_empty() {
            yaml.blank();
            yaml.comment("Further variables of proxym, without an equivalent:");
            rest.iter().for_each(|(name, value)| yaml.comment(&format!("  PROXYM_{name}={value}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn files_template_and_hipache_become_settings() {
        let environment = "# proxym
export PROXYM_FILE_ENABLED=1
PROXYM_FILE_CONFIGS_PATH=/etc/proxym/services
PROXYM_PROXY_ENABLED=\"1\"
PROXYM_PROXY_TEMPLATE_PATH=/etc/nginx/nginx.conf.tpl
PROXYM_PROXY_CONFIG_FILE_PATH=/etc/nginx/nginx.conf
PROXYM_PROXY_RELOAD_COMMAND='nginx -s reload'
PROXYM_HIPACHE_ENABLED=1
PROXYM_HIPACHE_REDIS_ADDRESS=127.0.0.1:6379
PROXYM_LISTEN_ADDRESS=:8080
PROXYM_LOG_APPLOG_LEVEL=NOTICE
PROXYM_LOG_FORMAT=%{message}
HOME=/root
";
        let imported = from_proxym(environment, Path::new("/etc/proxymgr")).unwrap();
        let expected = json!({
            "service_config": {"type": "file", "path": "/etc/proxym/services"},
            "outputs": [
                {"type": "template", "shell": true, "template": "/etc/nginx/nginx.conf.tpl", "path": "/etc/nginx/nginx.conf",
                 "reload": "nginx -s reload"},
                {"type": "hipache", "server": "127.0.0.1:6379"},
            ],
            "status": {"listen": "0.0.0.0:8080"},
            "log": {"level": "info"},
        });
        assert_eq!(read(&imported.settings), expected);
        assert!(imported.settings.contains("#   PROXYM_LOG_FORMAT=%{message}"), "{}", imported.settings);
        assert!(imported.settings.contains("Go templates"), "{}", imported.settings);
    }

    #[test]
    fn marathon_and_mesos_are_sources() {
        let environment = "PROXYM_MARATHON_SERVERS=10.0.0.1:8080,10.0.0.2:8080\nPROXYM_MESOS_MASTER_ENABLED=1\n\
                           PROXYM_MESOS_MASTER_MASTERS=http://m1:5050,http://m2:5050\nPROXYM_MESOS_MASTER_DOMAIN=mesos.example\n";
        let imported = from_proxym(environment, Path::new("/etc/proxymgr")).unwrap();
        let settings = read(&imported.settings);
        assert_eq!(settings["service_config"]["type"], "marathon");
        assert_eq!(settings["marathon"]["servers"], "http://10.0.0.1:8080,http://10.0.0.2:8080");
        assert!(imported.settings.contains("run a second"), "{}", imported.settings);
        let expected =
            json!({"type": "mesos", "masters": ["http://m1:5050", "http://m2:5050"], "domains": ["mesos.example"]});
        assert_eq!(read(&imported.services["mesos_master.yml"]), expected);
    }

    #[test]
    fn disabled_modules_are_not_imported() {
        let imported =
            from_proxym("PROXYM_PROXY_TEMPLATE_PATH=/t\nPROXYM_HIPACHE_REDIS_ADDRESS=a:1\n", Path::new("/x")).unwrap();
        assert_eq!(read(&imported.settings), json!({"service_config": {"type": "file", "path": "/x/services"}}));
    }

    #[test]
    fn invalid_line_is_an_error() {
        assert_eq!(from_proxym("\nwhat\n", Path::new("/x")).unwrap_err(), "line 2: \"what\" is not NAME=value");
    }
}
