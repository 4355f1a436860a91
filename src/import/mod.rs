//! Converts the configuration of ElasticPyProxy or proxym, with a comment for each setting without an equivalent.

mod ep2;
mod proxym;
mod yaml_text;

use std::collections::BTreeMap;

pub use ep2::{from_ep2, template_file as ep2_template_file};
pub use proxym::from_proxym;

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The content of `proxymgr.yml`.
    pub settings: String,
    /// The definitions of services: file names and contents.
    pub services: BTreeMap<String, String>,
}

/// The directory for the definitions of imported services.
pub const SERVICES_DIRECTORY: &str = "/etc/proxymgr/services";
