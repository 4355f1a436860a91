//! The servers of one service as a bar, by state.

use std::fmt::Write;

use super::begin;
use crate::status::server_counts::ServerCounts;

/// The bar. All bars have the same length; a state with at least one server is always visible.
pub fn meter(counts: ServerCounts) -> String {
    const WIDTH: usize = 100;
    const SHARE_MIN: usize = 4;
    let shares = [
        ("up", counts.ready),
        ("drain", counts.drain),
        ("maint", counts.maint),
        ("missing", counts.missing),
        ("down", counts.down),
    ];
    let total: usize = counts.total().max(1);
    let mut svg = begin("meter", WIDTH, 1);
    let mut at = 0;
    let mut shares = shares.into_iter().filter(|(_, count)| *count > 0).peekable();
    while let Some((class, count)) = shares.next() {
        let room = WIDTH - at;
        let width = if shares.peek().is_none() { room } else { (count * WIDTH / total).clamp(SHARE_MIN, room) };
        let _ = write!(svg, "<rect class=\"{class}\" x=\"{at}\" width=\"{width}\" height=\"1\"/>");
        at += width;
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_of_a_thousand_is_visible() {
        let svg = meter(ServerCounts { ready: 999, down: 1, ..ServerCounts::default() });
        assert!(svg.contains(r#"<rect class="up" x="0" width="99" height="1"/>"#), "{svg}");
        assert!(svg.contains(r#"<rect class="down" x="99" width="1" height="1"/>"#), "{svg}");
        let svg = meter(ServerCounts { ready: 1, drain: 999, ..ServerCounts::default() });
        assert!(svg.contains(r#"<rect class="up" x="0" width="4" height="1"/>"#), "{svg}");
    }

    #[test]
    fn service_without_servers_is_empty_bar() {
        assert!(!meter(ServerCounts::default()).contains("<rect"));
    }
}
