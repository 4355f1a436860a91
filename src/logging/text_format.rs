//! Text format of the log, one line per record: time, level, component, message, `key=value` pairs.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::time::SystemTime;

use proxymgr_actors::decide::visible::{is_hidden, visible};
use slog::{Drain, KV, Key, Level, Never, OwnedKVList, Record, Serializer};

use super::{COMPONENT, component_of};

/// Writes records as lines.
pub struct TextFormat<W> {
    writer: RefCell<W>,
    colour: bool,
}

impl<W: Write> TextFormat<W> {
    /// Writes to `writer`; the level is coloured if `colour` is set.
    pub fn new(writer: W, colour: bool) -> Self {
        Self { writer: RefCell::new(writer), colour }
    }
}

impl<W: Write> Drain for TextFormat<W> {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut line = String::with_capacity(160);
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let (level, colour) = level_word(record.level());
        let _ =
            if self.colour { write!(line, "{time} {colour}{level}\x1b[0m ") } else { write!(line, "{time} {level} ") };
        let _ = write!(line, "{}: ", component_of(record, values).as_deref().unwrap_or("proxymgr"));
        line.push_str(&visible(&record.msg().to_string()));
        // Values of the record come first, then those of its logger. slog passes both in reverse order.
        let mut pairs = Pairs::default();
        let _ = record.kv().serialize(record, &mut pairs);
        pairs.push_reversed(&mut line);
        let _ = values.serialize(record, &mut pairs);
        pairs.push_reversed(&mut line);
        line.push('\n');
        let mut writer = self.writer.borrow_mut();
        // A failed write cannot be reported anywhere.
        let _ = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
        Ok(())
    }
}

fn level_word(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Critical => ("CRIT ", "\x1b[1;31m"),
        Level::Error => ("ERROR", "\x1b[31m"),
        Level::Warning => ("WARN ", "\x1b[33m"),
        Level::Info => ("INFO ", "\x1b[32m"),
        Level::Debug => ("DEBUG", "\x1b[36m"),
        Level::Trace => ("TRACE", "\x1b[2m"),
    }
}

#[derive(Default)]
struct Pairs(Vec<String>);

impl Pairs {
    fn push_reversed(&mut self, line: &mut String) {
        self.0.drain(..).rev().for_each(|pair| line.push_str(&pair));
    }
}

impl Serializer for Pairs {
    /// Values that are not known are left out.
    fn emit_none(&mut self, _: Key) -> slog::Result {
        Ok(())
    }

    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        if key == COMPONENT {
            return Ok(());
        }
        let text = value.to_string();
        let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || is_hidden(c) || c == '"');
        self.0.push(if plain { format!(" {key}={text}") } else { format!(" {key}={}", visible(&format!("{text:?}"))) });
        Ok(())
    }
}
