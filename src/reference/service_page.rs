//! `proxymgr-service(5)`, from the tables of the keys of definitions and hosts.

use clap_mangen::roff::{Roff, bold, roman};
use proxymgr_actors::decide::definition_keys::{HOST_KEYS, SERVICE_KEYS};
use proxymgr_actors::model::DefinitionKey;

use super::markup::{file_page, paragraphs, term, verbatim};
use crate::discovery::KINDS;

const DESCRIPTION: &str = "\
A service is one entry under `service_config.path`: a znode, a key of Consul or etcd, or a file (`.json`, `.yml`, `.yaml`) in \
a directory. Its name is the name of its section in haproxy.cfg. The definition is a map in JSON or YAML, with the keys of \
every service and those of the source of its hosts. Keys that begin with `x-` or `_` are free for other uses; other unknown keys \
have no effect and are reported.
`proxymgr check FILE` checks a definition, with HAProxy's own check.";

const EXAMPLE: &str = "\
type: static
hosts:
  - {address: 10.0.0.1, port: 8080}
  - {address: 10.0.0.2, port: 8080, weight: 50}
port: 80
listen_options:
  - mode http
  - option httpchk GET /health
server_options:
  - check inter 2s";

/// The page, in troff format.
pub fn page() -> String {
    let mut page = file_page("proxymgr-service", "definition of a service of proxymgr");
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, DESCRIPTION);
    page.control("SH", ["EXAMPLE"]);
    verbatim(&mut page, EXAMPLE);
    page.control("SH", ["KEYS OF EVERY SERVICE"]);
    keys(&mut page, SERVICE_KEYS);
    page.control("SH", ["KEYS OF EACH SOURCE"]);
    for kind in KINDS {
        page.control("SS", [kind.name]);
        keys(&mut page, kind.keys);
    }
    page.control("SH", ["HOSTS"]);
    paragraphs(&mut page, "A host is a map with these keys. The line of a file is `host:port`, then `key=value`.");
    keys(&mut page, HOST_KEYS);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("proxymgr"), roman("(1), "), bold("proxymgr.yml"), roman("(5)")]);
    page.to_roff()
}

fn keys(page: &mut Roff, keys: &[DefinitionKey]) {
    keys.iter().for_each(|key| term(page, key.name, key.value, key.doc));
}
