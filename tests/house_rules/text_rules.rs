//! Sizes, names and words.

use super::source::{Finding, Source};

const FILE_LINES_MAX: usize = 500;
const MAIN_LINES_MAX: usize = 99;

/// Folders of the program's code.
const OUR_CODE: &[&str] = &["src/", "actors/", "simulation/", "yaml/"];

/// The most fields of a struct in the core.
const FIELDS_MAX: usize = 15;

/// Names without a meaning.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "types", "manager", "helper", "helpers", "misc"];

/// A long file must be split by meaning.
pub fn files_stay_in_the_hundreds_of_lines(source: &Source) -> Vec<Finding> {
    at_most(source, source.is_rust(), FILE_LINES_MAX, "split it by meaning")
}

/// `main.rs` selects what to run, and contains nothing else.
pub fn main_reads_like_a_table_of_contents(source: &Source) -> Vec<Finding> {
    at_most(source, source.path == "src/main.rs", MAIN_LINES_MAX, "move what it does into the library")
}

fn at_most(source: &Source, applies: bool, lines_max: usize, advice: &str) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if !applies || lines <= lines_max {
        return Vec::new();
    }
    vec![Finding { line: lines_max + 1, what: format!("{lines} lines, of at most {lines_max}: {advice}") }]
}

/// A folder or file is named after its purpose.
pub fn names_say_what_a_file_is_for(source: &Source) -> Vec<Finding> {
    let mut parts = source.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let empty = parts.find(|part| EMPTY_NAMES.contains(part));
    let what = |name| format!("`{name}` names anything: say what its contents have in common");
    empty.map(|name| Finding { line: 1, what: what(name) }).into_iter().collect()
}

/// Unfinished work and paths of one machine do not belong in the project. (The words are concatenated here, so that
/// this file does not contain them.)
pub fn nothing_is_left_for_later(source: &Source) -> Vec<Finding> {
    const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("../sha", "red")];
    let found = |text: &str, words: &[&str], advice: &str| -> Vec<Finding> {
        let one = |word: &&str| {
            let what = format!("`{word}`: {advice}");
            Source::words(text, word).into_iter().map(|at| source.finding(at, what.clone())).collect::<Vec<_>>()
        };
        words.iter().flat_map(one).collect()
    };
    let mut findings = found(&source.text, UNFINISHED, "do it, or open an issue and say in words what is missing");
    findings.extend(found(&source.text, PLACES, "a path of one machine: the project must work wherever it is cloned"));
    findings
}

/// The daemon aborts on panic. If a panic is impossible, the code states the reason.
pub fn an_expectation_says_why_it_holds(source: &Source) -> Vec<Finding> {
    const WORDS_MIN: usize = 3;
    let is_test = source.stem() == "tests" || source.path.contains("/tests/");
    if !source.is_in(OUR_CODE) || is_test {
        return Vec::new();
    }
    let unwraps = source
        .code
        .match_indices(".unwrap()")
        .map(|(at, _)| source.finding(at, "`.unwrap()`: return the error, or `.expect(\"why it cannot happen\")`"));
    let expects = source.code.match_indices(".expect(").filter_map(|(at, call)| {
        let argument = source.text[at + call.len()..].trim_start();
        let reason = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
        let says_why = reason.is_some_and(|reason| reason.split_whitespace().count() >= WORDS_MIN);
        (!says_why)
            .then(|| source.finding(at, "`.expect(...)`: say in a few words why it cannot happen, or return the error"))
    });
    unwraps.chain(expects).collect()
}

/// A struct of the core with many fields contains several concepts.
pub fn structs_of_the_core_have_few_fields(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut begun: Option<(usize, usize)> = None;
    for (index, line) in source.text.lines().enumerate().filter(|_| source.is_rust() && source.is_in(&["actors/"])) {
        let is_field = line
            .strip_prefix("    ")
            .is_some_and(|field| field.contains(": ") && field.starts_with(|first: char| first.is_ascii_lowercase()));
        match begun {
            None if line.contains("struct ") && !line.starts_with(['/', ' ']) && line.ends_with('{') => {
                begun = Some((index + 1, 0));
            }
            Some((start, fields)) if line == "}" => {
                if fields > FIELDS_MAX {
                    let what = format!("{fields} fields, of at most {FIELDS_MAX}: group those that belong together");
                    findings.push(Finding { line: start, what });
                }
                begun = None;
            }
            Some((start, fields)) if is_field => begun = Some((start, fields + 1)),
            _ => {}
        }
    }
    findings
}

/// A test that is not run shows nothing.
pub fn no_test_is_ignored(source: &Source) -> Vec<Finding> {
    // The text is checked, because `code` lacks tests.
    let lines = source.text.lines().enumerate().filter(|_| source.is_rust());
    let ignored = lines.filter(|(_, line)| line.trim_start().starts_with("#[ignore"));
    ignored.map(|(index, _)| Finding { line: index + 1, what: "fix the test, or delete it".into() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of a rule's findings.
    fn lines(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_long_file_is_too_long() {
        assert_eq!(lines(files_stay_in_the_hundreds_of_lines, "src/a.rs", &"\n".repeat(500)), []);
        assert_eq!(lines(files_stay_in_the_hundreds_of_lines, "src/a.rs", &"\n".repeat(501)), [501]);
        assert_eq!(lines(files_stay_in_the_hundreds_of_lines, "Cargo.lock", &"\n".repeat(5000)), []);
        assert_eq!(lines(main_reads_like_a_table_of_contents, "src/main.rs", &"\n".repeat(100)), [100]);
    }

    #[test]
    fn an_empty_name_is_refused_for_files_and_folders() {
        for path in ["src/utils.rs", "actors/types.rs", "src/common/host.rs", "tests/helpers/mod.rs"] {
            assert_eq!(lines(names_say_what_a_file_is_for, path, ""), [1], "{path}");
        }
        assert_eq!(lines(names_say_what_a_file_is_for, "src/proxy/socket_types.rs", ""), []);
    }

    #[test]
    fn unfinished_work_is_found_in_text() {
        let text = concat!("// TO", "DO later\n\n# XX", "X\nXX", "XX\n/wo", "rk/main\n");
        assert_eq!(lines(nothing_is_left_for_later, "README.md", text), [1, 3, 5]);
    }

    #[test]
    fn an_expectation_without_a_reason_is_found() {
        let text = "fn f() {\n  a.unwrap();\n  b.expect(\"ok\");\n  c.expect(\n    \"a digit is a number\");\n  d.expect(&why);\n}\n\
                    #[cfg(test)]\nmod tests { fn g() { a.unwrap() } }\n";
        assert_eq!(lines(an_expectation_says_why_it_holds, "src/a.rs", text), [2, 3, 6]);
        assert_eq!(lines(an_expectation_says_why_it_holds, "tests/a.rs", text), []);
        assert_eq!(lines(an_expectation_says_why_it_holds, "src/a/tests/b.rs", text), []);
    }

    #[test]
    fn a_struct_with_many_fields_is_found() {
        let of = |fields: usize| {
            format!("/// A struct.\npub struct A {{\n{}}}\n", "    /// b: c\n    pub b: u8,\n".repeat(fields))
        };
        assert_eq!(lines(structs_of_the_core_have_few_fields, "actors/a.rs", &of(15)), []);
        assert_eq!(lines(structs_of_the_core_have_few_fields, "actors/a.rs", &of(16)), [2]);
        assert_eq!(lines(structs_of_the_core_have_few_fields, "src/a.rs", &of(16)), []);
    }

    #[test]
    fn an_ignored_test_is_found() {
        let text = "#[test]\n    #[ignore = \"slow\"]\nfn f() {}\n// #[ignore] in words\n";
        assert_eq!(lines(no_test_is_ignored, "tests/a.rs", text), [2]);
    }
}
