//! The operator's certificates.

use std::fmt;

use super::exposition::{Families, Labels};
use super::flag;
use crate::status::certificate_report::CertificateState;

/// Expiry and problem of each certificate.
pub fn write(families: &mut Families<'_>, certificates: &[CertificateState]) -> fmt::Result {
    let label = |state: &CertificateState| -> Labels { vec![("certificate", state.name.clone())] };
    let help = "Time until the certificate in use expires; negative afterwards";
    let expiry = certificates.iter().filter_map(|state| Some((label(state), state.expires_in_s? as f64)));
    families.gauges("certificate_expiry_seconds", help, expiry)?;
    let help = "1 while the files of the certificate are not used";
    let problems = certificates.iter().map(|state| (label(state), flag(state.problem.is_some())));
    families.gauges("certificate_problem", help, problems)
}
