//! The last good annotations in a file, so that services keep them after a start while ZooKeeper is not reachable.

use std::path::PathBuf;

use crate::atomic_file::{self, FileMode};
use crate::discovery::zookeeper::AnnotationMap;

/// The file.
pub struct SavedAnnotations {
    path: PathBuf,
    is_written: bool,
}

impl SavedAnnotations {
    /// The file at `path`, which is only read unless `is_written`.
    pub fn at(path: PathBuf, is_written: bool) -> Self {
        Self { path, is_written }
    }

    /// The annotations of an earlier run, if they can be read.
    pub(super) fn load(&self) -> Option<AnnotationMap> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Writes the annotations. It may take long: nothing waits for it.
    pub(super) fn save(&self, annotations: &AnnotationMap) -> impl Future<Output = Result<(), String>> + use<> {
        let (path, is_written, text) = (self.path.clone(), self.is_written, serde_json::to_vec(annotations));
        async move {
            if !is_written {
                return Ok(());
            }
            let text = text.map_err(|error| error.to_string())?;
            let write = move || atomic_file::replace(&path, FileMode::Exactly(0o600), |file| file.write_all(&text));
            tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?
        }
    }
}
