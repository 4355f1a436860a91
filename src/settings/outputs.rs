//! The `outputs` section: outputs besides HAProxy.

use std::path::PathBuf;
use std::time::Duration;

use super::command_line::CommandLine;
use super::entry::Entry;
use super::reader::Reader;
use super::value::check_servers;
use crate::child_environment::ChildEnvironment;
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// The default time-out of an output's command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The default owner of Hipache's lists.
const OWNER: &str = "proxymgr";

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSettings {
    /// A file rendered from a template.
    Template(TemplateSettings),
    /// Hipache's lists of hosts in Redis.
    Hipache(HipacheSettings),
    /// Standard output.
    Stdout(StdoutFormat),
}

/// A file rendered from a template, such as another proxy's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSettings {
    /// The template.
    pub template: PathBuf,
    /// The file.
    pub path: PathBuf,
    /// The service whose servers are `{{ nodes }}`, if the template uses it.
    pub service: Option<String>,
    /// The beginning of a comment line, if the format has comments.
    pub comment: Option<String>,
    /// Checks a candidate, if set.
    pub check: Option<CommandLine>,
    /// Makes the proxy read the file again, if set.
    pub reload: Option<CommandLine>,
    /// The time-out of each command.
    pub timeout: Duration,
}

/// Hipache's lists in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HipacheSettings {
    /// `host:port` of Redis.
    pub server: String,
    /// TLS, if enabled.
    pub tls: Option<TlsFiles>,
    /// The number of the database.
    pub database: u32,
    /// Redis's password.
    pub password: Option<Secret>,
    /// Marks the lists of this manager. Managers that share a Redis but not services need different owners.
    pub owner: String,
}

/// The format of printed changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdoutFormat {
    /// A line for each service and host.
    Text,
    /// One JSON object per change.
    Json,
}

/// Reads every output.
pub(super) fn read(reader: &mut Reader, environment: &ChildEnvironment) -> Vec<OutputSettings> {
    reader.entries("outputs", |entry| {
        entry.need("type", "type: template");
        match entry.choice("type", &["template", "hipache", "stdout"])? {
            "template" => template(entry, environment).map(OutputSettings::Template),
            "hipache" => hipache(entry).map(OutputSettings::Hipache),
            _ => match entry.choice("format", &["text", "json"]) {
                Some("json") => Some(OutputSettings::Stdout(StdoutFormat::Json)),
                _ => Some(OutputSettings::Stdout(StdoutFormat::Text)),
            },
        }
    })
}

fn template(entry: &mut Entry<'_>, environment: &ChildEnvironment) -> Option<TemplateSettings> {
    entry.need("template", "template: /etc/proxymgr/nginx.conf.j2");
    entry.need("path", "path: /etc/nginx/nginx.conf");
    let template = entry.path("template");
    let path = entry.path("path");
    if template.is_some() && template == path {
        entry.refuse("path", "is the template itself, which would be overwritten");
    }
    let service = entry.text("service");
    let comment = entry.text("comment").unwrap_or_else(|| "#".to_owned());
    let shell = entry.flag("shell");
    let check = command(entry, "check", shell, environment);
    let reload = command(entry, "reload", shell, environment);
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(3_600));
    let timeout = entry.duration("timeout", COMMAND_TIMEOUT, min, max);
    let comment = Some(comment).filter(|comment| !comment.is_empty());
    Some(TemplateSettings { template: template?, path: path?, service, comment, check, reload, timeout: timeout? })
}

fn command(
    entry: &mut Entry<'_>,
    name: &'static str,
    shell: bool,
    environment: &ChildEnvironment,
) -> Option<CommandLine> {
    let words = entry.texts(name)?;
    CommandLine::new(words, shell, environment.clone()).map_err(|problem| entry.refuse(name, problem)).ok()
}

fn hipache(entry: &mut Entry<'_>) -> Option<HipacheSettings> {
    const DATABASES: u32 = 1_024;
    entry.need("server", "server: 127.0.0.1:6379");
    let server = entry.text("server").and_then(|text| {
        let (scheme, server) = text.split_once("://").unwrap_or(("redis", &text));
        match check_servers(server) {
            Ok(()) if server.contains(':') && !server.contains([',', '/']) && ["redis", "rediss"].contains(&scheme) => {
                Some((server.to_owned(), scheme == "rediss"))
            }
            _ => {
                let shapes = "must be host:port, such as 127.0.0.1:6379, or rediss://host:port for TLS";
                entry.refuse("server", format!("{text:?} {shapes}"));
                None
            }
        }
    });
    let tls = tls(entry);
    let database = match entry.text("database").map(|text| text.parse::<u32>()) {
        None => 0,
        Some(Ok(number)) if number < DATABASES => number,
        Some(_) => {
            entry.refuse("database", format!("must be a number from 0 to {} in quotes", DATABASES - 1));
            return None;
        }
    };
    let password = entry.secret("password");
    let owner = entry.text("owner").unwrap_or_else(|| OWNER.to_owned());
    if owner.is_empty() || !owner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        entry.refuse("owner", format!("{owner:?} must be letters, digits, '-', '_' and '.'"));
        return None;
    }
    let (server, uses_tls) = server?;
    if !uses_tls && tls != TlsFiles::default() {
        entry.refuse("server", format!("ca and certificate need TLS: write rediss://{server}"));
        return None;
    }
    Some(HipacheSettings { server, tls: uses_tls.then_some(tls), database, password, owner })
}

fn tls(entry: &mut Entry<'_>) -> TlsFiles {
    let (ca, certificate, key) = (entry.path("ca"), entry.path("certificate"), entry.path("key"));
    if certificate.is_some() != key.is_some() {
        let missing = if key.is_none() { "key" } else { "certificate" };
        entry.refuse(missing, "is missing; a certificate and its key need each other");
    }
    TlsFiles { ca, identity: certificate.zip(key) }
}
