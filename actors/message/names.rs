//! Messages about host names that HAProxy could not resolve.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::Message;

/// HaproxyStateActor -> NameLookupActor: HAProxy could not resolve exactly these host names.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct NamesUnresolved {
    /// The names.
    pub names: BTreeSet<Arc<str>>,
}

/// NameLookupActor -> HaproxyStateActor: this host name resolves now.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct NameResolves {
    /// The name.
    pub name: Arc<str>,
}
