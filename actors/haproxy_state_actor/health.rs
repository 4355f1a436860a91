//! The health of servers across a reload or a crash: the process before is asked for it, or the state file that it left,
//! and the next one reads what is still true.

use std::collections::BTreeMap;
use std::path::PathBuf;

use slog::{Logger, info};
use tokio::time::timeout;

use super::candidate::{Chosen, Ingredients};
use super::launch::LaunchPeers;
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::LoadedService;
use crate::decide::state_file;
use crate::limits::STATE_FILE_PATIENCE;
use crate::model::ServiceName;

/// Who says how servers are, and what the process was given that they were servers of.
pub enum Witness {
    /// The process that serves.
    Process {
        /// What it was given.
        loaded: BTreeMap<ServiceName, LoadedService>,
    },
    /// The state file of one that serves no more.
    File {
        /// Where it is.
        path: PathBuf,
        /// What that one was given.
        loaded: BTreeMap<ServiceName, LoadedService>,
    },
}

impl Witness {
    /// What the next process, with `sections`, may believe of it. One who does not say it at once is not waited for.
    pub async fn says(
        self,
        peers: &LaunchPeers,
        sections: &BTreeMap<ServiceName, Chosen>,
        style: SectionStyle,
        log: &Logger,
    ) -> String {
        let (said, loaded) = match self {
            Self::Process { loaded } => {
                let said = timeout(STATE_FILE_PATIENCE, peers.runtime.server_states()).await;
                (said.map(|said| said.map_err(|error| error.to_string())), loaded)
            }
            Self::File { path, loaded } => {
                (timeout(STATE_FILE_PATIENCE, peers.config_file.read_state_file(path)).await, loaded)
            }
        };
        let said = said.unwrap_or_else(|_| Err("it was not told in time".to_owned())).unwrap_or_else(|error| {
            info!(log, "the health of servers is not known to the next process"; "error" => error);
            String::new()
        });
        let next = |name: &ServiceName| {
            let Ingredients { definition, hosts } = &sections.get(name)?.ingredients;
            Some((&**definition, &**hosts))
        };
        state_file::carried_over(&said, &loaded, next, style)
    }
}
