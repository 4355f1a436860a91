//! The requests that a service gets where it shares its port.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use itertools::Itertools;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Domain, PathPrefix, Word};
use crate::limits::{HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX, METHOD_BYTES_MAX};

/// What a service asks of the requests to its port. All of it has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Its domains. An HTTP service with domains shares its port with other such services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// The path prefix of its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathPrefix>,
    /// Whether it gets the requests for all unclaimed domains of its port.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
    /// Its conditions beside domain and path.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub conditions: Conditions,
}

impl Requests {
    /// Returns whether it asks for domains, or is the default of its port.
    pub fn claims_domains(&self) -> bool {
        !self.domains.is_empty() || self.is_default
    }
}

/// Conditions of requests that no map can look up: a service with some has a rule in the shared frontend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The headers, each with its whole value; `None` where it only has to be present.
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, Option<HeaderValue>>,
    /// The methods, one of which a request has; every method where there are none.
    #[serde(default)]
    pub methods: BTreeSet<Method>,
    /// The networks, one of which a client belongs to; every client where there are none.
    #[serde(default)]
    pub sources: BTreeSet<SourceNetwork>,
}

impl Conditions {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.methods.is_empty() && self.sources.is_empty()
    }
}

impl fmt::Display for Conditions {
    /// Writes `x-canary: 1, GET, from 10.0.0.0/8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}: {value}"),
            None => format!("{name}: any value"),
        });
        let methods = (!self.methods.is_empty()).then(|| self.methods.iter().join(" or "));
        let sources = (!self.sources.is_empty()).then(|| format!("from {}", self.sources.iter().join(" or ")));
        f.write_str(&headers.chain(methods).chain(sources).join(", "))
    }
}

/// Headers whose values are credentials, in lower case.
pub const CREDENTIAL_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "www-authenticate"];

/// Parts of the names of further such headers.
const CREDENTIAL_PARTS: [&str; 5] = ["token", "secret", "api-key", "apikey", "password"];

/// Returns whether the values of a header are, or may be, credentials.
pub fn carries_credentials(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    CREDENTIAL_HEADERS.contains(&header.as_str()) || CREDENTIAL_PARTS.iter().any(|part| header.contains(part))
}

/// The name of an HTTP header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderName(Arc<str>);

/// The whole value of an HTTP header: printable ASCII without a space at either end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderValue(Word);

/// An HTTP method, in upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(Arc<str>);

/// A network of clients, or one address. No bit is set beyond its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceNetwork(IpNet);

/// Why a text is no condition of requests.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidCondition {
    /// No [`HeaderName`].
    #[error("{0:?} is not the name of a header: letters, digits, '-' and '_', at most {HEADER_NAME_BYTES_MAX}")]
    HeaderName(String),
    /// No [`HeaderValue`].
    #[error(
        "{0:?} is not the value of a header: at most {HEADER_VALUE_BYTES_MAX} printable ASCII characters, without a \
         space at either end"
    )]
    HeaderValue(String),
    /// No [`Method`].
    #[error("{0:?} is not a method: capital letters and '-', such as GET")]
    Method(String),
    /// No [`SourceNetwork`].
    #[error("{0:?} is neither a network, such as 10.0.0.0/8, nor an IP address")]
    Source(String),
    /// An address with a prefix that it is longer than.
    #[error("{0} is an address within {1}; write that, or the address alone")]
    SourceBits(IpNet, IpNet),
}

impl HeaderName {
    /// Parses a name. Case does not matter in names of headers.
    ///
    /// # Errors
    /// The text where it is empty, too long or contains other characters.
    pub fn parse(text: &str) -> Result<Self, InvalidCondition> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_good = (1..=HEADER_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
        let name = is_good.then(|| Self(text.to_ascii_lowercase().into()));
        name.ok_or_else(|| InvalidCondition::HeaderName(text.to_owned()))
    }
}

impl HeaderValue {
    /// Parses a value.
    ///
    /// # Errors
    /// The text where it is empty, too long or contains other characters.
    pub fn parse(text: &str) -> Result<Self, InvalidCondition> {
        let is_good = (1..=HEADER_VALUE_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && text.trim() == text;
        let word = Word::new(text).ok().filter(|_| is_good);
        word.map(Self).ok_or_else(|| InvalidCondition::HeaderValue(text.to_owned()))
    }

    /// Returns the value as a word of HAProxy's configuration.
    pub fn word(&self) -> &Word {
        &self.0
    }
}

impl Method {
    /// Parses a method.
    ///
    /// # Errors
    /// The text where it is empty, too long or contains other characters than capital letters.
    pub fn parse(text: &str) -> Result<Self, InvalidCondition> {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        let is_good = text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.len() <= METHOD_BYTES_MAX
            && text.bytes().all(allowed);
        is_good.then(|| Self(text.into())).ok_or_else(|| InvalidCondition::Method(text.to_owned()))
    }
}

impl SourceNetwork {
    /// Parses a network, or an IP address, which is a network of one.
    ///
    /// # Errors
    /// The text where it is neither, or has bits beyond the prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidCondition> {
        let network: IpNet = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| InvalidCondition::Source(text.to_owned()))?;
        match network.trunc() == network {
            true => Ok(Self(network)),
            false => Err(InvalidCondition::SourceBits(network, network.trunc())),
        }
    }
}

macro_rules! as_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidCondition;

            fn try_from(text: String) -> Result<Self, InvalidCondition> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(condition: $type) -> String {
                condition.to_string()
            }
        }
    };
}
as_text!(HeaderName);
as_text!(HeaderValue);
as_text!(Method);
as_text!(SourceNetwork);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_parsed_types() {
        assert_eq!(HeaderName::parse("X-Canary_1").unwrap().to_string(), "x-canary_1");
        for text in
            ["", "a b", "x)", "x,1", "a:b", "a\nb", "é", "\"x\"", "$HOME", &"x".repeat(HEADER_NAME_BYTES_MAX + 1)]
        {
            assert!(HeaderName::parse(text).is_err(), "{text:?}");
        }
        for text in ["1", "a b, c", "-f", "'\"\\#$HOME", "}", "~"] {
            assert_eq!(HeaderValue::parse(text).unwrap().to_string(), text);
        }
        for text in ["", " a", "a ", "a\r\nb", "\t", "é", "\u{FDD0}", &"x".repeat(HEADER_VALUE_BYTES_MAX + 1)] {
            assert!(HeaderValue::parse(text).is_err(), "{text:?}");
        }
        for text in ["GET", "VERSION-CONTROL"] {
            assert_eq!(Method::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "get", "GET POST", "-f", "GET/", "G\n", &"G".repeat(METHOD_BYTES_MAX + 1)] {
            assert!(Method::parse(text).is_err(), "{text:?}");
        }
        for (text, shown) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.1", "10.0.0.1/32"), ("2001:DB8::/32", "2001:db8::/32")]
        {
            assert_eq!(SourceNetwork::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "all", "10.0.0.0/8 -f x", "-f", "10.0.0.0/255.0.0.0", "a.example"]
        {
            assert!(SourceNetwork::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn conditions_are_saved_and_restored() {
        let conditions = Conditions {
            headers: BTreeMap::from([
                (HeaderName::parse("x-a").unwrap(), None),
                (HeaderName::parse("x-b").unwrap(), HeaderValue::parse("1 2").ok()),
            ]),
            methods: BTreeSet::from([Method::parse("GET").unwrap()]),
            sources: BTreeSet::from([SourceNetwork::parse("::1").unwrap()]),
        };
        let saved = serde_json::to_string(&conditions).unwrap();
        assert_eq!(serde_json::from_str::<Conditions>(&saved).unwrap(), conditions);
        assert_eq!(conditions.to_string(), "x-a: any value, x-b: 1 2, GET, from ::1/128");
        assert!(serde_json::from_str::<Conditions>(r#"{"methods": ["GET\n"]}"#).is_err());
    }
}
