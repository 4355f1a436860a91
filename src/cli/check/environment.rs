//! Warnings about how HAProxy will run: variables of the environment that it will not have, and privileges that it keeps.

use std::collections::BTreeSet;

use nix::unistd::Uid;

use crate::settings::{HaproxySettings, RunWay};

/// Returns all warnings.
pub fn warnings(haproxy: &HaproxySettings) -> Vec<String> {
    let mut warnings = missing_variables(haproxy);
    warnings.extend(privileges(haproxy, Uid::effective().is_root()));
    warnings
}

/// Returns a warning if HAProxy would keep serving as root.
fn privileges(haproxy: &HaproxySettings, is_root: bool) -> Option<String> {
    let is_started = matches!(haproxy.run.way, RunWay::Supervise | RunWay::Binary { .. });
    let sets_user = |line: &String| line.split_whitespace().next().is_some_and(|first| matches!(first, "user" | "uid"));
    let keeps = is_root && is_started && !haproxy.policy.base_config.global.iter().any(sets_user);
    keeps.then(|| "HAProxy would serve as root: set haproxy.user and haproxy.group, for example to haproxy".to_owned())
}

/// Returns a warning for each variable in `haproxy.global` and `haproxy.defaults` that HAProxy does not inherit.
fn missing_variables(haproxy: &HaproxySettings) -> Vec<String> {
    let base = &haproxy.policy.base_config;
    let lines = || base.global.iter().chain(&base.defaults).map(String::as_str);
    let own: BTreeSet<&str> = lines().filter_map(set_by).collect();
    let used: BTreeSet<&str> = lines().flat_map(variables).collect();
    let missing = used.into_iter().filter(|name| {
        // HAProxy sets these for its own configuration.
        !name.starts_with("HAPROXY_") && !own.contains(name) && !haproxy.run.environment.passes(name)
    });
    missing
        .map(|name| {
            format!("HAProxy does not inherit {name}, which haproxy.global or haproxy.defaults uses: add it to haproxy.environment")
        })
        .collect()
}

/// Returns the variable that this line of the global section sets (`setenv`, `presetenv`).
fn set_by(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| matches!(*word, "setenv" | "presetenv"))?;
    words.next()
}

/// Returns the variables of a line: `$NAME` and `${NAME}` within double quotes, and `env(NAME)`.
///
/// <https://docs.haproxy.org/2.6/configuration.html#2.3>
fn variables(line: &str) -> Vec<&str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let name_at = |text: &'_ str| text.find(|char| !is_name(char)).unwrap_or(text.len());
    let mut found = Vec::new();
    let (mut single, mut double, mut escaped) = (false, false, false);
    for (at, char) in line.char_indices() {
        let rest = &line[at + char.len_utf8()..];
        match char {
            _ if escaped => escaped = false,
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '#' if !single && !double => break,
            '$' if double => {
                let rest = rest.strip_prefix('{').unwrap_or(rest);
                found.push(&rest[..name_at(rest)]);
            }
            _ => {}
        }
        if let Some(rest) = line[at..].strip_prefix("env(")
            && !line[..at].ends_with(is_name)
        {
            found.push(&rest[..name_at(rest)]);
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, SettingsSources};

    #[test]
    fn root_without_a_user_is_a_warning() {
        let haproxy = |user: &[&str]| {
            let flags = user.iter().map(|user| ("haproxy.user".to_owned(), (*user).to_owned(), "--set".to_owned()));
            Settings::load(&SettingsSources { flags: flags.collect(), ..SettingsSources::default() })
                .unwrap()
                .settings
                .haproxy
        };
        assert!(privileges(&haproxy(&[]), true).is_some());
        assert!(privileges(&haproxy(&[]), false).is_none());
        assert!(privileges(&haproxy(&["haproxy"]), true).is_none());
    }

    #[test]
    fn variables_are_found_where_haproxy_expands_them() {
        for (line, names) in [
            (r#"log "$LOG_HOST:514" local0"#, vec!["LOG_HOST"]),
            (r#"log "${LOG_HOST}:${PORT-514}" local0"#, vec!["LOG_HOST", "PORT"]),
            ("log $LOG_HOST local0", vec![]),
            (r"log '$LOG_HOST' local0", vec![]),
            (r#"log "\$LOG_HOST" local0 # "$COMMENT""#, vec![]),
            ("http-request set-header x %[env(REGION)]", vec!["REGION"]),
            ("http-request set-header x %[str(getenv(REGION))]", vec![]),
        ] {
            assert_eq!(variables(line), names, "{line}");
        }
        assert_eq!(set_by("presetenv REGION eu"), Some("REGION"));
    }
}
