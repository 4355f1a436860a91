//! Merges definitions and annotations, and serves requests to read and write annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::fut::ready;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, WrapFuture};
use proxymgr_actors::message::DefinitionsSeen;
use proxymgr_actors::model::{RawDefinition, ServiceName};
use slog::{Logger, info, warn};
use thiserror::Error;

use super::saved::SavedAnnotations;
use crate::discovery::zookeeper::{AnnotationMap, WriteError, ZookeeperAnnotations};

/// The recipient of requests to read and write annotations.
pub type Annotations = Recipient<AnnotationRequest>;

/// A request to read or write annotations. The response contains the current annotations that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<BTreeMap<String, KnownAnnotation>, AnnotationRefused>")]
pub struct AnnotationRequest {
    /// The service; none: all services.
    pub service: Option<ServiceName>,
    /// The action.
    pub action: AnnotationAction,
}

/// What to do with an annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnnotationAction {
    /// Read it.
    Read,
    /// Write this text in its place.
    Write(String),
    /// Delete it.
    Delete,
}

/// An annotation that is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAnnotation {
    /// Its text.
    pub text: Arc<str>,
    /// Its place, such as a znode.
    pub origin: Arc<str>,
}

/// Why a request failed; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnotationRefused {
    /// The service has none.
    #[error("the service {0} has no annotation")]
    Absent(ServiceName),
    /// ZooKeeper is not reachable.
    #[error("nothing was written: {0}; the last good annotations stay applied")]
    Unavailable(String),
}

/// Sets the recipient of the merged definitions.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SetRecipient(pub(super) Recipient<DefinitionsSeen>);

/// All current annotations, or why they cannot be read.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AnnotationsSeen {
    pub(super) result: Result<AnnotationMap, String>,
    /// Whether a confirmation found a change that their watch did not report.
    pub(super) missed: bool,
}

/// The actor that holds the latest definitions and annotations.
pub(super) struct Annotator {
    store: ZookeeperAnnotations,
    saved: SavedAnnotations,
    reader: Option<Recipient<DefinitionsSeen>>,
    definitions: Option<Result<BTreeMap<Arc<str>, RawDefinition>, String>>,
    /// None until they were read, or reading failed.
    annotations: Option<AnnotationMap>,
    /// Whether the annotations can be read; none before the first attempt.
    read_status: Option<Result<(), String>>,
    log: Logger,
}

impl Annotator {
    pub(super) fn new(store: ZookeeperAnnotations, saved: SavedAnnotations, log: &Logger) -> Self {
        let (annotations, log) = (saved.load(), log.clone());
        Self { store, saved, reader: None, definitions: None, annotations, read_status: None, log }
    }

    /// Reports the merged definitions once both are known, or that the definitions cannot be read.
    fn report(&self, missed: bool) {
        let (Some(reader), Some(definitions)) = (&self.reader, &self.definitions) else { return };
        let result = match (definitions, &self.annotations) {
            (Err(error), _) => Err(error.clone()),
            (Ok(_), None) => return,
            (Ok(definitions), Some(annotations)) => Ok(annotated(definitions, annotations)),
        };
        reader.do_send(DefinitionsSeen { result, missed, annotations: self.read_status.clone() });
    }

    /// Saves the annotations for a start while ZooKeeper is not reachable.
    fn save(&self, annotations: &AnnotationMap, ctx: &mut Context<Self>) {
        let saving = self.saved.save(annotations).into_actor(self);
        ctx.spawn(saving.then(|result, annotator, _| {
            if let Err(error) = result {
                warn!(annotator.log, "cannot save the annotations for a restart"; "error" => error);
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

impl Handler<SetRecipient> for Annotator {
    type Result = ();

    fn handle(&mut self, SetRecipient(reader): SetRecipient, _: &mut Self::Context) {
        self.reader = Some(reader);
    }
}

impl Handler<DefinitionsSeen> for Annotator {
    type Result = ();

    fn handle(&mut self, DefinitionsSeen { result, missed, .. }: DefinitionsSeen, _: &mut Self::Context) {
        self.definitions = Some(result);
        self.report(missed);
    }
}

impl Handler<AnnotationsSeen> for Annotator {
    type Result = ();

    fn handle(&mut self, AnnotationsSeen { result, missed }: AnnotationsSeen, ctx: &mut Self::Context) {
        let read_status = Some(result.as_ref().map(|_| ()).map_err(Clone::clone));
        let before = std::mem::replace(&mut self.read_status, read_status);
        let mut has_changed = before != self.read_status;
        match result {
            Ok(annotations) => {
                if matches!(before, Some(Err(_))) {
                    info!(self.log, "annotations are readable again");
                }
                if self.annotations.as_ref() != Some(&annotations) {
                    self.save(&annotations, ctx);
                    self.annotations = Some(annotations);
                    has_changed = true;
                }
            }
            Err(error) => {
                if has_changed {
                    let known = self.annotations.as_ref().map_or(0, BTreeMap::len);
                    warn!(self.log, "cannot read the annotations; the last good ones stay";
                        "error" => &error, "annotations" => known);
                }
                // Services without annotations are better than no services.
                self.annotations.get_or_insert_default();
            }
        }
        if has_changed || missed {
            self.report(missed);
        }
    }
}

impl Handler<AnnotationRequest> for Annotator {
    type Result = ResponseFuture<Result<BTreeMap<String, KnownAnnotation>, AnnotationRefused>>;

    fn handle(
        &mut self,
        AnnotationRequest { service, action }: AnnotationRequest,
        _: &mut Self::Context,
    ) -> Self::Result {
        let known = self.annotations.iter().flatten();
        let requested = known.filter(|(name, _)| service.as_ref().is_none_or(|service| service.as_str() == &***name));
        let known: BTreeMap<_, _> = requested
            .map(|(name, annotation)| {
                let known = KnownAnnotation { text: annotation.text.clone(), origin: annotation.origin.clone() };
                (name.to_string(), known)
            })
            .collect();
        let (store, log) = (self.store.clone(), self.log.clone());
        Box::pin(async move {
            let Some(service) = service else { return Ok(known) };
            let written = match &action {
                AnnotationAction::Read if known.is_empty() => return Err(AnnotationRefused::Absent(service)),
                AnnotationAction::Read => return Ok(known),
                AnnotationAction::Write(text) => store.write(service.as_str(), text).await,
                AnnotationAction::Delete => store.delete(service.as_str()).await,
            };
            written.map_err(|error| match error {
                WriteError::Absent => AnnotationRefused::Absent(service.clone()),
                WriteError::Away(error) => AnnotationRefused::Unavailable(error),
            })?;
            let done = if action == AnnotationAction::Delete { "deleted" } else { "written" };
            info!(log, "annotation {}", done; "service" => %service);
            Ok(known)
        })
    }
}
