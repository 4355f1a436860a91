//! Tests of certificates that listeners get and lose at run time.

use super::routes::routes;
use super::*;
use crate::limits::CERTIFICATE_AT_RUNTIME_BYTES_MAX;
use crate::model::{CertificateChange, CertificateName, Certificates, GoodCertificate, Secret, SeenCertificate};
use crate::port::ConfigText;

const TLS: &str = r#", "tls": {"certificates": ["#;

fn name(text: &str) -> CertificateName {
    CertificateName::new(text).unwrap()
}

fn tls(names: &[&str], more: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{TLS}{}]}}{more}", names.join(","))
}

fn certificates(texts: &[(&str, &str)]) -> Arc<Certificates> {
    let good = |pem: &str| GoodCertificate {
        pem: Secret(pem.into()),
        subject: String::new(),
        names: Vec::new(),
        not_after_unix_ms: u64::MAX,
        is_stapled: false,
    };
    let seen = |pem: &str| SeenCertificate { good: Some(good(pem)), problem: None };
    Arc::new(texts.iter().map(|(text, pem)| (name(text), seen(pem))).collect())
}

/// Creates a HAProxy whose service `web` has this certificate, beside others that are good.
fn serving_tls(more: &str) -> Rig {
    let mut rig = Rig::new();
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("b", "b1")])));
    rig.define("web", &tls(&["shop"], more));
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.deployed(1);
    rig.wait(RELOAD_INTERVAL);
    rig.effects.clear();
    rig
}

impl Rig {
    fn certificate_change(&mut self) -> Option<CertificateChange> {
        self.take(|effect| match effect {
            Effect::ChangeCertificate(change) => Some(change.clone()),
            _ => None,
        })
    }

    fn certificate_answer(&mut self, answer: Answer) {
        self.feed(Input::CertificateChanged(Ok(answer)));
    }

    fn written_text(&mut self) -> Option<ConfigText> {
        self.take(|effect| match effect {
            Effect::WriteConfigFile(text) => Some(text.clone()),
            _ => None,
        })
    }
}

/// Returns the list, the certificate's file and whether it is added.
fn shown(change: Option<CertificateChange>) -> (String, String, bool) {
    let text = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let listener = |list| text(list).split('.').next().unwrap().to_owned();
    match change.expect("a change was sent") {
        CertificateChange::Add { list, path, .. } => (listener(list), text(path), true),
        CertificateChange::Remove { list, path } => (listener(list), text(path), false),
        CertificateChange::Replace { path, .. } => panic!("{path:?} is replaced"),
    }
}

fn of(listener: &str, file: &str, is_added: bool) -> (String, String, bool) {
    (listener.to_owned(), file.to_owned(), is_added)
}

#[test]
fn names_come_and_go_without_reload() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "b"], ""));
    assert_eq!(shown(rig.certificate_change()), of("web", "b.pem", true));
    assert!(rig.written_text().is_none(), "the file does not name it before the process has it");
    rig.certificate_answer(accepted());
    let text = rig.written_text().unwrap();
    let lists: Vec<&str> = text.lists.values().map(|list| &**list).collect();
    assert!(lists.len() == 1 && lists[0].ends_with("/b.pem\n"), "{lists:?}");
    let list = text.lists.keys().next().unwrap();
    assert!(text.joined().contains(&format!("bind fd@7 ssl crt-list {}\n", list.display())), "{text}");
    rig.feed(Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO });
    rig.define("web", &tls(&["shop"], ""));
    assert_eq!(shown(rig.certificate_change()), of("web", "b.pem", false));
    rig.certificate_answer(accepted());
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.certificate_change().is_none() && rig.order().is_none());
}

#[test]
fn several_names_are_added_one_by_one() {
    let mut rig = serving_tls("");
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("b", "b1"), ("c", "c1")])));
    rig.define("web", &tls(&["shop", "c", "b"], ""));
    for file in ["c.pem", "b.pem"] {
        assert_eq!(shown(rig.certificate_change()), of("web", file, true));
        assert!(rig.certificate_change().is_none());
        rig.certificate_answer(accepted());
    }
    assert!(rig.written_text().is_some() && rig.order().is_none());
}

#[test]
fn other_first_certificate_needs_a_reload() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["b", "shop"], ""));
    assert!(rig.certificate_change().is_none() && rig.order().is_some());
}

#[test]
fn missing_or_refused_certificate_needs_a_reload() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "missing"], ""));
    assert!(rig.certificate_change().is_none() && rig.order().is_some());

    let mut rig = serving_tls("");
    let long = "x".repeat(CERTIFICATE_AT_RUNTIME_BYTES_MAX + 1);
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("long", &long)])));
    rig.define("web", &tls(&["shop", "long"], ""));
    assert!(rig.certificate_change().is_none() && rig.order().is_some());

    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "b"], ""));
    assert!(rig.certificate_change().is_some());
    rig.certificate_answer(Answer { accepted: false, text: "ee key too small".to_owned() });
    assert!(rig.order().is_some());
    let web = |rig: &Rig| rig.reconciler.config().running.unwrap().sections[&service("web")].to_string();
    assert!(!web(&rig).contains("/b.pem"), "the running section stays the last good one");
}

#[test]
fn blocked_certificate_is_retried_when_its_file_is_good() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "c"], ""));
    let order = rig.order().unwrap();
    let desired = order.services[&service("web")].desired.clone();
    let blocker =
        Blocker::Rejected { message: "no c".to_owned(), definition: desired.definition, hosts: desired.hosts };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain([(service("web"), blocker)].into()))));
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_none() && rig.certificate_change().is_none());
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("b", "b1"), ("c", "c1")])));
    assert_eq!(shown(rig.certificate_change()), of("web", "c.pem", true));
    rig.certificate_answer(accepted());
    assert!(rig.written_text().is_some() && rig.order().is_none());
}

#[test]
fn shared_frontend_keeps_the_certificate_of_another_service() {
    let mut rig = Rig::new();
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("b", "b1"), ("c", "c1")])));
    rig.define("api", &tls(&["c", "b"], r#", "domains": ["api.example"]"#));
    rig.define("web", &tls(&["shop", "b", "c"], r#", "domains": ["web.example"]"#));
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.hosts("api", &[9]);
    rig.deployed_with(1, &routes(&[("web", "web"), ("api", "api")]));
    rig.wait(RELOAD_INTERVAL);
    rig.effects.clear();
    rig.define("web", &tls(&["shop", "c"], r#", "domains": ["web.example"]"#));
    assert!(rig.certificate_change().is_none(), "api has it, too");
    rig.define("api", &tls(&["c"], r#", "domains": ["api.example"]"#));
    assert_eq!(shown(rig.certificate_change()), of("http:80", "b.pem", false));
    rig.certificate_answer(accepted());
    assert!(rig.order().is_none());
}

#[test]
fn certificate_that_was_added_is_replaced_when_its_file_changes() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "b"], ""));
    rig.certificate_change().unwrap();
    rig.certificate_answer(accepted());
    rig.feed(Input::CertificatesChanged(certificates(&[("shop", "s1"), ("b", "b2")])));
    let Some(CertificateChange::Replace { path, pem }) = rig.certificate_change() else { panic!("not replaced") };
    assert!(path.ends_with("b.pem") && *pem.0 == *"b2");
}

#[test]
fn host_changes_do_not_wait_for_certificates() {
    let mut rig = serving_tls("");
    rig.define("web", &tls(&["shop", "b"], ""));
    rig.hosts("web", &[]);
    assert_eq!(rig.command_texts(), ["set server web/s1 state maint"]);
    assert!(rig.certificate_change().is_some());
}
