//! The table of settings, as config/proxymgr.yml shows it.

use super::*;
use crate::settings::reference;

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
