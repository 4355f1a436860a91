//! State of `top`, and the effect of keys on it.

use proxymgr_actors::journal::JournalEntry;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use super::opened::Opened;
use crate::cli::service_row::{self, ServiceRow};
use crate::status::report::StatusReport;
use crate::status::severity::Severity;

/// Longest filter, in characters.
const FILTER_CHARS_MAX: usize = 100;

/// Order of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The most severe problems first.
    Problems,
    /// By name.
    Name,
    /// Most servers down first.
    Down,
    /// Fewest ready servers first.
    Ready,
}

impl Sort {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::Name => "name",
            Self::Down => "down",
            Self::Ready => "ready",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Problems => Self::Name,
            Self::Name => Self::Down,
            Self::Down => Self::Ready,
            Self::Ready => Self::Problems,
        }
    }
}

/// What happens after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// `top` continues.
    Continue,
    /// `top` ends.
    Quit,
}

/// State of the screen.
pub struct Top {
    /// The last report; none before the first answer.
    pub report: Option<StatusReport>,
    /// When it was received, in milliseconds since 1970.
    pub answered_unix_ms: u64,
    /// Error of the last request; none if it succeeded.
    pub error: Option<String>,
    /// Runtime changes per second, between the last two reports.
    pub changes_per_second: f64,
    /// The services shown, in order.
    pub rows: Vec<ServiceRow>,
    /// Their order.
    pub sort: Sort,
    /// Whether only services with problems are shown.
    pub only_problems: bool,
    /// Part of the names of the services shown.
    pub filter: String,
    /// The service that is shown alone.
    pub opened: Option<Opened>,
    /// Whether the filter is being edited.
    pub typing: bool,
    /// Whether to use colours.
    pub colours: bool,
    /// Selection and scroll position of the table.
    pub table: TableState,
}

impl Top {
    /// A screen before the first answer.
    pub fn new(colours: bool) -> Self {
        Self {
            report: None,
            answered_unix_ms: 0,
            error: None,
            changes_per_second: 0.0,
            rows: Vec::new(),
            sort: Sort::Problems,
            only_problems: false,
            filter: String::new(),
            opened: None,
            typing: false,
            colours,
            table: TableState::default().with_selected(0),
        }
    }

    /// Handles the answer of the daemon.
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

    /// The name of the opened service.
    pub fn opened_name(&self) -> Option<String> {
        self.opened.as_ref().map(|opened| opened.name.clone())
    }

    /// Handles the journal entries of a service, unless another one is opened meanwhile.
    pub fn journal_of(&mut self, service: &str, entries: Vec<JournalEntry>) {
        if let Some(opened) = self.opened.as_mut().filter(|opened| opened.name == service) {
            opened.journal = entries;
        }
    }

    /// Handles a terminal event.
    pub fn handle(&mut self, event: &Event) -> Next {
        let Event::Key(key) = event else { return Next::Continue };
        if key.kind == KeyEventKind::Release {
            return Next::Continue;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.typing {
            self.type_filter(key);
        } else if self.command(key) == Next::Quit {
            return Next::Quit;
        }
        self.arrange();
        Next::Continue
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

    fn command(&mut self, key: &KeyEvent) -> Next {
        const PAGE: u16 = 10;
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            code if self.opened.is_some() => {
                self.opened = self.opened.take().and_then(|opened| opened.after(code));
            }
            KeyCode::Enter => {
                let row = self.table.selected().and_then(|at| self.rows.get(at));
                self.opened = row.map(|row| Opened::new(&row.name));
            }
            KeyCode::Esc if self.filter.is_empty() => return Next::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | 't') => self.only_problems = !self.only_problems,
            KeyCode::Down | KeyCode::Char('j') => self.table.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.table.select_previous(),
            KeyCode::PageDown | KeyCode::Char(' ') => self.table.scroll_down_by(PAGE),
            KeyCode::PageUp => self.table.scroll_up_by(PAGE),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            _ => {}
        }
        Next::Continue
    }

    /// Filters and sorts the services of the last report.
    fn arrange(&mut self) {
        let Some(report) = &self.report else { return };
        let mut rows = service_row::rows(report, self.answered_unix_ms);
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| {
            row.name.to_lowercase().contains(&wanted) && (!self.only_problems || row.severity != Severity::Ok)
        });
        match self.sort {
            // Rows are sorted by name already; all sorts are stable.
            Sort::Name => {}
            Sort::Problems => rows.sort_by_key(|row| std::cmp::Reverse(row.severity)),
            Sort::Down => rows.sort_by_key(|row| std::cmp::Reverse(row.servers.down)),
            Sort::Ready => rows.sort_by_key(|row| row.servers.ready),
        }
        self.rows = rows;
        let last = self.rows.len().saturating_sub(1);
        self.table.select(Some(self.table.selected().unwrap_or_default().min(last)));
    }
}

/// Runtime changes since the daemon started.
fn changes(report: &StatusReport) -> Option<u64> {
    let counts = &report.haproxy()?.counts;
    Some(counts.runtime_enable + counts.runtime_disable + counts.runtime_delete)
}
