//! Text of the Runtime API: formats commands and classifies answers.
//!
//! Source: HAProxy's management guide, section 9.3, and experiments with 2.2, 2.6, 3.0 and 3.2. An answer's severity is
//! useless (`set server addr` answers at the same level for success and failure), so answers are classified by their
//! text.

use proxymgr_actors::limits::{LINE_WORDS_MAX, RUNTIME_ANSWER_TEXT_BYTES_MAX, RUNTIME_LINE_BYTES_MAX};
use proxymgr_actors::model::{BackendCommand, PersistentId, RuntimeCommand, Word};
use proxymgr_actors::port::Answer;

/// Returns the command as it is sent, without the line feed.
pub fn command_text(command: &RuntimeCommand) -> String {
    let mut text = String::with_capacity(64);
    write_command(&mut text, command);
    text
}

/// Appends the command's text to `out`.
pub(super) fn write_command(out: &mut String, command: &RuntimeCommand) {
    let written = command.write(out, |out, option| {
        write_escaped(out, option.as_str());
        Ok(())
    });
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

/// Returns one argument as [`write_escaped`] writes it.
pub(super) fn escaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    write_escaped(&mut text, word);
    text
}

/// Appends one argument so that HAProxy reads it unchanged. Every version accepts a backslash before each of these
/// characters; a space or `;` would end the argument or the command, a trailing `<<` would begin a payload, and quotes,
/// `#` and `$` are literal today but need not stay so.
fn write_escaped(out: &mut String, word: &str) {
    for character in word.chars() {
        if matches!(character, '\\' | ' ' | ';' | '#' | '"' | '\'' | '<' | '$') {
            out.push('\\');
        }
        out.push(character);
    }
}

/// Returns why this command must not be sent: HAProxy would accept it and do something else, or hang.
pub(super) fn refusal(command: &RuntimeCommand, text: &str) -> Option<String> {
    if text.len() > RUNTIME_LINE_BYTES_MAX {
        return Some(format!(
            "not sent: the command is {} bytes long and the Runtime API is given at most {RUNTIME_LINE_BYTES_MAX}; \
             shorten the server's options",
            text.len()
        ));
    }
    match command {
        RuntimeCommand::AddServer { id, options, .. } if add_words(*id, options) > LINE_WORDS_MAX => Some(format!(
            "not sent: the command has {} arguments and HAProxy would cut it after {LINE_WORDS_MAX}; \
             give the server fewer options",
            add_words(*id, options)
        )),
        RuntimeCommand::AddServer { endpoint, .. } | RuntimeCommand::SetAddress(_, endpoint) => {
            endpoint.host_name().map(|name| {
                format!(
                    "not sent: HAProxy resolves a host name like {name} only when it reads its configuration, \
                     and would leave this server without an address; a reload is needed"
                )
            })
        }
        _ => None,
    }
}

/// The number of arguments of an `add server`.
fn add_words(id: Option<PersistentId>, options: &[Word]) -> usize {
    4 + 2 * usize::from(id.is_some()) + options.len()
}

/// Classifies an answer as success or failure by its text.
pub(super) fn classify(command: &RuntimeCommand, text: String) -> Answer {
    let says = |line: &str| text.lines().any(|candidate| candidate == line);
    let accepted = match command {
        RuntimeCommand::AddServer { .. } => says("New server registered."),
        RuntimeCommand::DeleteServer(_) => says("Server deleted."),
        RuntimeCommand::SetAddress(..) => address_accepted(&text),
        RuntimeCommand::EnableHealth(_)
        | RuntimeCommand::EnableAgent(_)
        | RuntimeCommand::DisableAgent(_)
        | RuntimeCommand::SetReady(_)
        | RuntimeCommand::SetDrain(_)
        | RuntimeCommand::SetMaintenance(_)
        | RuntimeCommand::SetWeight(..) => text.is_empty(),
    };
    Answer { accepted, text: if accepted { text } else { explained(text) } }
}

/// Classifies the answer to a command for a backend: warnings may precede its last line, which counts.
pub(super) fn classify_backend(command: &BackendCommand, text: &str) -> Answer {
    let last = text.lines().next_back().unwrap_or_default();
    let done = match command {
        BackendCommand::Add { .. } => "New backend registered",
        BackendCommand::Publish(_) => "Backend published.",
        BackendCommand::Unpublish(_) => "Backend unpublished.",
        BackendCommand::Delete(_) => "Backend deleted.",
    };
    let accepted = last.starts_with(done);
    Answer { accepted, text: if accepted { last.to_owned() } else { explained(text.to_owned()) } }
}

/// 2.2 and 2.6 apply the address before they refuse the port and report both on one line, so any failure in the text
/// wins.
fn address_accepted(text: &str) -> bool {
    const DONE: [&str; 4] = ["IP changed from", "port changed from", "no need to change", "nothing changed"];
    const REFUSED: [&str; 4] = ["Invalid addr", "problem converting port", "Update for the current", "can't change"];
    DONE.iter().any(|words| text.contains(words)) && !REFUSED.iter().any(|words| text.contains(words))
}

/// Adds a remedy to answers that need one.
fn explained(text: String) -> String {
    match text.as_str() {
        "Permission denied" => format!("{text} (the stats socket needs `level admin`)"),
        "" => "HAProxy's answer is empty, where a text was expected".to_owned(),
        _ => text,
    }
}

/// Collects the lines of one answer: no blank lines, bounded, and without the command list that follows
/// "Unknown command".
#[derive(Default)]
pub(super) struct AnswerText {
    text: String,
    complete: bool,
}

impl AnswerText {
    /// Takes the answer's next line.
    pub(super) fn line(&mut self, line: &str) {
        const UNKNOWN: &str = "Unknown command";
        let line = line.trim_end();
        if line.is_empty() || self.complete {
            return;
        }
        self.complete = line.starts_with(UNKNOWN);
        let line = if self.complete { UNKNOWN } else { line };
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        if self.text.len() > RUNTIME_ANSWER_TEXT_BYTES_MAX {
            let fits = (0..=RUNTIME_ANSWER_TEXT_BYTES_MAX).rev().find(|end| self.text.is_char_boundary(*end));
            self.text.truncate(fits.unwrap_or(0));
            self.complete = true;
        }
    }

    /// Returns the complete answer and begins the next.
    pub(super) fn take(&mut self) -> String {
        self.complete = false;
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{Address, Endpoint, ServerId, ServerName, ServiceName};

    use super::*;

    fn server() -> ServerId {
        ServerId { service: ServiceName::new("web").unwrap(), server: ServerName::new("a_1").unwrap() }
    }

    fn endpoint(address: &str) -> Endpoint {
        let address = Address::parse(address).unwrap();
        Endpoint::Tcp { address, port: 8080.try_into().unwrap() }
    }

    fn add(options: &[&str]) -> RuntimeCommand {
        let options = options.iter().map(|word| Word::new(word).unwrap()).collect();
        RuntimeCommand::AddServer { server: server(), endpoint: endpoint("::1"), id: None, options }
    }

    #[test]
    fn commands_are_written_in_haproxys_words() {
        assert_eq!(command_text(&add(&["check", "weight", "5"])), "add server web/a_1 [::1]:8080 check weight 5");
        let id = Some(PersistentId::MIN);
        let with_id =
            RuntimeCommand::AddServer { server: server(), endpoint: endpoint("::1"), id, options: Vec::new() };
        assert_eq!(command_text(&with_id), "add server web/a_1 [::1]:8080 id 65536");
        let set = RuntimeCommand::SetAddress(server(), endpoint("::1"));
        assert_eq!(command_text(&set), "set server web/a_1 addr ::1 port 8080");
        assert_eq!(command_text(&RuntimeCommand::SetWeight(server(), 0)), "set server web/a_1 weight 0");
    }

    #[test]
    fn no_word_can_end_its_command() {
        let text = command_text(&add(&["a b;c", r#"\"'#$<<"#]));
        assert_eq!(text, r#"add server web/a_1 [::1]:8080 a\ b\;c \\\"\'\#\$\<\<"#);
    }

    #[test]
    fn unsafe_command_is_not_sent() {
        let refused = |command: &RuntimeCommand| refusal(command, &command_text(command)).unwrap_or_default();
        assert_eq!(refused(&add(&["check"; 60])), "");
        assert!(refused(&add(&["check"; 61])).contains("65 arguments"));
        assert!(refused(&add(&["x".repeat(9_000).as_str()])).contains("bytes long"));
        let named = RuntimeCommand::SetAddress(server(), endpoint("a.example"));
        assert!(refused(&named).contains("a.example"));
    }

    #[test]
    fn address_answer_with_a_failure_is_refused() {
        let set = RuntimeCommand::SetAddress(server(), endpoint("10.0.0.1"));
        let accepted = |text: &str| classify(&set, text.to_owned()).accepted;
        assert!(accepted("IP changed from '1.1.1.1' to '10.0.0.1' by 'stats socket command'"));
        assert!(accepted("no need to change the addr, no need to change the port by 'stats socket command'"));
        assert!(accepted("nothing changed"));
        assert!(!accepted("IP changed from '1.1.1.1' to '10.0.0.1', problem converting port '80x' by 'stats socket'"));
        assert!(!accepted("Invalid addr '10.0.0.1'"));
        assert!(!accepted(""));
    }

    #[test]
    fn quoted_success_text_is_not_success() {
        let text = "unknown keyword 'New server registered.'.".to_owned();
        assert!(!classify(&add(&[]), text).accepted);
        assert!(classify(&add(&[]), "New server registered.".to_owned()).accepted);
    }

    #[test]
    fn command_list_after_unknown_command_is_omitted() {
        let mut answer = AnswerText::default();
        answer.line("Unknown command. Please enter one of the following commands only :");
        answer.line("  help           : this message");
        assert_eq!(answer.take(), "Unknown command");
        answer.line("Server deleted.");
        answer.line("");
        assert_eq!(answer.take(), "Server deleted.");
        answer.line("a warning");
        answer.line("Unknown command. Please enter one of the following commands only :");
        assert_eq!(answer.take(), "a warning\nUnknown command");
    }
}
