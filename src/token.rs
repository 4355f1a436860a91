//! The token for the status API, which callers send and the daemon verifies.

use std::fmt;

use subtle::ConstantTimeEq;

/// The shortest token that is accepted, in characters.
const TOKEN_LENGTH_MIN: usize = 16;

/// A token. No message or log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Parses a token that is valid in an HTTP header. The error does not repeat it.
    pub fn new(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("may contain only ASCII letters, digits and punctuation, and no white space".to_owned());
        }
        if text.len() < TOKEN_LENGTH_MIN {
            return Err(format!(
                "is too short: at least {TOKEN_LENGTH_MIN} characters, as from `openssl rand -hex 16`"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the token, for sending it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares the token with what a caller sent, in a time that depends only on the lengths.
    pub fn is(&self, sent: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(sent).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<token>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_enough_and_never_shown() {
        assert!(Token::new("short").is_err());
        assert!(Token::new("with white space in it").is_err());
        assert_eq!(format!("{:?}", Token::new("0123456789abcdef").unwrap()), "<token>");
    }

    #[test]
    fn only_the_same_text_is_the_token() {
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        assert!(!token.is(b"0123456789abcdeF"));
        assert!(!token.is(b"0123456789abcde"));
    }
}
