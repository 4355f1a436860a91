//! The last good annotations in a file, so that a start while ZooKeeper is away does not take them from the services.

use std::path::PathBuf;

use crate::atomic_file::{self, FileMode};
use crate::discovery::zookeeper::AnnotationMap;

/// The file.
pub struct LastAnnotations {
    path: PathBuf,
    is_kept: bool,
}

impl LastAnnotations {
    /// The file at `path`; where it is not kept, it is read alone.
    pub fn at(path: PathBuf, is_kept: bool) -> Self {
        Self { path, is_kept }
    }

    /// What an earlier run kept; none where it kept nothing that can be read.
    pub(super) fn load(&self) -> Option<AnnotationMap> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Keeps these. Nothing waits for it, so that it may take its time.
    pub(super) fn save(&self, annotations: &AnnotationMap) -> impl Future<Output = Result<(), String>> + use<> {
        let (path, is_kept, text) = (self.path.clone(), self.is_kept, serde_json::to_vec(annotations));
        async move {
            if !is_kept {
                return Ok(());
            }
            let text = text.map_err(|error| error.to_string())?;
            let write = move || atomic_file::replace(&path, FileMode::Exactly(0o600), |file| file.write_all(&text));
            tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?
        }
    }
}
