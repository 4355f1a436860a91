//! Drawing of `top`: summary, problems, services, keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::state::Top;
use crate::cli::service_row::ServiceRow;
use crate::cli::status;
use crate::cli::text::{printable, span};
use crate::status::format::counted;
use crate::status::report::StatusReport;
use crate::status::severity::Severity;

/// Problems shown; the rest is counted.
const CONCERNS_MAX: usize = 5;

/// Least width of the table with the columns UPDATE, LISTEN and LAST CHANGE.
const UPDATE_FROM: u16 = 108;
const LISTEN_FROM: u16 = 100;
const LAST_CHANGE_FROM: u16 = 80;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, top: &mut Top, now_unix_ms: u64) {
    if top.opened.is_some() && top.report.is_some() {
        return draw_service(frame, top, now_unix_ms);
    }
    let summary = summary(top, now_unix_ms);
    let concerns = concerns(top, now_unix_ms);
    let areas = Layout::vertical([
        Constraint::Length(rows_of(&summary)),
        Constraint::Length(rows_of(&concerns)),
        Constraint::Min(2),
        Constraint::Length(1),
    ]);
    let [summary_area, concerns_area, table_area, foot_area] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(summary), summary_area);
    frame.render_widget(Paragraph::new(concerns), concerns_area);
    draw_services(frame, table_area, top);
    frame.render_widget(foot(top), foot_area);
}

/// Draws the opened service alone, as `proxymgr status SERVICE` shows it.
fn draw_service(frame: &mut Frame<'_>, top: &mut Top, now_unix_ms: u64) {
    let error = top.error.as_ref().map(|error| Line::styled(printable(error), coloured(top, Color::Red)));
    let error: Vec<Line<'_>> = error.into_iter().collect();
    let (Some(opened), Some(report)) = (&mut top.opened, &top.report) else { return };
    let areas = Layout::vertical([Constraint::Length(rows_of(&error)), Constraint::Min(1), Constraint::Length(1)]);
    let [error_area, text_area, foot_area] = areas.areas(frame.area());
    let text = status::service_text(report, &opened.name, &opened.journal, now_unix_ms);
    let text = text.unwrap_or_else(|| format!("{} is gone\n", printable(&opened.name)));
    let mut lines: Vec<Line<'_>> = text.lines().map(Line::raw).collect();
    if let Some(first) = lines.first_mut() {
        first.style = Style::new().add_modifier(Modifier::BOLD);
    }
    opened.scroll = opened.scroll.min(rows_of(&lines).saturating_sub(text_area.height));
    frame.render_widget(Paragraph::new(error), error_area);
    frame.render_widget(Paragraph::new(lines).scroll((opened.scroll, 0)), text_area);
    frame.render_widget(Line::raw("Esc back  arrows scroll  q quit"), foot_area);
}

fn rows_of(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

/// A style with this colour, if colours are on.
fn coloured(top: &Top, colour: Color) -> Style {
    if top.colours { Style::new().fg(colour) } else { Style::new() }
}

fn summary(top: &Top, now_unix_ms: u64) -> Vec<Line<'static>> {
    let bold = |colour| coloured(top, colour).add_modifier(Modifier::BOLD);
    let mut lines = Vec::new();
    if let Some(error) = &top.error {
        lines.push(Line::styled(printable(error), bold(Color::Red)));
        if top.report.is_some() {
            let ago = span(now_unix_ms.saturating_sub(top.answered_unix_ms));
            lines.push(Line::raw(format!("the data below is {ago} old")));
        }
    }
    let Some(report) = &top.report else {
        if top.error.is_none() {
            lines.push(Line::raw("connecting to the daemon"));
        }
        return lines;
    };
    lines.push(match (report.readiness.ready, report.concerns.len()) {
        (true, 0) => Line::styled("OK", bold(Color::Green)),
        (true, n) => Line::styled(counted(n, "problem"), bold(Color::Yellow)),
        (false, n) => Line::styled(format!("Not ready, {}", counted(n, "problem")), bold(Color::Red)),
    });
    lines.push(Line::raw(processes(report)));
    if let Some(haproxy) = report.haproxy() {
        let servers: usize = haproxy.services.values().map(|service| service.servers.len()).sum();
        let counts = &haproxy.counts;
        lines.push(Line::raw(format!(
            "{} services, {servers} servers; {:.1} changes/s; reloads {}, drift {}, refused {}",
            haproxy.services.len(),
            top.changes_per_second,
            counts.reload,
            counts.drift,
            counts.refused
        )));
    }
    lines
}

fn processes(report: &StatusReport) -> String {
    let daemon = &report.daemon;
    let haproxy = match report.haproxy().and_then(|haproxy| haproxy.process.as_ref()) {
        Some(process) => format!("HAProxy {}, pid {}", process.version_text, process.pid),
        None => "HAProxy is not running".to_owned(),
    };
    format!("proxymgr {}, up {}; {haproxy}", daemon.version, span(daemon.uptime_s * 1_000))
}

fn concerns(top: &Top, now_unix_ms: u64) -> Vec<Line<'static>> {
    let Some(report) = &top.report else { return Vec::new() };
    let line = |concern: &crate::status::concern::Concern| {
        let since = concern.since_unix_ms.map(|since| format!("{} ", span(now_unix_ms.saturating_sub(since))));
        let text = Span::styled(printable(&concern.text), coloured(top, Color::Red));
        Line::from(vec![Span::raw("  "), Span::raw(since.unwrap_or_default()), text])
    };
    let mut lines: Vec<_> = report.concerns.iter().take(CONCERNS_MAX).map(line).collect();
    if report.concerns.len() > CONCERNS_MAX {
        lines.push(Line::raw(format!("  and {} more", report.concerns.len() - CONCERNS_MAX)));
    }
    lines
}

fn draw_services(frame: &mut Frame<'_>, area: Rect, top: &mut Top) {
    let with_listen = area.width >= LISTEN_FROM;
    let with_update = area.width >= UPDATE_FROM;
    let with_last_change = area.width >= LAST_CHANGE_FROM;
    let cells = |name: &str, listen: &str, numbers: [String; 5], source: &str, update: &str, last_change: &str| {
        let mut cells = vec![printable(name)];
        cells.extend(with_listen.then(|| listen.to_owned()));
        cells.extend(numbers.map(|number| format!("{number:>6}")));
        cells.push(source.to_owned());
        cells.extend(with_update.then(|| update.to_owned()));
        cells.extend(with_last_change.then(|| last_change.to_owned()));
        Row::new(cells.into_iter().map(Cell::from))
    };
    let mut widths = vec![Constraint::Min(12)];
    widths.extend(with_listen.then_some(Constraint::Max(24)));
    widths.extend([Constraint::Length(6); 5]);
    widths.push(Constraint::Length(12));
    widths.extend(with_update.then_some(Constraint::Length(7)));
    widths.extend(with_last_change.then_some(Constraint::Length(27)));
    let titles = ["WANTED", "READY", "DOWN", "DRAIN", "MAINT"].map(ToOwned::to_owned);
    let header = cells("SERVICE", "LISTEN", titles, "SOURCE", "UPDATE", "LAST CHANGE");
    let rows = top.rows.iter().map(|row: &ServiceRow| {
        let numbers = [row.desired, row.servers.ready, row.servers.down, row.servers.drain, row.servers.maint]
            .map(|number| number.to_string());
        let style = match row.severity {
            Severity::Critical => coloured(top, Color::Red),
            Severity::Warning => coloured(top, Color::Yellow),
            Severity::Ok => Style::new(),
        };
        cells(&row.name, &row.listen, numbers, &row.source, row.update, &row.last_change).style(style)
    });
    let table = Table::new(rows.collect::<Vec<_>>(), widths)
        .header(header.style(Style::new().add_modifier(Modifier::REVERSED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    frame.render_stateful_widget(table, area, &mut top.table);
}

fn foot(top: &Top) -> Line<'static> {
    if top.typing {
        return Line::raw(format!("filter: {}_   Enter applies, Esc clears", top.filter));
    }
    let filter = if top.filter.is_empty() { String::new() } else { format!(" ({})", top.filter) };
    let shown = if top.only_problems { "all" } else { "only problems" };
    Line::raw(format!("q quit  s sort: {}  p {shown}  / filter{filter}  Enter opens", top.sort.as_str()))
}
