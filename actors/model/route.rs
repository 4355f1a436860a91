//! Routes of HTTP requests: the claims of services, and the lines of the map that HAProxy uses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Domain, ServiceName};
use crate::limits::PATH_PREFIX_BYTES_MAX;

/// A path prefix, in whole segments and without a slash at its end: `/api` matches `/api/v1`, but not `/apiary`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(Arc<str>);

/// Why a text is not a [`PathPrefix`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not the beginning of a path: write it as clients send it, with a slash before each segment and \
     without a query, such as \"/api\""
)]
pub struct InvalidPathPrefix {
    /// The refused text.
    pub text: String,
}

impl PathPrefix {
    /// Parses a path prefix. A slash at its end is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidPathPrefix> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c);
        let is_segment = |segment: &str| !segment.is_empty() && segment.chars().all(allowed);
        let segments = path.strip_prefix('/').filter(|_| path.len() <= PATH_PREFIX_BYTES_MAX);
        match segments {
            Some(segments) if segments.split('/').all(is_segment) => Ok(Self(path.into())),
            _ => Err(InvalidPathPrefix { text: text.to_owned() }),
        }
    }

    /// Returns the text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = InvalidPathPrefix;
    fn try_from(text: String) -> Result<Self, InvalidPathPrefix> {
        Self::parse(&text)
    }
}

impl From<PathPrefix> for String {
    fn from(path: PathPrefix) -> String {
        path.0.as_ref().to_owned()
    }
}

/// A key of the map: `0.0.0.0:8080/a.example.org/api/`, with `*` instead of a domain for the default service.
///
/// HAProxy looks for the longest key that is a prefix of its own text for a request, so each key ends with a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey(Arc<str>);

impl RouteKey {
    /// Creates the key of requests at this address for this domain, or for any unclaimed one, below this path.
    pub fn new(listen: SocketAddr, domain: Option<&Domain>, path: Option<&PathPrefix>) -> Self {
        let path = path.map_or("", PathPrefix::as_str);
        let text = match domain.map(Domain::requested) {
            None => format!("{listen}/*{path}/"),
            Some(domain) => format!("{listen}/{domain}{path}/"),
        };
        Self(text.into())
    }

    /// Creates a key from HAProxy or a file, which may not be one of ours.
    pub fn observed(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the key as written in the map.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address of the frontend.
    pub fn listen(&self) -> &str {
        self.0.split_once('/').map_or("", |(listen, _)| listen)
    }
}

impl fmt::Display for RouteKey {
    /// Writes the key for people: `a.example.org/api`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.0.split_once('/').map_or(&*self.0, |(_, asked)| asked);
        match asked.strip_suffix('/').unwrap_or(asked).strip_prefix('*') {
            Some(path) if !path.starts_with('.') => write!(f, "any other domain{path}"),
            _ => f.write_str(asked.strip_suffix('/').unwrap_or(asked)),
        }
    }
}

/// The service of each key.
pub type Routes = BTreeMap<RouteKey, ServiceName>;

/// The map as HAProxy reports it. The value of a key that occurs several times contains all its different values.
pub type ObservedRoutes = BTreeMap<RouteKey, String>;

/// A runtime command for the map. Each one is atomic and takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteCommand {
    /// `add map`: for an absent key; HAProxy would add an existing one a second time.
    Add(RouteKey, ServiceName),
    /// `set map`: for an existing key.
    Set(RouteKey, ServiceName),
    /// `del map`: for an existing key.
    Delete(RouteKey),
}

impl RouteCommand {
    /// Returns its key.
    pub fn key(&self) -> &RouteKey {
        match self {
            Self::Add(key, _) | Self::Set(key, _) | Self::Delete(key) => key,
        }
    }

    /// Returns the command for the Runtime API, with this name of the map.
    pub fn text(&self, map: &str, key: &str) -> String {
        match self {
            Self::Add(_, service) => format!("add map {map} {key} {service}"),
            Self::Set(_, service) => format!("set map {map} {key} {service}"),
            Self::Delete(_) => format!("del map {map} {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_whole_segments() {
        for (text, kept) in [("/api", "/api"), ("/api/", "/api"), ("/a/b.c~d", "/a/b.c~d"), ("/%20", "/%20")] {
            assert_eq!(PathPrefix::parse(text).unwrap().as_str(), kept);
        }
        for text in ["", "/", "api", "//", "/a//b", "/a b", "/a?b", "/a#b", "/a\nb", "/ä", "/a\"b", "/a\\b"] {
            assert!(PathPrefix::parse(text).is_err(), "{text:?}");
        }
        assert!(PathPrefix::parse(&format!("/{}", "x".repeat(PATH_PREFIX_BYTES_MAX))).is_err());
    }

    #[test]
    fn key_contains_address_domain_and_path() {
        let key = |listen: &str, domain: Option<&str>, path: Option<&str>| {
            let domain = domain.map(|text| Domain::parse(text).unwrap());
            let path = path.map(|text| PathPrefix::parse(text).unwrap());
            RouteKey::new(listen.parse().unwrap(), domain.as_ref(), path.as_ref())
        };
        for (key, text, shown) in [
            (key("0.0.0.0:80", Some("A.example"), None), "0.0.0.0:80/a.example/", "a.example"),
            (key("0.0.0.0:80", Some("*.a.example"), Some("/x")), "0.0.0.0:80/*.a.example/x/", "*.a.example/x"),
            (key("[::1]:80", Some("::1"), None), "[::1]:80/[::1]/", "[::1]"),
            (key("0.0.0.0:80", None, Some("/x/y")), "0.0.0.0:80/*/x/y/", "any other domain/x/y"),
        ] {
            assert_eq!((key.as_str(), key.to_string().as_str()), (text, shown));
        }
    }
}
