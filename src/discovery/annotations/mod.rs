//! Definitions of any source, with annotations from ZooKeeper laid over them.
//!
//! - `annotator`: puts together what both say, and takes orders to write annotations.
//! - `last`: the last good annotations, for a start while ZooKeeper is away.

mod annotator;
mod last;

use std::rc::Rc;

use actix::{Actor, Addr, Recipient};
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use slog::Logger;

use super::zookeeper::{OpenLevel, ZookeeperAnnotations};
pub use annotator::{AnnotationOrder, AnnotationRefused, Annotations, KnownAnnotation, WhatToDo};
use annotator::{AnnotationsSeen, Annotator, TellTo};
pub use last::LastAnnotations;

/// Definitions with annotations. They are told together: without annotations only where there are none, or where these
/// cannot be read and never were.
pub struct AnnotatedDefinitions {
    definitions: Rc<dyn DefinitionSource>,
    store: ZookeeperAnnotations,
    annotator: Addr<Annotator>,
}

impl AnnotatedDefinitions {
    /// Must be called within an actix system.
    pub fn new(
        definitions: Rc<dyn DefinitionSource>,
        store: ZookeeperAnnotations,
        last: LastAnnotations,
        log: &Logger,
    ) -> Self {
        let annotator = Annotator::new(store.clone(), last, log).start();
        Self { definitions, store, annotator }
    }

    /// Reads and writes annotations, on whatever thread.
    pub fn annotations(&self) -> Annotations {
        self.annotator.clone().recipient()
    }
}

impl DefinitionSource for AnnotatedDefinitions {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        self.annotator.do_send(TellTo(reader));
        let annotator = self.annotator.clone();
        let annotations = self.store.watch(move |result| annotator.do_send(AnnotationsSeen { result }));
        let definitions = self.definitions.open(self.annotator.clone().recipient());
        Box::new(OpenAnnotated { definitions, annotations })
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
}
