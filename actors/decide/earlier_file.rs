//! A haproxy.cfg of an earlier run of the daemon, as a fallback where no new file is usable. Its listening sockets have
//! other descriptors now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::base_config::is_ours;
use super::config_text::{END_OF_BASE, INDENT, clients_connect_to};
use super::loaded_config::{LoadedSection, parse_sections};
use crate::model::{Endpoint, Host, HostList, ServerName, ServiceName};

/// A socket that a process with this file inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The section that listens: that of a service, or a shared frontend.
    pub section: String,
    /// Whether it is a shared frontend.
    pub is_shared: bool,
    /// The address it listens on.
    pub address: SocketAddr,
    /// The descriptor in the file.
    pub descriptor: RawFd,
}

/// Returns the sockets that a process with this file inherits. `None` where proxymgr did not write the file, or it
/// lacks an address.
pub fn listeners(text: &str) -> Option<Vec<Listener>> {
    let (mut section, mut is_shared, mut address) = ("", false, None);
    let mut listeners = Vec::new();
    for line in text.lines().skip_while(|line| *line != END_OF_BASE) {
        let of_service = line.strip_prefix("listen ");
        if let Some(name) = of_service.or_else(|| line.strip_prefix("frontend ")) {
            (section, is_shared, address) = (name, of_service.is_none(), None);
        } else if let Some(shown) = line.strip_prefix(&clients_connect_to("")) {
            address = shown.parse().ok();
        } else if let Some((descriptor, _)) = inherited_bind(line) {
            listeners.push(Listener { section: section.to_owned(), is_shared, address: address?, descriptor });
        }
    }
    is_ours(text).then_some(listeners)
}

/// Returns the file with its descriptors replaced. `None` where one has no replacement.
pub fn with_descriptors(text: &str, by_old: &BTreeMap<RawFd, RawFd>) -> Option<String> {
    let mut renamed = String::with_capacity(text.len());
    let mut is_after_base = false;
    for line in text.split_inclusive('\n') {
        is_after_base |= line.trim_end() == END_OF_BASE;
        match inherited_bind(line).filter(|_| is_after_base) {
            Some((old, rest)) => renamed.push_str(&format!("{INDENT}bind fd@{}{rest}", by_old.get(&old)?)),
            None => renamed.push_str(line),
        }
    }
    Some(renamed)
}

/// Returns the servers of each section that take traffic when a process starts with the file. Servers with a host name
/// are left out, because the file does not contain their addresses.
pub fn ready_servers(text: &str) -> BTreeMap<ServiceName, Arc<HostList>> {
    let host = |(name, line): (ServerName, String)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, endpoint, options @ ..] = &*words else { return None };
        let endpoint = Endpoint::parse(endpoint).filter(|endpoint| endpoint.address.ip().is_some())?;
        (!options.contains(&"disabled")).then(|| (name, Arc::new(Host::at(endpoint))))
    };
    let hosts = |section: LoadedSection| Arc::new(section.server_lines.into_iter().filter_map(host).collect());
    parse_sections(text).into_iter().map(|(name, section)| (name, hosts(section))).collect()
}

/// Returns the descriptor of a `bind` line, and the rest of the line.
fn inherited_bind(line: &str) -> Option<(RawFd, &str)> {
    let after = line.strip_prefix(INDENT)?.strip_prefix("bind fd@")?;
    let (digits, rest) = after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(sections: &str) -> String {
        format!("# Written by proxymgr, which\n\nglobal\n    bind fd@9\n\n{END_OF_BASE}\n\n{sections}")
    }

    const SECTIONS: &str = "\
listen web
    # clients connect to 127.0.0.1:80
    bind fd@12 ssl crt /x.pem
    http-request set-header x fd@12

frontend http:8080
    # clients connect to 0.0.0.0:8080
    bind fd@13

backend shop
    # clients connect to 0.0.0.0:8080
";

    #[test]
    fn sockets_are_found_with_their_addresses() {
        let listener = |section: &str, is_shared, address: &str, descriptor| Listener {
            section: section.to_owned(),
            is_shared,
            address: address.parse().unwrap(),
            descriptor,
        };
        let expected = [listener("web", false, "127.0.0.1:80", 12), listener("http:8080", true, "0.0.0.0:8080", 13)];
        assert_eq!(listeners(&file(SECTIONS)), Some(expected.to_vec()));
    }

    #[test]
    fn foreign_file_or_missing_address_is_refused() {
        assert_eq!(listeners(SECTIONS), None);
        assert_eq!(listeners(&file("listen web\n    bind fd@12\n")), None);
        assert_eq!(listeners(&file("")), Some(Vec::new()));
    }

    #[test]
    fn descriptors_are_replaced_in_the_sections_bind_lines_only() {
        let renamed = with_descriptors(&file(SECTIONS), &BTreeMap::from([(12, 13), (13, 7)])).unwrap();
        let expected = SECTIONS.replace("bind fd@13", "bind fd@7").replace("bind fd@12 ssl", "bind fd@13 ssl");
        assert_eq!(renamed, file(&expected));
        assert_eq!(with_descriptors(&file(SECTIONS), &BTreeMap::from([(12, 13)])), None);
    }

    #[test]
    fn ready_servers_are_those_without_disabled() {
        let text = file(
            "listen web\n    # clients connect to 127.0.0.1:80\n    server a 10.0.0.1:80 check\n    \
            server b 10.0.0.2:80 disabled\n    server c c.example:80\n    server d [fd00::1]:80\n\n",
        );
        let servers = ready_servers(&text);
        let names: Vec<&str> = servers.values().flat_map(|hosts| hosts.keys()).map(ServerName::as_str).collect();
        assert_eq!(names, ["a", "d"]);
    }
}
