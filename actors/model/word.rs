//! Words of HAProxy lines.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One word of a HAProxy configuration line, without the quoting for the file or the socket. It never contains a
/// control character, so that it cannot end its line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(Arc<str>);

/// Why a text cannot be a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidWord {
    /// The text has no characters.
    #[error("a word is empty")]
    Empty,
    /// The text contains a line break or another control character.
    #[error("{word:?} contains the control character {character:?}")]
    Control {
        /// The refused text.
        word: String,
        /// The first control character.
        character: char,
    },
}

impl Word {
    /// Creates a word from a text without control characters.
    pub fn new(text: &str) -> Result<Self, InvalidWord> {
        if text.is_empty() {
            return Err(InvalidWord::Empty);
        }
        match text.chars().find(|c| c.is_control()) {
            Some(character) => Err(InvalidWord::Control { word: text.to_owned(), character }),
            None => Ok(Self(text.into())),
        }
    }

    /// Returns the word as text, unquoted.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Word {
    type Error = InvalidWord;
    fn try_from(text: String) -> Result<Self, InvalidWord> {
        Self::new(&text)
    }
}

impl From<Word> for String {
    fn from(word: Word) -> String {
        word.0.as_ref().to_owned()
    }
}
