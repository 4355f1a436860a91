//! Watches the operator's own configuration files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxymgr_actors::port::OpenSource;
use slog::Logger;

use super::directory_watch::DirectoryWatches;
use super::file_roots::FileRoots;
use super::watched_files::{FileFilter, FileWatch};
use crate::base_files::is_configuration;

/// Calls `changed` with each change of a file, or of the `*.cfg` of a directory, and once after the first look.
pub fn watch(path: &Path, log: &Logger, changed: impl Fn() + 'static) -> Box<dyn OpenSource> {
    let (directory, filter) = match path.is_dir() {
        true => (path.to_owned(), FileFilter::Each(is_name_of_configuration)),
        false => {
            let name = path.file_name().map(OsString::from).unwrap_or_default();
            let directory = path.parent().map(PathBuf::from).unwrap_or_default();
            // The operator chose the path, so that it may lead anywhere.
            (directory, FileFilter::One(name, Arc::new(FileRoots::new(vec!["/".into()]))))
        }
    };
    Box::new(FileWatch::start(directory, filter, |_, text| text, &DirectoryWatches::new(log), move |_, _| changed()))
}

fn is_name_of_configuration(name: &OsStr) -> bool {
    is_configuration(Path::new(name))
}
