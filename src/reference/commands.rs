//! `proxymgr(1)`, and a page for each command.

use std::collections::BTreeMap;
use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::markup::verbatim;
use super::{MANUAL, VERSION};

/// The other pages of the manual.
const SEE_ALSO: [(&str, &str); 2] = [("proxymgr.yml", "(5)"), ("proxymgr-service", "(5)")];

/// Returns the pages by their file names.
pub fn pages(command: &Command) -> BTreeMap<String, String> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut pages = BTreeMap::new();
    add(&command, &mut pages);
    pages
}

fn add(command: &Command, pages: &mut BTreeMap<String, String>) {
    command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| add(command, pages));
    let man = Man::new(command.clone()).date(VERSION).source("proxymgr").manual(MANUAL);
    pages.insert(man.get_filename(), text(command, &man).expect("writing to memory cannot fail"));
}

fn text(command: &Command, man: &Man) -> io::Result<String> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    if let Some(after) = command.get_after_help() {
        sections(&mut rest, &after.to_string());
    }
    rest.control("SH", ["SEE ALSO"]);
    let own = (command.get_name() != "proxymgr").then_some(("proxymgr", "(1)"));
    let pages = own.into_iter().chain(SEE_ALSO).enumerate();
    let line =
        pages.flat_map(|(at, (name, section))| [roman(if at == 0 { "" } else { ", " }), bold(name), roman(section)]);
    rest.text(Vec::from_iter(line));
    page.extend(rest.to_roff().into_bytes());
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The text after the help: sections with a heading each, whose lines stay as they are.
fn sections(page: &mut Roff, text: &str) {
    for section in text.split("\n\n") {
        let (heading, lines) = section.split_once('\n').unwrap_or((section, ""));
        page.control("SH", [heading.trim_end_matches(':').to_uppercase().as_str()]);
        verbatim(page, lines);
    }
}
