//! Host names that requests may use. Without this check, a web page could point a name of its own at this address and
//! read the listener through the browser of a visitor (DNS rebinding).

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::{StatusCode, header};

use crate::status::problem::Problem;

/// The allowed host names.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    /// The address of the listener.
    pub listen: IpAddr,
    /// Names besides `localhost`.
    pub names: Vec<String>,
}

impl AllowedHosts {
    /// Why a request is refused; none if its host name is allowed.
    pub fn refusal(&self, request: &ServiceRequest) -> Option<Problem> {
        let host = request.uri().host().map(ToOwned::to_owned).or_else(|| {
            request.headers().get(header::HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        // Browsers always send a host; simple health checks by HTTP/1.0 may not, which is harmless.
        let allowed = host.as_deref().is_none_or(|host| self.allow(host));
        (!allowed).then(|| {
            let detail = "this host name is not allowed; add it to status.hosts";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, detail)
        })
    }

    fn allow(&self, host: &str) -> bool {
        let name = host_without_port(host).to_ascii_lowercase();
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // An address cannot be rebound. On all interfaces, any local address is possible.
            return ip.is_loopback() || ip == self.listen || self.listen.is_unspecified() || self.is_named(&name);
        }
        name == "localhost" || self.is_named(&name)
    }

    fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_names_pass() {
        let allowed = AllowedHosts { listen: "10.0.0.5".parse().unwrap(), names: vec!["lb.example".into()] };
        for host in
            ["localhost", "LOCALHOST:8470", "127.0.0.1:8470", "127.0.0.2", "[::1]:8470", "10.0.0.5", "lb.example:1"]
        {
            assert!(allowed.allow(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8470", "10.0.0.6", "localhost.evil.example", "", "127.0.0.1.evil.example"]
        {
            assert!(!allowed.allow(host), "{host}");
        }
    }

    #[test]
    fn wildcard_listener_allows_addresses_but_no_names() {
        let allowed = AllowedHosts { listen: "0.0.0.0".parse().unwrap(), names: Vec::new() };
        assert!(allowed.allow("10.0.0.6:8470"));
        assert!(!allowed.allow("evil.example"));
    }
}
