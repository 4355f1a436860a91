//! Which daemon a command talks to, and with which token.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use nix::unistd::{AccessFlags, access};

use crate::daemon::adapters;
use crate::failure::Failure;
use crate::settings::{DEFAULT_FILE, Mistake, Mistakes, Settings, SettingsSources, StatusSettings};
use crate::status::access::TokenSource;
use crate::status::client::{self, DaemonAddress, StatusClient};
use crate::token::Token;

/// Environment variable with the URL of the daemon, like `--status-url`.
const URL_VARIABLE: &str = "PROXYMGR_STATUS_URL";

/// Arguments that select the daemon. There is no flag for the token itself: other users can read command lines.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Settings file of the daemon, for its unix socket, address and TLS.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "status_url")]
    config: Option<PathBuf>,
    /// URL of the status listener, such as http://127.0.0.1:8470; default: PROXYMGR_STATUS_URL.
    #[arg(long, alias = "url", value_name = "URL", value_hint = ValueHint::Url)]
    status_url: Option<String>,
    /// File with the token for orders to a URL; default: status.token or status.token_file of the settings.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// PEM file with the certificate authority of the daemon, if this machine does not trust it already.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
}

/// Where a daemon is reached, and with which token.
enum Reach {
    /// By its unix socket.
    Socket(PathBuf),
    /// By a URL that was given explicitly, with this token.
    Url(String, TokenSource),
    /// By the address in its settings.
    Listen {
        /// Its URL.
        url: String,
        /// Its token, which may only be sent if TLS proves who answers.
        token: TokenSource,
        /// The unix socket that does not exist or may not be used, if there should be one.
        socket: Option<PathBuf>,
    },
}

impl DaemonArgs {
    /// A client for reading. It sends the token only where [`DaemonArgs::writer`] would. Must be called within an actix
    /// system.
    pub fn reader(&self) -> Result<StatusClient, Failure> {
        match self.reach()? {
            Reach::Socket(path) => self.client(DaemonAddress { socket: Some(path), ..DaemonAddress::default() }),
            Reach::Url(url, token) => self.client_at(url, token.read().unwrap_or_default()),
            Reach::Listen { url, token, .. } => {
                let token = if is_tls(&url) { token.read().unwrap_or_default() } else { None };
                self.client_at(url, token)
            }
        }
    }

    /// A client for orders: the unix socket of the daemon, or a URL with a token. Must be called within an actix system.
    pub fn writer(&self) -> Result<StatusClient, Failure> {
        let (url, token) = match self.reach()? {
            Reach::Socket(path) => {
                return self.client(DaemonAddress { socket: Some(path), ..DaemonAddress::default() });
            }
            Reach::Url(url, token) => (url, token),
            Reach::Listen { url, token, .. } if is_tls(&url) => (url, token),
            // While the daemon is down, any local user could listen there and receive the token.
            Reach::Listen { url, socket, .. } => {
                let why = match socket {
                    Some(path) if path.exists() => {
                        format!("this user may not use its unix socket {} (status.socket_group)", path.display())
                    }
                    Some(path) => format!("no proxymgr answers at its unix socket {}", path.display()),
                    None => "its settings turn the unix socket off (status.socket)".to_owned(),
                };
                let advice = format!("to send the token to {url}, pass --status-url {url}");
                return Err(Failure::CannotStart(format!("{why}; {advice}")));
            }
        };
        let token = token.read().map_err(Failure::CannotStart)?;
        if token.is_none() {
            let problem = "orders need the token of the daemon: pass a file that contains it with --token-file, or set \
                           status.token or status.token_file in the settings of the daemon";
            return Err(Failure::CannotStart(problem.to_owned()));
        }
        self.client_at(url, token)
    }

    fn client_at(&self, url: String, token: Option<Token>) -> Result<StatusClient, Failure> {
        self.client(DaemonAddress { url, token, ..DaemonAddress::default() })
    }

    fn client(&self, address: DaemonAddress) -> Result<StatusClient, Failure> {
        StatusClient::new(DaemonAddress { ca: self.ca.clone(), ..address }).map_err(Failure::CannotStart)
    }

    fn reach(&self) -> Result<Reach, Failure> {
        let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        let url = self.status_url.clone().or_else(|| if self.config.is_some() { None } else { from_environment() });
        // If a URL is given, the settings file of this machine may belong to another daemon.
        let file = match (&self.config, &url) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()),
        };
        // The daemon may run with a copy of base files that cannot be read now.
        let base_files = Some(Vec::new());
        let sources = SettingsSources { file: file.clone(), base_files, ..SettingsSources::at(Path::new("")) };
        let status = Settings::load(&sources)?.settings.status;
        let token = match &self.token_file {
            Some(file) => TokenSource::File(file.clone()),
            None => adapters::status_access(&status).map_err(Failure::CannotStart)?.token,
        };
        if let Some(url) = url {
            return Ok(Reach::Url(with_scheme(url), token));
        }
        let socket = status.socket.path.clone();
        if let Some(path) = socket.as_ref().filter(|path| access(path.as_path(), AccessFlags::W_OK).is_ok()) {
            return Ok(Reach::Socket(path.clone()));
        }
        Ok(Reach::Listen { url: listen_url(&status)?, token, socket })
    }
}

fn is_tls(url: &str) -> bool {
    url.starts_with("https:")
}

fn listen_url(status: &StatusSettings) -> Result<String, Failure> {
    let listen = status.listen.ok_or_else(|| {
        let problem = "is none: this daemon has no status listener".to_owned();
        Mistakes(vec![Mistake { place: String::new(), key: "status.listen".to_owned(), problem }])
    })?;
    Ok(client::url_of(listen, status.tls.is_some()))
}

fn with_scheme(url: String) -> String {
    if url.contains("://") { url } else { format!("http://{url}") }
}
