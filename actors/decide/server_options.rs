//! The options of a server: whether a service or a host may use them, the value of each, and whether `add server`
//! accepts it. One table covers all three, with one reader of option words.
//!
//! Source: `configuration.txt` 5.2, "Server and default-server options", of HAProxy 2.2 to 3.4, and what the versions
//! 2.6 to 3.4 accept in `add server` (`tests/proxy_adapters/server_options.rs` compares the table with them).

mod option;
mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use self::option::{AtRuntime, ServerOption};
use self::table::TABLE;
use crate::model::Word;

/// HAProxy's weight of a server without a `weight` option.
pub const DEFAULT_WEIGHT: u16 = 1;

/// One option of a list of words.
#[derive(Debug, Clone, Copy)]
pub struct UsedOption<'a> {
    /// The option's keyword.
    pub keyword: &'a Word,
    /// The words of its value: at most one for a known option, otherwise all up to the next known option.
    pub values: &'a [Word],
    /// Its row of the table; `None` for an option outside the table.
    pub known: Option<&'static ServerOption>,
}

impl UsedOption<'_> {
    /// Returns the option's keyword.
    pub fn name(&self) -> &str {
        self.keyword.as_str()
    }

    /// Returns the keyword and its value.
    pub fn words(&self) -> impl Iterator<Item = &Word> {
        std::iter::once(self.keyword).chain(self.values)
    }
}

/// Splits words into options and their values.
pub fn used_options(words: &[Word]) -> impl Iterator<Item = UsedOption<'_>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let [keyword, after @ ..] = rest else { return None };
        let known = known(keyword.as_str());
        let value_words = match known {
            Some(option) => usize::from(option.value.is_some()).min(after.len()),
            None => after.iter().position(|word| self::known(word.as_str()).is_some()).unwrap_or(after.len()),
        };
        let (values, next) = after.split_at(value_words);
        rest = next;
        Some(UsedOption { keyword, values, known })
    })
}

/// Returns whether the words contain this option. The value of another option does not count: a cookie may have any
/// name.
pub fn contains(words: &[Word], name: &str) -> bool {
    used_options(words).any(|option| option.name() == name)
}

/// Returns the value of the last option with this name, which is the effective one.
pub fn value_of<'a>(words: &'a [Word], name: &str) -> Option<&'a str> {
    used_options(words).filter(|option| option.name() == name).last()?.values.first().map(Word::as_str)
}

/// Returns the row of this option.
pub fn known(name: &str) -> Option<&'static ServerOption> {
    static BY_NAME: LazyLock<BTreeMap<&str, &ServerOption>> =
        LazyLock::new(|| TABLE.iter().map(|option| (option.name, option)).collect());
    BY_NAME.get(name).copied()
}

/// Returns all rows of the table.
pub fn all() -> &'static [ServerOption] {
    TABLE
}
