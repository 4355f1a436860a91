//! `haproxy.base_config`: the operator's own configuration files.

use std::net::SocketAddr;
use std::path::PathBuf;

use proxymgr_actors::decide::base;
use proxymgr_actors::model::{BaseConfig, BaseFile, ListenAddress};

use super::reader::Reader;
use crate::base_files;

const KEY: &str = "haproxy.base_config";

/// Reads the path and the files, or takes those that are given in place of them.
pub(super) fn read(reader: &mut Reader, instead: Option<&[BaseFile]>) -> (Option<PathBuf>, Vec<BaseFile>) {
    let Some(path) = reader.path(KEY) else { return (None, Vec::new()) };
    if !path.is_absolute() {
        reader.refuse(KEY, format!("{} must be an absolute path", path.display()));
    }
    for key in ["haproxy.global", "haproxy.defaults", "haproxy.user", "haproxy.group"] {
        if reader.is_set(key) {
            reader.refuse(key, format!("cannot be set beside {KEY}; move it into those files"));
        }
    }
    let files = instead.map_or_else(|| base_files::read(&path), |files| Ok(files.to_vec()));
    let files = files.unwrap_or_else(|problem| {
        reader.refuse(KEY, problem);
        Vec::new()
    });
    (Some(path), files)
}

/// Refuses files that cannot be used, for reasons that HAProxy does not know of.
pub(super) fn check(reader: &mut Reader, config: &BaseConfig, status_listen: Option<SocketAddr>) {
    if config.files.is_empty() {
        return;
    }
    let layout = base::layout(config);
    for mistake in &layout.mistakes {
        reader.refuse(KEY, mistake.clone());
    }
    let Some(own) = status_listen.map(ListenAddress::from) else { return };
    for address in layout.listens().iter().filter(|address| address.covers(&own)) {
        let place = layout.place_of(address).unwrap_or_default();
        reader.refuse(KEY, format!("{place}: {address} is the address of proxymgr's own page (status.listen)"));
    }
}
