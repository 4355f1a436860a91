//! The base configuration: everything in haproxy.cfg that does not come from services.

mod bind_line;
mod global_lines;
pub mod layout;
pub mod lexer;
pub mod local_peer;
mod operator_files;
mod own_lines;
mod references;
pub mod sections;
mod settings_lines;
mod stats_file;

use std::sync::Arc;

use crate::model::{BaseConfig, Descriptors};
pub use bind_line::addresses_of;
pub use global_lines::{chroot, global_lines, runtime_apis, runtime_sockets};
pub use layout::{BaseLayout, BoundBase, LeftBind, ServiceTexts};
pub use local_peer::socket_path as peer_socket_path;
pub use operator_files::{MARKER, is_marker};
pub use own_lines::is_ours;
pub use references::map_paths;

/// Returns the text of a base configuration without services, whose sockets HAProxy opens itself.
pub fn text(config: &BaseConfig) -> String {
    BoundBase::new(Arc::new(layout(config)), Descriptors::new()).text()
}

/// Returns the layout of a base configuration: of the operator's files, or of the lines in the settings.
pub fn layout(config: &BaseConfig) -> BaseLayout {
    match config.files.is_empty() {
        true => settings_lines::layout(config),
        false => operator_files::layout(config),
    }
}
