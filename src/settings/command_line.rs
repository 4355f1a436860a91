//! Commands in the settings.

use crate::child_environment::ChildEnvironment;

/// The placeholder for the candidate's path in a check command.
pub const CANDIDATE: &str = "{candidate}";

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments, or one text for the shell.
    pub words: Vec<String>,
    /// Whether the shell runs it.
    pub shell: bool,
    /// What it inherits of the daemon's environment.
    pub environment: ChildEnvironment,
}

impl CommandLine {
    /// A list of words is run as it is. A single text is split at white space, or passed to the shell if `shell` is
    /// set.
    pub(super) fn new(mut words: Vec<String>, shell: bool, environment: ChildEnvironment) -> Result<Self, String> {
        if shell && words.len() > 1 {
            return Err("is a list of words, but the shell needs one text; write one text, or remove shell".to_owned());
        }
        if !shell && let [text] = words.as_slice() {
            let shell_character = text.replace(CANDIDATE, "").chars().find(|char| "'\"`$|&;<>(){}*?".contains(*char));
            words = text.split_whitespace().map(ToOwned::to_owned).collect();
            if let Some(char) = shell_character {
                let advice = "write a list of words, or set shell: true";
                return Err(format!("contains {char:?}, which only a shell interprets: {advice}"));
            }
        }
        if words.iter().all(|word| word.trim().is_empty()) {
            return Err("is empty; remove the key if there is nothing to run".to_owned());
        }
        Ok(Self { words, shell, environment })
    }
}
