//! The page's templates, compiled in. Every value that is not marked as safe is escaped.

use std::borrow::Cow;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, escape_formatter};
use proxymgr_actors::decide::visible::visible_lines;
use serde::Serialize;

use super::assets;
use crate::status::format;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("it changes no delimiter"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(|out, state, value| {
        match value.as_str().filter(|_| !value.is_safe()).map(visible_lines) {
            Some(Cow::Owned(escaped)) => escape_formatter(out, state, &Value::from(escaped)),
            _ => escape_formatter(out, state, value),
        }
    });
    environment.add_filter("grouped", format::grouped);
    environment.add_filter("took", format::duration);
    environment.add_filter("bytes", format::bytes);
    environment.add_filter("span", |seconds: u64| format::span(seconds.saturating_mul(1_000)));
    environment.add_filter("time", ago);
    environment.add_filter("clock", clock);
    environment.add_filter("svg", Value::from_safe_string);
    environment.add_function("asset", assets::path_of);
    for (name, text) in SOURCES {
        environment.add_template(name, text).expect("the templates are compiled in and tested");
    }
    environment
});

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("templates/", $name)))),*]
    };
}

const SOURCES: [(&str, &str); 25] = sources![
    "frame.html",
    "overview.html",
    "headline.html",
    "concern.html",
    "concerns.html",
    "pending.html",
    "blocked.html",
    "overrides.html",
    "facts.html",
    "certificates.html",
    "expiry.html",
    "history.html",
    "row_start.html",
    "row_end.html",
    "service.html",
    "server.html",
    "host.html",
    "traffic.html",
    "override.html",
    "states.html",
    "journal.html",
    "lines.html",
    "config.html",
    "problem.html",
    "actions.html",
];

/// Renders a template; errors name the template and the line.
pub fn render(name: &str, context: Value) -> Result<String, String> {
    let template = TEMPLATES.get_template(name).map_err(error_text)?;
    template.render(context).map_err(error_text)
}

/// A serialisable value for a template.
pub fn value(of: impl Serialize) -> Value {
    Value::from(Serde(of))
}

fn error_text(error: minijinja::Error) -> String {
    let place = error.name().zip(error.line()).map(|(name, line)| format!(" in {name}, line {line}"));
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("the page cannot be rendered: {error}{}{}", place.unwrap_or_default(), cause.unwrap_or_default())
}

/// A time; a script shows its age.
fn ago(unix_ms: u64) -> Value {
    time_element(unix_ms, "")
}

/// A time; a script shows it in the reader's time zone.
fn clock(unix_ms: u64) -> Value {
    time_element(unix_ms, " data-as=\"clock\"")
}

fn time_element(unix_ms: u64, attribute: &str) -> Value {
    let (machine, plain) = (format::rfc3339(unix_ms), format::utc_time(unix_ms));
    Value::from_safe_string(format!("<time datetime=\"{machine}\"{attribute}>{plain}</time>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn every_value_is_escaped() {
        let mut environment = TEMPLATES.clone();
        environment.add_template("test", "{{ text }} <b title=\"{{ text }}\">").unwrap();
        let text = r#"</td><script>alert("1")</script>'&"#;
        let html = environment.get_template("test").unwrap().render(context! { text }).unwrap();
        let escaped = "&lt;&#x2f;td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;&#x2f;script&gt;&#x27;&amp;";
        assert_eq!(html, format!("{escaped} <b title=\"{escaped}\">"));
        let marks = environment.get_template("test").unwrap().render(context! { text => "a\u{202e}b\u{1b}" }).unwrap();
        assert!(marks.starts_with("a\\u{202e}b\\u{1b} "), "{marks}");
    }

    #[test]
    fn missing_value_names_template_and_line() {
        let error = render("problem.html", context! {}).unwrap_err();
        assert!(error.contains("frame.html, line 2"), "{error}");
    }
}
