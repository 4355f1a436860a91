//! `proxymgr.yml(5)`, from the table of settings.

use clap_mangen::roff::{Roff, bold, roman};

use super::markup::{file_page, paragraphs, term, verbatim};
use crate::settings::DEFAULT_FILE;
use crate::settings::reference::{Row, rows, section_doc};

const DESCRIPTION: &str = "\
The settings of `proxymgr run` and of all commands with `--config`. `proxymgr check` reports every mistake in them.
Precedence: defaults < this file < the environment (`PROXYMGR_HAPROXY__SOCKET_PATH` sets `haproxy.socket_path`) < flags \
(`--set haproxy.socket_path=...`). SIGHUP reads the file again; settings marked with restart take effect when proxymgr is \
restarted. Durations have a unit: 500ms, 2s, 1m.";

const EXAMPLE: &str = "\
haproxy:
  user: haproxy
  group: haproxy
  defaults:
    - mode http
    - timeout connect 5s
    - timeout client 1m
    - timeout server 1m
service_config:
  type: file
  path: /etc/proxymgr/services";

/// The page, in troff format.
pub fn page() -> String {
    let mut page = file_page("proxymgr.yml", "settings of proxymgr");
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, DESCRIPTION);
    page.control("SH", ["EXAMPLE"]);
    verbatim(&mut page, EXAMPLE);
    let mut current = None;
    for row in rows() {
        let section = row.path.split_once('.').map_or("", |(section, _)| section);
        if current != Some(section) {
            current = Some(section);
            page.control(
                "SH",
                [if section.is_empty() { "OTHERS".to_owned() } else { section.to_uppercase() }.as_str()],
            );
            section_doc(section).into_iter().for_each(|doc| paragraphs(&mut page, doc));
        }
        setting(&mut page, &row);
    }
    page.control("SH", ["FILES"]);
    page.text([roman(DEFAULT_FILE)]);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("proxymgr"), roman("(1), "), bold("proxymgr-service"), roman("(5)")]);
    page.to_roff()
}

fn setting(page: &mut Roff, row: &Row) {
    let values = format!("{}; default: {}; {}", row.value, row.default, row.effect);
    term(page, row.path, &values, row.doc);
    if !row.details.is_empty() {
        page.control("RS", []);
        paragraphs(page, row.details);
        page.control("RE", []);
    }
}
