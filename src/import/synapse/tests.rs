use serde_json::json;

use super::*;

fn import(conf: &Value) -> Imported {
    from_synapse(&conf.to_string(), Path::new("/x")).unwrap()
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn service(keys: &Value) -> Value {
    let imported = import(&json!({"services": {"web": keys}, "haproxy": {}}));
    read(&imported.services["web.yml"])
}

#[test]
fn nerve_service_becomes_a_definition() {
    let web = service(&json!({
        "default_servers": [{"name": "d", "host": "localhost", "port": 1}],
        "discovery": {"method": "zookeeper", "path": "/nerve/web", "hosts": ["zk1:2181", "zk2:2181"]},
        "haproxy": {
            "port": 3213, "server_options": "check inter 2s rise 3 fall 2",
            "listen": ["mode http", "option httpchk /ping"], "backend": ["mode http", "balance leastconn"],
        },
    }));
    let expected = json!({
        "type": "zookeeper", "server": "zk1:2181,zk2:2181", "path": "/nerve/web", "format": "nerve",
        "port": 3213, "bind": "127.0.0.1",
        "listen_options": ["mode http", "option httpchk /ping", "balance leastconn"],
        "server_options": ["check inter 2s rise 3 fall 2"],
    });
    assert_eq!(web, expected);
}

#[test]
fn every_method_has_a_source_or_a_note() {
    let kind = |discovery: Value| service(&json!({"discovery": discovery, "haproxy": {"port": 1}}))["type"].clone();
    let serverset = json!({"method": "zookeeper", "path": "/a", "hosts": ["z:1"], "decode": {"method": "serverset"}});
    for (discovery, expected) in [
        (serverset, "zookeeper"),
        (json!({"method": "zookeeper_dns", "path": "/a", "hosts": ["z:1"]}), "zookeeper"),
        (json!({"method": "marathon", "application_name": "/web", "marathon_api_url": "http://m"}), "marathon"),
        (json!({"method": "dns"}), "dns"),
        (json!({"method": "base"}), "static"),
        (json!({"method": "docker", "image_name": "web"}), "static"),
    ] {
        assert_eq!(kind(discovery.clone()), expected, "{discovery}");
    }
    let docker = json!({"services": {"web": {"discovery": {"method": "docker"}, "haproxy": {"port": 1}}}});
    assert!(import(&docker).notes[0].contains("docker has no equivalent"));
}

#[test]
fn label_filters_select_hosts() {
    let filters = json!([
        {"label": "az", "value": "us", "condition": "equals"}, {"label": "old", "value": "1", "condition": "not-equals"},
    ]);
    let discovery = json!({"method": "zookeeper", "path": "/a", "hosts": ["z:1"], "label_filters": filters});
    let web = json!({"discovery": discovery, "haproxy": {"port": 1}});
    assert_eq!(service(&web)["match"], json!({"meta": {"az": "us"}}));
    let notes = import(&json!({"services": {"web": web}})).notes;
    assert!(notes.len() == 1 && notes[0].contains("\"old\"") && notes[0].contains("selects no hosts"), "{notes:?}");
}

#[test]
fn default_servers_are_static_hosts() {
    let web = service(&json!({
        "default_servers": [{"name": "d", "host": "localhost", "port": 1}], "discovery": {"method": "base"},
        "haproxy": {"port": 1, "server_port_override": 80, "bind_address": "0.0.0.0"},
    }));
    let hosts = json!([{"name": "d", "address": "127.0.0.1", "port": 80}]);
    assert_eq!(web, json!({"type": "static", "hosts": hosts, "port": 1}));
}

#[test]
fn settings_hold_what_needs_no_base() {
    let imported = import(&json!({
        "services": [{"name": "web", "local_port": 1, "listen": ["mode http"], "discovery": {"method": "base"}}],
        "haproxy": {
            "config_file_path": "/etc/h.cfg", "socket_file_path": "/run/h.sock", "reload_command": "service haproxy reload",
            "global": ["daemon", "maxconn 4096", "#debug", "stats socket /run/h.sock"], "defaults": ["log global"],
        },
    }));
    let expected = json!({
        "config_path": "/etc/h.cfg", "socket_path": "/run/h.sock", "global": ["maxconn 4096"], "defaults": ["log global"],
    });
    assert_eq!(read(&imported.settings)["haproxy"], expected);
    assert!(imported.settings.contains("# reload_command"), "{}", imported.settings);
    assert_eq!(imported.base, []);
    assert_eq!(read(&imported.services["web.yml"])["port"], 1);
}

#[test]
fn shared_frontend_and_extra_sections_are_the_base() {
    let shared = |name: &str| {
        json!({"discovery": {"method": "base"}, "haproxy": {
            "shared_frontend": [format!("use_backend {name} if {{ hdr(host) {name} }}")], "backend": "mode http",
        }})
    };
    let imported = import(&json!({
        "services": {"one": shared("one"), "two": shared("two"), "off": {"haproxy": {"disabled": true}}},
        "haproxy": {
            "shared_frontend": ["bind 127.0.0.1:8081", "mode http"], "global": ["maxconn 9"],
            "extra_sections": {"listen stats": ["bind :3212", "stats enable"]},
        },
    }));
    let expected = "\
global
    maxconn 9

defaults

listen stats
    bind :3212
    stats enable

backend one
    mode http
    # proxymgr: servers

backend two
    mode http
    # proxymgr: servers

frontend shared-frontend
    bind 127.0.0.1:8081
    mode http
    use_backend one if { hdr(host) one }
    use_backend two if { hdr(host) two }
";
    assert_eq!(imported.base[0].text, expected);
    assert_eq!(read(&imported.settings)["haproxy"], json!({"base_config": "/x/haproxy.cfg"}));
    assert_eq!(read(&imported.services["one.yml"]), json!({"type": "static", "hosts": []}));
    assert_eq!(imported.services.len(), 2);
}

#[test]
fn service_with_lines_of_the_operator_is_a_section_of_the_base() {
    let lines = ["errorfile 503 /etc/haproxy/503.http", "mode http"];
    let imported = import(&json!({"services": {"web": {
        "discovery": {"method": "zookeeper", "path": "/a", "hosts": ["z:1"]}, "haproxy": {"port": 8000, "listen": lines},
    }}}));
    let listen = "listen web\n    bind 127.0.0.1:8000\n    errorfile 503 /etc/haproxy/503.http\n    mode http\n";
    assert!(imported.base[0].text.contains(listen), "{}", imported.base[0].text);
    assert!(!imported.services["web.yml"].contains("port"), "{}", imported.services["web.yml"]);
}

#[test]
fn wrong_file_is_an_error() {
    for text in ["[]", "{}", "{\"services\": {\"a\": 1}}", "{\"services\": [{}]}", "{"] {
        assert!(from_synapse(text, Path::new("/x")).is_err(), "{text}");
    }
}
