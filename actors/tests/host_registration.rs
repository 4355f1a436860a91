//! Tests of the registrations of other tools.

use proxymgr_actors::decide::host_registration::{RegistrationFormat, RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::model::{AdminState, Host, HostLabels, Word};
use serde_json::{Value, json};

fn read_by(registration: &Value, rules: &RegistrationRules) -> Result<Option<Host>, String> {
    let record = from_registration(registration.to_string().as_bytes(), rules, &OptionPolicy::default())?;
    Ok(record.map(|record| Host::clone(&record.host)))
}

fn read(registration: &Value) -> Result<Host, String> {
    read_by(registration, &RegistrationRules::default()).map(|host| host.expect("no shard is asked for"))
}

fn member(status: Value) -> Value {
    json!({
        "serviceEndpoint": {"host": "10.0.0.1", "port": 8080},
        "additionalEndpoints": {"admin": {"host": "10.0.0.1", "port": 9990}},
        "status": status,
        "shard": 3,
    })
}

#[test]
fn a_registration_of_nerve_is_read_with_its_weight_and_options() {
    let host = read(&json!({
        "host": "10.0.0.1", "port": 3000, "name": "i-0b1c", "weight": 10,
        "haproxy_server_options": "check inter 2000", "labels": {"az": "a"},
    }));
    let host = host.unwrap();
    assert_eq!((host.endpoint.to_string(), host.weight, host.name), ("10.0.0.1:3000".to_owned(), Some(10), None));
    assert_eq!(host.options.iter().map(Word::as_str).collect::<Vec<_>>(), ["check", "inter", "2000"]);
    assert_eq!(host.labels.as_deref(), Some(&HostLabels::of_host([], [("az", "a")])));
}

#[test]
fn metadata_of_other_formats_is_that_of_the_host() {
    let zone = |host: Host| host.labels.and_then(|labels| labels.meta.get("zone").cloned());
    let instance = spring_instance(json!({"zone": "a", "instance_status": "UP"}));
    assert_eq!(zone(read(&instance).unwrap()).as_deref(), Some("a"));
    let mut member = member(json!("ALIVE"));
    member["metadata"] = json!({"zone": "b"});
    assert_eq!(zone(read(&member).unwrap()).as_deref(), Some("b"));
    member["metadata"] = json!("b");
    assert_eq!(zone(read(&member).unwrap()), None, "something else makes no host unusable");
    assert_eq!(zone(read(&json!({"host": "10.0.0.1", "port": 80, "labels": ["zone"]})).unwrap()), None);
    let own = json!({"address": "10.0.0.1", "port": 80, "tags": "blue, canary", "meta": {"zone": 3, "list": [1]}});
    let labels = read(&own).unwrap().labels;
    assert_eq!(labels.as_deref(), Some(&HostLabels::of_host(["blue", "canary"], [("zone", "3")])));
    let bad = json!({"address": "10.0.0.1", "port": 80, "tags": 7, "meta": "zone=a"});
    assert_eq!(read(&bad).unwrap_err(), "\"tags\": 7 is not a list of strings; \"meta\": the string is not an object");
}

#[test]
fn curator_instance_is_named_after_its_endpoint() {
    let instance = |port: Value, ssl_port: Value, enabled: Value| {
        json!({
            "name": "web", "id": "6e2c3fd5-0b45-4d1a-9a0f-2f3e5b8e7a11", "address": "10.0.0.1", "port": port,
            "sslPort": ssl_port, "payload": {"@class": "x", "zone": "a"}, "registrationTimeUTC": 1_325_129_459_728_i64,
            "serviceType": "DYNAMIC", "uriSpec": null, "enabled": enabled,
        })
    };
    let host = read(&instance(json!(8080), json!(null), json!(true))).unwrap();
    assert_eq!((host.endpoint.to_string(), host.name, host.state), ("10.0.0.1:8080".into(), None, AdminState::Ready));
    let host = read(&instance(json!(null), json!(8443), json!(false))).unwrap();
    assert_eq!((host.endpoint.to_string(), host.state), ("10.0.0.1:8443".into(), AdminState::Maint));
}

/// Returns the registration that Spring Cloud Zookeeper writes, with these metadata of the instance.
fn spring_instance(metadata: Value) -> Value {
    json!({
        "name": "web", "id": "1c2d", "address": "10.0.0.1", "port": 8080, "sslPort": null, "enabled": true,
        "payload": {
            "@class": "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance", "id": "web:8080", "name": "web",
            "metadata": metadata,
        },
        "registrationTimeUTC": 1_525_129_459_728_i64, "serviceType": "DYNAMIC",
        "uriSpec": {"parts": [{"value": "scheme", "variable": true}]},
    })
}

#[test]
fn spring_instance_gets_traffic_only_if_up() {
    for (metadata, state) in [
        (json!({"instance_status": "UP"}), AdminState::Ready),
        (json!({"instance_status": "up", "zone": "a"}), AdminState::Ready),
        (json!({"zone": "a"}), AdminState::Ready),
        (json!({}), AdminState::Ready),
        (json!(null), AdminState::Ready),
        (json!({"instance_status": null}), AdminState::Ready),
        (json!({"instance_status": "OUT_OF_SERVICE"}), AdminState::Maint),
        (json!({"instance_status": "DOWN"}), AdminState::Maint),
        (json!({"instance_status": "STARTING"}), AdminState::Maint),
        (json!({"instance_status": "UNKNOWN"}), AdminState::Maint),
    ] {
        assert_eq!(read(&spring_instance(metadata.clone())).unwrap().state, state, "{metadata}");
    }
    let mut disabled = spring_instance(json!({"instance_status": "UP"}));
    disabled["enabled"] = json!(false);
    assert_eq!(read(&disabled).unwrap().state, AdminState::Maint);
    let error = read(&spring_instance(json!({"instance_status": "SLEEPY"}))).unwrap_err();
    assert!(error.contains("\"instance_status\": the string is none of UP, STARTING"), "{error}");
}

#[test]
fn status_of_serverset_member_is_a_state() {
    for (status, state) in [
        (json!("ALIVE"), AdminState::Ready),
        (json!("WARNING"), AdminState::Ready),
        (json!(null), AdminState::Ready),
        (json!("STOPPING"), AdminState::Drain),
        (json!("STARTING"), AdminState::Maint),
        (json!("STOPPED"), AdminState::Maint),
        (json!("DEAD"), AdminState::Maint),
    ] {
        let host = read(&member(status.clone())).unwrap();
        assert_eq!((host.endpoint.to_string(), host.state), ("10.0.0.1:8080".into(), state), "{status}");
    }
    assert!(read(&member(json!("SLEEPY"))).unwrap_err().contains("\"status\": the string is not a status"));
    assert!(read(&member(json!(7))).is_err());
}

#[test]
fn serverset_endpoint_and_shard_can_be_chosen() {
    let rules = |endpoint: Option<&str>, shard| RegistrationRules {
        endpoint: endpoint.map(str::to_owned),
        shard,
        ..RegistrationRules::default()
    };
    let member = member(json!("ALIVE"));
    let endpoint = |rules| read_by(&member, &rules).map(|host| host.map(|host| host.endpoint.to_string()));
    assert_eq!(endpoint(rules(Some("admin"), None)), Ok(Some("10.0.0.1:9990".to_owned())));
    assert_eq!(endpoint(rules(None, Some(3))), Ok(Some("10.0.0.1:8080".to_owned())));
    assert_eq!(endpoint(rules(None, Some(4))), Ok(None));
    let missing = endpoint(rules(Some("thrift"), None)).unwrap_err();
    assert_eq!(missing, "it has no endpoint \"thrift\" among its \"additionalEndpoints\"");
}

#[test]
fn explicit_format_takes_precedence_over_keys() {
    let rules =
        |name| RegistrationRules { format: Some(RegistrationFormat::named(name).unwrap()), ..Default::default() };
    // A registration of proxymgr, with a key that other tools use, too.
    let both = json!({"address": "10.0.0.1", "port": 80, "serviceType": "x", "name": "a", "host": "10.0.0.2"});
    let read = |name| read_by(&both, &rules(name)).map(|host| host.unwrap());
    assert_eq!(read("proxymgr").unwrap().name.unwrap().as_str(), "a");
    assert_eq!(read("curator").unwrap().name, None);
    assert_eq!(read("nerve").unwrap().endpoint.to_string(), "10.0.0.2:80");
    assert!(read("serverset").unwrap_err().contains("\"serviceEndpoint\" is missing"));
    let unknown = RegistrationFormat::named("eureka").unwrap_err();
    assert_eq!(unknown, "\"eureka\" is none of proxymgr, nerve, curator, serverset");
}

#[test]
fn proxymgr_registrations_are_read() {
    let host = read(&json!({"address": "10.0.0.1", "port": 80, "name": "a"})).unwrap();
    assert_eq!(host.name.unwrap().as_str(), "a");
    assert!(read(&json!({"port": 80})).unwrap_err().contains("\"address\" is missing"));
    assert!(read(&json!([])).unwrap_err().contains("a host is a JSON object"));
}

#[test]
fn format_is_recognised_by_one_typical_key() {
    for key in ["serviceType", "registrationTimeUTC"] {
        let host = read(&json!({"address": "10.0.0.1", "port": 80, "name": "the service", key: "DYNAMIC"})).unwrap();
        assert_eq!(host.name, None, "the name of a Curator instance is that of its service");
    }
    let ours = json!({"host": "rack 7", "address": "10.0.0.1", "port": 80, "name": "a"});
    assert_eq!(read(&ours).unwrap().name.map(|name| name.to_string()), Some("a".to_owned()));
    assert_eq!(RegistrationFormat::named("nerve"), Ok(RegistrationFormat::Nerve));
    assert_eq!(RegistrationFormat::named("curator"), Ok(RegistrationFormat::Curator));
    assert!(RegistrationFormat::named("Nerve").is_err());
}
