//! The operator's own haproxy.cfg, in some runs: it has listeners, sections that get the servers of services, and lines
//! that refer to backends and servers which services may or may not have. It changes with the settings.

use proxymgr_actors::model::BaseFile;

use super::random::Random;
use super::tampering::{POISON_SETTING, REFUSED_SETTINGS};
use super::things::Things;

/// A haproxy.cfg of the operator.
struct OperatorBase {
    /// The sections after `global` and `defaults`.
    sections: &'static str,
    /// The services whose servers are in its sections, each with a line of that section.
    framed: &'static [(&'static str, &'static str)],
    /// The ports that it listens on.
    ports: &'static [u16],
    /// Services with a server that its lines refer to, each with the number of the host.
    referred: &'static [(&'static str, u8)],
}

const FIRST: OperatorBase = OperatorBase {
    sections: "\
frontend edge
    bind 0.0.0.0:7001
    use_backend search if { nbsrv(search) ge 1 }
    use_backend api if { srv_is_up(api/10.0.0.1:80) }
    default_backend web
backend web
    timeout server 21s
    # proxymgr: servers
    balance roundrobin
listen mail
    bind 0.0.0.0:7002
    timeout server 22s
",
    framed: &[("web", "timeout server 21s"), ("mail", "timeout server 22s")],
    ports: &[7001, 7002],
    referred: &[("api", 1)],
};

const CHANGED: OperatorBase = OperatorBase {
    sections: "\
frontend edge
    bind 0.0.0.0:7001,0.0.0.0:7003
    use_backend mail if { nbsrv(web) lt 1 }
    default_backend web
backend api
    timeout server 23s
    # proxymgr: servers
",
    framed: &[("api", "timeout server 23s")],
    ports: &[7001, 7003],
    referred: &[],
};

/// Number of the settings with the changed file.
const CHANGED_SETTINGS: u8 = 2;

/// Returns whether the operator of this seed has a haproxy.cfg.
pub(super) fn draw(seed: u64) -> bool {
    Random::of_purpose(seed, "operator's base").chance(25)
}

/// Returns the file with the settings of this number.
pub(super) fn file(settings: u8) -> BaseFile {
    let refused = if settings == REFUSED_SETTINGS { POISON_SETTING } else { "maxconn 1000" };
    let sections = base(settings).sections;
    let text = format!("global\n    {refused}\ndefaults\n    mode http\n    timeout connect 5s\n{sections}");
    BaseFile::new("/etc/proxymgr/haproxy.cfg", text)
}

/// Returns a file of the manager without the backends that stand in for services which do not exist.
pub(super) fn without_stand_ins(text: &str) -> String {
    let is_stand_in = |section: &&str| section.starts_with("# No service has this name");
    text.split_inclusive("\n\n").filter(|section| !is_stand_in(section)).collect()
}

fn base(settings: u8) -> &'static OperatorBase {
    if settings == CHANGED_SETTINGS { &CHANGED } else { &FIRST }
}

impl Things {
    /// Returns a line of the operator's section that has the servers of this service; `None` where the service has a
    /// section of its own.
    pub(super) fn framed_with(&self, service: &str) -> Option<&'static str> {
        let framed = self.has_base.then(|| base(self.settings).framed)?;
        framed.iter().find(|(name, _)| *name == service).map(|(_, line)| *line)
    }

    /// Returns whether lines of the operator refer to the server of this host: it comes by a reload.
    pub(super) fn is_referred(&self, service: &str, host: u8) -> bool {
        self.has_base && base(self.settings).referred.contains(&(service, host))
    }

    /// Returns the ports that the operator's sections listen on.
    pub(super) fn operator_ports(&self) -> &'static [u16] {
        if self.has_base { base(self.settings).ports } else { &[] }
    }
}
