//! From the configuration of an ancestor to one of ours, with a comment for whatever has no equivalent.

mod ep2;
mod proxym;
mod written;

use std::collections::BTreeMap;

pub use ep2::{from_ep2, template_file as ep2_template_file};
pub use proxym::from_proxym;

/// What an ancestor's configuration becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The text of `proxymgr.yml`.
    pub settings: String,
    /// Definitions of services: the file's name, and its text.
    pub services: BTreeMap<String, String>,
}

/// Where the definitions of imported services are expected.
pub const SERVICES_DIRECTORY: &str = "/etc/proxymgr/services";
