//! The floor of each way of driving HAProxy: a separate process that gets the same changes at once, without proxymgr.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::observer::{Prompt, Ready};
use crate::strategies::Way;
use crate::support::dir::TestDir;
use crate::support::eventually::eventually;
use crate::support::haproxy::{self, HaproxyVersion};
use crate::support::process::Process;

/// A HAProxy with one section, updated by the bench.
pub struct Bare {
    way: Way,
    dir: TestDir,
    version: HaproxyVersion,
    port: u16,
    process: Process,
    /// Earlier processes, which the next one asks to stop.
    retired: Vec<Process>,
    ready: Ready,
    /// The server of each host by its address, including hosts in maintenance.
    places: BTreeMap<String, String>,
    free_slots: VecDeque<String>,
}

impl Bare {
    /// Starts it with these hosts, and with free slots if the way uses them.
    pub async fn start(dir: &TestDir, version: &HaproxyVersion, way: Way, ready: &Ready, slots: usize) -> Self {
        let dir = dir.subdir(&format!("bare-{way}"));
        let mut places = BTreeMap::new();
        let mut free_slots = VecDeque::new();
        if way == Way::Slots {
            let mut names = (1..=slots).map(|n| format!("slot{n}"));
            places = ready.iter().cloned().zip(names.by_ref()).collect();
            free_slots = names.collect();
        } else {
            places.extend(ready.iter().map(|host| (host.clone(), host.clone())));
        }
        let port = dir.port();
        let config = config(&dir, port, &places, &free_slots);
        let process = started(&dir, version, &config, None);
        let (version, ready, retired) = (version.clone(), ready.clone(), Vec::new());
        let bare = Self { way, dir, version, port, process, retired, ready, places, free_slots };
        let socket = bare.socket();
        eventually(Duration::from_secs(20), "HAProxy answers", async || {
            haproxy::info(&socket).await.map_err(|error| error.to_string())
        })
        .await;
        bare
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// Makes exactly these hosts take traffic. Returns the time of the first step.
    pub fn apply(&mut self, wanted: &Ready) -> Instant {
        let begun = Instant::now();
        if self.way == Way::Reload {
            let places = wanted.iter().map(|host| (host.clone(), host.clone())).collect();
            let config = config(&self.dir, self.port, &places, &VecDeque::new());
            let before = self.process.pid();
            let next = started(&self.dir, &self.version, &config, Some(before.as_raw()));
            self.retired.push(std::mem::replace(&mut self.process, next));
        } else {
            let commands = self.commands(wanted);
            Prompt::open(&self.socket()).tell(&commands);
        }
        self.ready.clone_from(wanted);
        begun
    }

    fn commands(&mut self, wanted: &Ready) -> Vec<String> {
        let mut commands = Vec::new();
        let gone: Vec<String> = self.ready.difference(wanted).cloned().collect();
        let come: Vec<String> = wanted.difference(&self.ready).cloned().collect();
        for host in &come {
            if let Some(server) = self.places.get(host) {
                commands.push(format!("set server web/{server} state ready"));
                continue;
            }
            let server = if self.way == Way::Slots {
                let slot = self.free_slots.pop_front().expect("a slot is free");
                let (address, port) = host.rsplit_once(':').expect("a port");
                commands.push(format!("set server web/{slot} addr {address} port {port}"));
                slot
            } else {
                commands.push(format!("add server web/{host} {host}"));
                host.clone()
            };
            commands.push(format!("set server web/{server} state ready"));
            self.places.insert(host.clone(), server);
        }
        for host in &gone {
            let server = self.places[host].clone();
            commands.push(format!("set server web/{server} state maint"));
            if self.way == Way::Slots {
                self.places.remove(host);
                self.free_slots.push_back(server);
            }
        }
        commands
    }
}

fn socket(dir: &TestDir) -> PathBuf {
    dir.join("haproxy.sock")
}

fn config(dir: &TestDir, port: u16, places: &BTreeMap<String, String>, free_slots: &VecDeque<String>) -> String {
    let mut text = format!(
        "global\n  stats socket {} mode 600 level admin\n{}listen web\n  bind 127.0.0.1:{port}\n",
        socket(dir).display(),
        "defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n",
    );
    for (host, server) in places {
        let _ = writeln!(text, "  server {server} {host}");
    }
    for slot in free_slots {
        let _ = writeln!(text, "  server {slot} 127.0.0.1:1 disabled");
    }
    text
}

fn started(dir: &TestDir, version: &HaproxyVersion, config: &str, before: Option<i32>) -> Process {
    let path: &Path = &dir.write("haproxy.cfg", config);
    let mut command = Command::new(&version.path);
    command.arg("-db").arg("-f").arg(path);
    if let Some(before) = before {
        command.arg("-sf").arg(before.to_string());
    }
    Process::start(dir, "haproxy", command)
}
