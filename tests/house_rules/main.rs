//! The house rules that neither Cargo nor clippy can check.
//!
//! Each rule is a function from a file to its findings, with line and advice, and has its own tests, which show that it
//! can fail. The example is TigerBeetle's `tidy.zig`.

mod circles;
mod layers;
mod source;
mod text_rules;

use std::fs;
use std::path::Path;

use source::{Finding, Source};

/// All rules, in the order of the two files that contain them.
const RULES: &[fn(&Source) -> Vec<Finding>] = &[
    layers::model_imports_nothing,
    layers::decisions_import_the_model,
    layers::reconciler_is_pure,
    layers::actors_do_not_know_each_other,
    layers::adapters_do_not_know_each_other,
    layers::one_adapter_names_zookeeper,
    text_rules::files_stay_in_the_hundreds_of_lines,
    text_rules::main_reads_like_a_table_of_contents,
    text_rules::names_say_what_a_file_is_for,
    text_rules::nothing_is_left_for_later,
    text_rules::an_expectation_says_why_it_holds,
    text_rules::structs_of_the_core_have_few_fields,
    text_rules::no_test_is_ignored,
];

#[test]
fn the_house_is_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read_tree(root, root, &mut sources);
    assert!(sources.iter().any(|source| source.path == "Cargo.toml"), "the project's files were found");

    let mut complaints = Vec::new();
    for source in &sources {
        let findings = RULES.iter().flat_map(|rule| rule(source));
        complaints.extend(findings.map(|finding| format!("{}:{}: {}", source.path, finding.line, finding.what)));
    }
    complaints.extend(circles::import_circles(&sources));
    assert!(complaints.is_empty(), "{} against the house rules:\n{}", complaints.len(), complaints.join("\n"));
}

/// Reads every text file of the project, without built or fetched files.
fn read_tree(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    const NOT_OURS: &[&str] = &[".git", ".cache", "target"];
    // Cargo writes this file into a target directory, whatever its name.
    if directory.join("CACHEDIR.TAG").exists() {
        return;
    }
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("read {}: {error}", directory.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        if NOT_OURS.iter().any(|name| entry.file_name() == *name) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            read_tree(root, &path, sources);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy();
            sources.push(Source::new(&path, &text));
        }
    }
}
