//! A Consul agent: one server with all data in memory (`consul agent -dev`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::http;
use super::process::Process;

/// Time-out for the start and the election of an agent, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// The management token of an agent with access control.
pub const MASTER_TOKEN: &str = "0e1d6a5b-0000-4000-8000-00000000aaaa";

/// The Consul binary: in PATH, or unpacked by tests/setup/get-consul.sh.
fn program() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/consul/root/usr/bin/consul");
    if unpacked.exists() { unpacked } else { PathBuf::from("consul") }
}

/// An agent. Its data is lost when it is restarted.
#[derive(Debug)]
pub struct Consul {
    dir: TestDir,
    port: u16,
    https_port: u16,
    dns_port: u16,
    process: Option<Process>,
    token: Option<String>,
}

impl Consul {
    /// Starts an agent without access control.
    pub async fn start(dir: &TestDir) -> Self {
        Self::start_with(dir, json!({}), None).await
    }

    /// Starts an agent that requires a token.
    pub async fn start_with_acl(dir: &TestDir) -> Self {
        let acl = json!({"enabled": true, "default_policy": "deny", "tokens": {"master": MASTER_TOKEN}});
        let consul = Self::start_with(dir, json!({"acl": acl, "primary_datacenter": "dc1"}), Some(MASTER_TOKEN)).await;
        // The leader creates its first token shortly after the election.
        let made = async || consul.try_put("/v1/kv/ready", "").await;
        eventually_or(READY_LIMIT, "the master token holds", made, || consul.log()).await;
        consul
    }

    /// Starts an agent with additional settings.
    pub async fn start_with(dir: &TestDir, more: Value, token: Option<&str>) -> Self {
        let (port, https_port, dns_port) = (dir.port(), dir.port(), dir.port());
        let mut settings = json!({
            "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "log_level": "warn", "disable_update_check": true,
            "ports": {
                "http": port, "https": https_port, "dns": dns_port, "grpc": -1,
                "server": dir.port(), "serf_lan": dir.port(), "serf_wan": dir.port(),
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        dir.write("consul.json", settings.to_string());
        let token = token.map(str::to_owned);
        let mut consul = Self { dir: dir.clone(), port, https_port, dns_port, process: None, token };
        consul.start_again().await;
        consul
    }

    /// Restarts it without data, and waits until it is the leader.
    pub async fn start_again(&mut self) {
        let mut command = Command::new(program());
        command.args(["agent", "-dev", "-config-file"]).arg(self.dir.join("consul.json"));
        self.process = Some(Process::start(&self.dir, "consul", command));
        let leads = async || {
            let answer = http::get(self.address(), "/v1/status/leader").await.map_err(|error| error.to_string())?;
            if answer.text().len() > 4 { Ok(()) } else { Err(answer.text()) }
        };
        eventually_or(READY_LIMIT, "the Consul agent leads", leads, || self.log()).await;
        // Registrations are accepted shortly after.
        let writes = async || self.try_put("/v1/kv/ready", "").await;
        if self.token.is_none() {
            eventually_or(READY_LIMIT, "the Consul agent takes writes", writes, || self.log()).await;
        }
    }

    fn log(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Its HTTP address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The address of its DNS server.
    pub fn dns_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.dns_port).into()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its HTTPS address, if its settings have certificates.
    pub fn https_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.https_port)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent was started")
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Freezes it (SIGSTOP): its connections stay open, and nothing answers.
    pub fn freeze(&mut self) {
        self.process().signal(Signal::SIGSTOP);
    }

    /// Resumes it.
    pub fn thaw(&mut self) {
        self.process().signal(Signal::SIGCONT);
    }

    /// `PUT`; anything but 200 is an error.
    pub async fn try_put(&self, path: &str, body: &str) -> Result<String, String> {
        let token = self.token.as_ref().map(|token| format!("X-Consul-Token: {token}"));
        let headers: Vec<&str> = token.iter().map(String::as_str).collect();
        let answer = http::request(self.address(), "PUT", path, &headers, body).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer.text()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
    }

    /// `PUT` that must succeed.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        let text = if body.is_string() { body.as_str().unwrap_or_default().to_owned() } else { body.to_string() };
        let answer = self.try_put(path, &text).await.unwrap_or_else(|error| panic!("PUT {path} {text}: {error}"));
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Registers an instance of the service `web` on the node `n`: `service` adds to its registration, `checks` are the
    /// statuses of its checks.
    pub async fn register(&self, service: &str, id: &str, more: Value, checks: &[(&str, &str)]) {
        let mut registration = json!({"ID": id, "Service": service, "Port": 80});
        for (key, value) in more.as_object().into_iter().flatten() {
            registration[key] = value.clone();
        }
        let checks: Vec<Value> = checks
            .iter()
            .map(|(check, status)| json!({"CheckID": check, "Name": check, "ServiceID": id, "Status": status}))
            .collect();
        let body = json!({"Node": "n", "Address": "10.9.9.9", "Service": registration, "Checks": checks});
        self.put("/v1/catalog/register", &body).await;
    }

    /// Deregisters an instance.
    pub async fn deregister(&self, id: &str) {
        self.put("/v1/catalog/deregister", &json!({"Node": "n", "ServiceID": id})).await;
    }

    /// Writes a key.
    pub async fn put_key(&self, key: &str, value: &str) {
        self.put(&format!("/v1/kv/{key}"), &Value::from(value)).await;
    }

    /// Deletes a key.
    pub async fn delete_key(&self, key: &str) {
        let answer = http::request(self.address(), "DELETE", &format!("/v1/kv/{key}"), &[], "").await;
        assert_eq!(answer.map(|answer| answer.status).map_err(|error| error.to_string()), Ok(200), "delete {key}");
    }

    /// Returns a snapshot of all its data.
    pub async fn snapshot(&self) -> Vec<u8> {
        let answer = http::request(self.address(), "GET", "/v1/snapshot", &[], "").await.expect("a snapshot");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    /// Restores a snapshot.
    pub async fn restore(&self, snapshot: &[u8]) {
        let answer =
            http::request_bytes(self.address(), "PUT", "/v1/snapshot", &[], snapshot).await.expect("a restore");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Creates a policy with these rules, and returns its id.
    pub async fn make_policy(&self, name: &str, rules: &str) -> String {
        let policy = self.put("/v1/acl/policy", &json!({"Name": name, "Rules": rules})).await;
        policy["ID"].as_str().expect("Consul answers with the policy").to_owned()
    }

    /// Replaces the rules of a policy.
    pub async fn change_policy(&self, id: &str, name: &str, rules: &str) {
        self.put(&format!("/v1/acl/policy/{id}"), &json!({"ID": id, "Name": name, "Rules": rules})).await;
    }

    /// Creates a token with these rules.
    pub async fn make_token(&self, name: &str, rules: &str) -> String {
        self.make_policy(name, rules).await;
        self.token_of(name).await
    }

    /// Creates a token with the rules of a policy.
    pub async fn token_of(&self, name: &str) -> String {
        let token = self.put("/v1/acl/token", &json!({"Policies": [{"Name": name}]})).await;
        token["SecretID"].as_str().expect("Consul answers with the token").to_owned()
    }
}
