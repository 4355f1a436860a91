//! What a version of HAProxy can do at run time. Measured on 2.2.9, 2.6.12, 3.0.11 and 3.2.

use crate::model::{Address, Endpoint, ProxyVersion, ServiceDefinition, Word};

/// `add server` and `del server` need no experimental mode from here on.
const DYNAMIC_SERVERS: ProxyVersion = ProxyVersion { major: 2, minor: 6 };

/// From here on dynamic servers take a cookie, and reuse backend connections without being told to.
const DYNAMIC_COOKIES_AND_POOLS: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

/// Options that `add server` refuses and whose absence changes how the server works.
const NEVER_DYNAMIC: [&str; 11] = [
    "agent-check",
    "guid",
    "log-proto",
    "max-reuse",
    "namespace",
    "non-stick",
    "redir",
    "socks4",
    "ssl-reuse",
    "stick",
    "tcp-ut",
];

/// Options that concern the resolution of host names. A server with an IP address does without them.
const RESOLUTION: [&str; 5] = ["init-addr", "resolvers", "resolve-net", "resolve-opts", "resolve-prefer"];

/// What one HAProxy can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    version: ProxyVersion,
}

impl Capabilities {
    /// What this version can do.
    pub fn of(version: ProxyVersion) -> Self {
        Self { version }
    }

    /// The version.
    pub fn version(self) -> ProxyVersion {
        self.version
    }

    /// Whether servers can be added and deleted at run time at all.
    pub fn dynamic_servers(self) -> bool {
        self.version >= DYNAMIC_SERVERS
    }

    /// The options to add a server with, or why it cannot be added at run time. `inherited` are the words of the
    /// `default-server` lines that hold for the section: a dynamic server inherits nothing.
    pub fn options_to_add(
        self,
        definition: &ServiceDefinition,
        endpoint: &Endpoint,
        inherited: &[Word],
        own: &[Word],
    ) -> Result<Vec<Word>, String> {
        if !self.dynamic_servers() {
            return Err(format!("HAProxy {} cannot add servers at run time ({DYNAMIC_SERVERS} can)", self.version));
        }
        if let Address::Name(name) = &endpoint.address {
            return Err(format!("{name} is a host name, and servers added at run time need an IP address"));
        }
        if let Some(balance) = static_balance(definition) {
            return Err(format!("balance {balance} does not take servers at run time"));
        }
        let mut options = Vec::new();
        if self.version < DYNAMIC_COOKIES_AND_POOLS
            && !names(own, "pool-max-conn")
            && !names(inherited, "pool-max-conn")
        {
            // Without these, 2.6 never reuses a connection to a dynamic server.
            options.extend(["pool-max-conn", "-1", "pool-purge-delay", "5s"].map(word));
        }
        for words in [inherited, own] {
            self.extend_with_dynamic(&mut options, words)?;
        }
        Ok(options)
    }

    fn extend_with_dynamic(self, options: &mut Vec<Word>, words: &[Word]) -> Result<(), String> {
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let name = option.as_str();
            if RESOLUTION.contains(&name) {
                words.next();
                continue;
            }
            let refused = NEVER_DYNAMIC.contains(&name)
                || name.starts_with("no-")
                || (name == "cookie" && self.version < DYNAMIC_COOKIES_AND_POOLS);
            if refused {
                return Err(format!("HAProxy {} does not take the option {name} at run time", self.version));
            }
            options.push(option.clone());
            if VALUED.contains(&name) {
                options.extend(words.next().cloned());
            }
        }
        Ok(())
    }
}

/// Options whose value might look like the name of another option.
const VALUED: [&str; 7] = ["alpn", "check-alpn", "check-sni", "cookie", "proto", "sni", "verifyhost"];

/// Whether the section needs health checks to be started for a server that was added with these options.
pub fn has_check(options: &[Word]) -> bool {
    names(options, "check")
}

fn names(options: &[Word], name: &str) -> bool {
    let mut words = options.iter();
    while let Some(option) = words.next() {
        if option.as_str() == name {
            return true;
        }
        if VALUED.contains(&option.as_str()) {
            words.next();
        }
    }
    false
}

/// The section's balance algorithm, where it is one whose server map is computed when HAProxy starts.
pub(super) fn static_balance(definition: &ServiceDefinition) -> Option<&str> {
    let line = |first: &str| {
        definition.listen_options.iter().rev().find(|line| line.first().is_some_and(|word| word.as_str() == first))
    };
    let algorithm = line("balance")?.get(1)?.as_str();
    let consistent = line("hash-type").and_then(|line| line.get(1)).is_some_and(|word| word.as_str() == "consistent");
    let hashes = ["source", "uri", "url_param", "hdr", "rdp-cookie", "hash"];
    let is_hash = hashes.iter().any(|hash| algorithm == *hash || algorithm.starts_with(&format!("{hash}(")));
    (algorithm == "static-rr" || (is_hash && !consistent)).then_some(algorithm)
}

fn word(text: &str) -> Word {
    Word::new(text).expect("a constant without control characters")
}
