//! A configuration in sections, read without loss: rendered again, it is the same text, byte for byte.

use std::fmt;
use std::sync::Arc;

use super::lexer::{LexError, LexedLine, Token, lex};

/// The keywords that begin a section, in HAProxy 2.2 to 3.4. `program` ended with 3.3.
///
/// <https://docs.haproxy.org/3.2/configuration.html>
pub const SECTION_KEYWORDS: &[&str] = &[
    "acme",
    "backend",
    "cache",
    "crt-store",
    "defaults",
    "fcgi-app",
    "frontend",
    "global",
    "healthcheck",
    "http-errors",
    "listen",
    "log-forward",
    "log-profile",
    "mailers",
    "namespace_list",
    "peers",
    "program",
    "resolvers",
    "ring",
    "traces",
    "userlist",
];

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The name of the file, as it was passed to [`File::read`].
    pub file: Arc<str>,
    /// The number of the line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A configuration: one file, or several that HAProxy reads in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The files.
    pub files: Vec<File>,
}

impl Base {
    /// Returns all sections, in order.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.files.iter().flat_map(|file| &file.sections)
    }
}

/// One file. Each begins outside of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, as it was passed to [`File::read`].
    pub name: Arc<str>,
    /// The lines before the first section: comments, blank lines, conditionals.
    pub preamble: Vec<Line>,
    /// The sections, in order.
    pub sections: Vec<Section>,
}

/// Returns how many conditionals are open after a line, with this number open before it.
pub fn depth_after(line: &Line, depth: usize) -> usize {
    match line.directive() {
        Some(Directive::If) => depth + 1,
        Some(Directive::Endif) => depth.saturating_sub(1),
        _ => depth,
    }
}

/// A section, with everything up to the next one: also the comments and conditionals that belong to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// One of [`SECTION_KEYWORDS`].
    pub keyword: &'static str,
    /// Its name; `None` in `global` and an anonymous `defaults`. A variable in it is not expanded.
    pub name: Option<String>,
    /// The name of its `defaults` section (`backend NAME from DEFAULTS`).
    pub from: Option<String>,
    /// The line that begins it.
    pub header: Line,
    /// The lines after its header.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its exact text, including its line ending; a last line may have none.
    pub text: String,
    /// Its tokens and its comment, or why HAProxy refuses it.
    pub lexed: Result<LexedLine, LexError>,
    /// Where it is.
    pub place: Place,
}

/// A directive of HAProxy's preprocessor, which is not a line of any section. Its condition is not read.
///
/// <https://docs.haproxy.org/3.2/configuration.html#2.4>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// `.if`
    If,
    /// `.elif`
    Elif,
    /// `.else`
    Else,
    /// `.endif`
    Endif,
    /// `.alert`, `.warning`, `.notice`, `.diag`, or one that is not known.
    Other,
}

impl fmt::Display for Base {
    /// Writes the texts of all files, as HAProxy reads them one after the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.files.iter().map(File::to_string).collect();
        let last = texts.len().saturating_sub(1);
        texts.iter().enumerate().try_for_each(|(index, text)| {
            f.write_str(text)?;
            // Otherwise the first line of the next file would continue the last one.
            if index < last && !text.ends_with('\n') { f.write_str("\n") } else { Ok(()) }
        })
    }
}

impl File {
    /// Reads the text of a file; `name` is for the places of its lines. Every text has a reading: HAProxy judges its
    /// content.
    pub fn read(name: &str, text: &str) -> Self {
        let name: Arc<str> = name.into();
        let mut file = Self { name: Arc::clone(&name), preamble: Vec::new(), sections: Vec::new() };
        for (index, text) in text.split_inclusive('\n').enumerate() {
            let place = Place { file: Arc::clone(&name), line: index + 1 };
            let line = Line { text: text.to_owned(), lexed: lex(text), place };
            match (line.section_keyword(), file.sections.last_mut()) {
                (Some(keyword), _) => file.sections.push(Section::beginning_with(keyword, line)),
                (None, Some(section)) => section.lines.push(line),
                (None, None) => file.preamble.push(line),
            }
        }
        file
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.preamble.iter().try_for_each(|line| f.write_str(&line.text))?;
        self.sections.iter().try_for_each(|section| section.fmt(f))
    }
}

impl Section {
    fn beginning_with(keyword: &'static str, header: Line) -> Self {
        let arguments: Vec<String> = header.arguments().map(|token| token.text.clone()).collect();
        let (name, rest) = match arguments.as_slice() {
            // `defaults from OTHER` is anonymous.
            rest @ [from, ..] if keyword == "defaults" && from == "from" => (None, rest),
            [name, rest @ ..] => (Some(name.clone()), rest),
            [] => (None, &[][..]),
        };
        let from = match rest {
            [from, other, ..] if from == "from" => Some(other.clone()),
            _ => None,
        };
        Self { keyword, name, from, header, lines: Vec::new() }
    }

    /// Returns where it begins.
    pub fn place(&self) -> &Place {
        &self.header.place
    }

    /// Returns the index in `lines` at which a line can be added at the section's end: after its last line, outside of
    /// conditionals, and before the comments and conditionals that belong to the next section.
    pub fn end(&self) -> usize {
        let (mut end, mut depth) = (0, 0_usize);
        for (index, line) in self.lines.iter().enumerate() {
            match line.directive() {
                Some(Directive::If) => depth += 1,
                // Not of this section: it is within a conditional itself.
                Some(Directive::Elif | Directive::Else | Directive::Endif) if depth == 0 => break,
                Some(Directive::Endif) => {
                    depth -= 1;
                    end = index + 1;
                }
                Some(_) => {}
                None if depth == 0 && !line.is_blank() => end = index + 1,
                None => {}
            }
        }
        end
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.header.text)?;
        self.lines.iter().try_for_each(|line| f.write_str(&line.text))
    }
}

impl Line {
    /// Returns its tokens; none if HAProxy refuses it.
    pub fn tokens(&self) -> &[Token] {
        self.lexed.as_ref().map(|lexed| lexed.tokens.as_slice()).unwrap_or_default()
    }

    /// Returns its first token, which selects what the line does; empty in a line without tokens.
    pub fn keyword(&self) -> &str {
        self.tokens().first().map(|token| token.text.as_str()).unwrap_or_default()
    }

    /// Returns the tokens after the first.
    pub fn arguments(&self) -> impl Iterator<Item = &Token> {
        self.tokens().iter().skip(1)
    }

    /// Returns its comment, without the `#` and spaces around.
    pub fn comment(&self) -> Option<&str> {
        let at = self.lexed.as_ref().ok()?.comment?;
        Some(self.text[at + 1..].trim())
    }

    /// Returns whether HAProxy ignores it: nothing but spaces and a comment.
    pub fn is_blank(&self) -> bool {
        self.lexed.is_ok() && self.keyword().is_empty()
    }

    /// Returns its directive, if it is one.
    pub fn directive(&self) -> Option<Directive> {
        match self.keyword() {
            ".if" => Some(Directive::If),
            ".elif" => Some(Directive::Elif),
            ".else" => Some(Directive::Else),
            ".endif" => Some(Directive::Endif),
            keyword => keyword.starts_with('.').then_some(Directive::Other),
        }
    }

    fn section_keyword(&self) -> Option<&'static str> {
        SECTION_KEYWORDS.iter().find(|keyword| **keyword == self.keyword()).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "\
# Our edge.\r
global\r
    log /dev/log local0 # all of it\r
\tsetenv A \"b c\"\r

.if version_atleast(2.4)
defaults web from base
    mode http
.endif
frontend \"the edge\"
    bind :80
backend web from web
    server a 10.0.0.1:80
    # the next one

.if defined(EXTRA)
peers mine
    peer a 10.0.0.1:10000
.endif";

    fn section(text: &str) -> Section {
        File::read("x.cfg", text).sections.remove(0)
    }

    #[test]
    fn sections_have_name_origin_and_place() {
        let file = File::read("haproxy.cfg", EXAMPLE);
        let read: Vec<_> = file
            .sections
            .iter()
            .map(|section| (section.keyword, section.name.as_deref(), section.from.as_deref(), section.place().line))
            .collect();
        let expected = [
            ("global", None, None, 2),
            ("defaults", Some("web"), Some("base"), 7),
            ("frontend", Some("the edge"), None, 10),
            ("backend", Some("web"), Some("web"), 12),
            ("peers", Some("mine"), None, 17),
        ];
        assert_eq!(read, expected);
        assert_eq!(file.preamble.len(), 1);
        assert_eq!(file.sections[0].lines[0].place.to_string(), "haproxy.cfg:3");
        assert_eq!(file.sections[0].lines[0].comment(), Some("all of it"));
    }

    #[test]
    fn defaults_without_a_name_may_have_an_origin() {
        let read = |text| {
            let Section { name, from, .. } = section(text);
            (name, from)
        };
        assert_eq!(read("defaults from base\n"), (None, Some("base".to_owned())));
        assert_eq!(read("defaults\n"), (None, None));
        assert_eq!(read("backend from from base\n"), (Some("from".to_owned()), Some("base".to_owned())));
        assert_eq!(read("listen old :80\n"), (Some("old".to_owned()), None));
    }

    #[test]
    fn keyword_within_a_line_begins_no_section() {
        let file = File::read("x", "frontend f\n  use_backend b\n  # backend c\n  default_backend \"backend\"\n");
        assert_eq!(file.sections.len(), 1);
        assert_eq!(File::read("x", "\"back\"end b\n").sections.len(), 1);
    }

    #[test]
    fn end_is_outside_of_conditionals_and_before_the_next_comments() {
        for (text, end) in [
            ("backend b\n", 0),
            ("backend b\n  server a :80\n  # next\n\n", 1),
            ("backend b\n  server a :80\n.if X\n", 1),
            ("backend b\n.if X\n  server a :80\n.endif\n\n", 3),
            ("backend b\n.if X\n.if Y\n.endif\n  server a :80\n.else\n.endif\n", 6),
            ("backend b\n  server a :80\n.endif\nserver b :80\n", 1),
            ("backend b\n  server a :80\n  {{ nodes }}\n  'open\n", 3),
        ] {
            assert_eq!(section(text).end(), end, "{text}");
        }
    }

    #[test]
    fn line_that_haproxy_refuses_is_kept() {
        let section = section("backend b\n  log-format \"open\n  server a :80");
        assert_eq!(section.lines[0].lexed, Err(LexError::OpenQuote(13)));
        assert!(!section.lines[0].is_blank());
        assert_eq!(section.lines[1].keyword(), "server");
    }

    fn text() -> impl Strategy<Value = String> {
        let keyword = proptest::sample::select(SECTION_KEYWORDS).prop_map(ToOwned::to_owned);
        let piece = prop_oneof![keyword, "\\PC{0,4}", "[ \t\r\n\"'#\\\\${}.]{1,2}", Just("\n".to_owned())];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn text_is_rendered_byte_for_byte(text in text()) {
            prop_assert_eq!(File::read("x", &text).to_string(), text);
        }

        #[test]
        fn places_are_line_numbers(text in text()) {
            let file = File::read("x", &text);
            let lines = file.preamble.iter().chain(file.sections.iter().flat_map(|s| std::iter::once(&s.header).chain(&s.lines)));
            for line in lines {
                prop_assert_eq!(text.split_inclusive('\n').nth(line.place.line - 1), Some(line.text.as_str()));
            }
        }
    }

    #[test]
    fn example_is_rendered_byte_for_byte() {
        assert_eq!(File::read("x", EXAMPLE).to_string(), EXAMPLE);
    }
}
