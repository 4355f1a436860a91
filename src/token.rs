//! Tokens for the status API: those that callers send, and those that the daemon knows.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// The shortest token that is accepted, in characters.
const TOKEN_LENGTH_MIN: usize = 16;

/// A token as a caller sends it. No message or log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Secret);

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
        Ok(Self(text.into()))
    }

    /// Returns the token, for sending it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Returns the hash by which the daemon knows it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.reveal().as_bytes())
    }
}

/// The SHA-256 of a token. Tokens are random, so that it needs no salt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Parses 64 hexadecimal digits, as from `sha256sum`.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = hex.as_bytes();
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Hashes what a caller sent.
    pub fn of(sent: &[u8]) -> Self {
        Self(Sha256::digest(sent).into())
    }

    /// Compares two hashes in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash of a token>")
    }
}

/// What a caller may do. Each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read, where reading needs a token.
    Read,
    /// Give orders: refresh, reload, accept, reject, drain and maintenance of servers.
    Operate,
    /// Everything, also changes of annotations.
    Admin,
}

impl Role {
    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// A token that the daemon knows, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// Its name, for the journal and the log.
    pub name: String,
    /// Its hash.
    pub digest: TokenDigest,
    /// What its holder may do.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_enough_and_never_shown() {
        assert!(Token::new("short").is_err());
        assert!(Token::new("with white space in it").is_err());
        let token = Token::new("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?} {:?}", token.digest()), "Token(***) <hash of a token>");
    }

    #[test]
    fn only_the_same_text_is_the_token() {
        // printf 0123456789abcdef | sha256sum
        let hex = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let digest = TokenDigest::parse(hex).unwrap();
        assert!(digest.is(&TokenDigest::of(b"0123456789abcdef")));
        assert!(!digest.is(&TokenDigest::of(b"0123456789abcdeF")));
        for wrong in ["", &hex[1..], &hex.replace('9', "g"), &format!("{hex}0")] {
            assert_eq!(TokenDigest::parse(wrong), None, "{wrong}");
        }
    }
}
