//! `h1:2181,h2:2181/chroot`: the servers of an ensemble, and the znode that paths are relative to.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use proxymgr_actors::model::{Address, Endpoint};

const DEFAULT_PORT: NonZeroU16 = NonZeroU16::new(2181).expect("2181 is not zero");

/// The servers of an ensemble and a chroot, in normal form: sorted, without duplicates, each with its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectString {
    /// The servers that a session connects to. Two connect strings with the same servers share a session.
    servers: Arc<str>,
    /// Empty, or `/a/b`.
    chroot: Arc<str>,
}

impl ConnectString {
    /// Returns `h1:2181,h2:2181`, without the chroot.
    pub fn servers(&self) -> &Arc<str> {
        &self.servers
    }

    /// Returns the path from the root of the ensemble. Refuses paths that ZooKeeper would refuse, except for a slash at
    /// the end, which proxymgr's predecessor requires.
    pub fn path(&self, path: &str) -> Result<Arc<str>, String> {
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        check_path(path)?;
        Ok(match (&*self.chroot, path) {
            ("", path) => path.into(),
            (_, "/") => self.chroot.clone(),
            (chroot, path) => format!("{chroot}{path}").into(),
        })
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.servers, self.chroot)
    }
}

impl FromStr for ConnectString {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |reason: String| {
            format!("{text:?} is not a ZooKeeper connect string like \"zk1:2181,zk2:2181/chroot\": {reason}")
        };
        let (servers, chroot) = match text.find('/') {
            Some(start) => text.split_at(start),
            None => (text, ""),
        };
        if !chroot.is_empty() {
            check_path(chroot).map_err(wrong)?;
        }
        let servers: BTreeSet<String> =
            servers.split(',').map(|server| parse_server(server.trim())).collect::<Result<_, _>>().map_err(wrong)?;
        let servers = Vec::from_iter(servers).join(",").into();
        let chroot = if chroot == "/" { "" } else { chroot }.into();
        Ok(Self { servers, chroot })
    }
}

fn parse_server(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a server is empty".to_owned());
    }
    // In an IPv6 address without brackets, a port would be ambiguous.
    if let Ok(address @ Address::Ip(_)) = Address::parse(text) {
        return Ok(Endpoint::Tcp { address, port: DEFAULT_PORT }.to_string());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            (host, port.parse().map_err(|_| format!("{port:?} in {text:?} is not a port from 1 to 65535"))?)
        }
        None => (text, DEFAULT_PORT),
    };
    let address = Address::parse(&host.to_ascii_lowercase()).map_err(|error| error.to_string())?;
    if matches!(address, Address::Ip(ip) if ip.is_ipv6()) && !host.starts_with('[') {
        return Err(format!("write the IPv6 address in {text:?} in brackets"));
    }
    Ok(Endpoint::Tcp { address, port }.to_string())
}

/// ZooKeeper's rules for paths (`PathUtils.validatePath`).
fn check_path(path: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(format!("the path {path:?} {reason}"));
    let Some(below_root) = path.strip_prefix('/') else {
        return refuse("does not begin with '/'");
    };
    if below_root.is_empty() {
        return Ok(());
    }
    if path.ends_with('/') {
        return refuse("ends with '/'");
    }
    if below_root.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return refuse("has an empty or relative part");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')) {
        return refuse("has a character that ZooKeeper does not accept");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        text.parse::<ConnectString>().unwrap().to_string()
    }

    #[test]
    fn equal_ensembles_have_one_normal_form() {
        assert_eq!(normal("b:2181, a"), "a:2181,b:2181");
        assert_eq!(normal("A:2181,a"), "a:2181");
        assert_eq!(normal("a/"), "a:2181");
    }

    #[test]
    fn ipv6_keeps_its_tail_and_its_port() {
        assert_eq!(normal("[2001:db8::1]:2182,::1,[::2]"), "[2001:db8::1]:2182,[::1]:2181,[::2]:2181");
    }

    #[test]
    fn chroot_precedes_paths_and_shares_servers() {
        let at_chroot: ConnectString = "a,b/x/y".parse().unwrap();
        let at_root: ConnectString = "b,a".parse().unwrap();
        assert_eq!(at_chroot.servers(), at_root.servers());
        assert_eq!(&*at_chroot.path("/z").unwrap(), "/x/y/z");
        assert_eq!(&*at_chroot.path("/").unwrap(), "/x/y");
        assert_eq!(&*at_root.path("/").unwrap(), "/");
    }

    #[test]
    fn invalid_connect_string_is_refused_with_reason() {
        for (text, reason) in [
            ("", "a server is empty"),
            ("a,,b", "a server is empty"),
            ("a:0", "\"0\" in \"a:0\" is not a port"),
            ("a:65536", "is not a port"),
            ("a b:2181", "neither an IP address nor a host name"),
            ("a:2181/x/", "ends with '/'"),
            ("a:2181//x", "has an empty or relative part"),
            ("10.0.0.300", "neither an IP address nor a host name"),
        ] {
            let error = text.parse::<ConnectString>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
