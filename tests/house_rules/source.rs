//! A file as the rules see it: its text, its code without comments and strings, and the paths that its code names.

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: usize,
    /// The violation, with advice.
    pub what: String,
}

/// One file of the project.
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// The unchanged text.
    pub text: String,
    /// For Rust, the text with blanks in place of comments, literals and test code; otherwise empty. Positions are the
    /// same as in `text`.
    pub code: String,
}

/// A path in code: `crate::model::Host` with the position of its first segment.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath {
    pub at: usize,
    pub segments: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let is_rust = path.ends_with(".rs");
        let code = if is_rust { without_tests(&without_comments_and_literals(text)) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns whether it is in one of these folders, or is one of these files.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|place| self.path.strip_prefix(place).is_some_and(|rest| place.ends_with('/') || rest.is_empty()))
    }

    /// Returns the file's name without its extension.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }

    pub fn finding(&self, at: usize, what: impl Into<String>) -> Finding {
        let line = 1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Finding { line, what: what.into() }
    }

    /// Returns the positions of a word in `text` or `code`, not as a part of a longer word.
    pub fn words(text: &str, word: &str) -> Vec<usize> {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let starts_as_word = is_word(word.chars().next());
        let ends_as_word = is_word(word.chars().last());
        let matches = text.match_indices(word).map(|(at, _)| at);
        matches
            .filter(|at| !starts_as_word || !is_word(text[..*at].chars().last()))
            .filter(|at| !ends_as_word || !is_word(text[at + word.len()..].chars().next()))
            .collect()
    }

    /// Returns every path of two segments or more, and every single name in a `use`, with the groups of a `use`
    /// expanded.
    pub fn paths(&self) -> Vec<NamedPath> {
        let mut scan = PathScan { code: self.code.as_bytes(), at: 0, found: Vec::new() };
        scan.run();
        scan.found
    }
}

struct PathScan<'a> {
    code: &'a [u8],
    at: usize,
    found: Vec<NamedPath>,
}

impl PathScan<'_> {
    fn run(&mut self) {
        while self.at < self.code.len() {
            match self.identifier() {
                Some((_, name)) if name == "use" => self.use_tree(&[]),
                Some((at, name)) => {
                    let segments = self.rest_of_path(name);
                    if segments.len() > 1 {
                        self.found.push(NamedPath { at, segments });
                    }
                }
                None => self.at += 1,
            }
        }
    }

    /// Reads an identifier at the current position.
    fn identifier(&mut self) -> Option<(usize, String)> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let start = self.at;
        let length = self.code[start..].iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        (length > 0).then(|| (start, String::from_utf8_lossy(&self.code[start..start + length]).into_owned()))
    }

    fn skip_space(&mut self) {
        while self.code.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn takes(&mut self, token: &[u8]) -> bool {
        self.skip_space();
        let found = self.code[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn rest_of_path(&mut self, first: String) -> Vec<String> {
        let mut segments = vec![first];
        while self.code[self.at..].starts_with(b"::") {
            self.at += 2;
            let Some((_, name)) = self.identifier() else { break };
            segments.push(name);
        }
        segments
    }

    /// Reads `a::b`, `a::{b, c::d}`, `a::b as c` or `a::*` after this prefix.
    fn use_tree(&mut self, prefix: &[String]) {
        self.takes(b"::");
        self.skip_space();
        let mut segments = prefix.to_vec();
        let at = self.at;
        loop {
            if self.takes(b"{") {
                while !self.takes(b"}") && self.at < self.code.len() {
                    self.use_tree(&segments);
                    if !self.takes(b",") && !self.code[self.at..].starts_with(b"}") {
                        break;
                    }
                }
                return;
            }
            let Some((_, name)) = self.identifier() else { break };
            segments.push(name);
            if !self.takes(b"::") {
                break;
            }
        }
        if self.takes(b"as ") {
            self.skip_space();
            self.identifier();
        }
        let takes_all = self.takes(b"*");
        if takes_all || segments.len() > prefix.len() {
            self.found.push(NamedPath { at, segments });
        }
    }
}

/// Overwrites everything but line breaks.
fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

fn without_comments_and_literals(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let (length, margin) = match rest {
            [b'/', b'/', ..] => (find(rest, b"\n").unwrap_or(rest.len()), 0),
            [b'/', b'*', ..] => (find(rest, b"*/").map_or(rest.len(), |end| end + 2), 0),
            [b'"', ..] => (quoted_length(rest), 1),
            [b'r', b'"' | b'#', ..] if !follows_a_word(&code, at) => (raw_length(rest).unwrap_or(1), 0),
            // A character; anything else after an apostrophe is a lifetime or a label.
            [b'\'', b'\\', ..] => (3 + find(&rest[3..], b"'").unwrap_or(0), 0),
            [b'\'', first, ..] => {
                let width =
                    String::from_utf8_lossy(&rest[1..rest.len().min(5)]).chars().next().map_or(1, char::len_utf8);
                (if *first != b'\'' && rest.get(1 + width) == Some(&b'\'') { 2 + width } else { 1 }, 0)
            }
            _ => (1, 0),
        };
        let end = (at + length).min(code.len());
        if length > 1 {
            blank(&mut code[at + margin..(end - margin).max(at + margin)]);
        }
        at = end;
    }
    String::from_utf8(code).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn follows_a_word(code: &[u8], at: usize) -> bool {
    // `br"..."` is a raw string as well.
    let before = code[..at].strip_suffix(b"b").unwrap_or(&code[..at]);
    before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns the length of `"..."` with escapes.
fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the length of `r#"..."#`; `None` if it is something else, such as `r#type`.
fn raw_length(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(())?;
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let start = hashes + 2;
    Some(start + find(&rest[start..], &end)? + end.len())
}

/// Blanks each item with `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let mut depth = 0_usize;
        let end = bytes[start..].iter().position(|byte| {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(byte, b'}' | b';')
        });
        let end = end.map_or(bytes.len(), |length| start + length + 1);
        blank(&mut bytes[start..end]);
    }
    String::from_utf8(bytes).expect("whole characters were replaced")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        Source::new("x.rs", code).paths().into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn paths_are_found_in_use_declarations_and_in_code() {
        assert_eq!(paths("use a::{b::{c, d as e}, f::*, self};"), ["a::b::c", "a::b::d", "a::f", "a::self"]);
        assert_eq!(paths("pub(crate) use crate::model;\nuse serde;"), ["crate::model", "serde"]);
        assert_eq!(paths("let x: std::io::Result<u8> = crate::f(y);"), ["std::io::Result", "crate::f"]);
    }

    #[test]
    fn comments_literals_and_tests_are_not_code() {
        for hidden in [
            "// a::b",
            "/* a::b\n a::b */",
            "\"a::b \\\" a::b\"",
            "r#\"a::b \" a::b\"#",
            "br\"a::b\"",
            "#[cfg(test)]\nmod tests { fn x() { a::b } }",
            "#[cfg(test)]\nuse a::b;",
        ] {
            let code = format!("{hidden}\nfn f<'a>(x: &'a str) {{ c::d('\"', '\\'', 'ä', '}}') }}");
            assert_eq!(paths(&code), ["c::d"], "{code}");
        }
    }

    #[test]
    fn a_finding_names_its_line() {
        let source = Source::new("x.rs", "\n\nfn f() { a::b }\n");
        assert_eq!(source.finding(source.paths()[0].at, "").line, 3);
    }

    #[test]
    fn a_word_is_not_a_part_of_another() {
        assert_eq!(Source::words("println! eprintln! print", "println!"), [0]);
        assert_eq!(Source::words("HashMap HashMaps MyHashMap", "HashMap"), [0]);
    }
}
