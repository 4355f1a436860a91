//! The time that HAProxy needs for the health checks of a section.
//!
//! Each check evaluates the section's `http-check` and `tcp-check` lines, and HAProxy runs up to 200 checks before it looks
//! at connections again. So many hosts with short intervals, or with long lines, delay the requests of all services
//! (measured on 3.0: 300 hosts with checks of 50 ms each delayed other services by 7 s).

use super::grammar::facts;
use super::grammar::numbers::duration_us;
use super::grammar::reader;
use super::grammar::section::Section;
use super::grammar::table;
use super::own_places::OwnPlaces;
use super::server_line::default_server_words;
use super::server_options::{contains, value_of};
use crate::limits::CHECK_LOAD_MAX;
use crate::model::{HostList, ServiceDefinition, Word};

/// HAProxy's time for a connection and its answer, in microseconds. This and the next two are estimates.
const CONNECTION_US: u64 = 20;

/// The time of a TLS handshake.
const TLS_US: u64 = 100;

/// The time of one unit of [work](super::grammar::work).
const WORK_US: u64 = 10;

/// HAProxy's interval where none is given.
const INTERVAL_DEFAULT_US: u64 = 2_000_000;

const US_PER_SECOND: u64 = 1_000_000;

/// Options that choose an interval of checks.
const INTERVALS: [&str; 3] = ["inter", "fastinter", "downinter"];

/// Returns why the checks of these hosts would take too much of HAProxy's time, and what to do; `None` where they do not.
pub fn excess(definition: &ServiceDefinition, hosts: &HostList) -> Option<String> {
    let lines = Lines::of(definition);
    let of_service = [default_server_words(definition).as_slice(), &definition.server_options].concat();
    let of_others = lines.load_us(&of_service);
    let of_hosts = hosts.values().map(|host| match host.options.is_empty() {
        true => of_others,
        false => lines.load_us(&[of_service.as_slice(), &host.options].concat()),
    });
    let load_us = of_hosts.fold(0, u64::saturating_add);
    let most_us = u64::try_from(CHECK_LOAD_MAX.as_micros()).unwrap_or(u64::MAX);
    (load_us > most_us).then(|| {
        format!(
            "the health checks of its {} hosts would take {} ms of HAProxy's time per second, and at most {} are allowed; \
             choose longer intervals (inter, fastinter, downinter, agent-inter), or fewer and simpler lines of checks",
            hosts.len(),
            load_us / 1_000,
            most_us / 1_000
        )
    })
}

/// The lines of checks in a section.
struct Lines {
    /// Whether there are some.
    exist: bool,
    /// The time of one check, without its connection.
    us: u64,
}

impl Lines {
    fn of(definition: &ServiceDefinition) -> Self {
        let lines: Vec<&Vec<Word>> = definition.listen_options.iter().filter(|words| is_of_checks(words)).collect();
        let section = Section { name: Some(definition.name.as_str()), granted: &[], own: &OwnPlaces::default() };
        // Lines that only the operator allows count as his choice.
        let read = |words: &&Vec<Word>| reader::read(words, table::shapes(words[0].as_str())?, &section).ok();
        let work = lines.iter().filter_map(read).map(|facts| facts::total_work(&facts));
        Self { exist: !lines.is_empty(), us: work.fold(0, u64::saturating_add).saturating_mul(WORK_US) }
    }

    /// Returns HAProxy's time for the checks of a server with these options, per second.
    fn load_us(&self, options: &[Word]) -> u64 {
        let intervals = INTERVALS.iter().filter_map(|name| interval_us(options, name)).min();
        // Without any of them, the section has the checks that the operator chose, or none.
        let is_checked = self.exist || intervals.is_some() || contains(options, "check");
        let of_tls = if contains(options, "check-ssl") || contains(options, "ssl") { TLS_US } else { 0 };
        let check_us = CONNECTION_US.saturating_add(of_tls).saturating_add(self.us);
        let of_check = if is_checked { per_second(check_us, intervals) } else { 0 };
        let of_agent = match contains(options, "agent-check") {
            true => per_second(CONNECTION_US, interval_us(options, "agent-inter")),
            false => 0,
        };
        of_check.saturating_add(of_agent)
    }
}

fn is_of_checks(words: &[Word]) -> bool {
    matches!(words.first().map(Word::as_str), Some("http-check" | "tcp-check"))
}

fn interval_us(options: &[Word], name: &str) -> Option<u64> {
    u64::try_from(duration_us(value_of(options, name)?)?).ok()
}

fn per_second(us: u64, interval_us: Option<u64>) -> u64 {
    us.saturating_mul(US_PER_SECOND) / interval_us.unwrap_or(INTERVAL_DEFAULT_US).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition;
    use crate::model::{Endpoint, Host, RawDefinition, ServerName};

    fn define(server_options: &str, lines: &[String]) -> ServiceDefinition {
        let definition = serde_json::json!({
            "type": "static", "port": 80, "server_options": server_options, "listen_options": lines
        });
        let raw = RawDefinition::new(definition.to_string(), "a test");
        service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition
    }

    fn hosts(count: u32, options: &[&str]) -> HostList {
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
            let endpoint = Endpoint::parse(&format!("{address}:80")).unwrap();
            let mut host = Host::at(endpoint);
            host.options = options.iter().map(|word| Word::new(word).unwrap()).collect();
            (ServerName::new(&address.to_string()).unwrap(), host.into())
        };
        (0..count).map(host).collect()
    }

    #[test]
    fn many_hosts_with_usual_checks_are_allowed() {
        for (count, server_options) in [
            (25_000, "check"),
            (5_000, "check inter 1s"),
            (1_000, "check inter 50"),
            (2_000, "check check-ssl inter 1s"),
        ] {
            assert_eq!(excess(&define(server_options, &[]), &hosts(count, &[])), None, "{count} {server_options}");
        }
        let http = ["option httpchk", "http-check send meth GET uri /health", "http-check expect rstatus ^2"];
        let http = http.map(str::to_owned);
        assert_eq!(excess(&define("check inter 2s", &http), &hosts(1_000, &[])), None);
        assert_eq!(excess(&define("weight 1", &[]), &hosts(200_000, &[])), None, "without checks");
    }

    #[test]
    fn checks_do_not_take_all_the_time() {
        for (count, server_options) in [
            (3_000, "check inter 50"),
            (3_000, "check inter 10s fastinter 50"),
            (3_000, "check inter 10s downinter 50ms"),
            (3_000, "agent-check agent-port 90 agent-inter 50"),
            (3_000, "inter 50"),
            (1_000, "check ssl inter 100"),
        ] {
            assert!(excess(&define(server_options, &[]), &hosts(count, &[])).is_some(), "{count} {server_options}");
        }
        let own = hosts(3_000, &["check", "inter", "50"]);
        assert!(excess(&define("weight 1", &[]), &own).is_some(), "options of hosts");
        let lines = vec!["default-server check inter 50".to_owned()];
        assert!(excess(&define("weight 1", &lines), &hosts(3_000, &[])).is_some(), "options of the section");
    }

    #[test]
    fn lines_of_checks_take_time() {
        let line = |number| format!("tcp-check set-var(check.a) str(a),sha2(512),sha2({number})");
        let lines: Vec<String> = std::iter::once("option tcp-check".to_owned()).chain((0..200).map(line)).collect();
        let definition = define("check inter 1s", &lines);
        assert_eq!(excess(&definition, &hosts(2, &[])), None);
        assert!(excess(&definition, &hosts(30, &[])).is_some());
        assert!(excess(&define("weight 1", &lines), &hosts(300, &[])).is_some(), "checks that the operator turned on");
    }
}
