//! The basic shapes of a timeline, as SVG.

use std::fmt::Write;

/// Approximate width of a character of the small text, in pixels.
const CHARACTER: f64 = 6.1;

/// A drawing that grows downwards.
#[derive(Debug, Default)]
pub struct Canvas {
    shapes: String,
}

/// Escapes text for XML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Returns the approximate width of this text, in pixels.
pub fn text_width(text: &str) -> f64 {
    // Texts are short: their length is exact as a float.
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * CHARACTER
}

/// Truncates a text to this width.
pub fn fitting(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if text_width(&cut) + 2.0 * CHARACTER > width {
            break;
        }
        cut.push(c);
    }
    format!("{}…", cut.trim_end())
}

impl Canvas {
    /// Draws a bar with a tooltip.
    pub fn bar(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), title: &str) {
        let width = width.max(1.0);
        let _ = writeln!(
            self.shapes,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            escaped(title)
        );
    }

    /// Draws a text that begins here.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let _ = writeln!(self.shapes, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(text));
    }

    /// Draws a straight line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(self.shapes, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Draws a dot with a tooltip.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        let _ = writeln!(
            self.shapes,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5"><title>{}</title></circle>"#,
            escaped(title)
        );
    }

    /// Draws a line, or the outline of an area, through these points.
    pub fn path(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut way = String::new();
        for (at, (x, y)) in points.enumerate() {
            let _ = write!(way, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        if !way.is_empty() {
            let _ = writeln!(self.shapes, r#"<path class="{class}" d="{way}"/>"#);
        }
    }

    /// Draws the content of another canvas on top.
    pub fn add(&mut self, other: &Self) {
        self.shapes.push_str(&other.shapes);
    }

    /// Returns the complete, self-contained drawing.
    pub fn finish(&self, (width, height): (f64, f64), style: &str, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{}</title>\n<style>\n{style}</style>\n\
             <rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{}</svg>\n",
            escaped(title),
            self.shapes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_cut_to_its_room() {
        let mut canvas = Canvas::default();
        canvas.text("label", (1.0, 2.0), "a<b & \"c\"\n");
        assert!(canvas.finish((10.0, 10.0), "", "t").contains(">a&lt;b &amp; &quot;c&quot; </text>"));
        assert_eq!(fitting("a long label", 50.0), "a long…");
        assert_eq!(fitting("short", 50.0), "short");
    }
}
