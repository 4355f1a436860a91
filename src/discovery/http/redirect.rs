//! Where a redirect leads.

use std::num::NonZeroU16;

use hyper::Uri;
use proxymgr_actors::decide::host_networks::HostNetworks;
use proxymgr_actors::model::Address;

/// The URL of a `Location` header in a response from `from`; `None` if it is not an HTTP URL, or leads to an address that no
/// server may have: a definition may name the server that redirects.
pub(super) fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let text = match location {
        // Mesos sends this form.
        relative if relative.starts_with("//") => format!("{scheme}:{relative}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        absolute => absolute.to_owned(),
    };
    let url: Uri = text.parse().ok()?;
    matches!(url.scheme_str(), Some("http" | "https")).then_some(url).filter(is_reachable)
}

fn is_reachable(url: &Uri) -> bool {
    let Some(authority) = url.authority() else { return false };
    let port = authority.port_u16().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN);
    Address::parse(authority.host()).is_ok_and(|address| HostNetworks::default().check_reach(&address, port).is_ok())
}

/// The server of a URL, for messages: the rest is a text of another server, and may be a secret.
pub(super) fn for_messages(url: &Uri) -> String {
    let server = url.authority().map_or("", |authority| authority.as_str());
    let server = server.rsplit('@').next().unwrap_or_default();
    format!("{}://{server}", url.scheme_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_http_servers_only() {
        let from: Uri = "https://a:5050/master/state".parse().unwrap();
        let leads = |location: &str| resolve(&from, location).map(|url| url.to_string());
        assert_eq!(leads("/x?y"), Some("https://a:5050/x?y".into()));
        assert_eq!(leads("//b:5050/x"), Some("https://b:5050/x".into()));
        assert_eq!(leads("http://c/x"), Some("http://c/x".into()));
        assert_eq!(leads("file:///etc/passwd"), None);
        assert_eq!(leads("x"), None);
        assert_eq!(leads("http://169.254.169.254/latest/meta-data"), None);
        assert_eq!(leads("http://0x0:8470/"), None);
    }

    #[test]
    fn messages_have_only_the_server() {
        assert_eq!(for_messages(&"http://user:s3cret@a:80/x?token=y".parse().unwrap()), "http://a:80");
        assert_eq!(for_messages(&"https://[::1]:8443/".parse().unwrap()), "https://[::1]:8443");
    }
}
