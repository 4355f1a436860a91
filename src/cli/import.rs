//! `import`: converts the configuration of ElasticPyProxy or proxym.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};

use super::output;
use crate::failure::Failure;
use crate::import::{Imported, SERVICES_DIRECTORY, ep2_template_file, from_ep2, from_proxym};
use crate::settings::{Mistake, Mistakes};

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From ElasticPyProxy's ep2.conf, and the template of haproxy.cfg that it names.
    Ep2 {
        /// The ep2.conf.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The template, if it is not at the path in the file.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        template: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
    /// From the environment file of proxym, with one PROXYM_ variable per line.
    Proxym {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        to: To,
    },
}

#[derive(Debug, Args)]
struct To {
    /// Write proxymgr.yml and services/ into this directory instead of printing them; existing files are not overwritten.
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    write: Option<PathBuf>,
}

/// Prints or writes the converted configuration.
pub fn import(args: &ImportArgs) -> Result<(), Failure> {
    let (imported, to) = match &args.from {
        From::Ep2 { file, template, to } => {
            let text = read(file)?;
            // The result names a missing template; one named on the command line must exist.
            let template = match template {
                Some(template) => Some(read(template)?),
                None => ep2_template_file(&text).and_then(|template| fs::read_to_string(template).ok()),
            };
            (from_ep2(&text, template.as_deref()).map_err(|problem| mistake(file, problem))?, to)
        }
        From::Proxym { file, to } => (from_proxym(&read(file)?).map_err(|problem| mistake(file, problem))?, to),
    };
    match &to.write {
        Some(directory) => write(&imported, directory),
        None => {
            output::print(&printed(&imported));
            Ok(())
        }
    }
}

/// The settings, with the definitions as comments.
fn printed(imported: &Imported) -> String {
    let mut text = imported.settings.clone();
    for (name, definition) in &imported.services {
        let _ = writeln!(text, "\n# {SERVICES_DIRECTORY}/{name}:\n#");
        for line in definition.lines() {
            let _ = writeln!(text, "#   {line}");
        }
    }
    text
}

fn write(imported: &Imported, directory: &Path) -> Result<(), Failure> {
    let services = directory.join("services");
    let cannot = |path: &Path, error| Failure::CannotStart(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(&services).map_err(|error| cannot(&services, error))?;
    let files = imported.services.iter().map(|(name, text)| (services.join(name), text));
    for (path, text) in std::iter::once((directory.join("proxymgr.yml"), &imported.settings)).chain(files) {
        let mut new = fs::File::create_new(&path).map_err(|error| cannot(&path, error))?;
        std::io::Write::write_all(&mut new, text.as_bytes()).map_err(|error| cannot(&path, error))?;
        output::print(&format!("{}\n", path.display()));
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| mistake(file, format!("cannot be read: {error}")))
}

fn mistake(file: &Path, problem: String) -> Failure {
    Mistakes(vec![Mistake { place: file.display().to_string(), key: String::new(), problem }]).into()
}
