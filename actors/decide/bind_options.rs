//! Options of the `bind` lines of a service (`bind_options`): those that read no files and concern its own listeners
//! only.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#5.1>

use super::quoting::split_line;
use crate::model::Word;

/// What the argument of an option must be.
#[derive(Clone, Copy)]
enum Argument {
    None,
    /// A whole number up to this one.
    Number(u32),
    /// A number of milliseconds, or with a unit.
    Time,
    OneOf(&'static [&'static str]),
}

/// The options, in the order of HAProxy's manual. HAProxy 2.2 to 3.4 apply them to inherited sockets as well.
const OPTIONS: [(&str, Argument); 8] = [
    ("accept-proxy", Argument::None),
    ("defer-accept", Argument::None),
    ("maxconn", Argument::Number(10_000_000)),
    ("mss", Argument::Number(65_535)),
    ("nice", Argument::Number(1_024)),
    ("proto", Argument::OneOf(&["h1", "h2"])),
    ("tcp-ut", Argument::Time),
    ("tfo", Argument::None),
];

/// Reads the texts, each an option with its argument.
///
/// # Errors
/// The first text that is none of the options, or repeats one.
pub fn parse(texts: &[String]) -> Result<Vec<Word>, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        let option = split_line(text).map_err(|error| format!("{text:?}: {error}"))?;
        let name = judge(&option).map_err(|reason| format!("{text:?}: {reason}"))?;
        if seen.contains(&name) {
            return Err(format!("{text:?}: {name} is there twice"));
        }
        seen.push(name);
        words.extend(option);
    }
    Ok(words)
}

/// Returns the name of an option with its argument, or why it is not allowed.
fn judge(option: &[Word]) -> Result<&'static str, String> {
    let known = || OPTIONS.map(|(name, _)| name).join(", ");
    let [keyword, arguments @ ..] = option else { return Err(format!("is empty; it may be {}", known())) };
    let found = OPTIONS.iter().find(|(name, _)| *name == keyword.as_str());
    let Some((name, argument)) = found else { return Err(format!("is not allowed; it may be {}", known())) };
    let arguments: Vec<&str> = arguments.iter().map(Word::as_str).collect();
    match (argument, &arguments[..]) {
        (Argument::None, []) => Ok(name),
        (Argument::None, _) => Err(format!("{name} has no argument")),
        (Argument::Number(most), [text]) if text.parse::<u32>().is_ok_and(|number| number <= *most) => Ok(name),
        (Argument::Number(most), _) => Err(format!("{name} needs a whole number up to {most}")),
        (Argument::Time, [text]) if is_time(text) => Ok(name),
        (Argument::Time, _) => Err(format!("{name} needs a time, such as 10s")),
        (Argument::OneOf(texts), [text]) if texts.contains(text) => Ok(name),
        (Argument::OneOf(texts), _) => Err(format!("{name} needs one of {}", texts.join(", "))),
    }
}

fn is_time(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    digits.parse::<u32>().is_ok() && ["", "us", "ms", "s", "m", "h", "d"].contains(&&text[digits.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<String, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(&texts).map(|words| words.iter().map(Word::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_of_the_own_listener_are_allowed() {
        let options = ["accept-proxy", "proto h2", "maxconn 500", "tcp-ut 10s", "nice 5", "mss 1400", "tfo"];
        assert_eq!(parsed(&options), Ok(options.join(" ")));
    }

    #[test]
    fn options_that_read_files_or_reach_further_are_refused() {
        for text in [
            "",
            "ssl",
            "crt /etc/x.pem",
            "ssl crt x",
            "ca-file x",
            "interface eth0",
            "level admin",
            "process 1",
            "proto quic",
            "maxconn",
            "maxconn -1",
            "accept-proxy x",
            "tcp-ut x",
            "tfo tfo",
            "name x",
            "user root",
        ] {
            assert!(parsed(&[text]).is_err(), "{text}");
        }
        assert!(parsed(&["tfo", "tfo"]).is_err());
    }
}
