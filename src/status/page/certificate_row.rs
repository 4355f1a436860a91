//! The operator's certificates on the page.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::certificate_report::CertificateState;
use crate::status::format::rfc3339;
use crate::status::report::StatusReport;

const DAY_S: i64 = 86_400;

/// Services named with a certificate.
const SERVICES_MAX: usize = 5;

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateRow {
    /// Its name.
    pub name: String,
    /// The subject; none if no certificate of this name is in use.
    pub subject: Option<String>,
    /// The names that it is valid for.
    pub names: Vec<String>,
    /// Whole days until it expires; negative afterwards.
    pub days: Option<i64>,
    /// The day on which it expires, as `2027-01-31`.
    pub expires_on: Option<String>,
    /// Why the operator's files are not used.
    pub problem: Option<String>,
    /// The first services that use it, and the number of all of them.
    pub services: (Vec<String>, usize),
}

/// The certificates whose names `is_wanted` selects, one row each.
pub fn rows(report: &StatusReport, is_wanted: impl Fn(&str) -> bool) -> Vec<CertificateRow> {
    let users = users(report);
    let row = |state: &CertificateState| CertificateRow {
        name: state.name.clone(),
        subject: state.subject.clone(),
        names: state.names.clone(),
        days: state.expires_in_s.map(|seconds| seconds.div_euclid(DAY_S)),
        expires_on: state.not_after_unix_ms.map(|at| rfc3339(at).chars().take_while(|c| *c != 'T').collect()),
        problem: state.problem.as_ref().map(|problem| problem.text.clone()),
        services: users.get(state.name.as_str()).map_or_else(Default::default, |names| {
            (names.iter().take(SERVICES_MAX).map(|name| (*name).to_owned()).collect(), names.len())
        }),
    };
    report.daemon.certificates.certificates.iter().filter(|state| is_wanted(&state.name)).map(row).collect()
}

/// The services by the certificates that they use.
fn users(report: &StatusReport) -> BTreeMap<&str, Vec<&str>> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in report.haproxy().into_iter().flat_map(|haproxy| &haproxy.services) {
        for certificate in &service.defined.certificates {
            users.entry(certificate).or_default().push(name.as_str());
        }
    }
    users
}
