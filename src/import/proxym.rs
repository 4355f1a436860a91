//! proxym: its environment file of `PROXYM_*` variables.

use std::collections::{BTreeMap, BTreeSet};

use super::written::Written;
use super::{Imported, SERVICES_DIRECTORY};

/// Turns the text of an environment file into ours.
///
/// # Errors
/// The line that is neither a comment nor `NAME=value`.
pub fn from_proxym(text: &str) -> Result<Imported, String> {
    let mut environment = Environment::parse(text)?;
    let mut written =
        Written::headed(&["Made from the PROXYM_ variables of proxym. `proxymgr check -c FILE` looks it over."]);
    let mut services = BTreeMap::new();
    definitions(&mut environment, &mut written, &mut services);
    outputs(&mut environment, &mut written);
    if let Some(address) = environment.take("LISTEN_ADDRESS") {
        // Go listens on every interface where no host is named.
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
        written.section("status", |status| status.key("listen", address));
    }
    if let Some(level) = environment.take("LOG_APPLOG_LEVEL") {
        let level = match level.to_ascii_lowercase().as_str() {
            "notice" => "info".to_owned(),
            other => other.to_owned(),
        };
        written.section("log", |log| log.key("level", level));
    }
    environment.rest(&mut written);
    Ok(Imported { settings: written.finish(), services })
}

/// Where services are defined: one source is in force, each further one is told.
fn definitions(environment: &mut Environment, written: &mut Written, services: &mut BTreeMap<String, String>) {
    let marathon = environment.take("MARATHON_SERVERS");
    let has_marathon = environment.flag("MARATHON_ENABLED").unwrap_or(marathon.is_some());
    let files = environment.take("FILE_CONFIGS_PATH");
    let has_files = environment.flag("FILE_ENABLED").unwrap_or_default();
    let masters = environment.take("MESOS_MASTER_MASTERS");
    let domain = environment.take("MESOS_MASTER_DOMAIN");
    environment.take("MESOS_MASTER_POLL_INTERVAL");
    let has_mesos = environment.flag("MESOS_MASTER_ENABLED").unwrap_or_default();
    let directory = files.filter(|_| has_files).unwrap_or_else(|| SERVICES_DIRECTORY.to_owned());
    if let (true, Some(masters)) = (has_mesos, &masters) {
        let mut service =
            Written::headed(&["Made from the PROXYM_MESOS_MASTER_ variables: the leading master as a service."]);
        service.key("type", "mesos");
        service.key("masters", masters.split(',').map(str::trim).collect::<Vec<_>>());
        if let Some(domain) = domain {
            service.key("domains", vec![domain]);
        }
        services.insert("mesos_master.yml".to_owned(), service.finish());
    }
    let from_marathon = has_marathon && marathon.is_some();
    written.section("service_config", |service_config| {
        if from_marathon {
            service_config.key("type", "marathon");
            if has_files || !services.is_empty() {
                service_config.comment(
                    "There is one source of definitions. proxym also had files or Mesos masters: run a second",
                );
                service_config.comment(&format!("proxymgr with {{type: file, path: {directory}}} for these."));
            }
        } else {
            service_config.key("type", "file");
            service_config.key("path", directory.as_str());
            if has_files {
                service_config.comment("proxym's own service files are read as they are.");
            }
        }
    });
    if let (true, Some(servers)) = (from_marathon, marathon) {
        let url = |server: &str| if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let servers = servers.split(',').map(|server| url(server.trim())).collect::<Vec<_>>().join(",");
        written.section("marathon", |marathon| marathon.key("servers", servers));
    }
}

fn outputs(environment: &mut Environment, written: &mut Written) {
    let template = environment.take("PROXY_TEMPLATE_PATH");
    let path = environment.take("PROXY_CONFIG_FILE_PATH");
    let (check, reload) = (environment.take("PROXY_CHECK_COMMAND"), environment.take("PROXY_RELOAD_COMMAND"));
    let redis = environment.take("HIPACHE_REDIS_ADDRESS");
    environment.take("HIPACHE_DRIVER");
    let mut outputs = Vec::new();
    if environment.flag("PROXY_ENABLED").unwrap_or_default() {
        written.comment("proxym's templates are Go templates: rewrite yours in Jinja2; config/templates/nginx.conf.j2 is an example.");
        if check.is_some() {
            written
                .comment("In `check`, {candidate} stands for the file to be checked, which is not in its place yet.");
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
        written.key("outputs", outputs);
    }
}

/// The variables, without `PROXYM_`.
struct Environment {
    variables: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Environment {
    /// Reads `NAME=value` lines, with or without `export` before and quotes around the value, as shells and systemd do.
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

    fn rest(&self, written: &mut Written) {
        let rest: Vec<_> = self.variables.iter().filter(|(name, _)| !self.used.contains(*name)).collect();
        if !rest.is_empty() {
            written.blank();
            written.comment("What proxym was told besides, which has no equivalent:");
            rest.iter().for_each(|(name, value)| written.comment(&format!("  PROXYM_{name}={value}")));
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
    fn files_an_nginx_and_hipache_become_settings() {
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
        let imported = from_proxym(environment).unwrap();
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
    fn marathon_and_the_masters_of_mesos_are_sources() {
        let environment = "PROXYM_MARATHON_SERVERS=10.0.0.1:8080,10.0.0.2:8080\nPROXYM_MESOS_MASTER_ENABLED=1\n\
                           PROXYM_MESOS_MASTER_MASTERS=http://m1:5050,http://m2:5050\nPROXYM_MESOS_MASTER_DOMAIN=mesos.example\n";
        let imported = from_proxym(environment).unwrap();
        let settings = read(&imported.settings);
        assert_eq!(settings["service_config"]["type"], "marathon");
        assert_eq!(settings["marathon"]["servers"], "http://10.0.0.1:8080,http://10.0.0.2:8080");
        assert!(imported.settings.contains("run a second"), "{}", imported.settings);
        let expected =
            json!({"type": "mesos", "masters": ["http://m1:5050", "http://m2:5050"], "domains": ["mesos.example"]});
        assert_eq!(read(&imported.services["mesos_master.yml"]), expected);
    }

    #[test]
    fn a_module_that_is_not_enabled_is_not_imported() {
        let imported = from_proxym("PROXYM_PROXY_TEMPLATE_PATH=/t\nPROXYM_HIPACHE_REDIS_ADDRESS=a:1\n").unwrap();
        assert_eq!(read(&imported.settings), json!({"service_config": {"type": "file", "path": SERVICES_DIRECTORY}}));
    }

    #[test]
    fn a_line_that_is_nothing_is_named() {
        assert_eq!(from_proxym("\nwhat\n").unwrap_err(), "line 2: \"what\" is not NAME=value");
    }
}
