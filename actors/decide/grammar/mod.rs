//! The grammar of the lines and server options that a service may use.
//!
//! A line is accepted only if every word of it is understood: each keyword has shapes with typed arguments, each argument occurs
//! at most once, and expressions, formats and conditions are read as HAProxy reads them. One table ([`table`]) drives the
//! check, the documentation ([`mod@reference`]) and the fuzzing ([`samples`]).

pub mod arguments;
pub mod checks;
pub mod condition;
pub mod converters;
pub mod expression;
pub mod facts;
pub mod fetches;
pub mod format;
pub mod kind;
pub mod line_breaks;
pub mod numbers;
pub mod place;
pub mod reader;
pub mod reference;
pub mod refusals;
pub mod regex;
mod regex_dialect;
pub mod rules;
pub mod samples;
pub mod section;
pub mod section_lines;
pub mod server_words;
pub mod shape;
pub mod table;
pub mod table_data;
pub mod value;
pub mod work;
