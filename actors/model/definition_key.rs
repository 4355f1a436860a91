//! A documented key of a definition or of a host.

/// A key of a definition or of a host. The parsers know exactly the keys of these tables, and the reference of services
/// and the manual page `proxymgr-service(5)` are generated from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefinitionKey {
    /// The key.
    pub name: &'static str,
    /// Its values, in Markdown.
    pub value: &'static str,
    /// What it is for, in Markdown.
    pub doc: &'static str,
}

/// A key with its values and its purpose.
pub const fn key(name: &'static str, value: &'static str, doc: &'static str) -> DefinitionKey {
    DefinitionKey { name, value, doc }
}

impl DefinitionKey {
    /// Returns whether the table has a key of this name.
    pub fn is_in(name: &str, keys: &[Self]) -> bool {
        keys.iter().any(|key| key.name == name)
    }
}
