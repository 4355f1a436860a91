//! HAProxy's lexer: splits a line into tokens as `parse_line` of HAProxy's `src/tools.c` does, without losing where they
//! are and without expanding variables.
//!
//! The rules are those of `configuration.txt`, 2.2 "Quoting and escaping" and 2.3 "Environment variables". A line feed
//! always ends a line, also after a backslash and within quotes. Definitions of services are split by `quoting`
//! instead, which refuses what their authors may not write.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#2.2>

use std::ops::Range;

use thiserror::Error;

/// A token of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The text as HAProxy reads it: without quotes, escapes resolved. Variables remain as they are written.
    pub text: String,
    /// The bytes of the line that it is written with, including quotes.
    pub span: Range<usize>,
    /// The environment variables within weak quotes, which HAProxy expands.
    pub variables: Vec<Variable>,
}

/// An environment variable that HAProxy expands: `$NAME`, `${NAME}`, `${NAME-default}` or `${NAME[*]}` in weak quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name; with a dot at the start (`.FILE`, `.LINE`, `.SECTION`) it is one of HAProxy itself.
    pub name: String,
    /// The value if the variable is not set.
    pub default: Option<String>,
    /// Whether its value becomes one token per word (`[*]`), and none without a value.
    pub splits: bool,
}

/// A line in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LexedLine {
    /// The tokens; none in a blank line or a line that is only a comment.
    pub tokens: Vec<Token>,
    /// The byte at which the comment begins, with its `#`.
    pub comment: Option<usize>,
}

/// Why HAProxy refuses a line, whatever it is about; with the byte where the mistake begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LexError {
    /// A quote without an end.
    #[error("the quote at column {} is not closed", .0 + 1)]
    OpenQuote(usize),
    /// `\x` without two hexadecimal digits.
    #[error("\\x at column {} needs two hexadecimal digits", .0 + 1)]
    Hexadecimal(usize),
    /// A `$` in weak quotes without a name.
    #[error("the $ at column {} is not followed by the name of a variable; write \\$, or use single quotes", .0 + 1)]
    VariableName(usize),
    /// `${` without `}`.
    #[error("the brace at column {} is not closed", .0 + 1)]
    OpenBrace(usize),
    /// `[` in a variable that is not `[*]`.
    #[error("the bracket at column {} must be [*]", .0 + 1)]
    Expansion(usize),
}

/// Splits one line, with or without its line ending.
///
/// # Errors
/// The first mistake in quotes, escapes or variables.
pub fn lex(line: &str) -> Result<LexedLine, LexError> {
    let mut lexer = Lexer { line, at: 0, lexed: LexedLine::default(), token: None, quote: None };
    lexer.run()?;
    Ok(lexer.lexed)
}

struct Lexer<'a> {
    line: &'a str,
    at: usize,
    lexed: LexedLine,
    /// The current token; `None` between tokens.
    token: Option<Token>,
    /// The open quote and its place.
    quote: Option<(char, usize)>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), LexError> {
        while let Some(c) = self.peek() {
            let quote = self.quote.map(|(quote, _)| quote);
            match (c, quote) {
                // A carriage return ends a line like a line feed, except after a space.
                ('\n' | '\r', _) => break,
                ('#', None) => {
                    self.lexed.comment = Some(self.at);
                    break;
                }
                ('"' | '\'', None) => {
                    self.token();
                    self.quote = Some((c, self.at));
                    self.at += 1;
                }
                ('"' | '\'', Some(quote)) if quote == c => {
                    self.quote = None;
                    self.at += 1;
                }
                ('\\', None | Some('"')) => self.escape()?,
                ('$', Some('"')) => self.variable()?,
                (c, None) if is_space(c) => {
                    self.finish_token();
                    self.skip(is_space);
                }
                (c, _) => self.push(c, c.len_utf8()),
            }
        }
        match self.quote {
            Some((_, at)) => Err(LexError::OpenQuote(at)),
            None => {
                self.finish_token();
                Ok(())
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &str {
        &self.line[self.at..]
    }

    /// Advances over the characters that fit; returns them.
    fn skip(&mut self, fits: impl Fn(char) -> bool) -> &str {
        let begin = self.at;
        self.at += self.rest().find(|c| !fits(c)).unwrap_or(self.rest().len());
        &self.line[begin..self.at]
    }

    fn token(&mut self) -> &mut Token {
        let span = self.at..self.at;
        self.token.get_or_insert_with(|| Token { text: String::new(), span, variables: Vec::new() })
    }

    /// Adds a character that takes `bytes` bytes in the line.
    fn push(&mut self, c: char, bytes: usize) {
        self.token().text.push(c);
        self.at += bytes;
    }

    fn finish_token(&mut self) {
        if let Some(mut token) = self.token.take() {
            token.span.end = self.at;
            self.lexed.tokens.push(token);
        }
    }

    /// Reads a backslash and what it escapes; before any other character it is an ordinary one (`\.` in a regular
    /// expression).
    fn escape(&mut self) -> Result<(), LexError> {
        let in_weak_quotes = self.quote.is_some();
        let escaped = self.rest()[1..].chars().next();
        match escaped {
            Some(c @ (' ' | '\\' | '#' | '\'' | '"')) => self.push(c, 2),
            Some('$') if in_weak_quotes => self.push('$', 2),
            Some('t') => self.push('\t', 2),
            Some('n') => self.push('\n', 2),
            Some('r') => self.push('\r', 2),
            Some('x') => {
                let byte = self.rest().get(2..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                self.push(byte.ok_or(LexError::Hexadecimal(self.at))?.into(), 4);
            }
            _ => self.push('\\', 1),
        }
        Ok(())
    }

    fn variable(&mut self) -> Result<(), LexError> {
        self.token();
        let begin = self.at;
        self.at += 1;
        let brace = (self.peek() == Some('{')).then_some(self.at);
        self.at += usize::from(brace.is_some());
        let name_at = self.at;
        self.at += usize::from(self.peek() == Some('.'));
        let rest = self.skip(|c| c.is_ascii_alphanumeric() || c == '_');
        if rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(LexError::VariableName(begin));
        }
        let mut variable = Variable { name: self.line[name_at..self.at].to_owned(), default: None, splits: false };
        if let Some(brace) = brace {
            if self.peek() == Some('[') {
                if !self.rest().starts_with("[*]") {
                    return Err(LexError::Expansion(self.at));
                }
                variable.splits = true;
                self.at += "[*]".len();
            }
            if self.peek() == Some('-') {
                self.at += 1;
                variable.default = Some(self.skip(|c| c != '}' && c != '\n').to_owned());
            }
            if self.peek() != Some('}') {
                return Err(LexError::OpenBrace(brace));
            }
            self.at += 1;
        }
        let written = &self.line[begin..self.at];
        if let Some(token) = &mut self.token {
            token.text.push_str(written);
            token.variables.push(variable);
        }
        Ok(())
    }
}

/// C's `isspace`, by which HAProxy separates tokens.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::quoting::split_line;

    fn texts(line: &str) -> Vec<String> {
        let lexed = lex(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        lexed.tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn quotes_and_escapes_are_resolved() {
        for (line, tokens) in [
            ("  bind  :80\t# web\n", vec!["bind", ":80"]),
            ("acl a path_reg '^/a b#\\.$'", vec!["acl", "a", "path_reg", r"^/a b#\.$"]),
            (r#"log-format "a \"b\" 'c' \$d \\""#, vec!["log-format", r#"a "b" 'c' $d \"#]),
            (r"one\ word \# \x41\x20\'", vec!["one word", "#", "A '"]),
            (r"path_reg ^\d+\.html$", vec!["path_reg", r"^\d+\.html$"]),
            (r"send PING\r\n\t", vec!["send", "PING\r\n\t"]),
            (r#"a'b'"c"d"#, vec!["abcd"]),
            (r#"x "" '' y"#, vec!["x", "", "", "y"]),
            ("$HOME ${HOME} '$HOME'", vec!["$HOME", "${HOME}", "$HOME"]),
            ("größe \u{e4}\u{f6}", vec!["größe", "äö"]),
            ("a b\r\n", vec!["a", "b"]),
            ("a \r\n", vec!["a"]),
            ("a\u{b}b\\", vec!["a", "b\\"]),
            ("# only a comment", vec![]),
            ("\t \n", vec![]),
        ] {
            assert_eq!(texts(line), tokens, "{line}");
        }
    }

    #[test]
    fn line_feed_is_not_continued_by_backslash() {
        assert_eq!(texts("a b\\\nc"), ["a", "b\\"]);
        assert_eq!(lex("a \"b\nc\""), Err(LexError::OpenQuote(2)));
    }

    #[test]
    fn comment_begins_at_a_bare_hash() {
        for (line, comment) in [("a # b", Some(2)), ("#", Some(0)), ("a#b", Some(1)), (r"a\#b '#' \#", None)] {
            assert_eq!(lex(line).unwrap().comment, comment, "{line}");
        }
    }

    #[test]
    fn variables_are_those_in_weak_quotes() {
        let lexed = lex(r#"bind "$A:${B}" "${C-x y}" "${D[*]}" $E '$F' "\$G" "${.FILE}""#).unwrap();
        let variable = |name: &str, default: Option<&str>, splits| Variable {
            name: name.to_owned(),
            default: default.map(ToOwned::to_owned),
            splits,
        };
        let variables: Vec<Variable> = lexed.tokens.iter().flat_map(|token| token.variables.clone()).collect();
        let expected = [
            variable("A", None, false),
            variable("B", None, false),
            variable("C", Some("x y"), false),
            variable("D", None, true),
            variable(".FILE", None, false),
        ];
        assert_eq!(variables, expected);
        assert_eq!(lexed.tokens[1].text, "$A:${B}");
        assert_eq!(lexed.tokens[2].text, "${C-x y}");
    }

    #[test]
    fn mistakes_have_their_place() {
        for (line, error) in [
            ("a 'b", LexError::OpenQuote(2)),
            (r"a \x4g", LexError::Hexadecimal(2)),
            (r"a \xä", LexError::Hexadecimal(2)),
            (r#"a "$""#, LexError::VariableName(3)),
            (r#"a "$1""#, LexError::VariableName(3)),
            (r#"a "${B""#, LexError::OpenBrace(4)),
            (r#"a "${B-c"#, LexError::OpenBrace(4)),
            (r#"a "${B[1]}""#, LexError::Expansion(6)),
        ] {
            assert_eq!(lex(line), Err(error), "{line}");
        }
    }

    fn line() -> impl Strategy<Value = String> {
        let piece = prop_oneof!["[a-z]{1,3}", " ", "['\"\\\\#$ {}\\[\\]*tnrx0-9.\r\t-]{1,2}", "\\PC"];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// `split_line` was compared with HAProxy itself.
        #[test]
        fn definitions_are_split_alike(line in line()) {
            if let Ok(words) = split_line(&line)
                && !line.contains('$')
                && !words.iter().any(|word| word.as_str().chars().any(|c| ('\u{fdd0}'..='\u{fdd2}').contains(&c)))
            {
                let words: Vec<String> = words.iter().map(|word| word.as_str().to_owned()).collect();
                prop_assert_eq!(texts(&line), words);
            }
        }

        #[test]
        fn spans_are_ordered_and_separated(line in line()) {
            if let Ok(lexed) = lex(&line) {
                let mut end = 0;
                for token in &lexed.tokens {
                    prop_assert!(line[end..token.span.start].chars().all(is_space));
                    let alone = lex(&line[token.span.clone()]).unwrap();
                    prop_assert_eq!(&alone.tokens[0].text, &token.text);
                    end = token.span.end;
                }
            }
        }
    }
}
