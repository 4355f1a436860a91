//! Sources of definitions and hosts, which report what the test says.

use actix::Recipient;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::{ServiceName, SourceKind, SourceSpec};
use proxymgr_actors::port::{DefinitionSource, HostSources, OpenSource};

use super::World;

struct Watched;

impl OpenSource for Watched {
    fn refresh(&self) {}
}

impl DefinitionSource for World {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        self.with(|things| things.definitions = Some(reader));
        Box::new(Watched)
    }
}

impl HostSources for World {
    fn open(
        &self,
        service: &ServiceName,
        _: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        self.with(|things| {
            things.opened += 1;
            things.watchers.insert(service.to_string(), watcher)
        });
        Ok(Box::new(Watched))
    }

    fn kinds(&self) -> &[SourceKind] {
        &[SourceKind { name: "static", keys: &["hosts"], is_ordered: true }]
    }

    fn change_options(&self, options: &OptionPolicy) {
        self.with(|things| things.entry_options.clone_from(&options.extra));
    }
}
