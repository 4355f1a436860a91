//! The check of server options.

use super::expression;
use super::facts::Fact;
use super::kind::Kind;
use super::place::Place;
use super::section::Section;
use super::value;
use crate::decide::nearest::nearest;
use crate::decide::quoting::holds_escaped_control;
use crate::decide::server_options::{self, UsedOption, used_options};
use crate::model::Word;

/// How a refusal ends that the operator can lift.
pub const OPERATOR_MAY_ALLOW: &str = "the operator can allow it with haproxy.extra_options or grants";

/// Checks server options that are already split, and records what they use. The operator's entries that are names of
/// options lift refusals.
///
/// # Errors
/// Which option is refused, why, and what to do.
pub fn check(words: &[Word], section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    // They also go through the Runtime API, where `;` and a line feed end a command and `<<` begins a payload.
    if let Some(word) = words.iter().find(|w| w.as_str().contains(';') || w.as_str().contains("<<")) {
        return Err(format!("{word:?} holds ';' or '<<', which server options may not"));
    }
    if let Some(word) = words.iter().find(|w| holds_escaped_control(w)) {
        return Err(format!("{:?} holds \\n, \\r or \\t, which server options may not", word.as_str()));
    }
    let section = Section { name: None, ..*section };
    used_options(words).try_for_each(|option| check_option(option, &section, facts))
}

fn check_option(option: UsedOption<'_>, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    let name = option.name();
    let is_lifted = section.granted.iter().any(|entry| entry.trim() == name);
    let Some(known) = option.known else {
        if is_lifted {
            return Ok(());
        }
        let allowed = server_options::all().iter().filter(|option| option.refusal.is_none());
        let meant = nearest(name, allowed.map(|option| option.name));
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
        return Err(format!("{name:?} is not a server option that a service may use{hint} ({OPERATOR_MAY_ALLOW})"));
    };
    if let Some(reason) = known.refusal.filter(|_| !is_lifted) {
        return Err(format!("{name:?} is not allowed: {reason} ({OPERATOR_MAY_ALLOW})"));
    }
    let Some(wanted) = known.value else { return Ok(()) };
    let given = option.values.first().ok_or_else(|| format!("{name:?} lacks its value"))?;
    if is_lifted {
        return Ok(());
    }
    check_value(wanted, given.as_str(), section, facts).map_err(|reason| match wanted {
        Kind::Expression | Kind::CheckedIp | Kind::CheckedPort => {
            format!("{:?} for {name:?} {reason} ({OPERATOR_MAY_ALLOW})", given.as_str())
        }
        _ => format!("{:?} for {name:?} {reason}", given.as_str()),
    })
}

fn check_value(wanted: Kind, text: &str, section: &Section<'_>, facts: &mut Vec<Fact>) -> Result<(), String> {
    if wanted != Kind::Expression {
        return value::check(wanted, text, section, facts);
    }
    match expression::read(text, Place::Value, section, facts) {
        Ok(expression) if expression.length == text.len() => Ok(()),
        Ok(expression) => Err(format!("is not understood from {:?} on", &text[expression.length..])),
        Err(reason) => Err(format!("is refused: {reason}")),
    }
}
