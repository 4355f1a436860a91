//! Definitions of any source, merged with annotations from ZooKeeper.
//!
//! - `annotator`: merges both, and serves requests to read and write annotations.
//! - `saved`: the last good annotations in a file, for a start while ZooKeeper is not reachable.

mod annotator;
mod saved;

use std::rc::Rc;

use actix::{Actor, Addr, Recipient};
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use slog::Logger;

use super::zookeeper::{OpenLevel, ZookeeperAnnotations};
pub use annotator::{AnnotationAction, AnnotationRefused, AnnotationRequest, Annotations, KnownAnnotation};
use annotator::{AnnotationsSeen, Annotator, SetRecipient};
pub use saved::SavedAnnotations;

/// A source of definitions with annotations. Definitions are reported without annotations only if there are none, or if
/// they cannot be read and none were saved.
pub struct AnnotatedDefinitions {
    definitions: Rc<dyn DefinitionSource>,
    store: ZookeeperAnnotations,
    annotator: Addr<Annotator>,
}

impl AnnotatedDefinitions {
    /// Merges `definitions` with the annotations in `store`. Must be called within an actix system.
    pub fn new(
        definitions: Rc<dyn DefinitionSource>,
        store: ZookeeperAnnotations,
        saved: SavedAnnotations,
        log: &Logger,
    ) -> Self {
        let annotator = Annotator::new(store.clone(), saved, log).start();
        Self { definitions, store, annotator }
    }

    /// The recipient of requests to read and write annotations, for any thread.
    pub fn annotations(&self) -> Annotations {
        self.annotator.clone().recipient()
    }
}

impl DefinitionSource for AnnotatedDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        self.annotator.do_send(SetRecipient(reader));
        let annotator = self.annotator.clone();
        let annotations = self.store.watch(move |result, missed| annotator.do_send(AnnotationsSeen { result, missed }));
        let definitions = self.definitions.open(self.annotator.clone().recipient());
        Box::new(OpenAnnotated { definitions, annotations })
    }

    fn are_derived(&self) -> bool {
        self.definitions.are_derived()
    }
}

struct OpenAnnotated {
    definitions: Box<dyn OpenSource>,
    annotations: OpenLevel,
}

impl OpenSource for OpenAnnotated {
    fn refresh(&self) {
        self.annotations.refresh();
        self.definitions.refresh();
    }

    fn confirm(&self) {
        self.annotations.confirm();
        self.definitions.confirm();
    }
}
