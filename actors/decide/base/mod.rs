//! The operator's own configuration, in HAProxy's language.

pub mod lexer;
pub mod sections;
