//! README.md and the pages of docs/: their code blocks are valid, and their links exist. docs/testing.md describes the
//! languages of blocks.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod blocks;
mod commands;
mod links;
mod page;
mod place;

use blocks::Language;
use page::Page;
use place::Place;

/// Runs a check on all blocks of these languages, and reports all failures at once.
fn check_all(pages: &[Page], languages: &[Language], check: impl Fn(&blocks::Block) -> Result<(), String>) -> usize {
    let mut checked = 0;
    let mut failures = Vec::new();
    for block in pages.iter().flat_map(|page| &page.blocks) {
        if languages.contains(&block.language.clone().unwrap_or(Language::NotChecked)) {
            checked += 1;
            failures.extend(check(block).err().map(|problem| format!("{}: {problem}\n{}", block.place, block.text)));
        }
    }
    assert!(failures.is_empty(), "{} of {checked}:\n{}", failures.len(), failures.join("\n"));
    checked
}

#[test]
fn every_block_has_a_known_language() {
    let unknown = Page::all().into_iter().flat_map(|page| page.blocks).filter_map(|block| {
        block.language.err().map(|language| format!("{}: {language:?}: see docs/testing.md", block.place))
    });
    assert_eq!(Vec::from_iter(unknown), Vec::<String>::new());
}

#[test]
fn commands_are_valid() {
    let checked = check_all(&Page::all(), &[Language::Shell, Language::Session], commands::check);
    assert!(checked > 10, "only {checked} blocks of commands");
}

#[test]
fn definitions_pass_their_check() {
    let place = Place::new();
    let checked = check_all(&Page::all(), &[Language::Service], |block| place.check_service(&block.text));
    assert!(checked > 10, "only {checked} definitions");
}

#[test]
fn settings_pass_their_check() {
    let place = Place::new();
    let checked = check_all(&Page::all(), &[Language::Settings], |block| place.check_settings(&block.text));
    assert!(checked > 10, "only {checked} blocks of settings");
}

#[test]
fn base_configurations_pass_their_check() {
    let place = Place::new();
    let checked = check_all(&Page::all(), &[Language::Base], |block| place.check_base(&block.text));
    assert!(checked > 0, "no base configuration");
}

#[test]
fn hosts_are_valid() {
    let checked = check_all(&Page::all(), &[Language::Host, Language::HostLines], blocks::check_hosts);
    assert!(checked > 4, "only {checked} blocks of hosts");
}

#[test]
fn links_lead_to_pages_and_headings() {
    assert_eq!(links::broken(&Page::all()), Vec::<String>::new());
}

#[test]
fn summary_lists_every_page() {
    assert_eq!(links::missing_in_summary(), Vec::<String>::new());
}

#[test]
fn readme_is_short() {
    const WORDS_MAX: usize = 900;
    let readme = std::fs::read_to_string(page::root().join("README.md")).expect("there is a README");
    let words = readme.split_whitespace().count();
    assert!(words <= WORDS_MAX, "README.md has {words} words, of at most {WORDS_MAX}: move text to docs/");
}
