//! Manual pages, and the files that are generated from tables. `make reference` generates these again.

use std::path::Path;

use clap::CommandFactory;
use proxymgr_actors::decide::grammar;

use super::*;
use crate::cli::Cli;
use crate::settings::{KEYS, reference as settings};
use crate::status::metrics;

/// Compares a generated file with the one in the tree, or replaces it if `UPDATE_REFERENCE` is set.
fn check_generated(path: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, content).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(present == content, "{} is outdated: run `make reference`", path.display());
}

#[test]
fn shipped_settings_match_the_table() {
    check_generated("config/proxymgr.yml", &settings::yaml());
}

#[test]
fn settings_reference_matches_the_table() {
    check_generated("docs/settings.md", &settings::markdown());
}

#[test]
fn allowed_options_match_the_grammar() {
    check_generated("docs/allowed-options.md", &grammar::reference::markdown());
}

#[test]
fn keys_of_definitions_match_the_tables() {
    check_generated("docs/service-keys.md", &service_keys());
}

#[test]
fn metrics_reference_matches_the_exposition() {
    check_generated("docs/metrics.md", &metrics::reference::markdown());
}

#[test]
fn every_command_has_a_page() {
    let command = Cli::command();
    let pages = manual_pages(&command);
    for command in command.get_subcommands() {
        let name = format!("proxymgr-{}.1", command.get_name());
        assert!(pages.contains_key(&name), "{name} is not in {:?}", pages.keys());
    }
    let main = &pages["proxymgr.1"];
    for part in [
        ".SH EXAMPLES\n",
        ".SH \"EXIT CODES\"\n",
        ".SH \"SIGNALS TO THE DAEMON\"\n",
        "proxymgr \\- Keeps HAProxy in sync",
    ] {
        assert!(main.contains(part), "{part:?} is not in {main}");
    }
}

#[test]
fn every_setting_is_on_its_page() {
    let page = &manual_pages(&Cli::command())["proxymgr.yml.5"];
    for key in KEYS {
        assert!(page.contains(&format!("\\fB{}\\fR", key.path)), "{}", key.path);
    }
}

#[test]
fn service_page_has_keys_of_service_source_and_host() {
    let page = &manual_pages(&Cli::command())["proxymgr-service.5"];
    for key in ["listen_options", "node_meta", "cookie"] {
        assert!(page.contains(&format!("\\fB{key}\\fR")), "{key} is not in {page}");
    }
}

#[test]
fn titles_have_the_version_in_place_of_a_date() {
    for (file, page) in manual_pages(&Cli::command()) {
        let (name, section) = file.rsplit_once('.').unwrap();
        let title = format!(".TH {name} {section} \"{VERSION}\" proxymgr \"{MANUAL}\"");
        assert!(page.lines().any(|line| line == title), "{title} is not in {page}");
    }
}
