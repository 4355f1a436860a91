//! The ZooKeeper ensemble, its outages, and the hosts that are registered in it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::Random;
use crate::stage::host_json;
use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::znodes;
use crate::support::zookeeper::Ensemble;

/// Number of members.
const MEMBERS: u64 = 3;

/// The parent of the registered hosts.
const PATH: &str = "/services/registered";

/// Hosts in a real ensemble, of which members are lost.
pub struct Registry {
    ensemble: Ensemble,
    outage: Option<Outage>,
}

/// Members that do not answer for a while. Other faults go on meanwhile.
struct Outage {
    lost: Lost,
    until: Instant,
}

/// The members of an outage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// One is killed; it may be the leader.
    Killed(usize),
    /// One is frozen: its connections stay open.
    Frozen(usize),
    /// All are killed: the last list stays in service.
    All,
}

impl Lost {
    /// Returns a killed member.
    pub fn killed(random: &mut Random) -> Self {
        Self::Killed(1 + random.below(MEMBERS) as usize)
    }

    /// Returns a frozen member.
    pub fn frozen(random: &mut Random) -> Self {
        Self::Frozen(1 + random.below(MEMBERS) as usize)
    }
}

impl Registry {
    /// Starts the ensemble, without hosts.
    pub async fn start(dir: &TestDir) -> Self {
        Self { ensemble: Ensemble::start(dir, MEMBERS as usize).await, outage: None }
    }

    /// Returns the definition of the service that has these hosts.
    pub fn definition(&self, port: u16) -> Value {
        let servers = self.ensemble.connect_string();
        json!({"type": "zookeeper", "server": servers, "path": PATH, "port": port, "bind": "127.0.0.1"})
    }

    /// Registers these of all backends, and removes the others. Not while all members are lost.
    pub async fn register(&self, all: &[Backend], registered: &[Backend]) {
        let client = self.ensemble.client().await;
        for backend in all {
            let path = format!("{PATH}/{}", backend.port());
            if registered.iter().any(|other| other.port() == backend.port()) {
                znodes::put(&client, &path, &host_json(backend)).await;
            } else {
                znodes::delete(&client, &path).await;
            }
        }
    }

    /// Returns whether no member answers.
    pub fn is_lost(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.lost == Lost::All)
    }

    /// Returns whether there is an outage whose time is over.
    pub fn is_due(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.until <= Instant::now())
    }

    /// Loses members for one to six seconds, once all members serve.
    pub async fn lose(&mut self, lost: Lost, random: &mut Random) {
        self.end_outage();
        self.ensemble.wait_until_serving().await;
        match lost {
            Lost::Killed(member) => self.ensemble.stop(member),
            Lost::Frozen(member) => self.ensemble.freeze(member),
            Lost::All => self.ensemble.stop_all(),
        }
        let until = Instant::now() + Duration::from_millis(1_000 + random.below(5_000));
        self.outage = Some(Outage { lost, until });
    }

    /// Starts the killed members and resumes a frozen one. They serve some time later.
    pub fn end_outage(&mut self) {
        match self.outage.take().map(|outage| outage.lost) {
            Some(Lost::Frozen(member)) => self.ensemble.thaw(member),
            Some(Lost::Killed(_) | Lost::All) => self.ensemble.launch_all(),
            None => {}
        }
    }

    /// Ends an outage and waits until all members serve.
    pub async fn heal(&mut self) {
        self.end_outage();
        self.ensemble.wait_until_serving().await;
    }
}
