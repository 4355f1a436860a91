//! Where an expression is used, which decides how HAProxy evaluates it.

/// The use of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An argument of a line, or a part of a format.
    Value,
    /// The test of an ACL, where `path_beg` and others are keywords too.
    AclTest,
}
