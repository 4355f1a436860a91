//! YAML as a person would write it: sections, keys, and a comment where something has no equivalent.

use serde_json::Value;

/// A YAML text that grows.
#[derive(Debug, Default)]
pub struct Written {
    text: String,
    indent: usize,
}

impl Written {
    /// A text that begins with these lines of comment.
    pub fn headed(lines: &[&str]) -> Self {
        let mut written = Self::default();
        lines.iter().for_each(|line| written.comment(line));
        written
    }

    /// A line of comment.
    pub fn comment(&mut self, text: &str) {
        self.line(&if text.is_empty() { "#".to_owned() } else { format!("# {text}") });
    }

    /// A key with its value, on one line: JSON is YAML.
    pub fn key(&mut self, name: &str, value: impl Into<Value>) {
        match value.into() {
            Value::String(text) if is_plain(&text) => self.line(&format!("{name}: {text}")),
            value => self.line(&format!("{name}: {value}")),
        }
    }

    /// A key with a list, one entry a line; a list of nothing on one line.
    pub fn list(&mut self, name: &str, entries: &[String]) {
        if entries.is_empty() {
            self.line(&format!("{name}: []"));
            return;
        }
        self.line(&format!("{name}:"));
        for entry in entries {
            self.line(&format!("  - {}", Value::from(entry.as_str())));
        }
    }

    /// A key that has keys below it.
    pub fn section(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.line(&format!("{name}:"));
        self.indent += 1;
        write(self);
        self.indent -= 1;
    }

    /// A blank line.
    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        for _ in 0..self.indent {
            self.text.push_str("  ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Whether YAML reads the text as this text even without quotes.
fn is_plain(text: &str) -> bool {
    let begins_well = text.starts_with(|char: char| char.is_ascii_alphabetic() || char == '/');
    let is_word = matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null");
    begins_well && !is_word && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_it_was_meant() {
        let mut written = Written::headed(&["from somewhere"]);
        written.section("a", |a| {
            a.key("path", "/etc/x");
            a.key("strange", "yes: # no");
            a.key("word", "yes");
            a.key("number", 7);
            a.list("lines", &["one \"two\"".to_owned(), "- three".to_owned()]);
            a.list("none", &[]);
        });
        let read: Value = serde_saphyr::from_str(&written.finish()).unwrap();
        let expected = serde_json::json!({"a": {
            "path": "/etc/x", "strange": "yes: # no", "word": "yes", "number": 7,
            "lines": ["one \"two\"", "- three"], "none": [],
        }});
        assert_eq!(read, expected);
    }
}
