//! The documentation that is generated from the tables of settings and of allowed options. `make reference` regenerates it.

use std::path::Path;

use proxymgr_actors::decide::grammar;

use super::*;
use crate::settings::reference;

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
    check_generated("config/proxymgr.yml", &reference::yaml());
}

#[test]
fn settings_reference_matches_the_table() {
    check_generated("docs/settings.md", &reference::markdown());
}

#[test]
fn allowed_options_match_the_grammar() {
    check_generated("docs/allowed-options.md", &grammar::reference::markdown());
}

#[test]
fn shipped_settings_are_the_defaults() {
    let shipped = load(&reference::yaml(), &[], &[]).unwrap();
    let defaults = load("", &[], &[]).unwrap();
    assert_eq!(shipped, Settings { effective: shipped.effective.clone(), ..defaults });
}

#[test]
fn examples_are_given_where_there_is_no_default() {
    for key in KEYS {
        let has_default = !matches!(key.default, Unset::Otherwise(_));
        assert_ne!(key.example.is_some(), has_default, "{}", key.path);
    }
}

#[test]
fn sections_have_keys() {
    for section in key::SECTIONS {
        assert!(key::is_section(section.path), "{}", section.path);
    }
}

#[test]
fn lines_of_the_shipped_settings_fit() {
    let yaml = reference::yaml();
    let long = Vec::from_iter(yaml.lines().filter(|line| line.chars().count() > 118));
    assert_eq!(long, Vec::<&str>::new());
}
