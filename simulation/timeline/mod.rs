//! Draws a run: faults, HAProxy's processes and reloads, the hosts in discovery and those that take traffic, and how
//! long each change took to be applied.

mod canvas;
mod lanes;

use std::time::Duration;

use self::canvas::{Canvas, text_width};
use self::lanes::{applied, faults, legend, processes, services};
use super::chronicle::{Chronicle, Span};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 24.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

/// Approximate number of labels on the axis of time.
const TICKS: u64 = 10;

/// Possible intervals between labels, in milliseconds.
const STEPS_MS: [u64; 24] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    1_200_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000,
];

const STYLE: &str = "\
text { font: 11px system-ui, 'DejaVu Sans', sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.lane { font-weight: 600; }
.dim { fill: #6e7781; }
.paper { fill: #ffffff; }
.grid { stroke: #e4e8ec; }
.base { stroke: #c3cad1; }
.registered { fill: #c9dff2; }
.enabled { fill: #2a6fae; }
.registered-line { fill: #c9dff2; stroke: none; }
.enabled-line { fill: none; stroke: #2a6fae; stroke-width: 1.3; }
.fault { fill: #f0b354; }
.moment { fill: #d0473e; }
.starting { fill: #a8d5b5; }
.serving { fill: #3a9a5f; }
.draining { fill: #cfd4d9; }
.reload { stroke: #3a9a5f; stroke-dasharray: 3 3; }
.force { fill: #7a4fa3; }
.force-range { stroke: #b79ad0; stroke-width: 1.2; }
.on-bar { fill: #ffffff; }
";

/// Position of moments in the drawing.
#[derive(Debug, Clone, Copy)]
struct Axis {
    ended_ms: u64,
}

impl Axis {
    fn x(self, at_ms: u64) -> f64 {
        let part =
            Duration::from_millis(at_ms).as_secs_f64() / Duration::from_millis(self.ended_ms.max(1)).as_secs_f64();
        LEFT + part.min(1.0) * PLOT
    }

    /// Returns start and width of a span.
    fn bar(self, span: Span) -> (f64, f64) {
        let from = self.x(span.from_ms);
        (from, self.x(span.to_ms.unwrap_or(self.ended_ms)) - from)
    }

    fn step_ms(self) -> u64 {
        let fits = |step: &u64| self.ended_ms / step <= TICKS;
        STEPS_MS.into_iter().find(fits).unwrap_or_else(|| self.ended_ms.div_ceil(TICKS).max(1))
    }
}

/// Draws a run.
pub fn timeline(title: &str, chronicle: &Chronicle) -> String {
    let axis = Axis { ended_ms: chronicle.ended_ms };
    let mut lanes = Canvas::default();
    let top = 92.0;
    let mut y = top;
    y = faults(&mut lanes, axis, y, chronicle);
    y = processes(&mut lanes, axis, y, chronicle);
    y = applied(&mut lanes, axis, y, chronicle);
    y = services(&mut lanes, axis, y, chronicle);
    let mut canvas = Canvas::default();
    canvas.text("title", (LEFT, 28.0), title);
    legend(&mut canvas, 50.0);
    draw_axis(&mut canvas, axis, (top - 8.0, y));
    canvas.add(&lanes);
    canvas.finish((WIDTH, y + 28.0), STYLE, title)
}

fn draw_axis(canvas: &mut Canvas, axis: Axis, (top, bottom): (f64, f64)) {
    let step_ms = axis.step_ms();
    for at_ms in (0..=axis.ended_ms / step_ms).map(|tick| tick * step_ms) {
        let x = axis.x(at_ms);
        let label = time(at_ms);
        // The last label is drawn before its line.
        let fits = x + 3.0 + text_width(&label) <= WIDTH;
        let text_x = if fits { x + 3.0 } else { x - 3.0 - text_width(&label) };
        canvas.line("grid", (x, top), (x, bottom));
        canvas.text("dim", (text_x, top - 3.0), &label);
        canvas.text("dim", (text_x, bottom + 14.0), &label);
    }
}

/// Formats a moment or a duration of virtual time.
fn time(ms: u64) -> String {
    let whole = |unit_ms: u64| ms.is_multiple_of(unit_ms);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 if whole(1_000) => format!("{} s", ms / 1_000),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ if whole(3_600_000) => format!("{} h", ms / 3_600_000),
        60_000..3_600_000 if whole(60_000) => format!("{} min", ms / 60_000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, chronicled};

    #[test]
    fn drawing_is_complete_and_well_formed() {
        let plan: Plan = serde_json::from_str(
            r#"{"version": {"major": 3, "minor": 0}, "services": [["web", 2]], "steps": [{"wait": {"ms": 2000}},
                {"join": {"service": "web", "host": 3}}, {"change_options": {"service": "web", "variant": 2}},
                "session_lost", {"wait": {"ms": 3000}}, "heal", "process_dies", {"wait": {"ms": 2000}}]}"#,
        )
        .unwrap();
        let (outcome, chronicle) = chronicled(1, &plan, None);
        assert_eq!(outcome.violation, None);
        let drawing = timeline("a <run>", &chronicle);
        for shown in ["a &lt;run&gt;", "session lost", "process dies", "the definitions changed", "host 3", ">web<"] {
            assert!(drawing.contains(shown), "{shown}:\n{drawing}");
        }
        for shape in ["svg", "text", "rect", "title", "style", "circle"] {
            let (opened, closed) =
                (drawing.matches(&format!("<{shape}")).count(), drawing.matches(&format!("</{shape}>")).count());
            let alone = drawing.matches(r#"<rect class="paper""#).count();
            assert_eq!(opened, closed + if shape == "rect" { alone } else { 0 }, "{shape}");
        }
    }

    #[test]
    fn axis_has_few_round_labels() {
        for ended_ms in [7, 950, 61_000, 3_600_000, 86_400_000, 1_000_000_000] {
            let axis = Axis { ended_ms };
            let ticks = ended_ms / axis.step_ms();
            assert!((3..=TICKS).contains(&ticks), "{ended_ms} ms has {ticks} ticks");
        }
        assert_eq!(Axis { ended_ms: 86_400_000 }.step_ms(), 14_400_000);
    }

    #[test]
    fn times_are_short() {
        let cases = [(0, "0 ms"), (999, "999 ms"), (6_815, "6.8 s"), (20_000, "20 s"), (61_000, "1 min 1 s")];
        let cases = cases.into_iter().chain([(120_000, "2 min"), (7_200_000, "2 h"), (86_580_000, "24 h 3 min")]);
        cases.for_each(|(ms, words)| assert_eq!(time(ms), words));
    }
}
