//! A row of the table of server options.

use crate::decide::grammar::kind::Kind;
use crate::model::ProxyVersion;

/// A server option: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct ServerOption {
    /// The option's keyword.
    pub name: &'static str,
    /// The type of its value; `None` where it has no value.
    pub value: Option<Kind>,
    /// Why a service may not use it unless the operator allows it; `None` where it may.
    pub refusal: Option<&'static str>,
    /// Whether `add server` accepts it.
    pub at_runtime: AtRuntime,
}

/// Whether `add server` accepts an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRuntime {
    /// `add server` accepts it since this version.
    Since(ProxyVersion),
    /// `add server` refuses it, and a server with an IP address works the same without it: it concerns the resolution
    /// of host names.
    Needless,
    /// `add server` refuses it: the server needs a reload.
    Never,
}

/// Creates an option without a value that `add server` accepts since 2.6.
pub(super) const fn flag(name: &'static str) -> ServerOption {
    ServerOption { name, value: None, refusal: None, at_runtime: AtRuntime::Since(ProxyVersion { major: 2, minor: 6 }) }
}

/// Creates an option with a value that `add server` accepts since 2.6.
pub(super) const fn with(name: &'static str, value: Kind) -> ServerOption {
    ServerOption { value: Some(value), ..flag(name) }
}

impl ServerOption {
    /// Refuses the option to services, unless the operator allows it.
    pub(super) const fn refused(self, reason: &'static str) -> Self {
        Self { refusal: Some(reason), ..self }
    }

    /// Sets the first version in which `add server` accepts it.
    pub(super) const fn since(self, major: u16, minor: u16) -> Self {
        Self { at_runtime: AtRuntime::Since(ProxyVersion { major, minor }), ..self }
    }

    /// Marks it as refused by `add server`.
    pub(super) const fn file_only(self) -> Self {
        Self { at_runtime: AtRuntime::Never, ..self }
    }

    /// Marks it as refused by `add server`, and useless for a server with an IP address.
    pub(super) const fn resolution(self) -> Self {
        Self { at_runtime: AtRuntime::Needless, ..self }
    }
}
