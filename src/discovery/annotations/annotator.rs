//! Puts definitions and annotations together, and takes orders to write annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::fut::ready;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, WrapFuture};
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::{RawDefinition, ServiceName};
use slog::{Logger, info, warn};
use thiserror::Error;

use super::last::LastAnnotations;
use crate::discovery::zookeeper::{AnnotationMap, WriteError, ZookeeperAnnotations};

/// Who reads and writes annotations.
pub type Annotations = Recipient<AnnotationOrder>;

/// What is to be done with the annotations; the answer is what is known of those asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<BTreeMap<String, KnownAnnotation>, AnnotationRefused>")]
pub struct AnnotationOrder {
    /// Of this service; none: of all.
    pub service: Option<ServiceName>,
    /// What.
    pub what: WhatToDo,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhatToDo {
    /// Tell them.
    Read,
    /// Write this in its place.
    Write(String),
    /// Delete it.
    Delete,
}

/// An annotation in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAnnotation {
    /// Its text.
    pub text: Arc<str>,
    /// Where it stands.
    pub origin: Arc<str>,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnotationRefused {
    /// The service has none.
    #[error("the service {0} has no annotation")]
    Absent(ServiceName),
    /// ZooKeeper cannot be written to now.
    #[error("nothing was written: {0}; the last good annotations stay in force")]
    Away(String),
}

/// That this is where annotated definitions go.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TellTo(pub(super) Recipient<DefinitionsSeen>);

/// All annotations as they are now, or why they cannot be read.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AnnotationsSeen {
    pub(super) result: Result<AnnotationMap, String>,
}

/// Holds the newest of both.
pub(super) struct Annotator {
    store: ZookeeperAnnotations,
    last: LastAnnotations,
    reader: Option<Recipient<DefinitionsSeen>>,
    definitions: Option<Result<BTreeMap<Arc<str>, RawDefinition>, String>>,
    /// None until they were read, or could not be.
    annotations: Option<AnnotationMap>,
    /// Whether they can be read, or why not; none until something was heard of them.
    heard: Option<Result<(), String>>,
    log: Logger,
}

impl Annotator {
    pub(super) fn new(store: ZookeeperAnnotations, last: LastAnnotations, log: &Logger) -> Self {
        let (annotations, log) = (last.load(), log.clone());
        Self { store, last, reader: None, definitions: None, annotations, heard: None, log }
    }

    /// Tells the definitions as they are now, once something is known of both; or that they cannot be read.
    fn tell(&self) {
        let (Some(reader), Some(definitions)) = (&self.reader, &self.definitions) else { return };
        let result = match (definitions, &self.annotations) {
            (Err(error), _) => Err(error.clone()),
            (Ok(_), None) => return,
            (Ok(definitions), Some(annotations)) => Ok(annotated(definitions, annotations)),
        };
        reader.do_send(DefinitionsSeen { result, annotations: self.heard.clone() });
    }

    /// Keeps these for a start while ZooKeeper is away.
    fn save(&self, annotations: &AnnotationMap, ctx: &mut Context<Self>) {
        let saving = self.last.save(annotations).into_actor(self);
        ctx.spawn(saving.then(|saved, annotator, _| {
            if let Err(error) = saved {
                warn!(annotator.log, "the annotations will not survive a restart"; "error" => error);
            }
            ready(())
        }));
    }
}

fn annotated(
    definitions: &BTreeMap<Arc<str>, RawDefinition>,
    annotations: &AnnotationMap,
) -> BTreeMap<Arc<str>, RawDefinition> {
    let mut annotated = definitions.clone();
    for (service, annotation) in annotations {
        if let Some(definition) = annotated.get_mut(service) {
            definition.annotation = Some(annotation.clone());
        }
    }
    annotated
}

impl Actor for Annotator {
    type Context = Context<Self>;
}

impl Handler<TellTo> for Annotator {
    type Result = ();

    fn handle(&mut self, TellTo(reader): TellTo, _: &mut Self::Context) {
        self.reader = Some(reader);
    }
}

impl Handler<DefinitionsSeen> for Annotator {
    type Result = ();

    fn handle(&mut self, DefinitionsSeen { result, .. }: DefinitionsSeen, _: &mut Self::Context) {
        self.definitions = Some(result);
        self.tell();
    }
}

impl Handler<AnnotationsSeen> for Annotator {
    type Result = ();

    fn handle(&mut self, AnnotationsSeen { result }: AnnotationsSeen, ctx: &mut Self::Context) {
        let heard = Some(result.as_ref().map(|_| ()).map_err(Clone::clone));
        let before = std::mem::replace(&mut self.heard, heard);
        let mut is_news = before != self.heard;
        match result {
            Ok(annotations) => {
                if matches!(before, Some(Err(_))) {
                    info!(self.log, "the annotations can be read again");
                }
                if self.annotations.as_ref() != Some(&annotations) {
                    self.save(&annotations, ctx);
                    self.annotations = Some(annotations);
                    is_news = true;
                }
            }
            Err(error) => {
                if is_news {
                    let known = self.annotations.as_ref().map_or(0, BTreeMap::len);
                    warn!(self.log, "the annotations cannot be read, those known so far stay";
                        "error" => &error, "annotations" => known);
                }
                // Services without their annotations are better than none.
                self.annotations.get_or_insert_default();
            }
        }
        if is_news {
            self.tell();
        }
    }
}

impl Handler<AnnotationOrder> for Annotator {
    type Result = ResponseFuture<Result<BTreeMap<String, KnownAnnotation>, AnnotationRefused>>;

    fn handle(&mut self, AnnotationOrder { service, what }: AnnotationOrder, _: &mut Self::Context) -> Self::Result {
        let known = self.annotations.iter().flatten();
        let asked = known.filter(|(name, _)| service.as_ref().is_none_or(|service| service.as_str() == &***name));
        let known: BTreeMap<_, _> = asked
            .map(|(name, annotation)| {
                let known = KnownAnnotation { text: annotation.text.clone(), origin: annotation.origin.clone() };
                (name.to_string(), known)
            })
            .collect();
        let (store, log) = (self.store.clone(), self.log.clone());
        Box::pin(async move {
            let Some(service) = service else { return Ok(known) };
            let written = match &what {
                WhatToDo::Read if known.is_empty() => return Err(AnnotationRefused::Absent(service)),
                WhatToDo::Read => return Ok(known),
                WhatToDo::Write(text) => store.write(service.as_str(), text).await,
                WhatToDo::Delete => store.delete(service.as_str()).await,
            };
            written.map_err(|error| match error {
                WriteError::Absent => AnnotationRefused::Absent(service.clone()),
                WriteError::Away(error) => AnnotationRefused::Away(error),
            })?;
            let done = if what == WhatToDo::Delete { "deleted" } else { "written" };
            info!(log, "an annotation was {}", done; "service" => %service);
            Ok(known)
        })
    }
}
