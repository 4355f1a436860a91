//! A server option, and whether `add server` takes it.

use super::value::Value;
use crate::model::ProxyVersion;

/// A server option: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct ServerOption {
    /// The option's keyword.
    pub name: &'static str,
    /// What its value has to be; none where it takes none.
    pub value: Option<Value>,
    /// Why a service may not use it unless the operator allows it; none where it may.
    pub refusal: Option<&'static str>,
    /// Whether `add server` takes it.
    pub at_runtime: AtRuntime,
}

/// Whether an option can be given to a server that is added at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRuntime {
    /// `add server` takes it from this version on.
    Since(ProxyVersion),
    /// `add server` refuses it, and a server with an IP address works the same without it: it concerns the resolution
    /// of host names.
    Needless,
    /// `add server` refuses it: the server needs a reload.
    Never,
}

/// An option without a value that `add server` takes from 2.6 on.
pub(super) const fn flag(name: &'static str) -> ServerOption {
    ServerOption { name, value: None, refusal: None, at_runtime: AtRuntime::Since(ProxyVersion { major: 2, minor: 6 }) }
}

/// An option with a value that `add server` takes from 2.6 on.
pub(super) const fn with(name: &'static str, value: Value) -> ServerOption {
    ServerOption { value: Some(value), ..flag(name) }
}

impl ServerOption {
    /// Not for services, unless the operator allows it.
    pub(super) const fn refused(self, reason: &'static str) -> Self {
        Self { refusal: Some(reason), ..self }
    }

    /// Taken by `add server` from this version on.
    pub(super) const fn since(self, major: u16, minor: u16) -> Self {
        Self { at_runtime: AtRuntime::Since(ProxyVersion { major, minor }), ..self }
    }

    /// Refused by `add server`.
    pub(super) const fn file_only(self) -> Self {
        Self { at_runtime: AtRuntime::Never, ..self }
    }

    /// Refused by `add server`, and of no use to a server with an IP address.
    pub(super) const fn resolution(self) -> Self {
        Self { at_runtime: AtRuntime::Needless, ..self }
    }
}
