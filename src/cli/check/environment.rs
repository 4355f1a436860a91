//! Warnings about how HAProxy will run: variables of the environment that it will not have, and privileges that it keeps.

use std::collections::BTreeSet;

use nix::unistd::Uid;
use proxymgr_actors::decide::base::{self, LeftBind};

use crate::settings::{HaproxySettings, RunWay};

/// Returns all warnings.
pub fn warnings(haproxy: &HaproxySettings) -> Vec<String> {
    let mut warnings = missing_variables(haproxy);
    warnings.extend(privileges(haproxy, Uid::effective().is_root()));
    warnings.extend(left_binds(haproxy));
    warnings.extend(sockets_below_root(haproxy));
    warnings
}

/// Returns a warning if services may have unix sockets as hosts that HAProxy looks for below another root.
fn sockets_below_root(haproxy: &HaproxySettings) -> Option<String> {
    let root = base::chroot(&haproxy.policy.base_config)?;
    let root = root.display();
    haproxy.options.grants.allow_host_sockets().then(|| {
        format!(
            "grants: host_unix_sockets: HAProxy has the root {root} (chroot): it connects a host unix@/run/a.sock to {root}/run/a.sock"
        )
    })
}

/// Returns the lines of the base configuration: of the operator's files, or of the settings.
fn base_lines(haproxy: &HaproxySettings) -> impl Iterator<Item = &str> {
    let base = &haproxy.policy.base_config;
    let files = base.files.iter().flat_map(|file| file.text.lines());
    files.chain(base.global.iter().chain(&base.defaults).map(String::as_str))
}

/// Returns a warning for each listener that HAProxy opens itself, so that a crash of HAProxy closes it for a moment.
fn left_binds(haproxy: &HaproxySettings) -> Vec<String> {
    let layout = base::layout(&haproxy.policy.base_config);
    let warning = |LeftBind { place, address, reason }: &LeftBind| {
        format!(
            "{place}: {address} is not held by proxymgr, because {reason}: HAProxy opens it itself, and after a crash of HAProxy it is closed until the next start"
        )
    };
    layout.left_binds.iter().map(warning).collect()
}

/// Returns a warning if HAProxy would keep serving as root.
fn privileges(haproxy: &HaproxySettings, is_root: bool) -> Option<String> {
    let is_started = matches!(haproxy.run.way, RunWay::Supervise | RunWay::Binary { .. });
    let sets_user = |line: &str| line.split_whitespace().next().is_some_and(|first| matches!(first, "user" | "uid"));
    let keeps = is_root && is_started && !base_lines(haproxy).any(sets_user);
    let advice = match haproxy.base_config.is_some() {
        true => "set user and group in the global section of haproxy.base_config",
        false => "set haproxy.user and haproxy.group, for example to haproxy",
    };
    keeps.then(|| format!("HAProxy would serve as root: {advice}"))
}

/// Returns a warning for each variable in the base configuration that HAProxy does not inherit.
fn missing_variables(haproxy: &HaproxySettings) -> Vec<String> {
    let own: BTreeSet<&str> = base_lines(haproxy).filter_map(set_by).collect();
    let used: BTreeSet<&str> = base_lines(haproxy).flat_map(variables).collect();
    let missing = used.into_iter().filter(|name| {
        // HAProxy sets these for its own configuration.
        !name.starts_with("HAPROXY_") && !own.contains(name) && !haproxy.run.environment.passes(name)
    });
    missing
        .map(|name| {
            format!("HAProxy does not inherit {name}, which the base configuration uses: add it to haproxy.environment")
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
    fn unix_sockets_of_hosts_below_another_root_are_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let warned = |settings: &str| {
            let file = dir.path().join("proxymgr.yml");
            std::fs::write(&file, settings).unwrap();
            let sources = SettingsSources { file: Some(file), ..SettingsSources::default() };
            sockets_below_root(&Settings::load(&sources).unwrap().settings.haproxy).is_some()
        };
        let grant = "grants: [{prefix: web, host_unix_sockets: [/run/web/]}]\n";
        let chroot = "haproxy: {global: [chroot /var/lib/haproxy]}\n";
        assert!(warned(&format!("{grant}{chroot}")));
        assert!(!warned(grant) && !warned(chroot));
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
