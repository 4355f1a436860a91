//! Names of services and servers, in the only characters that HAProxy accepts in a section or server name.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::NAME_LENGTH_MAX;

/// Why a text cannot be the name of a section or a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The text has no characters.
    #[error("a name is empty")]
    Empty,
    /// The text is longer than [`NAME_LENGTH_MAX`].
    #[error("the name {name:.40?}... is {length} characters long; at most {NAME_LENGTH_MAX} are allowed")]
    TooLong {
        /// The refused text.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// The text contains a character that HAProxy does not accept.
    #[error(
        "the name {name:?} contains {character:?}; HAProxy names consist of letters, digits, '.', ':', '_' and '-'"
    )]
    Character {
        /// The refused text.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

fn validate(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    let length = text.chars().count();
    if length > NAME_LENGTH_MAX {
        return Err(InvalidName::TooLong { name: text.to_owned(), length });
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    match text.chars().find(|c| !allowed(c)) {
        Some(character) => Err(InvalidName::Character { name: text.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Creates a name from a text that follows HAProxy's rules.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                validate(text)?;
                Ok(Self(text.into()))
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        // Two lists of servers are merged at each change, and most names are compared with themselves: the same text at
        // the same address.
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl Eq for $type {}

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name_type! {
    /// The name of a service, which is the name of its `listen` section.
    ServiceName
}
name_type! {
    /// The name of a server within its section.
    ServerName
}
