//! The page's templates, compiled in. What is not marked as safe is escaped, whoever wrote it.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::{assets, words};

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("it changes no delimiter"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("grouped", words::grouped);
    environment.add_filter("took", words::took);
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

const SOURCES: [(&str, &str); 18] = sources![
    "frame.html",
    "overview.html",
    "headline.html",
    "concerns.html",
    "held.html",
    "blocked.html",
    "facts.html",
    "history.html",
    "row_start.html",
    "row_end.html",
    "service.html",
    "server.html",
    "states.html",
    "journal.html",
    "lines.html",
    "config.html",
    "problem.html",
    "actions.html",
];

/// Fills a template.
pub fn render(name: &str, context: Value) -> Result<String, String> {
    let template = TEMPLATES.get_template(name).map_err(in_words)?;
    template.render(context).map_err(in_words)
}

/// A value for a template.
pub fn value(of: impl Serialize) -> Value {
    Value::from(Serde(of))
}

fn in_words(error: minijinja::Error) -> String {
    let place = error.name().zip(error.line()).map(|(name, line)| format!(" in {name}, line {line}"));
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("the page cannot be written: {error}{}{}", place.unwrap_or_default(), cause.unwrap_or_default())
}

/// A time that a script turns into how long ago it was.
fn ago(unix_ms: u64) -> Value {
    time_element(unix_ms, "")
}

/// A time that a script turns into that of the reader's own clock.
fn clock(unix_ms: u64) -> Value {
    time_element(unix_ms, " data-as=\"clock\"")
}

fn time_element(unix_ms: u64, attribute: &str) -> Value {
    let (machine, plain) = (words::machine_time(unix_ms), words::plain_time(unix_ms));
    Value::from_safe_string(format!("<time datetime=\"{machine}\"{attribute}>{plain}</time>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn whatever_is_filled_in_is_escaped() {
        let mut environment = TEMPLATES.clone();
        environment.add_template("test", "{{ text }} <b title=\"{{ text }}\">").unwrap();
        let text = r#"</td><script>alert("1")</script>'&"#;
        let html = environment.get_template("test").unwrap().render(context! { text }).unwrap();
        let escaped = "&lt;&#x2f;td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;&#x2f;script&gt;&#x27;&amp;";
        assert_eq!(html, format!("{escaped} <b title=\"{escaped}\">"));
    }

    #[test]
    fn a_template_that_lacks_a_value_is_an_error_in_words() {
        let error = render("problem.html", context! {}).unwrap_err();
        assert!(error.contains("frame.html, line 2"), "{error}");
    }
}
