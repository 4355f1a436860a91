//! A `server` line of haproxy.cfg, as a host of a static source.

use std::collections::BTreeSet;

use proxymgr_actors::decide::base::sections::Line;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::decide::server_options::used_options;
use proxymgr_actors::model::{Endpoint, ServerName, SocketPath, Word};
use serde_json::{Map, Value, json};

/// Options that are keys of a host, or must differ between hosts: never options of the service.
const OF_ONE_HOST: &[&str] = &["backup", "cookie", "disabled", "enabled", "guid", "id", "redir"];

/// A server with a literal address.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: ServerName,
    pub(super) endpoint: Endpoint,
    /// Each option with its value.
    pub(super) options: Vec<Vec<Word>>,
    /// The comment at the end of its line.
    pub(super) comment: Option<String>,
}

impl Server {
    /// Reads a `server` line.
    ///
    /// # Errors
    /// Why it cannot become a host.
    pub(super) fn read(line: &Line) -> Result<Self, String> {
        line.lexed.as_ref().map_err(ToString::to_string)?;
        let mut arguments = line.arguments();
        let (Some(name), Some(address)) = (arguments.next(), arguments.next()) else {
            return Err("it has no address".to_owned());
        };
        if let Some(variable) = line.arguments().flat_map(|token| &token.variables).next() {
            return Err(format!("it uses the environment variable {}", variable.name));
        }
        let name = ServerName::new(&name.text).map_err(|error| error.to_string())?;
        let endpoint = endpoint(&address.text)?;
        let words = arguments.map(|token| Word::new(&token.text).map_err(|error| error.to_string()));
        let words = words.collect::<Result<Vec<Word>, String>>()?;
        let options = used_options(&words).map(|option| option.words().cloned().collect()).collect();
        Ok(Self { name, endpoint, options, comment: line.comment().filter(|text| !text.is_empty()).map(str::to_owned) })
    }

    /// Returns the keywords of its options.
    pub(super) fn keywords(&self) -> impl Iterator<Item = &str> {
        self.options.iter().filter_map(|option| option.first()).map(Word::as_str)
    }

    /// Returns the host as an entry of a static source, without the options that are those of the service.
    ///
    /// # Errors
    /// Which of its own options a host may not have.
    pub(super) fn host(&self, shared: &[Vec<Word>], policy: &OptionPolicy) -> Result<Value, String> {
        let mut host = Map::new();
        host.insert("address".to_owned(), self.endpoint.address().into());
        if let Some(port) = self.endpoint.port() {
            host.insert("port".to_owned(), port.get().into());
        }
        host.insert("name".to_owned(), self.name.as_str().into());
        let mut further = Vec::new();
        for option in self.options.iter().filter(|option| !shared.contains(option)) {
            let words: Vec<&str> = option.iter().map(Word::as_str).collect();
            match words.as_slice() {
                ["weight", weight] => drop(host.insert("weight".to_owned(), number_or_text(weight))),
                ["backup"] => drop(host.insert("backup".to_owned(), true.into())),
                ["cookie", cookie] => drop(host.insert("cookie".to_owned(), (*cookie).into())),
                ["disabled"] => drop(host.insert("state".to_owned(), "maint".into())),
                _ => further.push(joined(option)),
            }
        }
        if !further.is_empty() {
            host.insert("options".to_owned(), json!(further));
        }
        let host = Value::Object(host);
        host_record::from_json_value(&host, policy).map(|_| host)
    }
}

fn number_or_text(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Into::into)
}

/// Returns the options that all servers have alike, each once, in the order of the first server.
pub(super) fn shared_options(servers: &[&Server]) -> Vec<Vec<Word>> {
    let [first, others @ ..] = servers else { return Vec::new() };
    let once = |server: &Server, keyword: &str| server.keywords().filter(|known| *known == keyword).count() == 1;
    let mut seen = BTreeSet::new();
    let is_shared = |option: &&Vec<Word>| {
        let keyword = option[0].as_str();
        !OF_ONE_HOST.contains(&keyword)
            && once(first, keyword)
            && others.iter().all(|server| once(server, keyword) && server.options.contains(option))
    };
    first.options.iter().filter(is_shared).filter(|option| seen.insert(*option)).cloned().collect()
}

/// Parses the address of a server: an IP address or a host name, with a port, or a unix socket. HAProxy takes IPv6 addresses without
/// brackets, too: the port follows the last colon.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let bare = ["ipv4@", "ipv6@"].iter().find_map(|family| text.strip_prefix(family)).unwrap_or(text);
    if bare.contains('$') {
        return Err(format!("its address {text:?} depends on the environment"));
    }
    if let Some(path) = bare.strip_prefix("unix@").or_else(|| bare.starts_with('/').then_some(bare)) {
        return SocketPath::parse(path).map(Endpoint::Unix).map_err(|error| format!("its address {text:?}: {error}"));
    }
    if bare.contains(['@', '/']) {
        return Err(format!("its address {text:?} is not an IP address, a host name or a unix socket"));
    }
    Endpoint::parse(bare).ok_or_else(|| match bare.rsplit_once(':') {
        Some((_, port)) if port.starts_with(['+', '-']) => {
            format!("its port {port:?} is relative to the port that the client uses")
        }
        Some((_, port)) if port.parse::<u16>().is_ok() => format!("its address {text:?} is not that of a host"),
        _ => format!("its address {text:?} has no port: HAProxy uses the port that the client uses"),
    })
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::decide::base::sections::File;

    use super::*;

    fn read(line: &str) -> Result<Server, String> {
        Server::read(&File::read("x", &format!("backend b\n  {line}\n")).sections[0].lines[0])
    }

    #[test]
    fn addresses_are_read_as_haproxy_reads_them() {
        for (line, endpoint) in [
            ("server a 10.0.0.1:80", "10.0.0.1:80"),
            ("server a ipv4@10.0.0.1:80", "10.0.0.1:80"),
            ("server a 2001:db8::1:80", "[2001:db8::1]:80"),
            ("server a [2001:db8::1]:80 check # there", "[2001:db8::1]:80"),
            ("server a ipv6@[::1]:80", "[::1]:80"),
            ("server a web.example:80", "web.example:80"),
            ("server a unix@/run/a.sock", "unix@/run/a.sock"),
            ("server a /run/a.sock send-proxy", "unix@/run/a.sock"),
        ] {
            assert_eq!(read(line).unwrap().endpoint.to_string(), endpoint, "{line}");
        }
        for line in [
            "server a",
            "server a 10.0.0.1",
            "server a 10.0.0.1:+8000",
            "server a unix@run/a.sock",
            "server a /run/../a.sock",
            "server a abns@a",
            "server a fd@5",
            "server a udp@10.0.0.1:514",
            "server a ${HOST}:80",
            "server a \"$HOST:80\"",
            "server a 10.0.0.1:80 cookie \"$HOSTNAME\"",
            "server a 10.0.0.1:80 cookie 'x",
            "server a@b 10.0.0.1:80",
            "server a 10.0.0.1:80 sni ''",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_alike_in_all_servers_are_shared() {
        let servers = [
            read("server a 10.0.0.1:80 check inter 2s maxconn 10 cookie x weight 5").unwrap(),
            read("server b 10.0.0.2:80 inter 2s check maxconn 20 cookie x weight 5 backup # old").unwrap(),
        ];
        let shared = shared_options(&[&servers[0], &servers[1]]);
        let texts: Vec<String> = shared.iter().map(joined).collect();
        assert_eq!(texts, ["check", "inter 2s", "weight 5"]);
        let host = servers[1].host(&shared, &OptionPolicy::default()).unwrap();
        let expected = json!({
            "address": "10.0.0.2", "port": 80, "name": "b", "backup": true, "cookie": "x", "options": ["maxconn 20"],
        });
        assert_eq!(host, expected);
        assert_eq!(servers[1].comment.as_deref(), Some("old"));
    }

    #[test]
    fn option_that_a_host_may_not_have_is_an_error() {
        let server = read("server a 10.0.0.1:80 id 5").unwrap();
        assert!(server.host(&[], &OptionPolicy::default()).unwrap_err().contains("\"id\""));
        let server = read("server a 0.0.0.0:80").unwrap();
        assert!(server.host(&[], &OptionPolicy::default()).is_err());
    }

    #[test]
    fn repeated_option_is_not_shared() {
        let servers = [read("server a 10.0.0.1:80 alpn h2 alpn http/1.1").unwrap()];
        assert_eq!(shared_options(&[&servers[0]]), Vec::<Vec<Word>>::new());
    }
}
