//! References between sections: a reduced file has to contain them, too, or HAProxy would refuse it.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::deployment::SectionSpec;
use crate::decide::search::References;
use crate::model::{ServiceName, Word};

/// Returns for each section all sections that it refers to, directly or indirectly. A word that only looks like the
/// name of a section counts as well: a superfluous section in a reduced file does no harm.
pub fn references<'a>(sections: &BTreeMap<&'a ServiceName, &'a SectionSpec>) -> References {
    let names: BTreeMap<&str, &ServiceName> = sections.keys().map(|name| (name.as_str(), *name)).collect();
    let direct: BTreeMap<&ServiceName, BTreeSet<&ServiceName>> = sections
        .iter()
        .map(|(name, spec)| {
            let mut named = words(spec).flat_map(names_in).filter_map(|token| names.get(token).copied()).collect();
            BTreeSet::remove(&mut named, name);
            (*name, named)
        })
        .filter(|(_, named)| !named.is_empty())
        .collect();
    direct.keys().map(|name| ((*name).clone(), reached_from(name, &direct))).collect()
}

/// Returns the names in a text that is not a section, such as the base of the file.
pub fn names_in_text<'a>(text: &str, names: impl Iterator<Item = &'a ServiceName>) -> BTreeSet<ServiceName> {
    let tokens: BTreeSet<&str> = names_in(text).collect();
    names.filter(|name| tokens.contains(name.as_str())).cloned().collect()
}

fn reached_from(start: &ServiceName, direct: &BTreeMap<&ServiceName, BTreeSet<&ServiceName>>) -> BTreeSet<ServiceName> {
    let mut reached = BTreeSet::new();
    let mut pending: Vec<&ServiceName> = direct.get(start).into_iter().flatten().copied().collect();
    while let Some(name) = pending.pop() {
        if name != start && reached.insert(name.clone()) {
            pending.extend(direct.get(name).into_iter().flatten());
        }
    }
    reached
}

fn words(spec: &SectionSpec) -> impl Iterator<Item = &str> {
    let definition = &spec.definition;
    let of_hosts = spec.hosts.iter().flat_map(|(_, host)| &host.options);
    let words = definition.lines().iter().flatten().chain(&definition.server_options).chain(of_hosts);
    words.map(Word::as_str)
}

fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    text.split(move |c| !is_part(c)).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::deployment::fixture::{name, names, spec};

    fn of(sections: &[(&str, &[&str])]) -> References {
        let sections: Vec<_> = sections.iter().map(|(service, lines)| (name(service), spec(service, lines))).collect();
        references(&sections.iter().map(|(name, spec)| (name, spec)).collect())
    }

    #[test]
    fn references_are_found_in_any_place_of_a_line() {
        let found = of(&[
            ("a", &["http-request deny if { nbsrv(b) lt 1 }", "http-request deny if { nbsrv(c) eq 0 }"]),
            ("b", &["http-response deny if { nbsrv(d) eq 0 }"]),
            ("c", &[]),
            ("d", &[]),
        ]);
        assert_eq!(found, References::from([(name("a"), names(&["b", "c", "d"])), (name("b"), names(&["d"]))]));
    }

    #[test]
    fn mutual_references_are_found() {
        let found = of(&[
            ("a", &["http-request deny if { nbsrv(b) eq 0 }"]),
            ("b", &["http-request deny if { nbsrv(a) eq 0 }"]),
        ]);
        assert_eq!(found, References::from([(name("a"), names(&["b"])), (name("b"), names(&["a"]))]));
        assert_eq!(of(&[("a", &["http-request deny if { nbsrv(a) eq 0 }"])]), References::new(), "not itself");
    }

    #[test]
    fn names_in_a_text_are_whole_words() {
        let known = Arc::new([name("web"), name("web-2"), name("db")]);
        assert_eq!(names_in_text("default_backend web-2\n log db.example", known.iter()), names(&["web-2"]));
    }
}
