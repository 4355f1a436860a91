//! HAProxy's quoting: a line split into words as HAProxy would split it, and a word written so that HAProxy reads it
//! literally.
//!
//! The rules are those of `configuration.txt` 2.2, "Quoting and escaping", and were compared with HAProxy 2.2, 2.6, 3.0
//! and 3.2. There are two intended differences: `$NAME` and `${NAME}` are never expanded, because authors of
//! definitions must not read the operator's environment; and a bare `#` is refused instead of truncating the line.

use std::borrow::Cow;

use crate::model::Word;

/// HAProxy's escapes for control characters. A [`Word`] cannot contain a control character, so that none can end a
/// line. Inside a word of a `listen` line each is represented by a Unicode noncharacter, which no text may contain, and
/// is written as the escape again. `tcp-check send PING\r\n` needs it.
const ESCAPED_CONTROLS: [EscapedControl; 3] = [
    EscapedControl { control: '\n', letter: 'n', stand_in: '\u{FDD0}' },
    EscapedControl { control: '\r', letter: 'r', stand_in: '\u{FDD1}' },
    EscapedControl { control: '\t', letter: 't', stand_in: '\u{FDD2}' },
];

struct EscapedControl {
    control: char,
    letter: char,
    stand_in: char,
}

/// Returns whether a word represents a text with a line feed, carriage return or tab.
pub fn holds_escaped_control(word: &Word) -> bool {
    word.as_str().chars().any(|c| escape_letter(c).is_some())
}

fn escape_letter(stand_in: char) -> Option<char> {
    ESCAPED_CONTROLS.iter().find(|escape| escape.stand_in == stand_in).map(|escape| escape.letter)
}

/// Returns the control character that a character of a word represents.
pub fn escaped_control(stand_in: char) -> Option<char> {
    ESCAPED_CONTROLS.iter().find(|escape| escape.stand_in == stand_in).map(|escape| escape.control)
}

fn is_noncharacter(c: char) -> bool {
    ('\u{FDD0}'..='\u{FDEF}').contains(&c) || (c as u32) & 0xFFFE == 0xFFFE
}

/// Splits one line into words, by HAProxy's rules for quotes and backslashes.
///
/// # Errors
/// What is invalid in the line: a line break or another control character, an unclosed quote, a bare `#`, an
/// escape for a character that no word may contain, an empty word.
pub fn split_line(line: &str) -> Result<Vec<Word>, String> {
    // Fast path: most lines, such as the thousands of server lines of a file, have nothing to unquote.
    let is_literal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\'' | b'"' | b'\\');
    if line.bytes().all(|byte| is_literal(byte) || byte == b' ') {
        let words = line.split(' ').filter(|word| !word.is_empty());
        return words.map(|word| Word::new(word).map_err(|error| error.to_string())).collect();
    }
    if line.contains(['\n', '\r']) {
        return Err("it holds a line break; write each line as an element of its own".to_owned());
    }
    if let Some(c) = line.chars().find(|c| (c.is_control() && *c != '\t') || is_noncharacter(*c)) {
        return Err(format!("it holds the character {c:?}, which no configuration line may"));
    }
    let mut splitter = Splitter { rest: line.chars(), words: Vec::new(), word: None };
    splitter.run()?;
    Ok(splitter.words)
}

struct Splitter<'a> {
    rest: std::str::Chars<'a>,
    words: Vec<Word>,
    /// The current word; `None` between words, so that `''` is detected as an empty word.
    word: Option<String>,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                ' ' | '\t' => self.finish_word()?,
                '#' => return Err("a bare # would begin a comment; write \\# or put it in quotes".to_owned()),
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => self.escape(false)?,
                c => self.push(c),
            }
        }
        self.finish_word()
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn finish_word(&mut self) -> Result<(), String> {
        if let Some(text) = self.word.take() {
            let word = Word::new(&text).map_err(|error| match text.as_str() {
                "" => "it holds an empty word ('' or \"\"), which cannot be passed on".to_owned(),
                _ => error.to_string(),
            })?;
            self.words.push(word);
        }
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                None => return Err("a single quote (') is not closed".to_owned()),
                Some('\'') => return Ok(()),
                Some(c) => self.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), String> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                None => return Err("a double quote (\") is not closed".to_owned()),
                Some('"') => return Ok(()),
                Some('\\') => self.escape(true)?,
                Some(c) => self.push(c),
            }
        }
    }

    /// Reads the character after a backslash. HAProxy keeps the backslash before a character that needs no escape (`\.`
    /// in a regular expression).
    fn escape(&mut self, in_double_quotes: bool) -> Result<(), String> {
        match self.rest.next() {
            None => return Err("it ends in a backslash".to_owned()),
            Some(c @ (' ' | '\\' | '#' | '\'' | '"')) => self.push(c),
            Some('$') if in_double_quotes => self.push('$'),
            Some('x') => {
                let c = self.hexadecimal()?;
                self.push(c);
            }
            Some(c) => match ESCAPED_CONTROLS.iter().find(|escape| escape.letter == c) {
                Some(escape) => self.push(escape.stand_in),
                None => {
                    self.push('\\');
                    self.push(c);
                }
            },
        }
        Ok(())
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits: String = self.rest.by_ref().take(2).collect();
        let two_digits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| two_digits);
        let c = byte.map(char::from).ok_or_else(|| format!("\\x{digits} is not two hexadecimal digits"))?;
        match ESCAPED_CONTROLS.iter().find(|escape| escape.control == c) {
            Some(escape) => Ok(escape.stand_in),
            None if matches!(c, ' '..='~') => Ok(c),
            None => Err(format!("\\x{digits} is none of \\r, \\n, \\t and printable ASCII")),
        }
    }
}

/// Returns a text as one word, quoted where it has to be. A text that cannot be a word stays as it is: HAProxy's check
/// refuses it.
pub fn quoted_text(text: &str) -> String {
    Word::new(text).map_or_else(|_| text.to_owned(), |word| quoted(&word).into_owned())
}

/// Returns the word as written in the file: bare where that is safe, otherwise in single quotes, within which HAProxy
/// reads everything literally. A single quote itself is written as `\'` between two quoted parts.
pub fn quoted(word: &Word) -> Cow<'_, str> {
    let text = word.as_str();
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 2);
    let mut open = false;
    for c in text.chars() {
        let escape = if c == '\'' { Some('\'') } else { escape_letter(c) };
        if open == escape.is_some() {
            written.push('\'');
            open = !open;
        }
        match escape {
            Some(letter) => written.extend(['\\', letter]),
            None => written.push(c),
        }
    }
    if open {
        written.push('\'');
    }
    Cow::Owned(written)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/@%+=,()[]{}*!?|^~".contains(c)
}

/// Returns the words of one line, quoted and joined by single spaces.
pub fn joined<'a>(words: impl IntoIterator<Item = &'a Word>) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quoted(word));
    }
    line
}
