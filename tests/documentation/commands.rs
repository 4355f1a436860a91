//! Commands of proxymgr in blocks: they must be valid command lines. They are not executed.

use clap::Parser;
use clap::error::ErrorKind;
use proxymgr::cli::Cli;

use super::blocks::{Block, Language};

/// Words before a command.
const BEFORE: [&str; 4] = ["sudo", "exec", "time", "nohup"];

/// Parses every command line of proxymgr in the block.
pub fn check(block: &Block) -> Result<(), String> {
    let is_session = block.language == Ok(Language::Session);
    let joined = block.text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter_map(|line| match line.strip_prefix("$ ") {
        Some(command) => Some(command),
        None => (!is_session).then_some(line),
    });
    for line in lines {
        let words = shlex::split(line).ok_or_else(|| format!("{line:?} is not a command line"))?;
        for command in words.split(|word| matches!(word.as_str(), "|" | "&&" | "||" | ";" | "&")) {
            parse(command)?;
        }
    }
    Ok(())
}

fn parse(command: &[String]) -> Result<(), String> {
    let is_before = |word: &&String| BEFORE.contains(&word.as_str()) || word.starts_with("PROXYMGR_");
    let words = Vec::from_iter(command.iter().skip_while(is_before).map(String::as_str));
    let words = words.split(|word| word.starts_with(['>', '<']) || *word == "2>&1").next().unwrap_or_default();
    match words.first() {
        Some(program) if *program == "proxymgr" || program.ends_with("/proxymgr") && words.len() > 1 => {}
        _ => return Ok(()),
    }
    match Cli::try_parse_from(words.iter().copied()) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn mistaken_commands_are_found() {
    let check = |language, text: &str| {
        check(&Block { place: String::new(), language: Ok(language), text: text.to_owned() }).is_ok()
    };
    assert!(check(Language::Shell, "make build\nsudo proxymgr check -c /etc/p.yml \\\n  --connect   # everything\n"));
    assert!(!check(Language::Shell, "proxymgr chek\n"));
    assert!(!check(Language::Shell, "make && proxymgr status --colour\n"));
    assert!(check(Language::Session, "$ proxymgr status | head\nproxymgr: whatever\n"));
    assert!(!check(Language::Session, "$ proxymgr events --folow\n"));
}
