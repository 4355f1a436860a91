//! Reads a recording.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::format::{FORMAT, Header, Line};

/// A recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The headers and lines, in order. The first is a header.
    pub lines: Vec<Numbered>,
    /// The message about an incomplete last line.
    pub torn: Option<String>,
}

/// A header or a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbered {
    /// The beginning of a run.
    Run(Header),
    /// A line of the current run.
    Line(Line),
}

/// Why a recording cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: String,
    /// The line, from 1; 0 if the file as a whole cannot be read.
    pub line: usize,
    /// The problem.
    pub problem: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, problem } = self;
        if *line == 0 { write!(f, "{path}: {problem}") } else { write!(f, "{path}:{line}: {problem}") }
    }
}

/// The version alone: the other keys of another version are not known.
#[derive(Deserialize)]
struct Version {
    proxymgr_recording: u32,
}

/// Reads a recording.
///
/// # Errors
/// It is not a recording, it has another version, or a line before the last is invalid: each with the line.
pub fn read(path: &Path) -> Result<Recording, Unreadable> {
    let wrong = |line, problem: String| Unreadable { path: path.display().to_string(), line, problem };
    let file = File::open(path).map_err(|error| wrong(0, error.to_string()))?;
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    let mut torn = None;
    for number in 1.. {
        let text = next_line(&mut reader).map_err(|error| wrong(number, error.to_string()))?;
        let Some((text, is_whole)) = text else { break };
        match read_line(&text, number) {
            Ok(line) => lines.push(line),
            Err(problem) if !is_whole && number > 1 => {
                torn = Some(format!("line {number}, the last, is incomplete and was left out: {problem}"));
            }
            Err(problem) => return Err(wrong(number, problem)),
        }
    }
    if lines.is_empty() {
        return Err(wrong(1, "is not a recording: the file is empty".to_owned()));
    }
    Ok(Recording { lines, torn })
}

/// The next line, and whether it is complete; none after the last.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut text = Vec::new();
    if reader.read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    let is_whole = text.pop_if(|byte| *byte == b'\n').is_some();
    Ok(Some((text, is_whole)))
}

fn read_line(text: &[u8], number: usize) -> Result<Numbered, String> {
    match serde_json::from_slice::<Version>(text) {
        Ok(Version { proxymgr_recording: FORMAT }) => {
            serde_json::from_slice(text).map(Numbered::Run).map_err(|error| error.to_string())
        }
        Ok(Version { proxymgr_recording }) => {
            Err(format!("has version {proxymgr_recording} of the format; this proxymgr reads version {FORMAT}"))
        }
        Err(_) if number == 1 => {
            Err("is not a recording: it does not begin with {\"proxymgr_recording\": ...}".to_owned())
        }
        Err(_) => serde_json::from_slice(text).map(Numbered::Line).map_err(|error| not_a_line(text, &error)),
    }
}

/// The error of an invalid line, with its keys.
fn not_a_line(text: &[u8], error: &serde_json::Error) -> String {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(keys) => {
            let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
            format!("is not a line of a recording (keys {}): {error}", keys.join(", "))
        }
        Err(error) => format!("is not a JSON object: {error}"),
    }
}
