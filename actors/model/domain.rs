//! Domains of HTTP services.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Address;

/// A host name as in requests, in lower case, without a port; `*.example.org` matches every name below `example.org`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

/// Why a text is not a [`Domain`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is neither a host name nor one with `*.` before it")]
pub struct InvalidDomain {
    /// The refused text.
    pub text: String,
}

impl Domain {
    /// Reads a host name, with or without `*.` before it. Case does not matter in host names.
    pub fn parse(text: &str) -> Result<Self, InvalidDomain> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        match Address::parse(name) {
            Ok(_) => Ok(Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase().into())),
            Err(_) => Err(InvalidDomain { text: text.to_owned() }),
        }
    }

    /// Returns the text as written in a definition.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text as clients write it: an IPv6 address in brackets.
    pub fn requested(&self) -> String {
        match self.0.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]", self.0),
            Err(_) => self.0.to_string(),
        }
    }

    /// Returns the parent domain of a wildcard (the part after `*.`); `None` for other domains.
    pub fn wildcard(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = InvalidDomain;
    fn try_from(text: String) -> Result<Self, InvalidDomain> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards_are_domains_in_lower_case() {
        for (text, shown) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("*.example.org", "*.example.org"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(Domain::parse(text).unwrap().as_str(), shown);
        }
        assert_eq!(Domain::parse("*.a.example").unwrap().wildcard(), Some("a.example"));
    }

    #[test]
    fn other_patterns_are_refused() {
        for text in ["", "*", "*.", "a.*.example", "a b", "a.example:80", "a.example/x", "a.example\nb", "**.example"] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
    }
}
