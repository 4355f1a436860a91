//! Text and JSON from sources: decodes bytes, and explains what is wrong in the terms of the author.

use serde_json::Value;

/// The message for a file, a znode or a key without content.
pub const NO_DATA: &str = "it has no data";

/// The byte order mark, with which some editors begin a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The beginnings of the JSON parser's messages, each with its meaning. Another message means [`OTHER_CAUSE`].
const CAUSES: [(&str, &str); 19] = [
    ("EOF while parsing a list", "it ends within a list, a closing ] is missing"),
    ("EOF while parsing an object", "it ends within an object, a closing } is missing"),
    ("EOF while parsing a string", "it ends within a string, a closing quote is missing"),
    ("EOF while parsing", "it ends too early, a value is missing"),
    ("expected `:`", "a colon is missing after a key"),
    ("expected `,` or `]`", "a comma or a closing ] is missing"),
    ("expected `,` or `}`", "a comma or a closing } is missing"),
    ("expected ident", "a word is none of true, false and null; a string needs quotes"),
    ("expected value", "a value is missing, or a string has no quotes"),
    ("key must be a string", "a key is not in double quotes"),
    ("trailing comma", "no entry follows a comma"),
    ("trailing characters", "more text follows the end of the value"),
    ("control character", "a string contains a line break, a tab or another control character"),
    ("invalid escape", "a string contains a backslash that is no escape"),
    ("unexpected end of hex escape", "a string contains an incomplete \\u escape"),
    ("lone leading surrogate", "a string contains an incomplete \\u escape"),
    ("invalid number", "a number is not written as JSON requires"),
    ("number out of range", "a number is too large"),
    ("recursion limit", "lists or objects are nested too deeply"),
];

/// The cause for any other message of the JSON parser.
const OTHER_CAUSE: &str = "the syntax is wrong";

/// Decodes UTF-8, without a byte order mark.
///
/// # Errors
/// The encoding, or the line of the first wrong byte. The text itself is not repeated: it may be a secret.
pub fn text_from(bytes: &[u8]) -> Result<&str, String> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return Err("it is UTF-16 text; save it as UTF-8".to_owned());
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("it is not UTF-8 text: line {line} contains another encoding, or is binary")
    })?;
    Ok(without_mark(text))
}

/// Removes a byte order mark.
pub fn without_mark(text: &str) -> &str {
    text.trim_start_matches(BYTE_ORDER_MARK)
}

/// Returns whether a text has no content.
pub fn is_blank(text: &str) -> bool {
    without_mark(text).trim().is_empty()
}

/// Parses JSON, with or without a byte order mark.
///
/// # Errors
/// The mistake with its line and column. The text itself is not repeated: it may be a secret.
pub fn json_from(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    if is_blank(text) {
        return Err(NO_DATA.to_owned());
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let cause = CAUSES.iter().find(|(phrase, _)| message.starts_with(phrase));
        let cause = cause.map_or(OTHER_CAUSE, |(_, cause)| cause);
        let (line, column) = (error.line().max(1), error.column().max(1));
        format!("it is not JSON: {cause} (line {line}, column {column})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_is_removed() {
        assert_eq!(text_from("\u{feff}a".as_bytes()), Ok("a"));
        assert_eq!(json_from("\u{feff}{}"), Ok(serde_json::json!({})));
    }

    #[test]
    fn text_in_another_encoding_is_named() {
        assert_eq!(text_from(b"\xff\xfea\0").unwrap_err(), "it is UTF-16 text; save it as UTF-8");
        let error = text_from(b"a\nb\xff").unwrap_err();
        assert_eq!(error, "it is not UTF-8 text: line 2 contains another encoding, or is binary");
    }

    #[test]
    fn absent_content_has_its_own_message() {
        for text in ["", " \n", "\u{feff}"] {
            assert_eq!(json_from(text), Err(NO_DATA.to_owned()), "{text:?}");
        }
    }

    /// Fails after an update of the parser that changes its messages.
    #[test]
    fn every_mistake_of_syntax_has_a_cause() {
        let deep = "[".repeat(200);
        for text in [
            "[1",
            "{",
            "{\"a",
            "{\"a\":",
            "{\"a\" 1}",
            "[1 2]",
            "{\"a\": 1 \"b\"}",
            "trap",
            "hello",
            "{a: 1}",
            "{\"a\": 1,}",
            "[1,]",
            "{} {}",
            "\"a\tb\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "01",
            "1e999",
            &deep,
        ] {
            let error = json_from(text).unwrap_err();
            assert!(!error.contains(OTHER_CAUSE) && error.contains("line 1"), "{text}: {error}");
        }
    }

    #[test]
    fn text_is_not_repeated() {
        for text in ["hunter2", "{\"a\": hunter2}", "{\"hunter2"] {
            let error = json_from(text).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("line 1"), "{error}");
        }
    }
}
