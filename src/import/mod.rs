//! Converts the configuration of HAProxy, SmartStack's synapse, ElasticPyProxy or proxym, with a comment for each
//! setting without an equivalent.

mod ep2;
mod haproxy;
mod proxym;
mod synapse;
mod yaml_text;

use std::collections::BTreeMap;

pub use ep2::{from_ep2, template_file as ep2_template_file};
pub use haproxy::from_haproxy;
pub use proxym::from_proxym;
pub use synapse::from_synapse;

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The content of `proxymgr.yml`.
    pub settings: String,
    /// The definitions of services: file names and contents.
    pub services: BTreeMap<String, String>,
    /// The files of the base configuration.
    pub base: Vec<BaseFile>,
    /// The environment variables that the base configuration uses.
    pub environment: Vec<String>,
    /// What is not converted, and what to know.
    pub notes: Vec<String>,
}

/// A file of the base configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// Its path below the directory of the settings.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Imported {
    /// Returns all files besides the settings, with their paths below the directory of the settings.
    pub fn files(&self) -> impl Iterator<Item = (String, &str)> {
        let base = self.base.iter().map(|file| (file.name.clone(), file.text.as_str()));
        base.chain(self.services.iter().map(|(name, text)| (format!("{SERVICES}/{name}"), text.as_str())))
    }
}

/// The directory of the settings, where no other is chosen.
pub const SETTINGS_DIRECTORY: &str = "/etc/proxymgr";

/// The name of the file of settings.
pub const SETTINGS_FILE: &str = "proxymgr.yml";

/// The name of a base configuration that is one file.
const BASE_FILE: &str = "haproxy.cfg";

/// The directory of the definitions, below that of the settings.
pub const SERVICES: &str = "services";
