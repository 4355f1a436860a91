//! The main purpose: services and hosts in ZooKeeper, and HAProxy in sync with them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::stage::{self, LIMIT, addresses, backends, daemon, host_json, wait_for_ready};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::zookeeper::Ensemble;
use crate::support::{haproxy, http, znodes};

#[tokio::test]
async fn zookeeper_hosts_change_on_every_version() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 4);
    for (n, backend) in backends.iter().take(3).enumerate() {
        znodes::put(&client, &format!("/services/web/{n}"), &host_json(backend)).await;
    }
    for version in haproxy::versions() {
        let port = dir.port();
        let path = format!("/service_config_{}", version.label.replace('.', "_"));
        let definition = json!({
            "type": "zookeeper", "server": ensemble.connect_string(), "path": "/services/web",
            "port": port, "bind": "127.0.0.1",
            "listen_options": ["mode http", "balance roundrobin"], "server_options": ["check inter 2000"],
        });
        znodes::put(&client, &format!("{path}/web"), &definition).await;
        let daemon =
            daemon(&dir.subdir(&version.label)).haproxy(&version).zookeeper(&ensemble.connect_string(), &path).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..3])).await;
        let starts = stage::reloads(&daemon).await;

        znodes::delete(&client, "/services/web/0").await;
        wait_for_ready(&daemon, "web", &addresses(&backends[1..3])).await;
        znodes::put(&client, "/services/web/0", &host_json(&backends[0])).await;
        wait_for_ready(&daemon, "web", &addresses(&backends[..3])).await;
        assert_eq!(stage::reloads(&daemon).await, starts, "removal and return need no reload on {}", version.label);

        znodes::put(&client, "/services/web/3", &host_json(&backends[3])).await;
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let expected = if version.adds_servers() { starts } else { starts + 1 };
        stage::wait_for_reloads(&daemon, expected).await;

        let mut answered = BTreeSet::new();
        let front = ([127, 0, 0, 1], port).into();
        daemon
            .eventually(LIMIT, "all four backends answer clients", async || {
                let response = http::get(front, "/").await.map_err(|error| error.to_string())?;
                answered.insert(response.text());
                check(answered.len() == 4, &answered)
            })
            .await;
        znodes::delete(&client, "/services/web/3").await;
    }
}

/// Follows the documentation of the Ruby ProxyMgr exactly: its configuration, its service, its hosts.
#[tokio::test]
async fn zookeeper_configuration_of_ruby_proxymgr_works() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 2);
    let servers = ensemble.connect_string();
    let (config_path, socket_path) = (dir.join("haproxy.cfg"), dir.join("stats.sock"));
    let yml = format!(
        "---\nhaproxy:\n  config_path: {}\n  socket_path: {}\n\nservice_config:\n  type: zookeeper\n  servers: \
         {servers}\n  path: /service_config\n",
        config_path.display(),
        socket_path.display(),
    );
    znodes::put(
        &client,
        "/service_config/testservice",
        &json!({
            "type": "zookeeper", "server": servers, "path": "/services/testservice",
            "listen_options": ["mode http"], "server_options": ["check inter 2000"],
        }),
    )
    .await;
    for (n, backend) in backends.iter().enumerate() {
        znodes::put(&client, &format!("/services/testservice/{n}"), &host_json(backend)).await;
    }
    // Only settings that two daemons on one machine cannot share are added to the sample, through the environment.
    let builder = daemon(&dir)
        .env("PROXYMGR_STATE_DIR", dir.join("state").to_str().expect("UTF-8"))
        .env("PROXYMGR_STATUS__LISTEN", &format!("127.0.0.1:{}", dir.port()));
    fs::write(builder.config_path(), yml).expect("write the configuration");
    let daemon = builder.start_as_written();
    let wanted = addresses(&backends);
    daemon
        .eventually(LIMIT, "the sample service has its hosts", async || {
            let ready = haproxy::ready_servers(&socket_path, "testservice").await.map_err(|error| error.to_string())?;
            check(ready == wanted, &ready)
        })
        .await;
    let text = fs::read_to_string(&config_path).expect("the configuration was written");
    assert!(text.contains("backend testservice\n"), "{text}");
    assert!(text.contains("check inter 2000"), "{text}");
}

#[tokio::test]
async fn zookeeper_children_are_hosts_with_campanjazk() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 1);
    znodes::put(&client, "/campanja/127.0.0.1", &json!({})).await;
    let definition = json!({
        "type": "campanjazk", "path": "/campanja", "remote_port": backends[0].port(), "port": dir.port(),
    });
    znodes::put(&client, "/service_config/web", &definition).await;
    let daemon = daemon(&dir).zookeeper(&ensemble.connect_string(), "/service_config").start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
}

#[tokio::test]
async fn zookeeper_invalid_service_affects_no_other() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 2);
    let hosts = |backend| json!([format!("{}", addresses([backend])[0])]);
    let service = |port: u16, options: &[&str]| {
        json!({"type": "static", "hosts": hosts(&backends[0]), "port": port, "bind": "127.0.0.1",
               "listen_options": options})
    };
    let (web, api) = (dir.port(), dir.port());
    znodes::put(&client, "/service_config/web", &service(web, &["mode http"])).await;
    let daemon = daemon(&dir).zookeeper(&ensemble.connect_string(), "/service_config");
    // Two of three are removed within the window of the guard.
    let daemon = daemon.set("guards.max_services_removal", json!(1)).start();
    wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;

    znodes::put(&client, "/service_config/api", &service(api, &["mode http"])).await;
    wait_for_ready(&daemon, "api", &addresses(&backends[..1])).await;

    for bad in [
        json!("not an object"),
        json!({"type": "static", "port": 0, "hosts": []}),
        json!({"type": "static", "port": 65536, "hosts": []}),
        service(api, &["mode http", "bind :22"]),
        service(api, &["mode http\nglobal"]),
        service(api, &["no-such-keyword 1"]),
        json!({"type": "nonsense", "port": api}),
    ] {
        znodes::put(&client, "/service_config/api", &bad).await;
        znodes::put(&client, "/service_config/other", &service(dir.port(), &["mode http"])).await;
        wait_for_ready(&daemon, "other", &addresses(&backends[..1])).await;
        znodes::delete(&client, "/service_config/other").await;
        let config = daemon.haproxy_config();
        assert!(config.contains("listen api\n") && !config.contains("bind :22"), "{bad}: {config}");
        assert_eq!(http::get(([127, 0, 0, 1], api).into(), "/").await.expect("still served").status, 200);
    }
    znodes::put(&client, "/service_config/api", &service(api, &["mode http", "balance leastconn"])).await;
    daemon
        .eventually(LIMIT, "the corrected service is in the file", async || {
            let config = daemon.haproxy_config();
            check(config.contains("balance leastconn"), &config)
        })
        .await;
    znodes::delete(&client, "/service_config/api").await;
    daemon
        .eventually(LIMIT, "the removed service no longer listens", async || {
            let refused = http::get(([127, 0, 0, 1], api).into(), "/").await.is_err();
            check(refused, &"it answers")
        })
        .await;
    assert_eq!(http::get(([127, 0, 0, 1], web).into(), "/").await.expect("served").status, 200);
}

#[tokio::test]
async fn zookeeper_invalid_entries_remove_no_host() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let backends = backends(&dir, 3);
    for (n, backend) in backends.iter().enumerate() {
        znodes::put(&client, &format!("/services/web/{n}"), &host_json(backend)).await;
    }
    let definition = json!({"type": "zookeeper", "path": "/services/web", "port": dir.port(), "bind": "127.0.0.1"});
    znodes::put(&client, "/service_config/web", &definition).await;
    let daemon = daemon(&dir).zookeeper(&ensemble.connect_string(), "/service_config").start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;

    znodes::put_bytes(&client, "/services/web/0", b"{not JSON").await;
    znodes::delete(&client, "/services/web/1").await;
    wait_for_ready(&daemon, "web", &addresses([&backends[0], &backends[2]])).await;
    let state = stage::wait_for_state(&daemon, "the bad entry is named", "watcher", |state| {
        state["problems"].as_object().is_some_and(|problems| !problems.is_empty())
    })
    .await;
    assert!(state["problems"].to_string().contains("/services/web/0"), "{state}");

    znodes::delete_recursive(&client, "/services").await;
    stage::wait_for_state(&daemon, "the missing path is named", "watcher", |state| {
        state["source"]["error"].as_str().is_some_and(|error| error.contains("/services/web"))
            || !state["held"].is_null()
    })
    .await;
    // The znodes were deleted one by one, and not each deletion was observed: the guard blocks the removal of the last
    // hosts.
    let left = haproxy::ready_servers(&daemon.socket(), "web").await.expect("HAProxy answers");
    assert!(!left.is_empty(), "all hosts were removed");
    znodes::put(&client, "/services/web/9", &host_json(&backends[1])).await;
    wait_for_ready(&daemon, "web", &addresses([&backends[1]])).await;
}
