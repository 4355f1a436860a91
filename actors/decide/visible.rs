//! Untrusted text for terminals, logs and pages: nothing in them moves the cursor, changes the order of characters, or is
//! invisible.

use std::borrow::Cow;

/// Replaces each control character and each mark without a width of its own by its escape, such as `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    without(text, is_hidden)
}

/// The same for a text of several lines: line breaks and tabs stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    without(text, |character| is_hidden(character) && !matches!(character, '\n' | '\t'))
}

fn without(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if hidden(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character is a control character (ESC, line breaks), a mark of bidirectional text ("Trojan Source"), or
/// invisible.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(visible("a\nb\u{202e}c\u{200b}"), "a\\nb\\u{202e}c\\u{200b}");
        assert_eq!(visible_lines("a\n\tb\u{1b}"), "a\n\tb\\u{1b}");
        assert!(matches!(visible("plain, ä, 漢"), Cow::Borrowed(_)));
    }
}
