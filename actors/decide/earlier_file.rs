//! A haproxy.cfg of an earlier run of the daemon, as a fallback where no new file is usable. Its listening sockets have
//! other descriptors now.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::base::{addresses_of, is_ours};
use super::config_text::{END_OF_BASE, connected_to};
use super::frontend;
use super::loaded_config::{LoadedSection, parse_sections};
use super::routing::FrontendKind;
use crate::model::{Endpoint, Host, HostList, ListenAddress, ServerName, ServiceName};

/// A `bind` line whose sockets a process with this file inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The section that listens: that of a service, or a shared frontend; `None` in the base configuration.
    pub section: Option<String>,
    /// How services share it, if it is a shared frontend.
    pub shared: Option<FrontendKind>,
    /// The addresses it listens on, each with the descriptor in the file.
    pub sockets: Vec<(ListenAddress, RawFd)>,
}

/// Returns the sockets that a process with this file inherits. `None` where proxymgr did not write the file, or it
/// lacks an address.
pub fn listeners(text: &str) -> Option<Vec<Listener>> {
    let (mut section, mut shared, mut announced): (Option<&str>, Option<FrontendKind>, Vec<&str>) =
        (None, None, Vec::new());
    let mut listeners = Vec::new();
    let mut is_after_base = false;
    for line in text.lines() {
        is_after_base |= line == END_OF_BASE;
        let of_service = line.strip_prefix("listen ");
        if let Some(name) = of_service.or_else(|| line.strip_prefix("frontend ")) {
            section = is_after_base.then(|| name.split(' ').next().unwrap_or(name));
            shared = section.filter(|_| of_service.is_none()).map(frontend::kind_of);
            announced.clear();
        } else if let Some(shown) = connected_to(line) {
            announced.push(shown);
        } else if let Some((descriptors, _)) = inherited_bind(line) {
            // A service has a line for each of its addresses, and comments for all of them before.
            if announced.is_empty() {
                match is_after_base {
                    true => return None,
                    // A line of the operator.
                    false => continue,
                }
            }
            let addresses = announced.remove(0);
            let sockets = sockets_of(addresses, &descriptors)?;
            listeners.push(Listener { section: section.map(str::to_owned), shared, sockets });
        }
    }
    is_ours(text).then_some(listeners)
}

/// Returns each held address with its descriptor.
fn sockets_of(addresses: &str, descriptors: &[Option<RawFd>]) -> Option<Vec<(ListenAddress, RawFd)>> {
    let held: Vec<ListenAddress> = addresses.split(',').flat_map(addresses_of).collect();
    let inherited: Vec<RawFd> = descriptors.iter().copied().flatten().collect();
    (held.len() == inherited.len()).then(|| held.into_iter().zip(inherited).collect())
}

/// Returns the file with its descriptors replaced. `None` where one has no replacement.
pub fn with_descriptors(text: &str, by_old: &BTreeMap<RawFd, RawFd>) -> Option<String> {
    let mut renamed = String::with_capacity(text.len());
    let mut is_announced = false;
    for line in text.split_inclusive('\n') {
        match inherited_bind(line).filter(|_| is_announced) {
            Some((old, (before, addresses, rest))) => {
                let new: Option<Vec<String>> = old
                    .iter()
                    .zip(addresses.split(','))
                    .map(|(old, text)| match old {
                        Some(old) => Some(format!("fd@{}", by_old.get(old)?)),
                        None => Some(text.to_owned()),
                    })
                    .collect();
                renamed.push_str(&format!("{before}{}{rest}", new?.join(",")));
            }
            None => {
                renamed.push_str(line);
                is_announced = connected_to(line).is_some();
            }
        }
    }
    Some(renamed)
}

/// Returns the servers of each section that take traffic when a process starts with the file.
pub fn ready_servers(text: &str) -> BTreeMap<ServiceName, Arc<HostList>> {
    let host = |(name, line): (ServerName, String)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, endpoint, options @ ..] = &*words else { return None };
        let endpoint = Endpoint::parse(endpoint)?;
        (!options.contains(&"disabled")).then(|| (name, Arc::new(Host::at(endpoint))))
    };
    let hosts = |section: LoadedSection| Arc::new(section.server_lines.into_iter().filter_map(host).collect());
    parse_sections(text).into_iter().map(|(name, section)| (name, hosts(section))).collect()
}

/// A `bind` line: the text before its addresses, its addresses, and the rest.
type BindParts<'a> = (&'a str, &'a str, &'a str);

/// Returns the descriptors of a `bind` line that has any, with `None` for addresses that HAProxy opens itself, and the
/// line in parts.
fn inherited_bind(line: &str) -> Option<(Vec<Option<RawFd>>, BindParts<'_>)> {
    let indent = line.len() - line.trim_start().len();
    let after_keyword = line[indent..].strip_prefix("bind")?;
    let addresses = after_keyword.trim_start_matches([' ', '\t']);
    let begin = line.len() - addresses.len();
    let end = addresses.find(char::is_whitespace).map_or(line.len(), |at| begin + at);
    let descriptors: Vec<Option<RawFd>> = line[begin..end]
        .split(',')
        .map(|address| address.strip_prefix("fd@").and_then(|number| number.parse().ok()))
        .collect();
    let is_inherited =
        descriptors.iter().any(Option::is_some) && !after_keyword.starts_with(|c: char| !c.is_whitespace());
    is_inherited.then(|| (descriptors, (&line[..begin], &line[begin..end], &line[end..])))
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
        let listener = |section: &str, shared, address: &str, descriptor| Listener {
            section: Some(section.to_owned()),
            shared,
            sockets: vec![(address.parse().unwrap(), descriptor)],
        };
        let expected = [
            listener("web", None, "127.0.0.1:80", 12),
            listener("http:8080", Some(FrontendKind::Http), "0.0.0.0:8080", 13),
        ];
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
    fn sockets_of_the_base_are_found_and_replaced() {
        let base = "# Written by proxymgr, which\nfrontend edge\n\t# clients connect to *:80,quic4@:443,10.0.0.1:8000-8001\n\
            \tbind  fd@5,quic4@:443,fd@6,fd@7 ssl\n\n";
        let text = format!("{base}{END_OF_BASE}\n\n");
        let sockets = [("0.0.0.0:80", 5), ("10.0.0.1:8000", 6), ("10.0.0.1:8001", 7)];
        let sockets = sockets.map(|(address, descriptor)| (address.parse().unwrap(), descriptor)).to_vec();
        assert_eq!(listeners(&text), Some(vec![Listener { section: None, shared: None, sockets }]));
        let renamed = with_descriptors(&text, &BTreeMap::from([(5, 15), (6, 16), (7, 17)])).unwrap();
        assert_eq!(renamed, text.replace("fd@", "fd@1"));
    }

    #[test]
    fn ready_servers_are_those_without_disabled() {
        let text = file(
            "listen web\n    # clients connect to 127.0.0.1:80\n    server a 10.0.0.1:80 check\n    \
            server b 10.0.0.2:80 disabled\n    server c c.example:80\n    server d [fd00::1]:80\n\n",
        );
        let servers = ready_servers(&text);
        let names: Vec<&str> = servers.values().flat_map(|hosts| hosts.keys()).map(ServerName::as_str).collect();
        assert_eq!(names, ["a", "c", "d"]);
    }
}
