//! The table of services, fitted to the width of the terminal.

use crate::cli::service_row::ServiceRow;
use crate::cli::text::{clipped, printable};
use crate::status::severity::Severity;
use crate::terminal::Paint;

/// The table. If it is too wide, names are clipped first, then less important columns are left out.
pub fn text(rows: &[ServiceRow], width: Option<usize>, paint: Paint) -> String {
    let columns = Columns::fitting(rows, width);
    let mut text = format!("{}\n", paint.faint(&columns.header()));
    for row in rows {
        let line = columns.line(row);
        text.push_str(&if row.severity == Severity::Ok { line } else { paint.bad(&line) });
        text.push('\n');
    }
    text
}

/// Widths of the columns; 0 for columns that are left out.
struct Columns {
    name: usize,
    listen: usize,
    source: usize,
    update: usize,
    last_change: usize,
    total: usize,
}

/// Width of the four columns of numbers.
const NUMBERS_WIDTH: usize = 4 * 6;

/// Least width of the column of names.
const NAME_WIDTH_MIN: usize = 12;

impl Columns {
    fn fitting(rows: &[ServiceRow], width: Option<usize>) -> Self {
        let widest = |text: fn(&ServiceRow) -> &str, least: usize| {
            rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(least)
        };
        let total = width.unwrap_or(usize::MAX);
        let mut columns = Self {
            name: widest(|row| &row.name, "SERVICE".len()),
            listen: widest(|row| &row.listen, "LISTEN".len()),
            source: widest(|row| &row.source, "SOURCE".len()),
            update: widest(|row| row.update, "UPDATE".len()),
            last_change: widest(|row| &row.last_change, "LAST CHANGE".len()),
            total,
        };
        let excess = |columns: &Self| columns.needed().saturating_sub(total);
        columns.name -= excess(&columns).min(columns.name.saturating_sub(NAME_WIDTH_MIN));
        if excess(&columns) > 0 {
            columns.listen = 0;
        }
        if excess(&columns) > 0 {
            columns.update = 0;
        }
        if excess(&columns) > 0 {
            columns.last_change = 0;
        }
        columns
    }

    fn needed(&self) -> usize {
        let with_blank = |width: usize| if width == 0 { 0 } else { width + 1 };
        let least = self.name + NUMBERS_WIDTH + 2 + self.source;
        [self.listen, self.update, self.last_change].into_iter().map(with_blank).sum::<usize>() + least
    }

    fn header(&self) -> String {
        self.format(["SERVICE", "LISTEN", "SOURCE", "UPDATE", "LAST CHANGE"], ["READY", "DOWN", "DRAIN", "MAINT"])
    }

    fn line(&self, row: &ServiceRow) -> String {
        let numbers = [row.servers.ready, row.servers.down, row.servers.drain, row.servers.maint]
            .map(|number| number.to_string());
        self.format(
            [&row.name, &row.listen, &row.source, row.update, &row.last_change],
            numbers.each_ref().map(String::as_str),
        )
    }

    fn format(&self, [name, listen, source, update, last_change]: [&str; 5], numbers: [&str; 4]) -> String {
        let mut line = format!("{:width$}", clipped(&printable(name), self.name), width = self.name);
        if self.listen > 0 {
            line.push_str(&format!(" {:width$}", clipped(listen, self.listen), width = self.listen));
        }
        numbers.iter().for_each(|number| line.push_str(&format!(" {number:>5}")));
        line.push_str(&format!("  {source:width$}", width = self.source));
        if self.update > 0 {
            line.push_str(&format!(" {update:width$}", width = self.update));
        }
        if self.last_change > 0 {
            line.push_str(&format!(" {last_change}"));
        }
        clipped(line.trim_end(), self.total)
    }
}
