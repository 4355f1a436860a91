//! Which daemon a command talks to, and with which token.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

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
    /// Settings file of the daemon, for its address, token and TLS.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "status_url")]
    config: Option<PathBuf>,
    /// URL of the status listener, such as http://127.0.0.1:8470; default: PROXYMGR_STATUS_URL.
    #[arg(long, alias = "url", value_name = "URL", value_hint = ValueHint::Url)]
    status_url: Option<String>,
    /// File with the token for orders; default: status.token or status.token_file of the settings.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// PEM file with the certificate authority of the daemon, if this machine does not trust it already.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
}

impl DaemonArgs {
    /// A client for reading. It sends the token if it can be read. Must be called within an actix system.
    pub fn reader(&self) -> Result<StatusClient, Failure> {
        let (url, token) = self.address()?;
        self.client(url, token.read().unwrap_or_default())
    }

    /// A client for orders; fails without a token. Must be called within an actix system.
    pub fn writer(&self) -> Result<StatusClient, Failure> {
        let (url, token) = self.address()?;
        let token = token.read().map_err(Failure::CannotStart)?;
        if token.is_none() {
            let problem = "orders need the token of the daemon: pass a file that contains it with --token-file, or set \
                           status.token or status.token_file in the settings of the daemon";
            return Err(Failure::CannotStart(problem.to_owned()));
        }
        self.client(url, token)
    }

    fn client(&self, url: String, token: Option<Token>) -> Result<StatusClient, Failure> {
        StatusClient::new(DaemonAddress { url, token, ca: self.ca.clone() }).map_err(Failure::CannotStart)
    }

    /// The URL, and the source of the token.
    fn address(&self) -> Result<(String, TokenSource), Failure> {
        let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        let url = self.status_url.clone().or_else(|| if self.config.is_some() { None } else { from_environment() });
        // If a URL is given, the settings file of this machine may belong to another daemon.
        let file = match (&self.config, &url) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()),
        };
        let sources = SettingsSources { file: file.clone(), ..SettingsSources::at(Path::new("")) };
        let status = Settings::load(&sources)?.settings.status;
        let token = match &self.token_file {
            Some(file) => TokenSource::File(file.clone()),
            None => adapters::status_access(&status).map_err(Failure::CannotStart)?.token,
        };
        Ok((url.map_or_else(|| listen_url(&status), |url| Ok(with_scheme(url)))?, token))
    }
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
