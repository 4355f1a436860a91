//! Parser for the `bind` lines of the operator: which of their addresses the daemon can open itself.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#4.2-bind>

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sections::{File, Line, depth_after};
use crate::limits::BIND_RANGE_MAX;
use crate::model::{BindAddress, BindLine, ListenAddress};

/// Options that configure the socket while HAProxy opens it. It ignores them for an inherited one without a message
/// (measured on 2.2.9 to 3.4.7).
const SOCKET_OPTIONS: &[&str] =
    &["backlog", "gid", "group", "interface", "mode", "namespace", "transparent", "uid", "user"];

/// The option for sockets of IPv6 that accept no IPv4. A held socket on `[::]` accepts IPv4 as well (`v4v6`), unless another
/// one listens on every IPv4 address of its port: the kernel gives that one its clients.
const IPV6_ONLY: &str = "v6only";

/// What the `bind` lines of all files say together.
#[derive(Default)]
pub(super) struct Binds {
    /// The ports of held sockets on every IPv4 address.
    ipv4_ports: BTreeSet<u16>,
    /// The addresses that one section has several times, such as once for each group of threads.
    repeated: BTreeSet<ListenAddress>,
    /// The addresses that HAProxy opens itself, and whether only for IPv6. It could not open them beside a held socket.
    left: BTreeSet<(ListenAddress, bool)>,
}

/// A `bind` line, and why some of its addresses are not held.
pub(super) struct ReadBind {
    pub(super) line: BindLine,
    /// The addresses that HAProxy opens itself, and why.
    pub(super) left: Vec<(String, String)>,
}

impl Binds {
    /// Reads the lines of these files.
    pub(super) fn of(files: &[File]) -> Self {
        let sections: Vec<Vec<(&Line, bool)>> = files.iter().flat_map(lines_of_sections).collect();
        let mut binds = Self::default();
        for lines in &sections {
            let mut of_section = BTreeSet::new();
            for (line, is_conditional) in lines {
                let Some(bind) = read(line, *is_conditional, &Self::default()) else { continue };
                for address in bind.line.held() {
                    let on_ipv4 = address.ip().filter(|ip| ip.ip() == Ipv4Addr::UNSPECIFIED);
                    binds.ipv4_ports.extend(on_ipv4.map(|ip| ip.port()));
                    if !of_section.insert(address.clone()) {
                        binds.repeated.insert(address.clone());
                    }
                }
            }
        }
        // An address that is left because it overlaps may overlap with further ones.
        loop {
            let lines = sections.iter().flatten();
            let left: BTreeSet<_> =
                lines.flat_map(|(line, is_conditional)| left_by(line, *is_conditional, &binds)).collect();
            if left == binds.left {
                return binds;
            }
            binds.left = left;
        }
    }

    fn held(&self, text: &str, is_ipv6_only: bool) -> Result<Vec<ListenAddress>, String> {
        let held = held(text)?;
        if held.iter().any(|address| self.repeated.contains(address)) {
            return Err("its section listens there several times".to_owned());
        }
        let takes_ipv4 =
            |address: SocketAddr| address.ip() == Ipv6Addr::UNSPECIFIED && !self.ipv4_ports.contains(&address.port());
        if is_ipv6_only && held.iter().filter_map(ListenAddress::ip).any(takes_ipv4) {
            return Err(format!("HAProxy ignores {IPV6_ONLY} for an inherited socket"));
        }
        let left = held.iter().find_map(|address| self.left.iter().find(|(left, v6)| overlaps(address, left, *v6)));
        match left {
            Some((left, _)) => Err(format!("it overlaps with {left}, which HAProxy opens itself")),
            None => Ok(held),
        }
    }
}

fn overlaps(address: &ListenAddress, left: &ListenAddress, is_ipv6_only: bool) -> bool {
    match is_ipv6_only {
        true => left.covers(address),
        false => left.overlaps(address),
    }
}

/// Returns the lines of each section of a file, and whether HAProxy may skip them.
fn lines_of_sections(file: &File) -> Vec<Vec<(&Line, bool)>> {
    let mut depth = file.preamble.iter().fold(0, |depth, line| depth_after(line, depth));
    let mut with_depth = |line| {
        depth = depth_after(line, depth);
        (line, depth > 0)
    };
    file.sections.iter().map(|section| section.lines.iter().map(&mut with_depth).collect()).collect()
}

/// Returns the literal addresses of a line that HAProxy opens itself, and whether only for IPv6.
fn left_by(line: &Line, is_conditional: bool, binds: &Binds) -> Vec<(ListenAddress, bool)> {
    let Some(ReadBind { left, .. }) = read(line, is_conditional, binds) else { return Vec::new() };
    let is_ipv6_only = line.tokens().iter().any(|token| token.text == IPV6_ONLY);
    let texts = left.iter().flat_map(|(text, _)| text.split(','));
    texts.flat_map(addresses_of).map(|address| (address, is_ipv6_only)).collect()
}

/// Reads a `bind` line; `None` for other lines and for those without an address. None of its addresses is held where
/// `is_conditional`, because HAProxy may skip the line, and nobody would accept connections.
pub(super) fn read(line: &Line, is_conditional: bool, binds: &Binds) -> Option<ReadBind> {
    let [keyword, addresses, options @ ..] = line.tokens() else { return None };
    if keyword.text != "bind" {
        return None;
    }
    let is_ipv6_only = options.iter().any(|option| option.text == IPV6_ONLY);
    let option = options.iter().find(|option| SOCKET_OPTIONS.contains(&option.text.as_str()));
    let whole = if is_conditional {
        Some("it is within a conditional".to_owned())
    } else if let Some(variable) = addresses.variables.first() {
        Some(format!("it contains the environment variable {}", variable.name))
    } else {
        option.map(|option| format!("HAProxy ignores {} for an inherited socket", option.text))
    };
    let texts: Vec<&str> = if whole.is_some() { vec![&addresses.text] } else { addresses.text.split(',').collect() };
    let mut left = Vec::new();
    let addresses_read = texts.into_iter().map(|text| {
        let held = match &whole {
            Some(reason) => Err(reason.clone()),
            None => binds.held(text, is_ipv6_only),
        };
        let held = held.unwrap_or_else(|reason| {
            left.push((text.to_owned(), reason));
            Vec::new()
        });
        // Quotes stay where the address does.
        let text = if whole.is_some() { &line.text[addresses.span.clone()] } else { text };
        BindAddress { text: text.into(), held }
    });
    let addresses_read: Vec<BindAddress> = addresses_read.collect();
    let (before, after) = (&line.text[..addresses.span.start], &line.text[addresses.span.end..]);
    let after = if after.ends_with('\n') { after.to_owned() } else { format!("{after}\n") };
    let line = BindLine { before: before.into(), addresses: addresses_read, after: after.into() };
    Some(ReadBind { line, left })
}

/// Returns the addresses that a text of a `bind` line stands for; none where the daemon cannot open them.
pub fn addresses_of(text: &str) -> Vec<ListenAddress> {
    held(text).unwrap_or_default()
}

/// Returns the addresses that a text of a `bind` line stands for, or why the daemon cannot open them.
fn held(text: &str) -> Result<Vec<ListenAddress>, String> {
    if text.starts_with('/') || text.starts_with("unix@") {
        let path = text.strip_prefix("unix@").unwrap_or(text);
        return ListenAddress::unix(path).map(|address| vec![address]).ok_or_else(|| "its path is too long".to_owned());
    }
    let (address, unspecified) = match text.split_once('@') {
        Some(("ipv6", address)) => (address, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        Some(("ipv4", address)) => (address, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        Some((family, _)) => return Err(format!("sockets of the kind {family}@ cannot be inherited")),
        None => (text, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
    };
    let (host, ports) = address.rsplit_once(':').ok_or("it has no port")?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = match bare {
        "" | "*" => unspecified,
        bare => bare.parse().map_err(|_| "it is not an IP address".to_owned())?,
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port =
        |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| "it has no port".to_owned());
    let (first, last) = (port(first)?, port(last)?);
    if last < first || usize::from(last - first) >= BIND_RANGE_MAX {
        return Err(format!("it has more than {BIND_RANGE_MAX} ports"));
    }
    Ok((first..=last).map(|port| SocketAddr::new(ip, port).into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, is_conditional: bool) -> Option<ReadBind> {
        let file = File::read("x", &format!("frontend f\n{text}"));
        read(&file.sections[0].lines[0], is_conditional, &Binds::of(std::slice::from_ref(&file)))
    }

    fn held_by(text: &str) -> Vec<String> {
        let read = read_text(text, false).unwrap();
        assert_eq!(read.left.len(), read.line.addresses.iter().filter(|address| address.held.is_empty()).count());
        read.line.held().map(ToString::to_string).collect()
    }

    #[test]
    fn literal_addresses_are_held() {
        for (text, addresses) in [
            ("    bind *:80\n", vec!["0.0.0.0:80"]),
            ("bind :80,:81 # both", vec!["0.0.0.0:80", "0.0.0.0:81"]),
            ("bind :::443 ssl crt /x.pem alpn h2,http/1.1", vec!["[::]:443"]),
            ("bind [::1]:80", vec!["[::1]:80"]),
            ("bind ipv4@:80,ipv6@:80", vec!["0.0.0.0:80", "[::]:80"]),
            ("bind 10.0.0.1:8000-8002 accept-proxy", vec!["10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.1:8002"]),
            ("bind :::80 v4v6", vec!["[::]:80"]),
            ("bind :::80 v6only\nbind *:80", vec!["[::]:80"]),
            ("bind 10.0.0.1:80\nbind :::80 v6only", vec!["10.0.0.1:80"]),
            ("bind :80\nbind :81 backlog 9", vec!["0.0.0.0:80"]),
            ("bind 2001:db8::1:80 v6only", vec!["[2001:db8::1]:80"]),
            ("bind /run/x.sock", vec!["unix@/run/x.sock"]),
            ("bind 'unix@/run/x.sock',:80", vec!["unix@/run/x.sock", "0.0.0.0:80"]),
        ] {
            assert_eq!(held_by(text), addresses, "{text}");
        }
    }

    #[test]
    fn others_are_left_to_haproxy() {
        for text in [
            "bind quic4@:443",
            "bind abns@x",
            "bind fd@5",
            "bind localhost:80",
            "bind :1-60000",
            "bind \"${PORT}\"",
            "bind :80 interface eth0",
            "bind :::80 v6only",
            "bind :::80 v6only\nbind 10.0.0.1:80",
            "bind :80 thread 1\nbind :80 thread 2",
            "bind :80,:80",
            "bind :80-82\nbind *:81",
            "bind :80\nbind 10.0.0.1:80 interface eth0",
            "bind :::80\nbind 10.0.0.1:80 backlog 9",
            "bind 10.0.0.1:80\n.if X\nbind :80\n.endif",
            // The second one is left because of the third, and the first because of the second.
            "bind 10.0.0.1:80\nbind :::80\nbind [::1]:80 backlog 9",
            "bind :::80 v6only\n.if X\nbind :80\n.endif",
            "bind /run/x.sock mode 600",
        ] {
            assert_eq!(held_by(text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(read_text("bind :80", true).unwrap().line.held().count(), 0);
        assert!(read_text("mode http", false).is_none());
    }

    #[test]
    fn line_without_sockets_is_as_it_was() {
        for text in ["    bind  :80,quic4@:443  ssl # x\n", "\tbind \"$A:80\"\n", "bind ':80'\n"] {
            let line = crate::model::BaseLine {
                place: "x:1".into(),
                content: crate::model::LineContent::Bind(read_text(text, false).unwrap().line),
            };
            let mut written = String::new();
            line.write(&mut written, &crate::model::Descriptors::new());
            assert_eq!(written.replace("':80'", ":80"), text.replace("':80'", ":80"));
        }
    }
}
