//! The operator's certificates: private copies for HAProxy, and where their problems are shown.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stage::{LIMIT, Stage, err, ready};
use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::support::http;
use crate::support::tls::TestCa;

/// The operator's directory with the certificate `shop`, and two pairs of certificate and key.
struct Certificates {
    stage: Stage,
    ca: TestCa,
}

impl Certificates {
    fn new() -> Self {
        let stage = Stage::new(&["10.0.0.1"]);
        let ca = TestCa::new(&stage.dir);
        let certificates = Self { stage, ca };
        certificates.write("shop.pem", &fs::read_to_string(&certificates.ca.server).unwrap());
        certificates
    }

    fn write(&self, name: &str, text: &str) {
        self.stage.dir.write(format!("certs/{name}"), text);
    }

    fn builder(&self) -> DaemonBuilder {
        self.stage.builder().set("haproxy.certificates", json!(self.stage.dir.join("certs")))
    }
}

/// The file of `shop` that HAProxy reads.
fn private(daemon: &DaemonBuilder) -> PathBuf {
    daemon.config_path().with_file_name("haproxy.cfg.certs").join("shop.pem")
}

/// The certificate `shop` in the API.
async fn shop(daemon: &Daemon) -> Result<Value, String> {
    let answer = http::get(daemon.status_address(), "/api/v1/certificates").await.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&answer.text()).map_err(|error| error.to_string())?;
    Ok(answer["certificates"][0].clone())
}

#[tokio::test]
async fn renewal_is_used_and_mistake_is_reported() {
    let certificates = Certificates::new();
    let builder = certificates.builder();
    let private = private(&builder);
    let daemon = builder.start();
    ready(&daemon).await;
    let first = fs::read_to_string(&private).unwrap();
    let seen = shop(&daemon).await.unwrap();
    assert_eq!(seen["subject"], "CN=server");
    assert_eq!(seen["names"], json!(["127.0.0.1", "localhost"]));

    let [certificate, key] =
        [&certificates.ca.client_cert, &certificates.ca.client_key].map(|path| fs::read_to_string(path).unwrap());
    certificates.write("shop.pem", &certificate);
    daemon
        .eventually(LIMIT, "the missing key is reported", async || {
            let report = daemon.status_json().await?;
            check(report["concerns"].to_string().contains("certificate_invalid"), &report)
        })
        .await;
    assert_eq!(shop(&daemon).await.unwrap()["subject"], "CN=server");
    assert_eq!(fs::read_to_string(&private).unwrap(), first, "the last good one stays");

    certificates.write("shop.pem", &format!("{certificate}\n\n{key}"));
    daemon
        .eventually(LIMIT, "the new certificate is used", async || {
            let seen = shop(&daemon).await?;
            check(seen["subject"] == "CN=client" && seen["problem"].is_null(), &seen)
        })
        .await;
    let second = fs::read_to_string(&private).unwrap();
    assert!(second != first && !second.contains("\n\n"), "{second}");
    let secret = second.lines().rev().nth(1).expect("the last line of the key");
    assert!(!daemon.log().contains(secret));
    // The certificate is valid for two days.
    let report = daemon.status_json().await.unwrap();
    assert!(report["concerns"].to_string().contains("certificate_expires"), "{report}");
    let page = http::get(daemon.status_address(), "/").await.unwrap().text();
    assert!(page.contains("CN=client") && !page.contains(secret), "{page}");
}

/// The subject of the certificate that a client gets.
fn served(port: u16) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut client = Command::new("openssl");
    let shown = client.args(["s_client", "-connect", &address]).stdin(Stdio::null()).output().expect("run openssl");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default().replace(' ', "")
}

#[tokio::test]
async fn renewed_certificate_is_served() {
    let certificates = Certificates::new();
    let port = certificates.stage.dir.port();
    let keys = json!({"bind": "127.0.0.1", "port": port, "mode": "http", "tls": {"certificates": ["shop"]}});
    certificates.stage.define("shop", &["10.0.0.1"], keys);
    let daemon = certificates.builder().start();
    ready(&daemon).await;
    let is_served = async |subject: &str| check(served(port) == subject, &served(port));
    daemon.eventually(LIMIT, "the certificate is served", async || is_served("CN=server").await).await;
    let pair =
        [&certificates.ca.client_cert, &certificates.ca.client_key].map(|path| fs::read_to_string(path).unwrap());
    certificates.write("shop.pem", &pair.concat());
    daemon.eventually(LIMIT, "the new certificate is served", async || is_served("CN=client").await).await;
}

#[tokio::test]
async fn check_reports_every_bad_certificate() {
    let certificates = Certificates::new();
    let good = certificates.builder().run_command(&["check"]).await;
    assert!(good.status.success(), "{}", err(&good));
    certificates.write("shop.pem", "");
    certificates.write("other.key", "");
    let bad = certificates.builder().run_command(&["check"]).await;
    assert_eq!(bad.status.code(), Some(1));
    for name in ["shop", "other"] {
        let line = format!("haproxy.certificates: certificate {name}: ");
        assert!(err(&bad).contains(&line), "{}", err(&bad));
    }
    assert!(!private(&certificates.builder()).exists(), "check writes nothing");
}

#[tokio::test]
async fn every_haproxy_reads_the_private_file() {
    let certificates = Certificates::new();
    let builder = certificates.builder();
    let private = private(&builder);
    let daemon = builder.start();
    ready(&daemon).await;
    let lines = format!(
        "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\
         frontend f\n    bind 127.0.0.1:{} ssl crt {}\n",
        certificates.stage.dir.port(),
        private.display()
    );
    let file = certificates.stage.dir.write("tls.cfg", lines);
    for version in haproxy::versions() {
        let checked = Command::new(&version.path).arg("-c").arg("-f").arg(&file).output().unwrap();
        assert!(checked.status.success(), "{version:?}: {}", err(&checked));
    }
}
