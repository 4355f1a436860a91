//! Access of the status listener, on its own thread, to the annotations of discovery.

use std::collections::BTreeMap;

use proxymgr_actors::limits::ANNOTATION_ANSWER_TIMEOUT;
use proxymgr_actors::model::ServiceName;
use tokio::time::timeout;

use crate::discovery::annotations::{
    AnnotationAction, AnnotationRefused, AnnotationRequest, Annotations, KnownAnnotation,
};
use crate::status::annotations::{AnnotationStore, Stored};
use crate::status::problem::Problem;
use crate::status::view::Asked;

/// The store of annotations for the listener.
pub struct SharedAnnotations(pub Annotations);

impl SharedAnnotations {
    async fn ask(
        &self,
        service: Option<ServiceName>,
        action: AnnotationAction,
    ) -> Result<BTreeMap<String, KnownAnnotation>, Problem> {
        match timeout(ANNOTATION_ANSWER_TIMEOUT, self.0.send(AnnotationRequest { service, action })).await {
            Ok(Ok(Ok(known))) => Ok(known),
            Ok(Ok(Err(refused @ AnnotationRefused::Absent(_)))) => Err(Problem::not_found(refused.to_string())),
            Ok(Ok(Err(refused @ AnnotationRefused::Unavailable(_)))) => Err(Problem::unavailable(refused.to_string())),
            Ok(Err(_)) | Err(_) => Err(Problem::unavailable(
                "ZooKeeper did not answer in time; the change may have been made: read it before you retry",
            )),
        }
    }
}

impl AnnotationStore for SharedAnnotations {
    fn read(&self, service: Option<ServiceName>) -> Asked<'_, Result<BTreeMap<String, Stored>, Problem>> {
        Box::pin(async {
            let known = self.ask(service, AnnotationAction::Read).await?;
            let stored = |(service, KnownAnnotation { text, origin })| (service, Stored { text, origin });
            Ok(known.into_iter().map(stored).collect())
        })
    }

    fn write(&self, service: ServiceName, text: String) -> Asked<'_, Result<(), Problem>> {
        Box::pin(async { self.ask(Some(service), AnnotationAction::Write(text)).await.map(drop) })
    }

    fn delete(&self, service: ServiceName) -> Asked<'_, Result<(), Problem>> {
        Box::pin(async { self.ask(Some(service), AnnotationAction::Delete).await.map(drop) })
    }
}
