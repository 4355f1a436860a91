//! Where the daemon is that a command asks, and with which token.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::daemon::adapters;
use crate::failure::Failure;
use crate::settings::{DEFAULT_FILE, Mistake, Mistakes, Settings, SettingsSources, StatusSettings};
use crate::status::access::TokenSource;
use crate::status::client::{self, Place, StatusClient};
use crate::status::gate::caller::Token;

/// Names the daemon in the environment, as `--status-url` does.
const URL_VARIABLE: &str = "PROXYMGR_STATUS_URL";

/// Which daemon is asked. A token is never a flag of its own: everyone on the machine can read those.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The daemon's settings file, for its address, token and TLS.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "status_url")]
    config: Option<PathBuf>,
    /// Where the daemon's status listener is, such as http://127.0.0.1:8470; PROXYMGR_STATUS_URL without it.
    #[arg(long, alias = "url", value_name = "URL", value_hint = ValueHint::Url)]
    status_url: Option<String>,
    /// File with the daemon's token, which orders need; status.token or status.token_file of the settings without it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// PEM file with the authority of the daemon's certificate, where it speaks TLS and this machine does not know it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
}

impl PlaceArgs {
    /// A client that reads. It sends the token where it may read it. Must be called within an actix system.
    pub fn reader(&self) -> Result<StatusClient, Failure> {
        let (url, token) = self.named()?;
        self.client(url, token.read().unwrap_or_default())
    }

    /// A client that gives orders: without a token it says where one belongs. Must be called within an actix system.
    pub fn orderer(&self) -> Result<StatusClient, Failure> {
        let (url, token) = self.named()?;
        let token = token.read().map_err(Failure::CannotStart)?;
        if token.is_none() {
            let problem = "orders need the daemon's token: name a file that holds it with --token-file, or have \
                           status.token or status.token_file in the settings (the daemon needs one of them, too)";
            return Err(Failure::CannotStart(problem.to_owned()));
        }
        self.client(url, token)
    }

    fn client(&self, url: String, token: Option<Token>) -> Result<StatusClient, Failure> {
        StatusClient::new(Place { url, token, ca: self.ca.clone() }).map_err(Failure::CannotStart)
    }

    /// The address, and where the token is from.
    fn named(&self) -> Result<(String, TokenSource), Failure> {
        let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        let url = self.status_url.clone().or_else(|| if self.config.is_some() { None } else { from_environment() });
        // Where the address is given, a settings file of this machine says nothing about that daemon.
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
        Ok((url.map_or_else(|| listening(&status), |url| Ok(with_scheme(url)))?, token))
    }
}

fn listening(status: &StatusSettings) -> Result<String, Failure> {
    let listen = status.listen.ok_or_else(|| {
        let problem = "is none: this daemon cannot be asked".to_owned();
        Mistakes(vec![Mistake { place: String::new(), key: "status.listen".to_owned(), problem }])
    })?;
    Ok(client::url_of(listen, status.tls.is_some()))
}

fn with_scheme(url: String) -> String {
    if url.contains("://") { url } else { format!("http://{url}") }
}
