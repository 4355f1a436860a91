use std::sync::Mutex;

use slog::{debug, error, info};

use super::*;
use crate::log_levels::{LevelName, LogScope, TimedLevel};

/// A writer that stores its text.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(settings: &LogSettings, what: impl FnOnce(&Logger)) -> String {
    let buffer = Buffer::default();
    let logging = Logging::to(buffer.clone(), false, settings);
    what(logging.root());
    drop(logging);
    buffer.text()
}

#[test]
fn record_is_one_line() {
    let text = written(&LogSettings::default(), |log| {
        info!(component(log, "haproxy"), "server disabled\nforged line"; "service" => "web", "reason" => "host \"gone\"\n");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.ends_with("INFO  haproxy: server disabled\\nforged line service=web reason=\"host \\\"gone\\\"\\n\"\n"),
        "{text}"
    );
}

#[test]
fn unknown_value_is_left_out() {
    let text = written(&LogSettings::default(), |log| {
        info!(log, "runtime-disable"; "took_us" => None::<u64>, "waited_us" => Some(7), "service" => "web");
    });
    assert!(text.ends_with(": runtime-disable waited_us=7 service=web\n"), "{text}");
}

#[test]
fn json_record_has_level_component_values() {
    let settings = LogSettings { format: LogFormat::Json, ..LogSettings::default() };
    let text = written(&settings, |log| {
        info!(component(log, "watcher"), "list accepted"; "hosts" => 3, "service" => "web");
        error!(log, "line\nbreak");
    });
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["component"], "watcher");
    assert_eq!(records[0]["hosts"], 3);
    assert_eq!(records[0]["level"], "INFO");
    assert!(records[0]["ts"].is_string());
    assert_eq!(records[1]["msg"], "line\nbreak");
}

#[test]
fn hidden_characters_are_escaped_in_json() {
    let settings = LogSettings { format: LogFormat::Json, ..LogSettings::default() };
    let value = "a\u{202e}b\u{e0001}\u{85}\u{fc}";
    let text = written(&settings, |log| info!(log, "one"; "origin" => value));
    assert!(text.is_ascii() || text.chars().filter(|c| !c.is_ascii()).eq(['\u{fc}']), "{text}");
    assert!(text.contains(r"a\u202eb\udb40\udc01\u0085"), "{text}");
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["origin"], value);
}

#[test]
fn component_has_its_own_level() {
    let levels = [("haproxy".to_owned(), Level::Debug), ("watcher".to_owned(), Level::Error)].into();
    let text = written(&LogSettings { levels, ..LogSettings::default() }, |log| {
        debug!(component(log, "haproxy"), "one");
        info!(component(log, "watcher"), "two");
        debug!(component(log, "journal"), "three");
        info!(component(log, "journal"), "four");
    });
    let seen: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(seen, ["one", "four"]);
}

#[test]
fn service_is_traced_for_a_time() {
    let buffer = Buffer::default();
    let logging = Logging::to(buffer.clone(), false, &LogSettings::default());
    let scope = LogScope::Service("web".into());
    let traced = TimedLevel { scope, level: LevelName::Debug, until_unix_ms: u64::MAX };
    logging.levels().set_for_a_time(traced, 0).unwrap();
    let watcher = component(logging.root(), "watcher");
    debug!(watcher, "one"; "service" => "web");
    debug!(watcher, "two"; "service" => "api");
    debug!(watcher.new(o!("service" => "web")), "three");
    debug!(watcher, "four");
    logging.levels().end_timed();
    debug!(watcher, "five"; "service" => "web");
    drop(logging);
    let text = buffer.text();
    let seen: Vec<bool> = ["one", "two", "three", "four", "five"].iter().map(|word| text.contains(word)).collect();
    assert_eq!(seen, [true, false, true, false, false], "{text}");
}

#[test]
fn levels_change_at_run_time() {
    let buffer = Buffer::default();
    let logging = Logging::to(buffer.clone(), false, &LogSettings::default());
    debug!(logging.root(), "before");
    logging.set_levels(&LogSettings { level: Level::Debug, ..LogSettings::default() });
    debug!(logging.root(), "after");
    drop(logging);
    assert!(!buffer.text().contains("before") && buffer.text().contains("after"), "{}", buffer.text());
}

/// The log of a dependency. The logger behind `log` is global, so one test covers both formats.
fn foreign(format: LogFormat) -> String {
    let buffer = Buffer::default();
    let logging = Logging::to(buffer.clone(), false, &LogSettings { format, ..LogSettings::default() });
    let scope = slog_scope::set_global_logger(logging.root().clone());
    let _ = slog_stdlog::init_with_level(log::Level::Info);
    log::info!(target: "zookeeper_client::session", "connected");
    log::warn!(target: "zookeeper_client::session", "session expired");
    tracing::warn!(target: "zookeeper_client::session", "through tracing");
    drop(scope);
    drop(logging);
    buffer.text()
}

#[test]
fn dependency_logs_warnings_under_its_name() {
    let text = foreign(LogFormat::Text);
    assert!(!text.contains("connected"), "{text}");
    assert!(text.contains("WARN  zookeeper_client: session expired"), "{text}");
    assert!(text.contains("WARN  zookeeper_client: through tracing"), "{text}");

    let text = foreign(LogFormat::Json);
    let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(record["component"], "zookeeper_client");
    assert_eq!(record["msg"], "session expired");
}

/// A writer that stores each write.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<String>>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn record_is_one_write() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let writes = Writes::default();
        let logging = Logging::to(writes.clone(), false, &LogSettings { format, ..LogSettings::default() });
        info!(component(logging.root(), "haproxy"), "one"; "service" => "web");
        info!(component(logging.root(), "haproxy"), "two");
        drop(logging);
        let writes = writes.0.lock().unwrap();
        assert_eq!(writes.len(), 2, "{writes:?}");
        assert!(writes.iter().all(|write| write.ends_with('\n')), "{writes:?}");
    }
}
