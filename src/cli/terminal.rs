//! The terminal that somebody looks at.

use std::io::{self, IsTerminal};

/// The columns of the terminal on standard output; none where it goes elsewhere.
pub fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (columns, _) = ratatui::crossterm::terminal::size().ok()?;
    // A terminal that does not know its size says 0.
    (columns > 0).then_some(usize::from(columns))
}
