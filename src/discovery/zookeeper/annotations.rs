//! Annotations from the children of a path: a child's name is a service's name, its data is merged into the definition.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::text::text_from;
use proxymgr_actors::model::Annotation;
use tokio::time::Instant;

use super::ensemble::Link;
use super::level::{Meaning, OpenLevel};
use super::session::WriteError;
use super::{ConnectString, Ensembles};

/// The annotations of each service.
pub type AnnotationMap = BTreeMap<Arc<str>, Annotation>;

/// The annotations below one path, which all managers share.
#[derive(Clone)]
pub struct ZookeeperAnnotations {
    ensembles: Ensembles,
    connect: ConnectString,
    path: Arc<str>,
}

impl ZookeeperAnnotations {
    /// Returns the annotations below `path`, which is relative to the connect string's chroot. The znode is created
    /// with the first annotation.
    pub fn new(ensembles: Ensembles, connect: ConnectString, path: &str) -> Result<Self, String> {
        let path = connect.path(path)?;
        Ok(Self { ensembles, connect, path })
    }

    /// Sends all annotations, and again at each change; with whether no watch reported the change.
    pub(in crate::discovery) fn watch(
        &self,
        send: impl Fn(Result<AnnotationMap, String>, bool) + 'static,
    ) -> OpenLevel {
        let meaning = AnnotationLevel { path: self.path.clone(), send, had_some: Cell::new(false) };
        OpenLevel::start(self.ensembles.join(&self.connect), self.path.clone(), meaning)
    }

    /// Writes the annotation of a service.
    pub(in crate::discovery) async fn write(&self, service: &str, text: &str) -> Result<(), WriteError> {
        let znode = self.znode(service);
        self.session()?.write(&znode, text.as_bytes()).await
    }

    /// Deletes the annotation of a service.
    pub(in crate::discovery) async fn delete(&self, service: &str) -> Result<(), WriteError> {
        let znode = self.znode(service);
        self.session()?.delete(&znode).await
    }

    fn znode(&self, service: &str) -> String {
        format!("{}/{service}", self.path.trim_end_matches('/'))
    }

    fn session(&self) -> Result<std::rc::Rc<super::session::Session>, WriteError> {
        match &*self.ensembles.join(&self.connect).link().borrow() {
            Link::Ready(session) => Ok(session.clone()),
            Link::Away(error) => Err(WriteError::Away(error.to_string())),
            Link::Connecting => {
                Err(WriteError::Away(format!("proxymgr is still connecting to ZooKeeper {}", self.connect.servers())))
            }
        }
    }
}

struct AnnotationLevel<T> {
    path: Arc<str>,
    send: T,
    had_some: Cell<bool>,
}

impl<T> AnnotationLevel<T> {
    fn origin(&self, child: &str) -> Arc<str> {
        format!("znode {}/{child}", self.path.trim_end_matches('/')).into()
    }
}

impl<T: Fn(Result<AnnotationMap, String>, bool) + 'static> Meaning for AnnotationLevel<T> {
    type Entry = Annotation;

    fn entry(&self, child: &str, data: &[u8]) -> Annotation {
        match text_from(data) {
            Ok(text) => Annotation::new(text, self.origin(child)),
            Err(error) => self.refused(child, error),
        }
    }

    fn refused(&self, child: &str, reason: String) -> Annotation {
        Annotation::unreadable(reason, self.origin(child))
    }

    fn absent(&self) -> Option<String> {
        let gone =
            || format!("the path {} of the annotations is gone; the last ones stay until it is created", self.path);
        self.had_some.get().then(gone)
    }

    fn report(&self, level: Result<&AnnotationMap, String>, _seen_at: Instant, missed: bool) {
        self.had_some.set(self.had_some.get() || level.as_ref().is_ok_and(|level| !level.is_empty()));
        (self.send)(level.cloned(), missed);
    }
}
