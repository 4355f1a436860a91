//! Paths of unix sockets that hosts listen on.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The beginning of HAProxy's address of a unix socket.
const UNIX: &str = "unix@";

/// The longest path: that of `sockaddr_un` with its final zero.
const PATH_BYTES_MAX: usize = 107;

/// The absolute path of a unix socket. There is one spelling of each: no `.`, no `..`, no empty part. So it can be
/// compared with the beginnings of paths that an operator allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketPath(Arc<str>);

/// Why a text is not a [`SocketPath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSocketPath {
    /// It is relative, or has a part that another spelling leaves out.
    #[error("the path of a unix socket is absolute, without \".\", \"..\" and \"//\"")]
    Spelling,
    /// It has a character that a server's name cannot have.
    #[error("the path of a unix socket consists of letters, digits, '/', '.', '_' and '-'")]
    Character,
    /// It is longer than an address of the system.
    #[error("the path of a unix socket has at most {PATH_BYTES_MAX} bytes")]
    Length,
}

impl SocketPath {
    /// Parses a path.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn parse(path: &str) -> Result<Self, InvalidSocketPath> {
        if path.len() > PATH_BYTES_MAX {
            return Err(InvalidSocketPath::Length);
        }
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) {
            return Err(InvalidSocketPath::Character);
        }
        let parts = path.strip_prefix('/').ok_or(InvalidSocketPath::Spelling)?.split('/');
        match parts.into_iter().any(|part| matches!(part, "" | "." | "..")) {
            true => Err(InvalidSocketPath::Spelling),
            false => Ok(Self(path.into())),
        }
    }

    /// Parses HAProxy's address of a unix socket; `None` for an address of another kind.
    pub fn in_address(text: &str) -> Option<Result<Self, InvalidSocketPath>> {
        text.strip_prefix(UNIX).map(Self::parse)
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketPath {
    /// Writes HAProxy's address of the socket, `unix@/run/web.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNIX}{}", self.0)
    }
}

impl TryFrom<String> for SocketPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = Self::in_address(&text).ok_or_else(|| format!("{text:?} does not begin with {UNIX}"))?;
        path.map_err(|error| error.to_string())
    }
}

impl From<SocketPath> for String {
    fn from(path: SocketPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_spelling() {
        for path in ["/run/web.sock", "/a", "/run/web/a-1_b.sock", "/..a/b.."] {
            assert_eq!(SocketPath::parse(path).unwrap().as_str(), path);
        }
        for path in ["", "/", "run/web.sock", "/run//x", "/run/./x", "/run/../x", "/run/x/", "/run/.."] {
            assert_eq!(SocketPath::parse(path), Err(InvalidSocketPath::Spelling), "{path}");
        }
        for path in ["/run/a b", "/run/a\nb", "/run/$X", "/run/a:b", "/run/é"] {
            assert_eq!(SocketPath::parse(path), Err(InvalidSocketPath::Character), "{path}");
        }
        assert_eq!(SocketPath::parse(&format!("/{}", "a".repeat(107))), Err(InvalidSocketPath::Length));
    }
}
