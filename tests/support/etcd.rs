//! An etcd cluster of one or three members.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::http;
use super::process::Process;
use super::tls::TestCa;

/// Time-out for the start and the election, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// A cluster. Members are numbered from 0; their data is in the directory of the test.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    cluster: String,
    tls: Option<TestCa>,
    token: Option<String>,
}

#[derive(Debug)]
struct Member {
    dir: TestDir,
    name: String,
    client: u16,
    secure: u16,
    peer: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts this number of members.
    pub async fn start(dir: &TestDir, members: usize) -> Self {
        Self::start_with(dir, members, None).await
    }

    /// Starts one member that also listens with TLS and requires client certificates.
    pub async fn start_tls(dir: &TestDir, ca: &TestCa) -> Self {
        Self::start_with(dir, 1, Some(ca.clone())).await
    }

    async fn start_with(dir: &TestDir, members: usize, tls: Option<TestCa>) -> Self {
        let member = |number: usize| {
            let (name, client, secure, peer) = (format!("etcd{number}"), dir.port(), dir.port(), dir.port());
            Member { dir: dir.subdir(&name), name, client, secure, peer, process: None }
        };
        let members: Vec<Member> = (0..members).map(member).collect();
        let peers: Vec<String> =
            members.iter().map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer)).collect();
        let mut etcd = Self { members, cluster: peers.join(","), tls, token: None };
        for member in 0..etcd.members.len() {
            etcd.launch(member);
        }
        etcd.wait_until_it_serves(0).await;
        etcd
    }

    fn launch(&mut self, member: usize) {
        let Self { members, cluster, tls, .. } = self;
        let member = &mut members[member];
        let mut clients = format!("http://127.0.0.1:{}", member.client);
        let mut command = Command::new("etcd");
        if let Some(tls) = tls {
            clients = format!("{clients},https://127.0.0.1:{}", member.secure);
            command.arg("--cert-file").arg(&tls.server).arg("--key-file").arg(&tls.server);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
        }
        let peer = format!("http://127.0.0.1:{}", member.peer);
        command.args(["--name", &member.name, "--data-dir"]).arg(member.dir.join("data"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", cluster, "--unsafe-no-fsync"]);
        // Cheap password hashes: passwords are checked many times per test.
        command.args(["--bcrypt-cost", "4", "--log-level", "warn"]);
        member.process = Some(Process::start(&member.dir, "etcd", command));
    }

    async fn wait_until_it_serves(&self, member: usize) {
        let body = json!({"key": BASE64_STANDARD.encode("ready")});
        let reads = async || self.try_call(member, "kv/range", &body).await;
        eventually_or(READY_LIMIT, "etcd answers", reads, || self.log(member)).await;
    }

    fn log(&self, member: usize) -> String {
        self.members[member].process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Address of a member.
    pub fn address(&self, member: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.members[member].client).into()
    }

    /// URL of a member.
    pub fn url(&self, member: usize) -> String {
        format!("http://{}", self.address(member))
    }

    /// TLS address of the first member.
    pub fn secure_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.members[0].secure)
    }

    /// All members, in the format of the settings.
    pub fn urls(&self) -> String {
        (0..self.members.len()).map(|member| self.url(member)).collect::<Vec<_>>().join(",")
    }

    /// Process of a member.
    pub fn process(&mut self, member: usize) -> &mut Process {
        self.members[member].process.as_mut().expect("the member was started")
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) {
        self.process(member).kill();
    }

    /// Restarts a member with its data.
    pub async fn start_again(&mut self, member: usize) {
        self.launch(member);
        self.wait_until_it_serves(member).await;
    }

    /// Restarts a member without its data, as after restoring an old backup.
    pub async fn start_empty(&mut self, member: usize) {
        std::fs::remove_dir_all(self.members[member].dir.join("data")).expect("its data are there");
        self.start_again(member).await;
    }

    /// Freezes a member (SIGSTOP): its connections stay open, and nothing answers.
    pub fn freeze(&mut self, member: usize) {
        self.process(member).signal(Signal::SIGSTOP);
    }

    /// Resumes a member.
    pub fn thaw(&mut self, member: usize) {
        self.process(member).signal(Signal::SIGCONT);
    }

    async fn try_call(&self, member: usize, method: &str, body: &Value) -> Result<Value, String> {
        let token = self.token.as_ref().map(|token| format!("Authorization: {token}"));
        let headers: Vec<&str> = token.iter().map(String::as_str).collect();
        let path = format!("/v3/{method}");
        let answer = http::request(self.address(member), "POST", &path, &headers, &body.to_string()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status {
            200 => serde_json::from_str(&answer.text()).map_err(|error| error.to_string()),
            status => Err(format!("{status}: {}", answer.text())),
        }
    }

    /// Calls the API of the first member; the call must succeed.
    pub async fn call(&self, method: &str, body: &Value) -> Value {
        let answer = self.try_call(0, method, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {body}: {error}\n{}", self.log(0)))
    }

    /// Writes a key and returns its revision.
    pub async fn put(&self, key: &str, value: &str) -> i64 {
        self.put_with_lease(key, value, 0).await
    }

    /// Writes a key with a lease.
    pub async fn put_with_lease(&self, key: &str, value: &str, lease: i64) -> i64 {
        let body = json!({
            "key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value), "lease": lease.to_string(),
        });
        revision(&self.until_acknowledged("kv/put", &body).await)
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) {
        self.until_acknowledged("kv/deleterange", &json!({"key": BASE64_STANDARD.encode(key)})).await;
    }

    /// An idempotent call, retried while the members elect a leader.
    async fn until_acknowledged(&self, method: &str, body: &Value) -> Value {
        let call = async || self.try_call(0, method, body).await;
        eventually_or(READY_LIMIT, "etcd takes the change", call, || self.log(0)).await
    }

    /// Creates a lease with this duration in seconds.
    pub async fn lease(&self, seconds: u32) -> i64 {
        let answer = self.call("lease/grant", &json!({"TTL": seconds.to_string()})).await;
        answer["ID"].as_str().and_then(|id| id.parse().ok()).expect("a lease has an id")
    }

    /// Compacts the history before this revision.
    pub async fn compact(&self, revision: i64) {
        self.call("kv/compaction", &json!({"revision": revision.to_string(), "physical": true})).await;
    }

    /// Enables authentication with the users `root` (all rights) and `reader` (may read below `prefix`), both with this
    /// password.
    pub async fn demand_users(&mut self, prefix: &str, password: &str) {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix is not empty") += 1;
        let range = json!({
            "permType": "READ", "key": BASE64_STANDARD.encode(prefix), "range_end": BASE64_STANDARD.encode(end),
        });
        for (method, body) in [
            ("auth/user/add", json!({"name": "root", "password": password})),
            ("auth/role/add", json!({"name": "root"})),
            ("auth/user/grant", json!({"user": "root", "role": "root"})),
            ("auth/user/add", json!({"name": "reader", "password": password})),
            ("auth/role/add", json!({"name": "reads"})),
            ("auth/role/grant", json!({"name": "reads", "perm": range})),
            ("auth/user/grant", json!({"user": "reader", "role": "reads"})),
            ("auth/enable", json!({})),
        ] {
            self.call(method, &body).await;
        }
        self.log_in(password).await;
    }

    /// Makes further calls as `root`.
    pub async fn log_in(&mut self, password: &str) {
        self.token = None;
        let answer = self.call("auth/authenticate", &json!({"name": "root", "password": password})).await;
        self.token = answer["token"].as_str().map(str::to_owned);
    }
}

fn revision(answer: &Value) -> i64 {
    answer["header"]["revision"].as_str().and_then(|text| text.parse().ok()).expect("every answer has a revision")
}
