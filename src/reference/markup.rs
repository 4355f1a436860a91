//! Text of the tables, which is Markdown, in troff format.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{MANUAL, VERSION};

/// A page of section 5, with its name and purpose.
pub fn file_page(name: &str, purpose: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name, "5", VERSION, "proxymgr", MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {purpose}"))]);
    page
}

/// Paragraphs, separated by `\n`. Lines that begin with spaces or a dash stay as they are.
pub fn paragraphs(page: &mut Roff, text: &str) {
    let mut is_list = false;
    for paragraph in text.split('\n') {
        let begins_list = paragraph.starts_with([' ', '-']);
        match (is_list, begins_list) {
            (false, true) => page.control("nf", []),
            (true, false) => page.control("fi", []),
            (false, false) => page.control("PP", []),
            (true, true) => page,
        };
        is_list = begins_list;
        page.text(inlines(paragraph));
    }
    if is_list {
        page.control("fi", []);
    }
}

/// A term with its values and its explanation.
pub fn term(page: &mut Roff, name: &str, values: &str, explanation: &str) {
    page.control("TP", []);
    let mut line = vec![bold(name)];
    if !values.is_empty() {
        line.push(roman(format!(" ({})", values.replace('`', ""))));
    }
    page.text(line);
    page.text(inlines(explanation));
}

/// Lines that stay as they are.
pub fn verbatim(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

/// A line, with code in bold.
pub fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
