//! Lines that refer to backends and servers: HAProxy refuses a file that lacks one of them.

use proxymgr_actors::port::ConfigMessage;

/// The references of a file.
#[derive(Debug, Default)]
pub(super) struct References(Vec<Reference>);

#[derive(Debug)]
struct Reference {
    line: usize,
    /// The rule or fetch that refers to it.
    keyword: &'static str,
    section: String,
    server: Option<String>,
}

impl References {
    /// Notes what this line refers to.
    pub(super) fn read_line(&mut self, words: &[&str], line: usize) {
        match words {
            ["use_backend", section, ..] if !section.contains('%') => self.refer("use_backend", section, line),
            ["default_backend", section, ..] => self.refer("default_backend", section, line),
            _ => {}
        }
        for word in words {
            for keyword in ["nbsrv", "srv_is_up"] {
                let argument = word.strip_prefix(keyword).and_then(|rest| rest.strip_prefix('('));
                if let Some((argument, _)) = argument.and_then(|rest| rest.split_once(')')) {
                    self.refer(keyword, argument, line);
                }
            }
        }
    }

    fn refer(&mut self, keyword: &'static str, what: &str, line: usize) {
        let (section, server) = match what.split_once('/') {
            Some((section, server)) => (section, Some(server.to_owned())),
            None => (what, None),
        };
        self.0.push(Reference { line, keyword, section: section.to_owned(), server });
    }

    /// Returns a message for each reference to something that the file lacks.
    pub(super) fn missing(
        &self,
        has_section: impl Fn(&str) -> bool,
        has_server: impl Fn(&str, &str) -> bool,
    ) -> Vec<ConfigMessage> {
        let is_missing = |reference: &&Reference| match &reference.server {
            Some(server) => !has_server(&reference.section, server),
            None => !has_section(&reference.section),
        };
        let message = |Reference { line, keyword, section, server }: &Reference| {
            let text = match server {
                Some(server) => format!("unable to find server '{section}/{server}' referenced by '{keyword}'"),
                None => format!("unable to find required {keyword}: '{section}'"),
            };
            ConfigMessage { line: Some(*line), text }
        };
        self.0.iter().filter(is_missing).map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_backends_and_servers_are_named() {
        let mut references = References::default();
        references.read_line(&["use_backend", "a", "if", "{", "srv_is_up(b/s1)", "}"], 3);
        references.read_line(&["use_backend", "%[req.hdr(host),map(/x)]"], 4);
        references.read_line(&["default_backend", "c"], 5);
        let missing = references.missing(|section| section != "c", |_, server| server != "s1");
        let missing: Vec<_> = missing.into_iter().map(|message| (message.line, message.text)).collect();
        let texts =
            ["unable to find server 'b/s1' referenced by 'srv_is_up'", "unable to find required default_backend: 'c'"];
        assert_eq!(missing, [(Some(3), texts[0].to_owned()), (Some(5), texts[1].to_owned())]);
        assert!(references.missing(|_| true, |_, _| true).is_empty());
    }
}
