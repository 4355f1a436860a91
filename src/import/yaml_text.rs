//! Writes readable YAML: sections, keys and comments.

use serde_json::Value;

/// A YAML text.
#[derive(Debug, Default)]
pub struct YamlText {
    text: String,
    indent: usize,
}

impl YamlText {
    /// A text that begins with these comments.
    pub fn with_header(lines: &[&str]) -> Self {
        let mut yaml = Self::default();
        lines.iter().for_each(|line| yaml.comment(line));
        yaml
    }

    /// Adds a comment.
    pub fn comment(&mut self, text: &str) {
        self.line(&if text.is_empty() { "#".to_owned() } else { format!("# {text}") });
    }

    /// Adds a key with its value on one line, which may be JSON.
    pub fn key(&mut self, name: &str, value: impl Into<Value>) {
        match value.into() {
            Value::String(text) if is_plain(&text) => self.line(&format!("{name}: {text}")),
            value => self.line(&format!("{name}: {value}")),
        }
    }

    /// Adds a key with a list, one entry per line.
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

    /// Adds a key with a list of values that may be JSON, each with a comment behind it.
    pub fn entries(&mut self, name: &str, entries: &[(Value, Option<String>)]) {
        if entries.is_empty() {
            self.line(&format!("{name}: []"));
            return;
        }
        self.line(&format!("{name}:"));
        for (entry, comment) in entries {
            let comment = comment.as_ref().map(|comment| format!("  # {comment}")).unwrap_or_default();
            self.line(&format!("  - {}{comment}", on_one_line(entry)));
        }
    }

    /// Adds a section, whose keys `write` adds.
    pub fn section(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.line(&format!("{name}:"));
        self.indent += 1;
        write(self);
        self.indent -= 1;
    }

    /// Adds a blank line.
    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// The complete text.
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

/// The value as JSON, with a space after each comma and colon of an object.
fn on_one_line(value: &Value) -> String {
    let Value::Object(keys) = value else { return value.to_string() };
    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
    format!("{{{}}}", keys.join(", "))
}

/// Whether the text needs no quotes.
fn is_plain(text: &str) -> bool {
    let begins_well = text.starts_with(|char: char| char.is_ascii_alphabetic() || char == '/');
    let is_word = matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null");
    begins_well && !is_word && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_parses_to_the_same_values() {
        let mut yaml = YamlText::with_header(&["from somewhere"]);
        yaml.section("a", |a| {
            a.key("path", "/etc/x");
            a.key("strange", "yes: # no");
            a.key("word", "yes");
            a.key("number", 7);
            a.list("lines", &["one \"two\"".to_owned(), "- three".to_owned()]);
            a.list("none", &[]);
            a.entries("hosts", &[(serde_json::json!({"b": "c: d", "e": 1}), Some("f # g".to_owned()))]);
            a.entries("no hosts", &[]);
        });
        let read: Value = serde_saphyr::from_str(&yaml.finish()).unwrap();
        let expected = serde_json::json!({"a": {
            "path": "/etc/x", "strange": "yes: # no", "word": "yes", "number": 7,
            "lines": ["one \"two\"", "- three"], "none": [],
            "hosts": [{"b": "c: d", "e": 1}], "no hosts": [],
        }});
        assert_eq!(read, expected);
    }
}
