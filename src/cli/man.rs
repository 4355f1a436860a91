//! `man`: writes the manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::failure::Failure;
use crate::reference;

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The directory. It is created if it does not exist.
    #[arg(value_hint = ValueHint::DirPath)]
    directory: PathBuf,
}

/// Writes all pages; existing ones are replaced.
pub fn man(args: &ManArgs, command: &clap::Command) -> Result<(), Failure> {
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::CannotStart(format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(&args.directory).map_err(|error| cannot(&args.directory, &error))?;
    for (name, page) in reference::manual_pages(command) {
        let path = args.directory.join(name);
        fs::write(&path, page).map_err(|error| cannot(&path, &error))?;
    }
    Ok(())
}
