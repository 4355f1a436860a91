//! Parser for `tls` in a service's definition.

use serde_json::{Map, Value};

use super::json_value::{shown, strings_from};
use crate::limits::CERTIFICATES_OF_SERVICE_MAX;
use crate::model::{CertificateName, ServiceTls, TlsVersion, Word};

/// The protocols that can be offered (ALPN protocol identifiers of RFC 7301 that HAProxy handles).
const PROTOCOLS: [&str; 3] = ["h2", "http/1.1", "http/1.0"];

/// Reads `{"certificates": ["shop"], "alpn": ["h2", "http/1.1"], "min_version": "TLSv1.2"}`.
///
/// # Errors
/// The first mistake, with its key and value.
pub(super) fn parse(value: &Value) -> Result<ServiceTls, String> {
    let Value::Object(keys) = value else { return Err(format!("{} is not an object", shown(value))) };
    if let Some(unknown) = keys.keys().find(|key| !["certificates", "alpn", "min_version"].contains(&key.as_str())) {
        return Err(format!("the key {unknown:?} is not known; it may have certificates, alpn and min_version"));
    }
    let certificates = certificates(keys)?;
    let alpn = match keys.get("alpn").filter(|value| !value.is_null()) {
        Some(value) => alpn(value).map_err(|reason| format!("\"alpn\": {reason}"))?,
        None => Vec::new(),
    };
    let min_version = match keys.get("min_version").filter(|value| !value.is_null()) {
        Some(value) => Some(version(value).map_err(|reason| format!("\"min_version\": {reason}"))?),
        None => None,
    };
    Ok(ServiceTls { certificates, alpn, min_version })
}

fn certificates(keys: &Map<String, Value>) -> Result<Vec<CertificateName>, String> {
    let missing = "\"certificates\" is missing: names of certificates, such as [\"shop\"]".to_owned();
    let value = keys.get("certificates").filter(|value| !value.is_null()).ok_or(missing)?;
    let names = strings_from(value).map_err(|reason| format!("\"certificates\": {reason}"))?;
    if names.is_empty() || names.len() > CERTIFICATES_OF_SERVICE_MAX {
        return Err(format!(
            "\"certificates\": {} names, and 1 to {CERTIFICATES_OF_SERVICE_MAX} are allowed",
            names.len()
        ));
    }
    let mut certificates = Vec::new();
    for name in &names {
        let name = CertificateName::new(name).map_err(|error| format!("\"certificates\": {error}"))?;
        if !certificates.contains(&name) {
            certificates.push(name);
        }
    }
    Ok(certificates)
}

fn alpn(value: &Value) -> Result<Vec<Word>, String> {
    let mut alpn = Vec::new();
    for text in strings_from(value)? {
        let known = PROTOCOLS.contains(&text.as_str()).then(|| Word::new(&text).ok()).flatten();
        let word = known.ok_or_else(|| format!("{text:?} is none of {}", PROTOCOLS.join(", ")))?;
        if !alpn.contains(&word) {
            alpn.push(word);
        }
    }
    Ok(alpn)
}

fn version(value: &Value) -> Result<TlsVersion, String> {
    let found = TlsVersion::ALL.into_iter().find(|version| value.as_str() == Some(version.as_str()));
    found.ok_or_else(|| {
        let known = TlsVersion::ALL.map(TlsVersion::as_str).join(", ");
        format!("{} is none of {known}", shown(value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_is_read() {
        let value =
            json!({"certificates": ["shop", "b", "shop"], "alpn": ["h2", "http/1.1"], "min_version": "TLSv1.2"});
        let tls = parse(&value).unwrap();
        assert_eq!(tls.certificates.iter().map(CertificateName::as_str).collect::<Vec<_>>(), ["shop", "b"]);
        assert_eq!((tls.alpn.len(), tls.min_version), (2, Some(TlsVersion::V1_2)));
        assert!(parse(&json!({"certificates": "shop"})).unwrap().alpn.is_empty());
    }

    #[test]
    fn mistakes_name_the_key() {
        for (value, part) in [
            (json!(true), "object"),
            (json!({}), "\"certificates\" is missing"),
            (json!({"certificates": []}), "0 names"),
            (json!({"certificates": ["../x"]}), "\"../x\""),
            (json!({"certificates": ["/etc/x.pem"]}), "\"/etc/x.pem\""),
            (json!({"certificates": ["a"], "alpn": ["h3"]}), "\"alpn\": \"h3\""),
            (json!({"certificates": ["a"], "alpn": ["h2 crt /etc/x"]}), "\"alpn\""),
            (json!({"certificates": ["a"], "min_version": "SSLv3"}), "\"min_version\": \"SSLv3\""),
            (json!({"certificates": ["a"], "ca": "x"}), "\"ca\""),
        ] {
            let error = parse(&value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
