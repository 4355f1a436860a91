//! Definitions of services from apps: one for each TCP port, with the names and labels of proxym.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::proxym_service::ProxymPort;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::Value;
use tokio::time::Instant;

use super::Marathon;
use super::app::{App, AppPort};
use super::app_watch::{AppDecoder, AppWatch};
use super::cluster::Apps;

/// The definitions from Marathon's apps.
pub struct MarathonDefinitions {
    marathon: Marathon,
}

impl MarathonDefinitions {
    /// The definitions from the apps of this Marathon.
    pub fn new(marathon: Marathon) -> Self {
        Self { marathon }
    }
}

impl DefinitionSource for MarathonDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        Box::new(AppWatch::start(self.marathon.join(), AppDefinitions { reader, had_apps: Cell::new(false) }))
    }

    /// An app vanishes while it is replaced by another of the same name.
    fn are_derived(&self) -> bool {
        true
    }
}

struct AppDefinitions {
    reader: Recipient<DefinitionsSeen>,
    had_apps: Cell<bool>,
}

impl AppDecoder for AppDefinitions {
    type Snapshot = BTreeMap<Arc<str>, RawDefinition>;

    fn decode(&self, apps: &Apps) -> Result<Self::Snapshot, String> {
        // A leader that lost its data shows no apps. The last app can only be removed by a restart of proxymgr.
        if apps.apps.is_empty() && self.had_apps.get() {
            let error = "Marathon reports no apps, but had some before; the services stay until it reports one, or \
                         until proxymgr is restarted";
            return Err(error.to_owned());
        }
        self.had_apps.set(self.had_apps.get() || !apps.apps.is_empty());
        let ports = apps.apps.values().flat_map(|app| app.ports().into_iter().map(move |port| (app, port)));
        let mut definitions = BTreeMap::new();
        for (app, port) in ports.filter(|(app, port)| protocol(app, port) != "udp") {
            // Of two ports with the same number, the first gets the name.
            definitions.entry(name(&app.id, &port)).or_insert_with(|| definition(app, &port));
        }
        Ok(definitions)
    }

    fn report(&self, snapshot: Result<Self::Snapshot, String>, _seen_at: Instant) {
        self.reader.do_send(DefinitionsSeen::plain(snapshot));
    }
}

/// The name of a service: `marathon_shop_web_8080` for port 8080 of `/shop/web`.
pub(super) fn name(id: &str, port: &AppPort) -> Arc<str> {
    let parts = id.trim_start_matches('/').replace('/', "_");
    format!("marathon_{parts}_{}", port.number).into()
}

fn label<'a>(app: &'a App, port: &AppPort, what: &str) -> Option<&'a String> {
    app.labels.get(&format!("proxym.port.{}.{what}", port.number))
}

fn protocol<'a>(app: &'a App, port: &'a AppPort) -> &'a str {
    match (label(app, port, "protocol"), port.protocol.as_str()) {
        (Some(protocol), _) => protocol,
        (None, "udp,tcp") => "tcp",
        (None, protocol) => protocol,
    }
}

pub(super) fn definition(app: &App, port: &AppPort) -> RawDefinition {
    let domains = app.labels.get("proxym.domains").map(String::as_str).unwrap_or_default();
    let domains = domains.split(',').map(str::trim).filter(|domain| !domain.is_empty());
    let proxied = ProxymPort {
        listen: port.service_port.into(),
        protocols: vec![protocol(app, port).to_owned()],
        domains: domains.map(str::to_owned).collect(),
        path: String::new(),
        config: label(app, port, "config").cloned().unwrap_or_default(),
    };
    let origin = format!("Marathon's app {}, port {}", app.id, port.number);
    match proxied.keys() {
        Ok(mut keys) => {
            keys.insert("type".to_owned(), "marathon".into());
            keys.insert("app".to_owned(), app.id.as_str().into());
            keys.insert("port_index".to_owned(), port.index.into());
            RawDefinition::new(Value::Object(keys).to_string(), origin)
        }
        Err(error) => RawDefinition::unreadable(error, origin),
    }
}

#[cfg(test)]
mod tests {
    use actix::Actor;
    use serde_json::json;

    use super::*;

    struct Nobody;

    impl Actor for Nobody {
        type Context = actix::Context<Self>;
    }

    impl actix::Handler<DefinitionsSeen> for Nobody {
        type Result = ();
        fn handle(&mut self, _: DefinitionsSeen, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn every_tcp_port_is_a_service() {
        let apps = Apps::parse(include_bytes!("../../../tests/recorded/marathon/apps.json"), &mut Default::default());
        let decoder = AppDefinitions { reader: Nobody.start().recipient(), had_apps: Cell::new(false) };
        let definitions = decoder.decode(&apps.unwrap()).unwrap();
        let names = Vec::from_iter(definitions.keys().map(|name| &**name));
        let expected = [
            "marathon_graphite-statsd_2003",
            "marathon_graphite-statsd_80",
            "marathon_host-networking_8888",
            "marathon_registry_5000",
            "marathon_shop_overlay_8080",
            "marathon_shop_overlay_9100",
            "marathon_shop_web_8080",
            "marathon_shop_web_9100",
        ];
        assert_eq!(names, expected);
        let registry: Value = serde_json::from_str(&definitions["marathon_registry_5000"].text).unwrap();
        let expected = json!({
            "type": "marathon", "app": "/registry", "port_index": 0, "port": 42000,
            "domains": ["docker-registry.unit.test", "registry.unit.test"],
            "listen_options": ["mode http", "option forwardfor", "option httpchk"],
        });
        assert_eq!(registry, expected);
        assert_eq!(&*definitions["marathon_registry_5000"].origin, "Marathon's app /registry, port 5000");
    }
}
