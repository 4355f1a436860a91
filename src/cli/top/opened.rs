//! The service that `top` shows alone.

use proxymgr_actors::journal::JournalEntry;
use ratatui::crossterm::event::KeyCode;

/// Lines that a page key scrolls.
const PAGE: u16 = 10;

/// An opened service.
#[derive(Debug, Default)]
pub struct Opened {
    /// Its name.
    pub name: String,
    /// Its newest journal entries, oldest first; empty before the first answer.
    pub journal: Vec<JournalEntry>,
    /// The first line shown.
    pub scroll: u16,
}

impl Opened {
    /// A service that was just opened.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Returns the service after a key; none if the key closes it.
    pub fn after(mut self, key: KeyCode) -> Option<Self> {
        match key {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left => return None,
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Some(self)
    }
}
