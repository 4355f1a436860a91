//! The URLs of an HTTP service: `http://h1:8500,http://h2:8500`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hyper::Uri;

/// The servers of one service in normal form, so that two spellings share connections: sorted, without duplicates, each
/// `scheme://host:port`, optionally with a path that requests are appended to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Servers(Arc<[Arc<str>]>);

impl Servers {
    /// Parses one or more texts, each of one or more URLs separated by commas.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        let urls = texts.into_iter().flat_map(|text| text.split(',')).map(|url| parse_url(url.trim()));
        let urls: BTreeSet<Arc<str>> = urls.collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err("no server is given; expected a URL like http://host:port".to_owned());
        }
        Ok(Self(urls.into_iter().collect()))
    }

    /// The URL of each server, without a slash at the end.
    pub fn urls(&self) -> &[Arc<str>] {
        &self.0
    }

    /// Their host names or addresses, without ports.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|url| Some(url.parse::<Uri>().ok()?.host()?.to_owned()))
    }

    /// Whether any of them uses TLS.
    pub fn use_tls(&self) -> bool {
        self.0.iter().any(|url| url.starts_with("https:"))
    }

    /// Whether the URL has the origin of one of them.
    pub fn contain(&self, url: &Uri) -> bool {
        let origin = |url: &Uri| (url.scheme_str().map(str::to_owned), url.authority().map(|a| a.as_str().to_owned()));
        self.0.iter().any(|server| server.parse::<Uri>().is_ok_and(|server| origin(&server) == origin(url)))
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse([text])
    }
}

fn parse_url(text: &str) -> Result<Arc<str>, String> {
    // The part before an @ is a credential and must not be repeated.
    if text.contains('@') {
        return Err("a URL contains a user or password; use the settings for credentials instead".to_owned());
    }
    let wrong = |reason: &str| format!("{text:?} is not a URL like http://host:port: {reason}");
    let url: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    let scheme = match url.scheme_str() {
        Some(scheme @ ("http" | "https")) => scheme,
        _ => return Err(wrong("it must begin with http:// or https://")),
    };
    let authority = url.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Err(wrong("it names no host, or no port after the colon"));
    }
    if url.query().is_some() || text.contains('#') {
        return Err(wrong("only a path may follow the host"));
    }
    // Host names are case-insensitive; paths are not.
    let authority = authority.as_str().to_ascii_lowercase();
    Ok(format!("{scheme}://{authority}{}", url.path().trim_end_matches('/')).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_same_servers_are_equal() {
        let one: Servers = "http://B:8500/, http://a:8500".parse().unwrap();
        let other = Servers::parse(["http://a:8500", "http://b:8500", "http://a:8500/"]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "http://a:8500,http://b:8500");
        assert!(!one.use_tls());
        let path: Servers = "https://[::1]:8501/Consul/".parse().unwrap();
        assert_eq!(path.to_string(), "https://[::1]:8501/Consul");
        assert!(path.use_tls());
    }

    #[test]
    fn invalid_urls_are_refused_without_repeating_passwords() {
        for (text, reason) in [
            ("", "not a URL"),
            ("consul:8500", "must begin with http://"),
            ("ftp://a", "must begin with http://"),
            ("http://", "not a URL"),
            ("http://a:8500?x=1", "only a path"),
            ("http://a:,http://b", "no port after the colon"),
        ] {
            let error = text.parse::<Servers>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = "http://user:secret@a:8500".parse::<Servers>().unwrap_err();
        assert!(!error.contains("secret") && error.contains("credentials"), "{error}");
    }

    #[test]
    fn urls_belong_to_servers_by_origin() {
        let servers: Servers = "http://a:5050,http://b:5050".parse().unwrap();
        let contains = |url: &str| servers.contain(&url.parse().unwrap());
        assert!(contains("http://b:5050/master/state"));
        assert!(!contains("http://b:5051/"));
        assert!(!contains("https://b:5050/"));
        assert!(!contains("http://c:5050/"));
    }
}
