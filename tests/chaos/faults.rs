//! The faults.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::sleep;

use crate::RECOVERY;
use crate::stage::{LIMIT, ServiceFiles};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::eventually::check;
use crate::support::{haproxy, http};

/// Numbers that depend only on the seed (a linear congruential generator, Knuth's constants).
pub struct Random(pub u64);

impl Random {
    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A fault, or a change that comes at a bad time.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The manager is killed and started again.
    KillManager,
    /// The manager stops (`haproxy.on_stop: leave`) and is started again.
    StopManager,
    /// The manager restarts in place.
    RestartInPlace,
    /// The manager does not run for a while.
    FreezeManager,
    /// HAProxy is killed.
    KillHaproxy,
    /// HAProxy does not run for a while.
    FreezeHaproxy,
    /// A host leaves, or all are there again.
    ChangeHosts,
    /// A definition changes, which needs a reload.
    ChangeDefinition,
    /// The source of the hosts cannot be read for a while.
    LoseSource,
    /// The file of HAProxy's socket is deleted.
    DeleteSocket,
    /// haproxy.cfg is edited.
    EditFile,
    /// No new file can be written for a while.
    FillDisk,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::KillManager,
        Self::StopManager,
        Self::RestartInPlace,
        Self::FreezeManager,
        Self::KillHaproxy,
        Self::FreezeHaproxy,
        Self::ChangeHosts,
        Self::ChangeDefinition,
        Self::LoseSource,
        Self::DeleteSocket,
        Self::EditFile,
        Self::FillDisk,
    ];

    /// Returns one of them.
    pub fn any(random: &mut Random) -> Self {
        Self::ALL[random.below(Self::ALL.len() as u64) as usize]
    }
}

/// What the faults happen to.
pub struct World {
    /// The definitions and hosts.
    pub files: ServiceFiles,
    /// The backends, which never fail.
    pub backends: Vec<Backend>,
    /// The manager.
    pub daemon: Daemon,
    /// The port of the service whose definition changes.
    pub plain: u16,
    /// How often HAProxy was killed.
    pub haproxy_kills: u64,
    /// Whether manager and HAProxy both have the sockets. If both were gone, nothing could keep the ports open, so neither is
    /// ended before. A restart in place keeps them.
    pub both_have_sockets: bool,
    /// How often a definition changed.
    pub changes: u64,
}

impl World {
    /// Lets a fault happen, and ends it where it has an end.
    pub async fn suffer(&mut self, fault: Fault, random: &mut Random) {
        let a_while = Duration::from_millis(100 + random.below(900));
        match fault {
            Fault::KillManager => {
                self.until_both_have_sockets().await;
                self.daemon.kill();
                sleep(a_while).await;
                self.daemon.start_again();
            }
            Fault::StopManager => {
                self.until_both_have_sockets().await;
                self.answers().await;
                self.daemon.terminate().await;
                sleep(a_while).await;
                self.daemon.start_again();
            }
            Fault::RestartInPlace => {
                self.answers().await;
                self.daemon.signal(Signal::SIGUSR2);
            }
            Fault::FreezeManager => self.freeze(self.daemon.pid(), a_while).await,
            Fault::KillHaproxy => {
                self.until_both_have_sockets().await;
                if let Some(pid) = self.haproxy().await {
                    self.haproxy_kills += 1;
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            Fault::FreezeHaproxy => {
                if let Some(pid) = self.haproxy().await {
                    self.freeze(pid, a_while).await;
                }
            }
            Fault::ChangeHosts => {
                let first = random.below(2) as usize;
                self.files.hosts("plain", &self.backends[first..]);
                self.files.hosts("secure", &self.backends[..3 - first]);
            }
            Fault::ChangeDefinition => {
                self.changes += 1;
                let options = format!("timeout client {}s", 30 + self.changes);
                self.files.define("plain", self.plain, json!({"listen_options": options}));
            }
            Fault::LoseSource => {
                let path = self.files.services();
                let away = path.with_extension("away");
                std::fs::rename(&path, &away).expect("the directory is there");
                sleep(a_while).await;
                std::fs::rename(&away, &path).expect("nothing has its name");
            }
            Fault::DeleteSocket => drop(std::fs::remove_file(self.daemon.socket())),
            Fault::EditFile => {
                std::fs::write(self.daemon.dir().join("haproxy.cfg"), "# somebody was here\n").expect("our file");
            }
            Fault::FillDisk => {
                // A directory has the name of a new file: like a full disk this fails for root, too.
                let blocked = ["haproxy.cfg.new", "haproxy.cfg.candidate"].map(|name| self.daemon.dir().join(name));
                blocked.iter().for_each(|path| drop(std::fs::create_dir(path)));
                sleep(a_while).await;
                blocked.iter().for_each(|path| drop(std::fs::remove_dir(path)));
            }
        }
    }

    /// Returns when one of them may be ended.
    async fn until_both_have_sockets(&mut self) {
        if !self.both_have_sockets {
            self.is_ready().await;
        }
        self.both_have_sockets = false;
    }

    /// Waits until the manager is ready.
    pub async fn is_ready(&mut self) {
        let address = self.daemon.status_address();
        let ready = async || match http::get(address, "/readyz").await {
            Ok(answer) => check(answer.status == 200, &answer.text()),
            Err(error) => Err(error.to_string()),
        };
        self.daemon.eventually(RECOVERY, "the manager is ready", ready).await;
        self.both_have_sockets = true;
    }

    /// Makes the world what it was.
    pub async fn heal(&mut self) {
        for service in ["plain", "secure"] {
            self.files.hosts(service, &self.backends);
        }
        self.answers().await;
    }

    /// Waits until the manager answers: before, signals would end it.
    async fn answers(&mut self) {
        assert_eq!(self.daemon.exit_status(), None, "the manager runs");
        self.daemon.eventually(LIMIT, "the manager answers", async || self.daemon.status_json().await).await;
    }

    async fn freeze(&self, pid: Pid, a_while: Duration) {
        let _ = kill(pid, Signal::SIGSTOP);
        sleep(a_while).await;
        let _ = kill(pid, Signal::SIGCONT);
    }

    async fn haproxy(&self) -> Option<Pid> {
        let info = haproxy::info(&self.daemon.socket()).await.ok()?;
        info["Pid"].parse().ok().map(Pid::from_raw)
    }
}
