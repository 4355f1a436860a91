//! Capabilities of HAProxy versions at run time, measured on 2.2.9, 2.6.12, 3.0.11, 3.2 and 3.4.7. The options that `add
//! server` accepts are in [`server_options`](super::server_options).

use std::cmp::Ordering;

use super::server_options::{AtRuntime, contains, used_options};
use crate::model::{Endpoint, ProcessInfo, ProxyVersion, ServiceDefinition, Word};

/// The first version in which `add server` and `del server` need no experimental mode.
const DYNAMIC_SERVERS: ProxyVersion = ProxyVersion { major: 2, minor: 6 };

/// The first version in which dynamic servers reuse backend connections without options for it.
const DYNAMIC_POOLS: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

/// The first version in which dynamic servers get the value of a `cookie ... dynamic` line. Earlier ones send an
/// expired cookie for them.
const DYNAMIC_COOKIES: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

/// The only version tried whose processes pass their stick tables on some time after their start only.
const YOUNG_KEEP_TABLES: ProxyVersion = ProxyVersion { major: 2, minor: 6 };

/// Returns whether a process of this version has to have some age to pass its stick tables on.
pub fn tables_need_age(version: ProxyVersion) -> bool {
    version == YOUNG_KEEP_TABLES
}

/// The first version in which backends can be added and deleted at run time.
const DYNAMIC_BACKENDS: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

/// The first release of [`DYNAMIC_BACKENDS`] in which that was tried.
const DYNAMIC_BACKENDS_RELEASE: u16 = 7;

/// Returns whether backends in the files of this version derive from sets of lines.
pub(super) fn has_dynamic_backends(version: ProxyVersion) -> bool {
    version >= DYNAMIC_BACKENDS
}

/// Returns whether backends can be added to this process at run time, and deleted.
pub fn adds_backends(process: &ProcessInfo) -> bool {
    let release = process.version_text.split(['.', '-', '+']).nth(2).and_then(|release| release.parse::<u16>().ok());
    match process.version.cmp(&DYNAMIC_BACKENDS) {
        Ordering::Less => false,
        Ordering::Equal => release.is_some_and(|release| release >= DYNAMIC_BACKENDS_RELEASE),
        Ordering::Greater => true,
    }
}

/// Returns whether HAProxy of this version fetches the OCSP responses of certificates.
pub fn fetches_ocsp_responses(version: ProxyVersion) -> bool {
    version >= ProxyVersion { major: 2, minor: 8 }
}

/// The server option that selects the key of a server in consistent hashes.
pub(super) const HASH_KEY: &str = "hash-key";

/// Returns whether servers have a [`HASH_KEY`] in this version.
pub(super) fn has_hash_key(version: ProxyVersion) -> bool {
    version >= ProxyVersion { major: 3, minor: 0 }
}

/// The option, and the line of a section, with a [global unique id](super::guid).
pub(super) const GUID: &str = "guid";

/// Returns whether HAProxy of this version dumps its counters, and restores them by [`GUID`].
pub(super) fn keeps_counters(version: ProxyVersion) -> bool {
    version >= ProxyVersion { major: 3, minor: 0 }
}

/// The options that give servers the same position in consistent hashes wherever and whenever they are added.
pub(super) const HASH_BY_ADDRESS: [&str; 2] = [HASH_KEY, "addr-port"];

/// The options of a unix socket, which has no address: HAProxy 3.0 to 3.4 aborts where it hashes by one.
pub const HASH_BY_ID: [&str; 2] = [HASH_KEY, "id"];

/// The capabilities of one HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    version: ProxyVersion,
}

impl Capabilities {
    /// Returns the capabilities of this version.
    pub fn of(version: ProxyVersion) -> Self {
        Self { version }
    }

    /// Returns the version.
    pub fn version(self) -> ProxyVersion {
        self.version
    }

    /// Returns whether servers can be added and deleted at run time at all.
    pub fn dynamic_servers(self) -> bool {
        self.version >= DYNAMIC_SERVERS
    }

    /// Returns the options for `add server`, or the reason why the server cannot be added at run time. `inherited` are
    /// the arguments of the `default-server` lines that apply to the section: a dynamic server inherits nothing.
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
        if let Some(name) = endpoint.host_name() {
            return Err(format!("{name} is a host name, and servers added at run time need an IP address"));
        }
        if let Some(balance) = static_balance(definition) {
            return Err(format!("balance {balance} does not take servers at run time"));
        }
        if self.version < DYNAMIC_COOKIES && has_dynamic_cookies(definition) {
            return Err(format!("HAProxy {} gives servers added at run time no dynamic cookie", self.version));
        }
        let mut options = Vec::new();
        if self.version < DYNAMIC_POOLS && !contains(own, "pool-max-conn") && !contains(inherited, "pool-max-conn") {
            // Without these, 2.6 never reuses a connection to a dynamic server.
            options.extend(["pool-max-conn", "-1", "pool-purge-delay", "5s"].map(word));
        }
        let hash_by_id = has_hash_key(self.version) && matches!(endpoint, Endpoint::Unix(_));
        if has_hash_key(self.version) && !hash_by_id && !contains(own, HASH_KEY) && !contains(inherited, HASH_KEY) {
            options.extend(HASH_BY_ADDRESS.map(word));
        }
        for option in used_options(inherited).chain(used_options(own)) {
            let takes = match option.known.map(|known| known.at_runtime) {
                Some(AtRuntime::Needless) => continue,
                Some(AtRuntime::Since(version)) => self.version >= version,
                Some(AtRuntime::Never) => false,
                // An option outside the table is tried: a refusal by HAProxy leads to a reload.
                None => !option.name().starts_with("no-"),
            };
            if !takes {
                return Err(format!("HAProxy {} does not take the option {} at run time", self.version, option.name()));
            }
            options.extend(option.words().cloned());
        }
        if hash_by_id {
            options.extend(HASH_BY_ID.map(word));
        }
        Ok(options)
    }
}

/// Returns whether the section derives the cookie of each server from its address and `dynamic-cookie-key`.
fn has_dynamic_cookies(definition: &ServiceDefinition) -> bool {
    definition.last_line("cookie").is_some_and(|line| line.iter().skip(2).any(|word| word.as_str() == "dynamic"))
}

/// Returns the section's balance algorithm, where its server map is computed only when HAProxy starts.
pub fn static_balance(definition: &ServiceDefinition) -> Option<&str> {
    let algorithm = definition.last_line("balance")?.get(1)?.as_str();
    let hash_type = definition.last_line("hash-type").and_then(|line| line.get(1));
    let consistent = hash_type.is_some_and(|word| word.as_str() == "consistent");
    let hashes = ["source", "uri", "url_param", "hdr", "rdp-cookie", "hash"];
    let is_hash = hashes.iter().any(|hash| algorithm == *hash || algorithm.starts_with(&format!("{hash}(")));
    (algorithm == "static-rr" || (is_hash && !consistent)).then_some(algorithm)
}

fn word(text: &str) -> Word {
    Word::new(text).expect("a constant without control characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::quoting::split_line;
    use crate::decide::service_definition;
    use crate::model::RawDefinition;

    const V2_2: ProxyVersion = ProxyVersion { major: 2, minor: 2 };
    const V2_6: ProxyVersion = ProxyVersion { major: 2, minor: 6 };
    const V3_0: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

    /// Returns the options of an added server, as one line.
    fn added(version: ProxyVersion, lines: &[&str], inherited: &str, own: &str) -> Result<String, String> {
        added_at("10.0.0.1:1", version, lines, inherited, own)
    }

    fn added_at(
        endpoint: &str,
        version: ProxyVersion,
        lines: &[&str],
        inherited: &str,
        own: &str,
    ) -> Result<String, String> {
        let text = serde_json::json!({"type": "static", "listen_options": lines}).to_string();
        let definition =
            service_definition::parse("web", &RawDefinition::new(text, "a test"), &OptionPolicy::default());
        let endpoint = Endpoint::parse(endpoint).unwrap();
        let (inherited, own) = (split_line(inherited).unwrap(), split_line(own).unwrap());
        let options =
            Capabilities::of(version).options_to_add(&definition.unwrap().definition, &endpoint, &inherited, &own);
        options.map(|words| Vec::from_iter(words.iter().map(Word::as_str)).join(" "))
    }

    #[test]
    fn inherited_options_come_first_and_resolution_is_left_out() {
        assert_eq!(
            added(V3_0, &[], "check inter 2s init-addr last,none", "resolvers dns weight 5"),
            Ok("hash-key addr-port check inter 2s weight 5".to_owned())
        );
    }

    #[test]
    fn pools_are_configured_where_haproxy_would_not_use_them() {
        assert_eq!(added(V2_6, &[], "", "check"), Ok("pool-max-conn -1 pool-purge-delay 5s check".to_owned()));
        assert_eq!(added(V2_6, &[], "pool-max-conn 3", ""), Ok("pool-max-conn 3".to_owned()));
        assert_eq!(added(V3_0, &[], "", "check"), Ok("hash-key addr-port check".to_owned()));
    }

    #[test]
    fn value_is_not_taken_for_an_option() {
        let options = "cookie stick alpn redir";
        assert_eq!(added(V3_0, &[], "", options), Ok(format!("hash-key addr-port {options}")));
    }

    #[test]
    fn option_that_add_server_refuses_needs_a_reload() {
        for (version, option) in [
            (V2_2, "check"),
            (V2_6, "cookie a"),
            (V2_6, "hash-key addr"),
            (V3_0, "stick"),
            (V3_0, "no-check"),
            (V3_0, "no-unheard-of"),
            (V3_0, "tcp-ut 5s"),
            (V3_0, "idle-ping 5s"),
        ] {
            assert!(added(version, &[], "", option).is_err(), "{version} {option}");
        }
        for option in ["cookie a", "no-ssl-reuse", "no-backup", "unheard-of", "agent-check agent-port 9000"] {
            assert_eq!(added(V3_0, &[], "", option), Ok(format!("hash-key addr-port {option}")));
        }
        assert_eq!(added(V3_0, &[], "", "hash-key addr"), Ok("hash-key addr".to_owned()));
    }

    #[test]
    fn unix_socket_is_never_hashed_by_an_address() {
        let at = |version, inherited, own| added_at("unix@/run/a.sock", version, &[], inherited, own).unwrap();
        assert_eq!(at(V3_0, "", "check"), "check hash-key id");
        assert_eq!(at(V3_0, "hash-key addr", "hash-key addr-port"), "hash-key addr hash-key addr-port hash-key id");
        assert!(!at(V2_6, "", "check").contains("hash-key"));
    }

    #[test]
    fn dynamic_cookies_need_a_reload_before_3_0() {
        let lines = ["cookie SRV insert dynamic", "dynamic-cookie-key secret"];
        assert!(added(V2_6, &lines, "", "").is_err());
        assert_eq!(added(V3_0, &lines, "", ""), Ok("hash-key addr-port".to_owned()));
        assert!(added(V2_6, &["cookie dynamic insert"], "", "").is_ok(), "it is the cookie's name");
    }
}
