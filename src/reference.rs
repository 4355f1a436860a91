//! Documentation that is generated from the tables of keys and from the command line: manual pages, and the reference of
//! the keys of services.

mod commands;
mod markup;
mod service_keys;
mod service_page;
mod settings_page;

#[cfg(test)]
mod tests;

pub use service_keys::markdown as service_keys;

use std::collections::BTreeMap;

/// The group of manual pages, in their titles.
const MANUAL: &str = "proxymgr manual";

/// The version, which titles of manual pages have in place of a date, so that each build gives the same pages.
const VERSION: &str = concat!("proxymgr ", env!("CARGO_PKG_VERSION"));

/// Returns all manual pages, in troff format, by their file names: `proxymgr.1`, one page for each command, and the pages
/// of the settings and of definitions.
pub fn manual_pages(command: &clap::Command) -> BTreeMap<String, String> {
    let mut pages = commands::pages(command);
    pages.insert("proxymgr.yml.5".to_owned(), settings_page::page());
    pages.insert("proxymgr-service.5".to_owned(), service_page::page());
    pages
}
