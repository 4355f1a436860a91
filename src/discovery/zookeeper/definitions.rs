//! Definitions of services from the children of a path: a child's name is the service's name, its data the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use tokio::time::Instant;

use super::level::{Meaning, OpenLevel};
use super::{ConnectString, Ensembles};

/// The services below one path.
pub struct ZookeeperDefinitions {
    ensembles: Ensembles,
    connect: ConnectString,
    path: Arc<str>,
}

impl ZookeeperDefinitions {
    /// Returns the services below `path`, which is relative to the connect string's chroot.
    pub fn new(ensembles: Ensembles, connect: ConnectString, path: &str) -> Result<Self, String> {
        let path = connect.path(path)?;
        Ok(Self { ensembles, connect, path })
    }
}

impl DefinitionSource for ZookeeperDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let meaning = DefinitionLevel { path: self.path.clone(), ensemble: self.connect.servers().clone(), reader };
        Box::new(OpenLevel::start(self.ensembles.join(&self.connect), self.path.clone(), meaning))
    }
}

struct DefinitionLevel {
    path: Arc<str>,
    ensemble: Arc<str>,
    reader: Recipient<DefinitionsSeen>,
}

impl DefinitionLevel {
    fn origin(&self, child: &str) -> String {
        format!("znode {}/{child}", self.path.trim_end_matches('/'))
    }
}

impl Meaning for DefinitionLevel {
    type Entry = RawDefinition;

    fn entry(&self, child: &str, data: &[u8]) -> RawDefinition {
        match text_from(data) {
            Ok(text) => RawDefinition::new(text, self.origin(child)),
            Err(error) => self.refused(child, error),
        }
    }

    fn refused(&self, child: &str, reason: String) -> RawDefinition {
        RawDefinition::unreadable(reason, self.origin(child))
    }

    fn absent(&self) -> Option<String> {
        let (path, ensemble) = (&self.path, &self.ensemble);
        Some(format!(
            "the path {path} of the service definitions does not exist in ZooKeeper {ensemble}; waiting until \
             it is created, for instance by: zkCli.sh -server {ensemble} create {path} \"\""
        ))
    }

    fn report(&self, level: Result<&BTreeMap<Arc<str>, RawDefinition>, String>, _seen_at: Instant, missed: bool) {
        self.reader.do_send(DefinitionsSeen { missed, ..DefinitionsSeen::plain(level.cloned()) });
    }
}
