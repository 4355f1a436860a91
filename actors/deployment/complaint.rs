//! Translation of HAProxy's messages: adds the service, and the key and line of its definition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::candidate::ConfigPart;
use crate::decide::base::local_peer;
use crate::decide::listener_certificates::FILE_SUFFIX;
use crate::decide::loaded_config::LineIndex;
use crate::decide::quoting::joined;
use crate::decide::rejection::named_services;
use crate::limits::CONFIG_LINE_CHARS_MAX;
use crate::model::{CertificateName, ServiceDefinition, ServiceName};
use crate::port::{ConfigMessage, ConfigText};

/// A text that HAProxy has checked, to look up the lines that its messages name.
pub struct CheckedText<'a> {
    text: &'a ConfigText,
    index: LineIndex,
    places: &'a [Option<Arc<str>>],
}

impl<'a> CheckedText<'a> {
    /// Creates the index of a part of a candidate.
    pub fn new(part: &'a ConfigPart) -> Self {
        let ConfigPart { text, places, .. } = part;
        Self { text, index: LineIndex::of(&text.pieces), places }
    }

    /// Returns the service whose section contains the line of the message.
    fn service_at(&self, message: &ConfigMessage) -> Option<&ServiceName> {
        self.index.service_at(message.line?)
    }

    fn line(&self, number: usize) -> Option<&'a str> {
        let mut lines_before = 0;
        for piece in &self.text.pieces {
            let lines = piece.matches('\n').count();
            if number <= lines_before + lines {
                return piece.lines().nth(number.checked_sub(lines_before + 1)?).map(str::trim);
            }
            lines_before += lines;
        }
        None
    }

    fn is_in_base(&self, line: usize) -> bool {
        line <= self.places.len() && self.index.service_at(line).is_none()
    }

    /// Returns where the operator's files have a line.
    fn place(&self, line: usize) -> Option<&str> {
        self.places.get(line.checked_sub(1)?)?.as_deref()
    }

    /// Returns the message about a refused service, with the key and line of its definition.
    pub fn about(&self, name: &ServiceName, definition: &ServiceDefinition, messages: &[ConfigMessage]) -> String {
        let own = messages.iter().find(|message| self.service_at(message) == Some(name));
        let named = || messages.iter().find(|message| message.text.contains(name.as_str()));
        match own.or_else(named).or(messages.first()) {
            Some(message) => self.in_own_words(message, definition),
            None => "HAProxy refuses it without a reason".to_owned(),
        }
    }

    fn in_own_words(&self, message: &ConfigMessage, definition: &ServiceDefinition) -> String {
        let place = message.line.and_then(|number| Some((number, self.line(number)?)));
        if let Some(certificate) = missing_certificate(message, definition) {
            return format!(
                "\"tls\": there is no good certificate {certificate} in haproxy.certificates: {}",
                message.text
            );
        }
        match place {
            None => message.text.clone(),
            Some((number, line)) if self.is_in_base(number) => match self.place(number) {
                Some(place) => format!("with {place}: {}: {}", shown(line), message.text),
                None => format!("with {} of haproxy.global or haproxy.defaults: {}", shown(line), message.text),
            },
            Some((_, line)) => match key_of(line, definition) {
                Some(key) => format!("{key} {}: {}", shown(line), message.text),
                None => format!("{}: {}", shown(line), message.text),
            },
        }
    }

    /// Returns the first message about the base, or else the first message.
    pub fn about_base(&self, messages: &[ConfigMessage]) -> String {
        let in_base = messages.iter().find(|message| message.line.is_some_and(|line| self.is_in_base(line)));
        let Some(message) = in_base.or(messages.first()) else { return "no reason given".to_owned() };
        let place = message.line.and_then(|number| self.place(number)).map(|place| format!("{place}: "));
        let place = place.unwrap_or_default();
        match message.line.and_then(|number| self.line(number)) {
            Some(line) => format!("{place}{}: {}", shown(line), message.text),
            None => message.text.clone(),
        }
    }

    /// Returns the services that HAProxy names, by a line or in the text.
    pub fn named(&self, messages: &[ConfigMessage]) -> BTreeSet<ServiceName> {
        let said = messages.iter().map(|message| (message.line, message.text.as_str()));
        named_services(said, &self.index, &self.index.services())
    }

    /// Returns each message with its service; `None` for messages about the base, or without a known section.
    pub fn attributed<'d>(
        &self,
        messages: &[ConfigMessage],
        definition_of: impl Fn(&ServiceName) -> Option<&'d ServiceDefinition>,
    ) -> BTreeMap<Option<ServiceName>, Vec<String>> {
        let mut attributed: BTreeMap<Option<ServiceName>, Vec<String>> = BTreeMap::new();
        for message in messages {
            let named = self.named(std::slice::from_ref(message)).into_iter().next();
            let words = match named.as_ref().and_then(&definition_of) {
                Some(definition) => self.in_own_words(message, definition),
                None => self.about_base(std::slice::from_ref(message)),
            };
            attributed.entry(named).or_default().push(words);
        }
        attributed
    }
}

/// Returns the certificate of the definition whose file HAProxy cannot read.
fn missing_certificate<'d>(message: &ConfigMessage, definition: &'d ServiceDefinition) -> Option<&'d CertificateName> {
    let certificates = &definition.section.tls.as_ref()?.certificates;
    let is_file = |name: &&CertificateName| message.text.contains(&format!("/{name}{FILE_SUFFIX}"));
    certificates.iter().find(is_file).filter(|_| message.text.contains("certificate"))
}

/// Returns the key of a definition for a line of its section; `None` for lines that are not from the definition.
fn key_of(line: &str, definition: &ServiceDefinition) -> Option<String> {
    if let Some(server) = line.strip_prefix("server ") {
        return Some(format!("server {}", server.split(' ').next()?));
    }
    let line = line.strip_suffix(&local_peer::table_words()).unwrap_or(line);
    let at = definition.listen_options.iter().position(|words| joined(words) == line)?;
    Some(format!("listen_options[{at}]"))
}

fn shown(line: &str) -> String {
    match line.char_indices().nth(CONFIG_LINE_CHARS_MAX) {
        Some((end, _)) => format!("\"{}...\"", &line[..end]),
        None => format!("\"{line}\""),
    }
}
