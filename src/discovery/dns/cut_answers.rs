//! Names of which a server sends only a part of the records by UDP, without marking its answers as truncated.
//!
//! Consul, for example, answers with 3 of 60 instances without EDNS, and with as many as fit into the size that the
//! query allows (21 in 1,232 bytes). By TCP it sends all. Nothing in an answer shows that it was cut, so an answer whose
//! records differ from the previous one is compared with the answer by TCP. If that has more records, the name is
//! queried by TCP from then on.

use std::collections::BTreeMap;

use proxymgr_actors::limits::{DNS_COMPARED_NAMES_MAX, DNS_TCP_RETRY};
use tokio::time::Instant;

use super::name_servers::{Found, RecordKind};

/// A query to one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    /// The index of the server.
    pub(super) server: usize,
    /// The fully qualified name.
    pub(super) name: String,
    /// The type of the records.
    pub(super) kind: RecordKind,
}

/// What is known about the answers by UDP.
#[derive(Debug, Default)]
pub(super) struct CutAnswers {
    names: BTreeMap<Asked, Known>,
    /// When the servers that do not answer by TCP may be tried again.
    without_tcp: BTreeMap<usize, Instant>,
}

#[derive(Debug)]
enum Known {
    /// The last answer by UDP, which TCP did not complete.
    Whole(Vec<Found>),
    /// The answers are cut.
    Cut,
}

impl CutAnswers {
    /// Whether this query must be sent by TCP.
    pub(super) fn is_cut(&self, asked: &Asked) -> bool {
        matches!(self.names.get(asked), Some(Known::Cut))
    }

    /// Whether these records, received by UDP, must be compared with those by TCP.
    pub(super) fn must_compare(&self, asked: &Asked, found: &[Found], now: Instant) -> bool {
        let is_known = match self.names.get(asked) {
            Some(Known::Whole(known)) => known == found,
            Some(Known::Cut) => true,
            None => false,
        };
        !found.is_empty() && !is_known && self.without_tcp.get(&asked.server).is_none_or(|until| *until <= now)
    }

    /// Records a comparison; returns whether the answer by UDP was cut. `by_tcp` is `None` without an answer by TCP.
    pub(super) fn compared(&mut self, asked: Asked, by_udp: &[Found], by_tcp: Option<&[Found]>, now: Instant) -> bool {
        match by_tcp {
            Some(_) => drop(self.without_tcp.remove(&asked.server)),
            None => drop(self.without_tcp.insert(asked.server, now + DNS_TCP_RETRY)),
        }
        if self.names.len() >= DNS_COMPARED_NAMES_MAX {
            // Names that are still in use are compared once more.
            self.names.clear();
        }
        let is_cut = by_tcp.is_some_and(|by_tcp| by_tcp.len() > by_udp.len());
        let known = if is_cut { Known::Cut } else { Known::Whole(by_udp.to_vec()) };
        self.names.insert(asked, known);
        is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: u8) -> Vec<Found> {
        (0..count).map(|number| Found::Address([10, 0, 0, number].into())).collect()
    }

    fn asked(server: usize) -> Asked {
        Asked { server, name: "a.".to_owned(), kind: RecordKind::A }
    }

    #[test]
    fn only_changed_answers_are_compared() {
        let (mut cut, now) = (CutAnswers::default(), Instant::now());
        let must_compare = |cut: &CutAnswers, count| cut.must_compare(&asked(0), &hosts(count), now);
        assert!(must_compare(&cut, 3) && !must_compare(&cut, 0));
        assert!(!cut.compared(asked(0), &hosts(3), Some(&hosts(3)), now));
        assert!(!must_compare(&cut, 3) && must_compare(&cut, 2));
        assert!(cut.compared(asked(0), &hosts(2), Some(&hosts(5)), now));
        assert!(cut.is_cut(&asked(0)) && !cut.is_cut(&asked(1)));
    }

    #[test]
    fn server_without_tcp_is_tried_again_later() {
        let (mut cut, now) = (CutAnswers::default(), Instant::now());
        assert!(!cut.compared(asked(0), &hosts(3), None, now));
        let must_compare = |now| cut.must_compare(&asked(0), &hosts(2), now);
        assert!(!must_compare(now) && must_compare(now + DNS_TCP_RETRY));
    }
}
