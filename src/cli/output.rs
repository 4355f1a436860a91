//! Printing for people and pipes.

use std::io::{self, IsTerminal, Write};

/// Prints to standard output. A reader that has had enough (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a remark to standard error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Colours, where a person looks at standard output and has not asked for none (`NO_COLOR`).
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output as it is.
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { on: wanted && io::stdout().is_terminal() }
    }

    /// Whether there are any.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// None at all.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { on: false }
    }

    /// What is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is not well.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is beside the point.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
