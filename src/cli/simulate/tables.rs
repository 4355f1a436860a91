//! Results of scenarios as tables.

use std::fmt::Write;
use std::time::Duration;

use proxymgr_simulation::scenario::{Report, Scenario};
use proxymgr_simulation::{Day, DayFigures, Fleet, Load, Spread};

/// The width of the first column, and of each further one.
const LABEL: usize = 34;
const COLUMN: usize = 22;

/// Returns the summary of a scenario that met all expectations.
pub fn story(scenario: &Scenario, report: &Report, took: Duration) -> String {
    let took_s = took.as_secs_f64();
    let virtual_time = humantime::format_duration(Duration::from_secs(report.chronicle.ended_ms / 1_000));
    let mut text = format!("{}\nAs expected: {virtual_time} of virtual time in {took_s:.2} s.\n", scenario.about);
    if let (Some(load), Some(day)) = (&scenario.load, &report.day) {
        text.push('\n');
        text.push_str(&one_day(scenario, load, report.seed, day));
    }
    text
}

fn one_day(scenario: &Scenario, load: &Load, seed: u64, day: &Day) -> String {
    let ways = day.ways.iter().map(|(way, figures)| (way.to_string(), figures));
    let ancestors = day.ancestors.iter().map(|(rule, figures)| (rule.to_string(), figures));
    let actors = std::iter::once(("proxymgr".to_owned(), &day.actors));
    let (names, columns): (Vec<String>, Vec<&DayFigures>) = actors.chain(ways).chain(ancestors).unzip();
    let mut text = heading(scenario, load, &format!("seed {seed}"));
    row(&mut text, "", names.iter().cloned());
    row(&mut text, "updates", columns.iter().map(|_| number(day.updates as u64)));
    figures(&mut text, "runtime commands", &columns, |figures| number(figures.commands as u64));
    figures(&mut text, "reloads made", &columns, |figures| number(figures.reloads as u64));
    let always = columns.iter().map(|figures| figures.reloads).max().unwrap_or_default();
    figures(&mut text, "reloads avoided", &columns, |figures| number((always - figures.reloads) as u64));
    figures(&mut text, "applied after, p50 / p99", &columns, |figures| {
        format!("{} / {}", time(figures.percentile_ms(50)), time(figures.percentile_ms(99)))
    });
    figures(&mut text, "most updates waiting at once", &columns, |figures| number(figures.backlog_max as u64));
    figures(&mut text, "undone before applied", &columns, |figures| number(figures.overtaken as u64));
    figures(&mut text, "never applied", &columns, |figures| number(figures.never_in_force as u64));
    text.push_str("\nReloads by cause:\n");
    for (name, figures) in names.into_iter().zip(columns) {
        let causes = figures.reload_causes.iter().map(|(cause, times)| format!("{} {cause}", number(*times)));
        let causes = causes.collect::<Vec<_>>().join(", ");
        let causes = if causes.is_empty() { "none".to_owned() } else { causes };
        let _ = writeln!(text, "  {name:<LABEL$}{causes}");
    }
    text.push_str(
        "\nThe three columns on the right are models of the rules of older programs, on the same trace with like\n\
         latencies; their polling and their pauses are left out. Times are virtual, from the change in discovery (which\n\
         takes 0 to 25 ms to be heard) until HAProxy is the same.\n",
    );
    text
}

/// Returns the summary of a fleet whose machines met all expectations.
pub fn fleet(scenario: &Scenario, fleet: &Fleet, took: Duration) -> String {
    let (machines, took_s) = (number(fleet.well), took.as_secs_f64());
    let mut text = format!("{}\nAs expected on all of {machines} machines, in {took_s:.1} s.\n", scenario.about);
    let (Some(load), Some(first)) = (&scenario.load, fleet.days.first()) else { return text };
    text.push('\n');
    let last = first.seed.wrapping_add(fleet.well - 1);
    text.push_str(&heading(scenario, load, &format!("seeds {} to {last}", first.seed)));
    row(&mut text, "", ["all machines", "least", "median", "p99", "most"].map(ToOwned::to_owned).into_iter());
    summed(&mut text, "updates", fleet.spread(|day| day.updates));
    summed(&mut text, "runtime commands", fleet.spread(|day| day.commands));
    summed(&mut text, "reloads made", fleet.spread(|day| day.reloads));
    summed(&mut text, "reloads avoided", fleet.spread(|day| day.reloads_avoided));
    for (place, (rule, _)) in first.reloads_under.iter().enumerate() {
        summed(&mut text, &format!("  reloads, {rule}"), fleet.spread(|day| day.reloads_under[place].1));
    }
    let within = |percent| time(fleet.percentile_ms(percent));
    spread(&mut text, "applied after, p50", within(50), fleet.spread(|day| day.p50_ms), time);
    spread(&mut text, "applied after, p99", within(99), fleet.spread(|day| day.p99_ms), time);
    let waiting = fleet.spread(|day| day.backlog_max);
    spread(&mut text, "most updates waiting at once", String::new(), waiting, number);
    summed(&mut text, "never applied", fleet.spread(|day| day.never_in_force));
    text.push_str("\nTimes of all machines are those of all their updates; the other columns are machines.\n");
    text
}

fn heading(scenario: &Scenario, load: &Load, seeds: &str) -> String {
    format!(
        "{} services with {} hosts each, HAProxy {}, {}, {seeds}:\n\n",
        load.services,
        load.hosts,
        scenario.version,
        humantime::format_duration(load.over)
    )
}

fn row(text: &mut String, label: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(text, "{label:<LABEL$}");
    cells.for_each(|cell| {
        let _ = write!(text, "{cell:>COLUMN$}");
    });
    text.push('\n');
}

fn figures(text: &mut String, label: &str, columns: &[&DayFigures], cell: impl Fn(&DayFigures) -> String) {
    row(text, label, columns.iter().map(|figures| cell(figures)));
}

/// Appends a figure that is summed over the machines.
fn summed(text: &mut String, label: &str, figures: Spread) {
    spread(text, label, number(figures.total), figures, number);
}

fn spread(text: &mut String, label: &str, of_all: String, spread: Spread, cell: impl Fn(u64) -> String) {
    let rest = [spread.min, spread.median, spread.p99, spread.max].map(cell);
    row(text, label, std::iter::once(of_all).chain(rest));
}

/// 20000 as `20,000`.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats milliseconds as `12 ms`, or `3.4 s` and so on for long times.
fn time(milliseconds: u64) -> String {
    match milliseconds {
        0..10_000 => format!("{} ms", number(milliseconds)),
        _ => humantime::format_duration(Duration::from_secs(milliseconds / 1_000)).to_string(),
    }
}
