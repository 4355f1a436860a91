//! Has HAProxy check texts that are not deployed, in a directory of their own, so that the candidate of a running daemon
//! is not overwritten.

use std::path::PathBuf;

use proxymgr_actors::model::{certificates_path_of, map_path_of};
use proxymgr_actors::port::{CheckFailure, ConfigFile, ConfigMessage, ConfigText};
use slog::Logger;
use tempfile::TempDir;

use super::config_file::HaproxyConfigFile;
use super::haproxy_binary::HaproxyBinary;

/// A directory for texts to check; removed when dropped.
pub struct Trial {
    directory: TempDir,
    file: HaproxyConfigFile,
}

impl Trial {
    /// Creates the directory.
    ///
    /// # Errors
    /// Why it cannot be created.
    pub fn open(binary: HaproxyBinary, log: &Logger) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("proxymgr-check-").tempdir();
        let directory = directory.map_err(|error| format!("cannot create a temporary directory: {error}"))?;
        let file = HaproxyConfigFile::new(binary, directory.path().join("haproxy.cfg"), log.clone());
        Ok(Self { directory, file })
    }

    /// Returns the path of the map to which the frontends of a text refer.
    pub fn map_path(&self) -> PathBuf {
        map_path_of(&self.directory.path().join("haproxy.cfg"))
    }

    /// Returns the directory of the certificates to which a text refers.
    pub fn certificates_path(&self) -> PathBuf {
        certificates_path_of(&self.map_path())
    }

    /// Has HAProxy check a text. Returns its warnings.
    ///
    /// # Errors
    /// Why HAProxy refuses it, or why it could not be checked.
    pub async fn check(&self, text: ConfigText) -> Result<Vec<ConfigMessage>, CheckFailure> {
        self.file.check(text, Vec::new()).await
    }
}
