use std::sync::Mutex;

use slog::{debug, error, info};

use super::*;

/// A writer whose text can be looked at.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(settings: &LogSettings, what: impl FnOnce(&Logger)) -> String {
    let page = Page::default();
    let logging = Logging::to(page.clone(), false, settings);
    what(logging.root());
    drop(logging);
    page.text()
}

#[test]
fn a_record_is_one_line_whatever_stands_in_it() {
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
fn a_value_that_is_not_known_is_left_out() {
    let text = written(&LogSettings::default(), |log| {
        info!(log, "runtime-disable"; "took_us" => None::<u64>, "waited_us" => Some(7), "service" => "web");
    });
    assert!(text.ends_with(": runtime-disable waited_us=7 service=web\n"), "{text}");
}

#[test]
fn every_json_record_is_an_object_with_level_component_and_values() {
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
fn a_component_has_its_own_level() {
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
fn levels_change_while_the_log_runs() {
    let page = Page::default();
    let logging = Logging::to(page.clone(), false, &LogSettings::default());
    debug!(logging.root(), "before");
    logging.set_levels(&LogSettings { level: Level::Debug, ..LogSettings::default() });
    debug!(logging.root(), "after");
    drop(logging);
    assert!(!page.text().contains("before") && page.text().contains("after"), "{}", page.text());
}

/// What dependencies write, as one test sees it: the logger behind `log` is the process's, and tests of one binary may
/// share it.
fn foreign(format: LogFormat) -> String {
    let page = Page::default();
    let logging = Logging::to(page.clone(), false, &LogSettings { format, ..LogSettings::default() });
    let scope = slog_scope::set_global_logger(logging.root().clone());
    let _ = slog_stdlog::init_with_level(log::Level::Info);
    log::info!(target: "zookeeper_client::session", "connected");
    log::warn!(target: "zookeeper_client::session", "session expired");
    tracing::warn!(target: "zookeeper_client::session", "through tracing");
    drop(scope);
    drop(logging);
    page.text()
}

#[test]
fn what_a_dependency_writes_is_named_after_it_and_only_its_troubles_are_shown() {
    let text = foreign(LogFormat::Text);
    assert!(!text.contains("connected"), "{text}");
    assert!(text.contains("WARN  zookeeper_client: session expired"), "{text}");
    assert!(text.contains("WARN  zookeeper_client: through tracing"), "{text}");

    let text = foreign(LogFormat::Json);
    let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(record["component"], "zookeeper_client");
    assert_eq!(record["msg"], "session expired");
}

/// Each piece that was written.
#[derive(Clone, Default)]
struct Pieces(Arc<Mutex<Vec<String>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_record_is_written_in_one_piece() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let pieces = Pieces::default();
        let logging = Logging::to(pieces.clone(), false, &LogSettings { format, ..LogSettings::default() });
        info!(component(logging.root(), "haproxy"), "one"; "service" => "web");
        info!(component(logging.root(), "haproxy"), "two");
        drop(logging);
        let pieces = pieces.0.lock().unwrap();
        assert_eq!(pieces.len(), 2, "{pieces:?}");
        assert!(pieces.iter().all(|piece| piece.ends_with('\n')), "{pieces:?}");
    }
}
