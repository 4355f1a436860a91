//! `import`: converts the configuration of another tool.

mod compare;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use proxymgr_actors::decide::base::sections::{Base, File};
use proxymgr_actors::decide::text::text_from;

use super::output;
use crate::base_files;
use crate::failure::Failure;
use crate::import::{
    Imported, SERVICES, SETTINGS_DIRECTORY, SETTINGS_FILE, ep2_template_file, from_ep2, from_haproxy, from_proxym,
    from_synapse,
};
use crate::settings::{Mistake, Mistakes, SettingsSources};

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From a haproxy.cfg, or a directory of *.cfg: sections with servers become services, all other lines the base
    /// configuration.
    Haproxy {
        /// The haproxy.cfg or the directory.
        #[arg(value_hint = ValueHint::AnyPath)]
        file: PathBuf,
        /// The backend and listen sections that become services; by default all that can.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        services: Vec<String>,
        #[command(flatten)]
        to: To,
    },
    /// From SmartStack's synapse.conf.json.
    Synapse {
        /// The synapse.conf.json.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        to: To,
    },
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
    /// Write proxymgr.yml, the base configuration and services/ into this directory instead of printing them; existing
    /// files are not overwritten.
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    to: Option<PathBuf>,
    /// The HAProxy binary that checks a base configuration, and the original of `import haproxy`.
    #[arg(long, value_name = "FILE", default_value = "haproxy", value_hint = ValueHint::ExecutablePath)]
    haproxy: PathBuf,
}

impl To {
    /// The directory that the settings name.
    fn directory(&self) -> PathBuf {
        let directory = self.to.as_deref().unwrap_or(Path::new(SETTINGS_DIRECTORY));
        std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
    }
}

/// Prints or writes the converted configuration.
pub fn import(args: &ImportArgs) -> Result<(), Failure> {
    let mut original = None;
    let (imported, to) = match &args.from {
        From::Haproxy { file, services, to } => {
            let base = original.insert(base(file)?);
            (from_haproxy(base, services, &to.directory()).map_err(|problem| mistake(file, problem))?, to)
        }
        From::Synapse { file, to } => {
            (from_synapse(&read(file)?, &to.directory()).map_err(|problem| mistake(file, problem))?, to)
        }
        From::Ep2 { file, template, to } => {
            let text = read(file)?;
            // The result names a missing template; one named on the command line must exist.
            let template = match template {
                Some(template) => Some(read(template)?),
                None => ep2_template_file(&text).and_then(|template| fs::read_to_string(template).ok()),
            };
            let imported = from_ep2(&text, template.as_deref(), &to.directory());
            (imported.map_err(|problem| mistake(file, problem))?, to)
        }
        From::Proxym { file, to } => {
            (from_proxym(&read(file)?, &to.directory()).map_err(|problem| mistake(file, problem))?, to)
        }
    };
    if !matches!(args.from, From::Proxym { .. }) {
        compare::with_haproxy(original.as_ref(), &imported, &to.haproxy)?;
    }
    match &to.to {
        Some(directory) => write(&imported, directory)?,
        None => output::print(&printed(&imported)),
    }
    imported.notes.iter().for_each(|note| output::remark(note));
    Ok(())
}

/// The settings, with all other files as comments.
fn printed(imported: &Imported) -> String {
    let mut text = imported.settings.clone();
    for (name, content) in imported.files() {
        let _ = writeln!(text, "\n# {SETTINGS_DIRECTORY}/{name}:\n#");
        for line in content.lines() {
            let _ = writeln!(text, "#   {line}");
        }
    }
    text
}

/// Writes all files, or none if one of them exists, and prints their paths.
fn write(imported: &Imported, directory: &Path) -> Result<(), Failure> {
    written(imported, directory)?.iter().for_each(|path| output::print(&format!("{}\n", path.display())));
    Ok(())
}

/// Writes all files, or none if one of them exists; returns their paths.
fn written(imported: &Imported, directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::CannotStart(format!("cannot write {}: {error}", path.display()))
    };
    let files = std::iter::once((SETTINGS_FILE.to_owned(), imported.settings.as_str())).chain(imported.files());
    let files: Vec<_> = files.map(|(name, content)| (directory.join(name), content)).collect();
    if let Some((path, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(cannot(path, &"it exists, and import overwrites nothing; choose another directory"));
    }
    for directory in [directory.join(SERVICES)]
        .iter()
        .map(PathBuf::as_path)
        .chain(files.iter().filter_map(|(path, _)| path.parent()))
    {
        fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    }
    for (path, content) in &files {
        // A configuration of HAProxy may contain passwords.
        let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
        let mut new = new.map_err(|error| cannot(path, &error))?;
        std::io::Write::write_all(&mut new, content.as_bytes()).map_err(|error| cannot(path, &error))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The settings of an import, with its files in this directory.
fn set_up(imported: &Imported, directory: &Path, haproxy: &Path) -> SettingsSources {
    let mut set = vec![("haproxy.path", haproxy.to_owned()), ("service_config.path", directory.join(SERVICES))];
    let base = imported.base.first().and_then(|file| Path::new(&file.name).iter().next());
    set.extend(base.map(|base| ("haproxy.base_config", directory.join(base))));
    let flag = |(key, path): (&str, PathBuf)| (key.to_owned(), path.to_string_lossy().into_owned(), String::new());
    SettingsSources {
        file: Some(directory.join(SETTINGS_FILE)),
        flags: set.into_iter().map(flag).collect(),
        ..SettingsSources::default()
    }
}

/// Reads a haproxy.cfg, or the `*.cfg` of a directory in HAProxy's order.
fn base(path: &Path) -> Result<Base, Failure> {
    let files = base_files::read(path).map_err(|problem| mistake(path, problem))?;
    Ok(Base { files: files.iter().map(|file| File::read(&file.path, &file.text)).collect() })
}

fn read(file: &Path) -> Result<String, Failure> {
    let bytes = fs::read(file).map_err(|error| mistake(file, format!("cannot be read: {error}")))?;
    text_from(&bytes).map(str::to_owned).map_err(|error| mistake(file, error))
}

fn mistake(file: &Path, problem: String) -> Failure {
    Mistakes(vec![Mistake { place: file.display().to_string(), key: String::new(), problem }]).into()
}
