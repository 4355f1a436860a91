//! Problems of the operator's certificates: files that cannot be used, and expiry.

use proxymgr_actors::limits::CERTIFICATE_EXPIRY_WARNING;

use super::{Concern, ConcernKind};
use crate::status::certificate_report::{CertificateState, CertificateStates};
use crate::status::format::counted;

const DAY_S: u64 = 86_400;

/// Problems of all certificates, one for each.
pub fn of_certificates(states: &CertificateStates) -> Vec<Concern> {
    let advice = "the certificates in use stay in use; retried automatically once fixed";
    let of_all = states.problems.iter().map(|problem| {
        Concern::new(ConcernKind::CertificateInvalid, &problem.text, Some(problem.since_unix_ms), advice)
    });
    of_all.chain(states.certificates.iter().filter_map(of_certificate)).collect()
}

fn of_certificate(state: &CertificateState) -> Option<Concern> {
    let name = &state.name;
    let expiry = expiry(state);
    let Some(problem) = &state.problem else {
        let text = format!("certificate {name} {}", expiry?);
        let advice = "replace its files; the new certificate is used without a restart";
        return Some(Concern::new(ConcernKind::CertificateExpires, text, None, advice));
    };
    let in_use = expiry.map(|expiry| format!("; the one in use {expiry}")).unwrap_or_default();
    let advice = match state.subject {
        Some(_) => "the last good one stays in use; retried automatically once its files change",
        None => "services that name it are not served; retried automatically once its files change",
    };
    let text = format!("certificate {name}: {}{in_use}", problem.text);
    Some(Concern::new(ConcernKind::CertificateInvalid, text, Some(problem.since_unix_ms), advice))
}

/// When the certificate in use expires or expired, if that is soon or past.
fn expiry(state: &CertificateState) -> Option<String> {
    let seconds = state.expires_in_s?;
    let days = counted((seconds.unsigned_abs() / DAY_S) as usize, "day");
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > CERTIFICATE_EXPIRY_WARNING.as_secs() => None,
        Ok(0) | Err(_) => Some(format!("expired {days} ago")),
        Ok(seconds) if seconds < DAY_S => Some("expires within a day".to_owned()),
        Ok(_) => Some(format!("expires in {days}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::certificate_report::CertificateProblem;

    const DAY: i64 = 86_400;

    fn concerns(expires_in_s: Option<i64>, problem: Option<&str>) -> Vec<(ConcernKind, String)> {
        let state = CertificateState {
            name: "shop".into(),
            subject: expires_in_s.map(|_| "CN=shop".into()),
            not_after_unix_ms: expires_in_s.map(|_| 1),
            expires_in_s,
            problem: problem.map(|text| CertificateProblem { text: text.into(), since_unix_ms: 7 }),
            ..CertificateState::default()
        };
        let states = CertificateStates { certificates: vec![state], problems: Vec::new() };
        of_certificates(&states).into_iter().map(|concern| (concern.kind, concern.text)).collect()
    }

    #[test]
    fn expiry_is_reported_for_14_days() {
        assert_eq!(concerns(Some(14 * DAY + 1), None), []);
        let expires = |text: &str| [(ConcernKind::CertificateExpires, format!("certificate shop {text}"))];
        assert_eq!(concerns(Some(14 * DAY), None), expires("expires in 14 days"));
        assert_eq!(concerns(Some(DAY), None), expires("expires in 1 day"));
        assert_eq!(concerns(Some(60), None), expires("expires within a day"));
        assert_eq!(concerns(Some(-3 * DAY), None), expires("expired 3 days ago"));
    }

    #[test]
    fn certificate_has_one_concern() {
        let invalid = |text: &str| [(ConcernKind::CertificateInvalid, format!("certificate shop: {text}"))];
        assert_eq!(concerns(None, Some("no key")), invalid("no key"));
        assert_eq!(concerns(Some(100 * DAY), Some("no key")), invalid("no key"));
        assert_eq!(concerns(Some(3 * DAY), Some("no key")), invalid("no key; the one in use expires in 3 days"));
    }

    #[test]
    fn problem_of_the_directory_is_reported() {
        let problem = CertificateProblem { text: "cannot read".into(), since_unix_ms: 7 };
        let states = CertificateStates { certificates: Vec::new(), problems: vec![problem] };
        let concerns = of_certificates(&states);
        assert_eq!((concerns[0].kind, concerns[0].since_unix_ms), (ConcernKind::CertificateInvalid, Some(7)));
    }
}
