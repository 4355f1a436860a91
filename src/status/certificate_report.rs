//! The operator's certificates, without their keys, as the watch of their files reports them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use proxymgr_actors::model::{Certificates, SeenCertificate};
use serde::Serialize;

/// The last report of the watch.
#[derive(Debug, Default)]
pub struct CertificateReport(Mutex<Reported>);

#[derive(Debug, Default)]
struct Reported {
    certificates: Vec<CertificateState>,
    problems: Vec<CertificateProblem>,
    /// Since when each problem is known: by the name of the certificate and the text.
    since_unix_ms: BTreeMap<(Option<String>, String), u64>,
}

/// All certificates at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CertificateStates {
    /// The certificates by name.
    pub certificates: Vec<CertificateState>,
    /// Problems that concern no single certificate.
    pub problems: Vec<CertificateProblem>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CertificateState {
    /// Its name in definitions.
    pub name: String,
    /// The subject of the certificate in use; none if no certificate of this name is in use.
    pub subject: Option<String>,
    /// The DNS names and IP addresses that it is valid for.
    pub names: Vec<String>,
    /// When it expires, in milliseconds since 1970.
    pub not_after_unix_ms: Option<u64>,
    /// The time until it expires, in seconds; negative afterwards.
    pub expires_in_s: Option<i64>,
    /// Why the operator's files are not used.
    pub problem: Option<CertificateProblem>,
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateProblem {
    /// What is wrong.
    pub text: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

impl CertificateReport {
    /// Replaces the report.
    pub fn set(&self, certificates: &Certificates, problems: &[String], now_unix_ms: u64) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut reported.since_unix_ms);
        let mut since = BTreeMap::new();
        let mut problem = |name: Option<&str>, text: &str| {
            let key = (name.map(str::to_owned), text.to_owned());
            let since_unix_ms = before.get(&key).copied().unwrap_or(now_unix_ms);
            since.insert(key, since_unix_ms);
            CertificateProblem { text: text.to_owned(), since_unix_ms }
        };
        reported.problems = problems.iter().map(|text| problem(None, text)).collect();
        let mut state = |name: &str, seen: &SeenCertificate| CertificateState {
            name: name.to_owned(),
            subject: seen.good.as_ref().map(|good| good.subject.clone()),
            names: seen.good.as_ref().map(|good| good.names.clone()).unwrap_or_default(),
            not_after_unix_ms: seen.good.as_ref().map(|good| good.not_after_unix_ms),
            expires_in_s: None,
            problem: seen.problem.as_deref().map(|text| problem(Some(name), text)),
        };
        reported.certificates = certificates.iter().map(|(name, seen)| state(name.as_str(), seen)).collect();
        reported.since_unix_ms = since;
    }

    /// Returns all certificates as of this time.
    pub fn at(&self, now_unix_ms: u64) -> CertificateStates {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |unix_ms: u64| i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
        let at = |state: &CertificateState| CertificateState {
            expires_in_s: state.not_after_unix_ms.map(|at| seconds(at) - seconds(now_unix_ms)),
            ..state.clone()
        };
        CertificateStates {
            certificates: reported.certificates.iter().map(at).collect(),
            problems: reported.problems.clone(),
        }
    }
}

#[cfg(test)]
/// Also what other tests of the status use.
pub mod tests {
    use proxymgr_actors::model::{CertificateName, GoodCertificate, Secret};

    use super::*;

    /// The certificate `shop`, which expires 60 s after 1970, with this subject and problem.
    pub fn shop(subject: &str, problem: &str) -> Certificates {
        let good = GoodCertificate {
            pem: Secret("-----BEGIN PRIVATE KEY-----".into()),
            subject: subject.into(),
            names: vec!["shop.example".into()],
            not_after_unix_ms: 60_000,
            is_stapled: false,
        };
        let seen = SeenCertificate { good: Some(good), problem: Some(problem.to_owned()) };
        Certificates::from([(CertificateName::new("shop").unwrap(), seen)])
    }

    #[test]
    fn problem_keeps_its_start() {
        let report = CertificateReport::default();
        let seen = |problem| shop("CN=a", problem);
        report.set(&seen("no key"), &["unreadable".into()], 1_000);
        report.set(&seen("no key"), &["unreadable".into()], 2_000);
        let states = report.at(70_000);
        assert_eq!(states.certificates[0].expires_in_s, Some(-10));
        assert_eq!(states.certificates[0].problem.as_ref().map(|problem| problem.since_unix_ms), Some(1_000));
        assert_eq!(states.problems[0].since_unix_ms, 1_000);
        report.set(&seen("other"), &[], 3_000);
        let problem = report.at(0).certificates[0].problem.clone();
        assert_eq!(problem, Some(CertificateProblem { text: "other".into(), since_unix_ms: 3_000 }));
    }
}
