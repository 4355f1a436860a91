//! The faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::time::sleep;

use crate::RECOVERY;
use crate::ensemble::{Lost, Registry};
use crate::load::Killed;
use crate::stage::{LIMIT, ServiceFiles, addresses, check_ready};
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
    /// A host leaves the files of hosts, or all are there again.
    ChangeHosts,
    /// A host in ZooKeeper leaves, or all are there again.
    ChangeRegistrations,
    /// A definition changes, which needs a reload.
    ChangeDefinition,
    /// The directory of definitions cannot be read for a while.
    LoseSource,
    /// A member of the ZooKeeper ensemble is killed, and started again later.
    KillMember,
    /// A member of the ZooKeeper ensemble does not run for a while.
    FreezeMember,
    /// All members of the ZooKeeper ensemble are killed, and started again later.
    LoseEnsemble,
    /// The file of HAProxy's socket is deleted.
    DeleteSocket,
    /// haproxy.cfg is edited.
    EditFile,
    /// No new file can be written for a while.
    FillDisk,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::KillManager,
        Self::StopManager,
        Self::RestartInPlace,
        Self::FreezeManager,
        Self::KillHaproxy,
        Self::FreezeHaproxy,
        Self::ChangeHosts,
        Self::ChangeRegistrations,
        Self::ChangeDefinition,
        Self::LoseSource,
        Self::KillMember,
        Self::FreezeMember,
        Self::LoseEnsemble,
        Self::DeleteSocket,
        Self::EditFile,
        Self::FillDisk,
    ];
}

/// All faults in random order, again and again: none is left out of a short run.
#[derive(Default)]
pub struct Deck(Vec<Fault>);

impl Deck {
    /// Returns the next one.
    pub fn draw(&mut self, random: &mut Random) -> Fault {
        if self.0.is_empty() {
            self.0 = Fault::ALL.to_vec();
        }
        self.0.swap_remove(random.below(self.0.len() as u64) as usize)
    }
}

/// What the faults happen to.
pub struct World {
    /// The definitions, and the hosts of two services.
    pub files: ServiceFiles,
    /// The hosts of the third service.
    pub registry: Registry,
    /// The backends, which never fail.
    pub backends: Vec<Backend>,
    /// The manager.
    pub daemon: Daemon,
    /// The port of the service whose definition changes.
    pub plain: u16,
    /// When a HAProxy was killed.
    pub kills: Vec<Killed>,
    /// Whether manager and HAProxy both have the sockets. If both were gone, nothing could keep the ports open, so neither is
    /// ended before. A restart in place keeps them.
    pub both_have_sockets: bool,
    /// How often a definition changed.
    pub changes: u64,
    /// The addresses of each service's hosts, as its source has them.
    pub listed: BTreeMap<&'static str, Vec<String>>,
}

impl World {
    /// Lets a fault happen, and ends it where it has an end. The loss of ZooKeeper members goes on during later faults.
    pub async fn suffer(&mut self, fault: Fault, random: &mut Random) {
        if self.registry.is_due() {
            self.end_outage().await;
        }
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
                    let from = Instant::now();
                    let _ = kill(pid, Signal::SIGKILL);
                    self.daemon.eventually(LIMIT, "the killed HAProxy is gone", async || is_gone(pid)).await;
                    self.kills.push(Killed { from, until: Instant::now() });
                }
            }
            Fault::FreezeHaproxy => {
                if let Some(pid) = self.haproxy().await {
                    self.freeze(pid, a_while).await;
                }
            }
            Fault::ChangeHosts => {
                let first = random.below(2) as usize;
                let last = self.backends.len() - first;
                for (service, hosts) in [("plain", &self.backends[first..]), ("secure", &self.backends[..last])] {
                    self.files.hosts(service, hosts);
                    self.listed.insert(service, addresses(hosts));
                }
            }
            Fault::ChangeRegistrations => {
                if self.registry.is_lost() {
                    self.end_outage().await;
                }
                let hosts = &self.backends[random.below(2) as usize..];
                self.registry.register(&self.backends, hosts).await;
                self.listed.insert("registered", addresses(hosts));
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
            Fault::KillMember => self.registry.lose(Lost::killed(random), random).await,
            Fault::FreezeMember => self.registry.lose(Lost::frozen(random), random).await,
            Fault::LoseEnsemble => {
                // What the last list is has to be known.
                self.serves_listed("registered").await;
                self.registry.lose(Lost::All, random).await;
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

    /// Ends the outage of ZooKeeper members. If all of them were lost, the last list is in service until then, even in a
    /// manager and a HAProxy that were started meanwhile.
    async fn end_outage(&mut self) {
        if self.registry.is_lost() {
            self.serves_listed("registered").await;
        }
        self.registry.end_outage();
    }

    /// Waits until HAProxy serves exactly the hosts that the source of this service has.
    pub async fn serves_listed(&self, service: &str) {
        let (socket, listed) = (self.daemon.socket(), &self.listed[service]);
        let what = format!("{service} has exactly {listed:?} in service");
        self.daemon.eventually(RECOVERY, &what, async || check_ready(&socket, service, listed).await).await;
    }

    /// Waits until HAProxy serves exactly the hosts that the sources have.
    pub async fn serves_all_listed(&self) {
        for service in self.listed.keys() {
            self.serves_listed(service).await;
        }
    }

    /// Ends all faults, and waits until the manager is ready.
    pub async fn heal(&mut self) {
        self.end_outage().await;
        self.registry.heal().await;
        self.answers().await;
        self.is_ready().await;
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

/// Returns whether a process has ended; its parent may not have noticed yet.
fn is_gone(pid: Pid) -> Result<(), String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    check(state.is_empty() || state.starts_with('Z'), &state)
}
