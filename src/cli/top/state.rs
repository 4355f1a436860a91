//! What `top` shows, and what keys do to it.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use crate::cli::service_row::{self, ServiceRow, Trouble};
use crate::status::report::StatusReport;

/// The longest text to filter by, in characters.
const FILTER_CHARS_MAX: usize = 100;

/// By what services are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Those with the most trouble first.
    Trouble,
    /// By name.
    Name,
    /// Those with the most servers down first.
    Down,
    /// Those with the fewest ready servers first.
    Ready,
}

impl Sort {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Down => "down",
            Self::Ready => "ready",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Name,
            Self::Name => Self::Down,
            Self::Down => Self::Ready,
            Self::Ready => Self::Trouble,
        }
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    Stay,
    /// To end.
    Leave,
}

/// Everything on the screen.
pub struct Top {
    /// What the daemon last said; none before its first answer.
    pub report: Option<StatusReport>,
    /// When it said so, in milliseconds since 1970.
    pub answered_unix_ms: u64,
    /// Why it did not answer when it was last asked; none when it did.
    pub error: Option<String>,
    /// Changes at run time each second, between the last two answers.
    pub changes_per_second: f64,
    /// The services that are shown, in their order.
    pub rows: Vec<ServiceRow>,
    /// By what they are sorted.
    pub sort: Sort,
    /// Whether only those with trouble are shown.
    pub only_trouble: bool,
    /// What the names of those that are shown contain.
    pub filter: String,
    /// Whether that is being typed.
    pub typing: bool,
    /// Whether there are colours.
    pub colours: bool,
    /// Where the table is.
    pub table: TableState,
}

impl Top {
    /// A screen that waits for the first answer.
    pub fn new(colours: bool) -> Self {
        Self {
            report: None,
            answered_unix_ms: 0,
            error: None,
            changes_per_second: 0.0,
            rows: Vec::new(),
            sort: Sort::Trouble,
            only_trouble: false,
            filter: String::new(),
            typing: false,
            colours,
            table: TableState::default().with_selected(0),
        }
    }

    /// The daemon answered, or did not.
    pub fn answered(&mut self, answer: Result<StatusReport, String>, now_unix_ms: u64) {
        match answer {
            Ok(report) => {
                let elapsed_ms = now_unix_ms.saturating_sub(self.answered_unix_ms);
                let before = self.report.as_ref().and_then(changes);
                self.changes_per_second = match (before, changes(&report)) {
                    (Some(before), Some(now)) if elapsed_ms > 0 => {
                        now.saturating_sub(before) as f64 * 1_000.0 / elapsed_ms as f64
                    }
                    _ => 0.0,
                };
                self.report = Some(report);
                self.answered_unix_ms = now_unix_ms;
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
        self.arrange();
    }

    /// Something was typed, or the terminal changed its size.
    pub fn told(&mut self, event: &Event) -> Wish {
        let Event::Key(key) = event else { return Wish::Stay };
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Leave;
        }
        if self.typing {
            self.type_filter(key);
        } else if self.command(key) == Wish::Leave {
            return Wish::Leave;
        }
        self.arrange();
        Wish::Stay
    }

    fn type_filter(&mut self, key: &KeyEvent) {
        match key.code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(char) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(char),
            _ => {}
        }
    }

    fn command(&mut self, key: &KeyEvent) -> Wish {
        const PAGE: u16 = 10;
        match key.code {
            KeyCode::Char('q') => return Wish::Leave,
            KeyCode::Esc if self.filter.is_empty() => return Wish::Leave,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('t') => self.only_trouble = !self.only_trouble,
            KeyCode::Down | KeyCode::Char('j') => self.table.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.table.select_previous(),
            KeyCode::PageDown | KeyCode::Char(' ') => self.table.scroll_down_by(PAGE),
            KeyCode::PageUp => self.table.scroll_up_by(PAGE),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            _ => {}
        }
        Wish::Stay
    }

    /// Filters and sorts what the daemon last said. The service that was selected stays so.
    fn arrange(&mut self) {
        let Some(report) = &self.report else { return };
        let mut rows = service_row::rows(report, self.answered_unix_ms);
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| {
            row.name.to_lowercase().contains(&wanted) && (!self.only_trouble || row.trouble != Trouble::None)
        });
        match self.sort {
            // They come sorted by name, and sorting keeps the order of equals.
            Sort::Name => {}
            Sort::Trouble => rows.sort_by_key(|row| row.trouble),
            Sort::Down => rows.sort_by_key(|row| std::cmp::Reverse(row.down)),
            Sort::Ready => rows.sort_by_key(|row| row.ready),
        }
        self.rows = rows;
        let last = self.rows.len().saturating_sub(1);
        self.table.select(Some(self.table.selected().unwrap_or_default().min(last)));
    }
}

/// How many servers were changed at run time since the daemon started.
fn changes(report: &StatusReport) -> Option<u64> {
    let counts = &report.haproxy()?.counts;
    Some(counts.runtime_enable + counts.runtime_disable + counts.runtime_delete)
}
