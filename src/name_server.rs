//! Parses the address of a DNS server in settings and definitions.

use std::net::SocketAddr;

const PORT: u16 = 53;

/// Parses `address` or `address:port`. A host name is refused, because it could not be resolved yet.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    let address = bare.parse().map(|ip| SocketAddr::new(ip, PORT)).ok().or_else(with_port);
    address.ok_or_else(|| format!("{text:?} is not the IP address of a DNS server, like 10.0.0.2 or 10.0.0.2:5353"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_optional_and_names_are_refused() {
        for (text, address) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()), Ok(address.to_owned()));
        }
        for text in ["", "ns.example", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:65536"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
