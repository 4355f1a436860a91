//! Commands that an operator wants run.

/// What stands for the candidate's path in a check command.
pub const CANDIDATE: &str = "{candidate}";

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments, or one text for the shell.
    pub words: Vec<String>,
    /// Whether the shell runs it.
    pub shell: bool,
}

impl CommandLine {
    /// A list of words is run as it is; a text alone is split at white space, or given to the shell where that is asked
    /// for.
    pub(super) fn new(mut words: Vec<String>, shell: bool) -> Result<Self, String> {
        if shell && words.len() > 1 {
            return Err("is a list of words, which no shell can run: write one text, or leave shell out".to_owned());
        }
        if !shell && let [text] = words.as_slice() {
            let meant_for_a_shell = text.replace(CANDIDATE, "").chars().find(|char| "'\"`$|&;<>(){}*?".contains(*char));
            words = text.split_whitespace().map(ToOwned::to_owned).collect();
            if let Some(char) = meant_for_a_shell {
                let advice = "write a list of words, or set shell: true";
                return Err(format!("has {char:?}, which means something to a shell, and none runs it: {advice}"));
            }
        }
        if words.iter().all(|word| word.trim().is_empty()) {
            return Err("is empty; leave the key out if there is nothing to run".to_owned());
        }
        Ok(Self { words, shell })
    }
}
