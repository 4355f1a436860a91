//! The lanes of a timeline. Each function draws from a top position and returns the top of the next lane.

use std::collections::BTreeMap;

use super::canvas::{Canvas, fitting, text_width};
use super::{Axis, LEFT, PLOT, WIDTH, time};
use crate::chronicle::{AppliedChange, Chronicle, HostLife, ProcessLife, Span};

const ROW: f64 = 15.0;
const GAP: f64 = 22.0;
const LABEL_X: f64 = 12.0;

/// With more hosts than this, each service is drawn as two curves.
const HOSTS_MAX: usize = 60;

/// With more reloads than this, they are not drawn through the other lanes.
const RELOAD_LINES_MAX: usize = 40;

/// Height of the lane of durations, and of a service drawn as curves.
const FORCE: f64 = 90.0;
const CURVES: f64 = 34.0;

/// Powers of ten on the axis of durations, in milliseconds.
const DECADES: [(u64, &str); 6] =
    [(1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s"), (100_000, "100 s")];

/// Assigns intervals to as few rows as possible.
#[derive(Default)]
struct Rows {
    ends: Vec<f64>,
}

impl Rows {
    /// Returns a row with room from `from` on, and reserves it up to `to`.
    fn take(&mut self, from: f64, to: f64) -> usize {
        let row = self.ends.iter().position(|end| *end + 4.0 <= from).unwrap_or(self.ends.len());
        match self.ends.get_mut(row) {
            Some(end) => *end = to,
            None => self.ends.push(to),
        }
        row
    }
}

fn row_y(y: f64, row: usize) -> f64 {
    y + f64::from(u32::try_from(row).unwrap_or(u32::MAX)) * ROW
}

/// Draws the legend of colours.
pub fn legend(canvas: &mut Canvas, y: f64) {
    let entries = [
        ("registered", "registered in discovery"),
        ("enabled", "takes traffic"),
        ("fault", "fault"),
        ("moment", "event"),
        ("starting", "starts"),
        ("serving", "serves"),
        ("draining", "drains"),
        ("force", "an applied change"),
    ];
    let mut x = LEFT;
    for (class, words) in entries {
        canvas.bar(class, (x, y - 8.0), (10.0, 10.0), words);
        canvas.text("dim", (x + 14.0, y + 1.0), words);
        x += 32.0 + text_width(words);
    }
}

/// Draws the steps of the plan, except changes of hosts.
pub fn faults(canvas: &mut Canvas, axis: Axis, y: f64, chronicle: &Chronicle) -> f64 {
    if chronicle.faults.is_empty() {
        return y;
    }
    canvas.text("lane", (LABEL_X, y + 11.0), "faults");
    let mut rows = Rows::default();
    for fault in &chronicle.faults {
        let (x, width) = axis.bar(fault.span);
        let is_moment = fault.span.to_ms == Some(fault.span.from_ms);
        let label = text_width(&fault.what) + 8.0;
        let (bar, text_x) = if is_moment { (3.0, x + 6.0) } else { (width, x + 4.0) };
        // Near the end of the axis a label is drawn before its bar.
        let is_late = text_x + label > WIDTH - 4.0;
        let (from, text_x) = if is_late { (x - label, x - label + 4.0) } else { (x, text_x) };
        let row = rows.take(from, (x + bar).max(text_x + label));
        let y = row_y(y, row);
        let class = if is_moment { "moment" } else { "fault" };
        canvas.bar(class, (x, y), (bar, ROW - 3.0), &format!("{}, {}", fault.what, spoken(fault.span)));
        canvas.text("label", (text_x, y + 10.0), &fault.what);
    }
    row_y(y, rows.ends.len()) + GAP
}

/// Draws the HAProxy processes and the causes of their starts.
pub fn processes(canvas: &mut Canvas, axis: Axis, y: f64, chronicle: &Chronicle) -> f64 {
    canvas.text("lane", (LABEL_X, y + 11.0), "HAProxy");
    canvas.text("dim", (LABEL_X, y + 25.0), &format!("{} starts", chronicle.processes.len()));
    let mut rows = Rows::default();
    for process in &chronicle.processes {
        let end_ms = process.ended_ms.unwrap_or(axis.ended_ms);
        let (x, end_x) = (axis.x(process.started_ms), axis.x(end_ms));
        let y = row_y(y, rows.take(x, end_x.max(x + 1.0)).min(30));
        let causes = process.causes.join("; ");
        let title = format!("HAProxy {}, started after {}: {causes}", process.pid, time(process.started_ms));
        for (class, span) in phases(process, end_ms) {
            let (x, width) = axis.bar(span);
            canvas.bar(class, (x, y), (width, ROW - 3.0), &title);
        }
        let serves = process.serves_ms.map(|at| axis.x(at)).unwrap_or(x);
        let room = axis.x(process.drains_ms.unwrap_or(end_ms)) - serves - 8.0;
        if room > 30.0 {
            canvas.text("on-bar", (serves + 4.0, y + 10.0), &fitting(&format!("{}: {causes}", process.pid), room));
        }
    }
    row_y(y, rows.ends.len().clamp(2, 31)) + GAP
}

fn phases(process: &ProcessLife, end_ms: u64) -> Vec<(&'static str, Span)> {
    let serves_ms = process.serves_ms.unwrap_or(end_ms).min(end_ms);
    let drains_ms = process.drains_ms.unwrap_or(end_ms).max(serves_ms);
    let spans = [
        ("starting", process.started_ms, serves_ms),
        ("serving", serves_ms, drains_ms),
        ("draining", drains_ms, end_ms),
    ];
    let spans = spans.into_iter().filter(|(_, from_ms, to_ms)| from_ms < to_ms);
    spans.map(|(class, from_ms, to_ms)| (class, Span { from_ms, to_ms: Some(to_ms) })).collect()
}

/// Draws how long each change took to be applied, on a logarithmic scale.
pub fn applied(canvas: &mut Canvas, axis: Axis, y: f64, chronicle: &Chronicle) -> f64 {
    let changes = &chronicle.applied;
    if changes.is_empty() {
        return y;
    }
    canvas.text("lane", (LABEL_X, y + 11.0), "applied after");
    let mut sorted: Vec<u64> = changes.iter().map(|change| change.took_ms).collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
    canvas.text("dim", (LABEL_X, y + 27.0), &format!("{} changes", sorted.len()));
    canvas.text("dim", (LABEL_X, y + 41.0), &format!("p50 {}", time(at(50))));
    canvas.text("dim", (LABEL_X, y + 55.0), &format!("p99 {}", time(at(99))));
    canvas.text("dim", (LABEL_X, y + 69.0), &format!("longest {}", time(at(100))));
    let shown = DECADES.iter().position(|(decade, _)| *decade >= at(100)).unwrap_or(DECADES.len() - 1).max(1);
    let decades = f64::from(u32::try_from(shown).unwrap_or(1));
    let height = |took_ms: u64| {
        let part = std::time::Duration::from_millis(took_ms.max(1)).as_secs_f64() * 1_000.0;
        y + FORCE - (part.log10() / decades).min(1.0) * FORCE
    };
    for (decade, words) in &DECADES[..=shown] {
        canvas.line("grid", (LEFT, height(*decade)), (LEFT + PLOT, height(*decade)));
        canvas.text("dim", (LEFT - 8.0 - text_width(words), height(*decade) + 4.0), words);
    }
    canvas.line("base", (LEFT, y + FORCE), (LEFT + PLOT, y + FORCE));
    for (column, changes) in columns(axis, changes) {
        let (least, most) = (changes[0], changes[changes.len() - 1]);
        if least != most {
            canvas.line("force-range", (column, height(least)), (column, height(most)));
        }
        let middle = changes[changes.len() / 2];
        canvas.dot("force", (column, height(middle)), &format!("{} changes, median {}", changes.len(), time(middle)));
    }
    y + FORCE + GAP
}

/// Groups the durations, sorted, by the position on the axis where they are drawn: one for every few pixels.
fn columns(axis: Axis, changes: &[AppliedChange]) -> Vec<(f64, Vec<u64>)> {
    const PIXELS: u64 = 3;
    let width_ms = (axis.ended_ms * PIXELS / 1_000).max(1);
    let mut columns: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for change in changes {
        columns.entry(change.at_ms / width_ms).or_default().push(change.took_ms);
    }
    let place = |column: u64| axis.x(column * width_ms + width_ms / 2);
    let sorted = columns.into_iter().map(|(column, mut took)| {
        took.sort_unstable();
        (place(column), took)
    });
    sorted.collect()
}

/// Draws the hosts of every service, or their number if there are many.
pub fn services(canvas: &mut Canvas, axis: Axis, mut y: f64, chronicle: &Chronicle) -> f64 {
    let hosts: usize = chronicle.services.values().map(BTreeMap::len).sum();
    let starts = chronicle.processes.iter().filter_map(|process| process.serves_ms);
    let top = y - GAP / 2.0;
    for (name, lives) in chronicle.services.iter().filter(|(_, lives)| !lives.is_empty()) {
        if hosts > HOSTS_MAX {
            curves(canvas, axis, y, name, lives);
            y += CURVES + 8.0;
            continue;
        }
        canvas.text("lane", (LABEL_X, y + 11.0), &fitting(name, LEFT - 60.0));
        for (host, life) in lives {
            row(canvas, axis, y, *host, life);
            y += ROW;
        }
        y += GAP / 2.0;
    }
    let starts: Vec<u64> = starts.collect();
    if starts.len() <= RELOAD_LINES_MAX {
        starts.iter().for_each(|at| canvas.line("reload", (axis.x(*at), top), (axis.x(*at), y)));
    }
    y
}

fn row(canvas: &mut Canvas, axis: Axis, y: f64, host: u8, life: &HostLife) {
    let name = format!("host {host}");
    canvas.text("dim", (LEFT - 8.0 - text_width(&name), y + 11.0), &name);
    for span in &life.registered {
        let (x, width) = axis.bar(*span);
        canvas.bar("registered", (x, y), (width, ROW - 2.0), &format!("{name} registered, {}", spoken(*span)));
    }
    for span in &life.enabled {
        let (x, width) = axis.bar(*span);
        canvas.bar("enabled", (x, y + 4.0), (width, ROW - 10.0), &format!("{name} takes traffic, {}", spoken(*span)));
    }
}

fn curves(canvas: &mut Canvas, axis: Axis, y: f64, name: &str, lives: &BTreeMap<u8, HostLife>) {
    let registered = counts(lives.values().flat_map(|life| &life.registered), axis.ended_ms);
    let enabled = counts(lives.values().flat_map(|life| &life.enabled), axis.ended_ms);
    let most = registered.iter().chain(&enabled).map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let place = |(at_ms, count): (u64, u32)| (axis.x(at_ms), y + CURVES - f64::from(count) / f64::from(most) * CURVES);
    let floor = y + CURVES;
    let area = std::iter::once((LEFT, floor))
        .chain(stairs(&registered, axis.ended_ms).map(place))
        .chain([(LEFT + PLOT, floor), (LEFT, floor)]);
    canvas.path("registered-line", area);
    canvas.path("enabled-line", stairs(&enabled, axis.ended_ms).map(place));
    canvas.line("base", (LEFT, floor), (LEFT + PLOT, floor));
    canvas.text("lane", (LABEL_X, y + 11.0), &fitting(name, LEFT - 20.0));
    canvas.text("dim", (LABEL_X, y + 25.0), &format!("up to {most} hosts"));
}

/// Returns the number of open spans, from each moment on at which it changes.
fn counts<'a>(spans: impl Iterator<Item = &'a Span>, ended_ms: u64) -> Vec<(u64, u32)> {
    let mut turns: BTreeMap<u64, i64> = BTreeMap::new();
    for span in spans {
        *turns.entry(span.from_ms).or_default() += 1;
        *turns.entry(span.to_ms.unwrap_or(ended_ms)).or_default() -= i64::from(span.to_ms.is_some());
    }
    let mut count = 0;
    let counts = turns.into_iter().map(|(at_ms, turn)| {
        count += turn;
        (at_ms, u32::try_from(count).unwrap_or_default())
    });
    counts.collect()
}

/// Returns the corners of the step curve of such counts; details too short to be seen are dropped, except the lowest
/// and the highest value.
fn stairs(counts: &[(u64, u32)], ended_ms: u64) -> impl Iterator<Item = (u64, u32)> {
    let seen_ms = (ended_ms / 1_000).max(1);
    let mut kept: Vec<(u64, u32)> = Vec::new();
    for chunk in counts.chunk_by(|(one, _), (other, _)| one / seen_ms == other / seen_ms) {
        let lowest = chunk.iter().min_by_key(|(_, count)| *count);
        let highest = chunk.iter().max_by_key(|(_, count)| *count);
        let mut corners: Vec<_> = [lowest, highest, chunk.last()].into_iter().flatten().copied().collect();
        corners.sort_by_key(|(at_ms, _)| *at_ms);
        corners.dedup();
        kept.extend(corners);
    }
    let ends: Vec<u64> = kept.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([ended_ms]).collect();
    kept.into_iter().zip(ends).flat_map(|((from_ms, count), to_ms)| [(from_ms, count), (to_ms, count)])
}

fn spoken(span: Span) -> String {
    match span.to_ms {
        Some(to_ms) if to_ms > span.from_ms => {
            format!("from {} for {}", time(span.from_ms), time(to_ms - span.from_ms))
        }
        Some(_) => format!("at {}", time(span.from_ms)),
        None => format!("from {} on", time(span.from_ms)),
    }
}
