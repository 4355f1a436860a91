//! The policy for the options of a service's definition.
//!
//! The author of a definition may only choose options inside the service's own section. So lines and server options are
//! checked against an allow-list. Options that read a file, run code, name another section or conflict with proxymgr
//! are refused, and so are unknown options. The operator can allow more, except options that change the structure of
//! the file.

use super::quoting::{holds_escaped_control, split_line};
use super::server_options::{self, UsedOption, used_options};
use super::{expression, listen_keywords, nearest};
use crate::limits::{LINE_WORDS_MAX, LISTEN_LINE_BYTES_MAX, SERVER_OPTION_BYTES_MAX, SERVER_OPTION_WORDS_MAX};
use crate::model::{Removal, ServiceDefinition, Word};

/// The allow-list with the operator's additions, and the default limits of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptionPolicy {
    /// The first words of additionally allowed listen and server options: `http-request`, `option external-check`,
    /// `ca-file`. Options that begin with such words are not checked further.
    pub extra: Vec<String>,
    /// The guard's default limits of a service.
    pub removal: Removal,
}

const OPERATOR_MAY_ALLOW: &str = "the operator can allow it with haproxy.extra_options";

impl OptionPolicy {
    /// Checks a definition that was parsed earlier, under another policy or by another daemon.
    pub fn judge_definition(&self, definition: &ServiceDefinition) -> Result<(), String> {
        definition.listen_options.iter().try_for_each(|words| self.judge_listen_words(words))?;
        self.judge_server_words(&definition.server_options)
    }

    /// Splits one line of `listen_options` into words and checks it.
    ///
    /// # Errors
    /// Why the line is refused and what to do, without the service and the key.
    pub fn listen_line(&self, line: &str) -> Result<Vec<Word>, String> {
        if line.len() > LISTEN_LINE_BYTES_MAX {
            return Err(format!("it is {} bytes long; at most {LISTEN_LINE_BYTES_MAX} are allowed", line.len()));
        }
        let words = split_line(line)?;
        self.judge_listen_words(&words)?;
        Ok(words)
    }

    /// Checks a line that is already split, such as one saved under another policy.
    ///
    /// # Errors
    /// As [`OptionPolicy::listen_line`].
    pub fn judge_listen_words(&self, words: &[Word]) -> Result<(), String> {
        if words.is_empty() {
            return Err("it is empty".to_owned());
        }
        if words.len() > LINE_WORDS_MAX {
            return Err(format!("it has {} words; HAProxy takes at most {LINE_WORDS_MAX} in a line", words.len()));
        }
        let (keyword, arguments) = listen_keywords::positive(words);
        if let Some(reason) = listen_keywords::structural_refusal(keyword) {
            return Err(reason);
        }
        if let Some(reason) = listen_keywords::removed(words) {
            return Err(reason);
        }
        if self.lifts(words) {
            return Ok(());
        }
        if let Some(reason) = listen_keywords::refusal(words) {
            return Err(format!("{reason} ({OPERATOR_MAY_ALLOW})"));
        }
        if keyword == "default-server" { self.judge_server_words(arguments) } else { Ok(()) }
    }

    /// Splits server options into words and checks them. Each element may contain several: `check inter 2000`.
    ///
    /// # Errors
    /// Which option is refused, why, and what to do, without the service and the key.
    pub fn server_options(&self, options: &[String]) -> Result<Vec<Word>, String> {
        let bytes: usize = options.iter().map(String::len).sum();
        if bytes > SERVER_OPTION_BYTES_MAX {
            return Err(format!("they are {bytes} bytes long; at most {SERVER_OPTION_BYTES_MAX} are allowed"));
        }
        let mut words = Vec::new();
        for option in options {
            words.extend(split_line(option).map_err(|reason| format!("{option:?}: {reason}"))?);
        }
        if words.len() > SERVER_OPTION_WORDS_MAX {
            return Err(format!("they have {} words; at most {SERVER_OPTION_WORDS_MAX} are allowed", words.len()));
        }
        self.judge_server_words(&words)?;
        Ok(words)
    }

    /// Checks server options that are already split.
    ///
    /// # Errors
    /// As [`OptionPolicy::server_options`].
    pub fn judge_server_words(&self, words: &[Word]) -> Result<(), String> {
        // They also go through the Runtime API, where `;` and a line feed end a command and `<<` begins a payload.
        if let Some(word) = words.iter().find(|w| w.as_str().contains(';') || w.as_str().contains("<<")) {
            return Err(format!("{word:?} holds ';' or '<<', which server options may not"));
        }
        if let Some(word) = words.iter().find(|w| holds_escaped_control(w)) {
            return Err(format!("{:?} holds \\n, \\r or \\t, which server options may not", word.as_str()));
        }
        used_options(words).try_for_each(|option| self.judge_server_option(option))
    }

    fn judge_server_option(&self, option: UsedOption<'_>) -> Result<(), String> {
        let name = option.name();
        let lifted = self.lifts(std::slice::from_ref(option.keyword));
        let Some(known) = option.known else {
            if lifted {
                return Ok(());
            }
            let allowed = server_options::all().iter().filter(|option| option.refusal.is_none());
            let meant = nearest::nearest(name, allowed.map(|option| option.name));
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
            return Err(format!("{name:?} is not a server option that a service may use{hint} ({OPERATOR_MAY_ALLOW})"));
        };
        if let Some(reason) = known.refusal.filter(|_| !lifted) {
            return Err(format!("{name:?} is not allowed: {reason} ({OPERATOR_MAY_ALLOW})"));
        }
        let Some(wanted) = known.value else { return Ok(()) };
        let value = option.values.first().ok_or_else(|| format!("{name:?} lacks its value"))?;
        if let Some(mistake) = wanted.mistake(value.as_str()) {
            return Err(format!("{:?} for {name:?} {mistake}", value.as_str()));
        }
        match expression::reaches_outside(option.values) {
            Some(reason) if !lifted => Err(format!("{name:?}: {reason} ({OPERATOR_MAY_ALLOW})")),
            _ => Ok(()),
        }
    }

    /// Returns whether the operator has allowed options that begin with these words.
    fn lifts(&self, words: &[Word]) -> bool {
        let words = match words {
            [no, rest @ ..] if no.as_str() == "no" && !rest.is_empty() => rest,
            words => words,
        };
        self.extra.iter().any(|allowed| {
            let mut allowed = allowed.split_whitespace().peekable();
            let mut words = words.iter();
            allowed.peek().is_some() && allowed.all(|part| words.next().is_some_and(|word| word.as_str() == part))
        })
    }
}
