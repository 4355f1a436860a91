//! The operator's certificates on the page.

use serde::Serialize;

use crate::status::certificate_report::CertificateState;
use crate::status::format::rfc3339;

const DAY_S: i64 = 86_400;

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
}

/// The certificates, one row each.
pub fn rows(certificates: &[CertificateState]) -> Vec<CertificateRow> {
    let row = |state: &CertificateState| CertificateRow {
        name: state.name.clone(),
        subject: state.subject.clone(),
        names: state.names.clone(),
        days: state.expires_in_s.map(|seconds| seconds.div_euclid(DAY_S)),
        expires_on: state.not_after_unix_ms.map(|at| rfc3339(at).chars().take_while(|c| *c != 'T').collect()),
        problem: state.problem.as_ref().map(|problem| problem.text.clone()),
    };
    certificates.iter().map(row).collect()
}
