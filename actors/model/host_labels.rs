//! Tags and meta data of hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{HOST_LABEL_BYTES_MAX, HOST_LABELS_MAX};

/// Tags and meta data of a host, as its source reports them; or those that a definition asks of its hosts. They have no
/// control characters. HAProxy never sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostLabels {
    /// The tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Arc<str>>,
    /// The values of the meta data by their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<Arc<str>, Arc<str>>,
}

impl HostLabels {
    /// Returns the labels of a host. Texts that are too long or have control characters are left out, and so are those
    /// beyond [`HOST_LABELS_MAX`]: a host serves whatever its labels are.
    pub fn of_host<'a>(
        tags: impl IntoIterator<Item = &'a str>,
        meta: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let tags = tags.into_iter().filter(|tag| is_label(tag)).take(HOST_LABELS_MAX);
        let meta = meta.into_iter().filter(|(key, value)| is_label(key) && is_label(value)).take(HOST_LABELS_MAX);
        Self {
            tags: tags.map(Arc::from).collect(),
            meta: meta.map(|(key, value)| (key.into(), value.into())).collect(),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.meta.is_empty()
    }

    /// Returns whether these include all of the wanted ones.
    pub fn include(&self, wanted: &Self) -> bool {
        wanted.tags.is_subset(&self.tags)
            && wanted.meta.iter().all(|(key, value)| self.meta.get(key).is_some_and(|own| own == value))
    }
}

/// Returns whether a text can be a tag, a key or a value of meta data.
pub fn is_label(text: &str) -> bool {
    text.len() <= HOST_LABEL_BYTES_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_include_fewer_ones() {
        let of = |tags: &[&'static str], meta: &[(&'static str, &'static str)]| {
            HostLabels::of_host(tags.iter().copied(), meta.iter().copied())
        };
        let host = of(&["blue", "canary"], &[("zone", "a"), ("rack", "7")]);
        for wanted in [of(&[], &[]), of(&["blue"], &[]), of(&["canary", "blue"], &[("zone", "a")]), host.clone()] {
            assert!(host.include(&wanted), "{wanted:?}");
        }
        for wanted in [of(&["green"], &[]), of(&["blue"], &[("zone", "b")]), of(&[], &[("color", "a")])] {
            assert!(!host.include(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn unusable_texts_are_left_out() {
        let long = "x".repeat(HOST_LABEL_BYTES_MAX + 1);
        let labels = HostLabels::of_host(["a\nb", &long, "good"], [("k", "a\0"), (&long, "v"), ("zone", "")]);
        assert_eq!(labels, HostLabels::of_host(["good"], [("zone", "")]));
        let many: Vec<String> = (0..HOST_LABELS_MAX + 5).map(|number| number.to_string()).collect();
        let labels = HostLabels::of_host(many.iter().map(String::as_str), []);
        assert_eq!(labels.tags.len(), HOST_LABELS_MAX);
    }
}
