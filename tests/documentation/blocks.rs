//! Code blocks and their languages.

use proxymgr_actors::decide::host_record::from_line;
use proxymgr_actors::decide::host_registration::{RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;

/// A code block.
pub struct Block {
    /// Its page and line.
    pub place: String,
    /// Its language; what its fence says if that is not known.
    pub language: Result<Language, String>,
    /// Its text.
    pub text: String,
}

/// What a block contains, and so how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Commands of a shell.
    Shell,
    /// Commands after `$ `, with their output.
    Session,
    /// Settings.
    Settings,
    /// A definition.
    Service,
    /// A host as JSON, in one of the formats of registrations.
    Host,
    /// The lines of a file of hosts.
    HostLines,
    /// A base configuration.
    Base,
    /// Anything else.
    NotChecked,
}

impl Language {
    /// Parses what follows the fence.
    pub fn of(fence: &str) -> Result<Self, String> {
        let words = Vec::from_iter(fence.split_whitespace());
        Ok(match *words.as_slice() {
            ["sh"] => Self::Shell,
            ["console"] => Self::Session,
            ["yaml"] => Self::Settings,
            ["yaml" | "json", "service"] | ["json"] => Self::Service,
            ["yaml" | "json", "service", "aws"] if cfg!(feature = "aws") => Self::Service,
            ["yaml" | "json", "service", "aws"] => Self::NotChecked,
            ["json", "host"] => Self::Host,
            ["text", "hosts"] => Self::HostLines,
            ["haproxy"] => Self::Base,
            ["text"] | [_, "not-checked"] => Self::NotChecked,
            _ => return Err(fence.to_owned()),
        })
    }
}

/// Checks hosts with the parsers of sources.
pub fn check_hosts(block: &Block) -> Result<(), String> {
    let policy = OptionPolicy::default();
    if block.language == Ok(Language::Host) {
        let record = from_registration(block.text.as_bytes(), &RegistrationRules::default(), &policy)?;
        let record = record.ok_or("it is no host")?;
        return if record.unknown_keys.is_empty() { Ok(()) } else { Err(format!("{:?}", record.unknown_keys)) };
    }
    block.text.lines().try_for_each(|line| from_line(line, &policy).map(|_| ()))
}

#[test]
fn mistaken_hosts_are_found() {
    let check = |language, text: &str| {
        check_hosts(&Block { place: String::new(), language: Ok(language), text: text.to_owned() }).is_ok()
    };
    assert!(check(Language::Host, r#"{"host": "10.0.0.1", "port": 8080, "name": "i-1"}"#));
    assert!(!check(Language::Host, r#"{"address": "10.0.0.1"}"#));
    assert!(!check(Language::Host, r#"{"address": "10.0.0.1", "port": 1, "wieght": 1}"#));
    assert!(check(Language::HostLines, "# a\n10.0.0.1:80 weight=3\n"));
    assert!(!check(Language::HostLines, "10.0.0.1\n"));
}
