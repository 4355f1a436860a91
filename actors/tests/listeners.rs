//! Tests of a service's listeners: several addresses, TLS, the redirect to HTTPS, and routing by SNI.

use std::path::Path;
use std::sync::Arc;

use proxymgr_actors::decide::base::{self, BaseLayout};
use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::grants::{Grant, Grants};
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section, section_header};
use proxymgr_actors::decide::listener_certificates;
use proxymgr_actors::decide::loaded_config::parse_sections;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::{FrontendKind, keys, routed_at, shares};
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{
    BaseConfig, CertificateName, Descriptors, HostList, ProxyManagement, RawDefinition, RouteKey, ServiceDefinition,
    StapledCertificates,
};

fn parse(name: &str, keys: &str, policy: &OptionPolicy) -> Result<Arc<ServiceDefinition>, Vec<String>> {
    let raw = RawDefinition::new(format!(r#"{{"type": "static", {keys}}}"#), "a test");
    service_definition::parse(name, &raw, policy).map(|parsed| Arc::new(parsed.definition))
}

fn layout() -> Arc<BaseLayout> {
    Arc::new(base::layout(&BaseConfig {
        files: Vec::new(),
        global: Vec::new(),
        defaults: Vec::new(),
        socket_path: "/run/x.sock".into(),
        map_path: "/etc/haproxy/haproxy.cfg.domains".into(),
        state_file: None,
        management: ProxyManagement::Supervised,
    }))
}

fn define(name: &str, keys: &str) -> Arc<ServiceDefinition> {
    layout().applied_to(&parse(name, keys, &OptionPolicy::default()).unwrap())
}

fn held(definition: &ServiceDefinition) -> Descriptors {
    definition.addresses().zip(5..).map(|(address, number)| (address, Some(number))).collect()
}

fn text(definition: &ServiceDefinition) -> String {
    let style = SectionStyle::default();
    section(definition, &held(definition), &HostList::default(), &ServerIds::default(), style).to_string()
}

fn frontend(services: &[&ServiceDefinition]) -> Vec<String> {
    let held: Vec<Descriptors> = services.iter().map(|service| held(service)).collect();
    let services = services.iter().copied().zip(&held);
    frontends(services, SectionStyle::default(), Path::new("/map")).values().map(ToString::to_string).collect()
}

fn mistakes(keys: &str) -> Vec<String> {
    parse("web", keys, &OptionPolicy::default()).err().unwrap_or_default()
}

#[test]
fn every_address_has_a_bind_line_with_the_options() {
    let web = define(
        "web",
        r#""port": 80, "binds": ["10.0.0.1:81", "[::]:82"], "bind_options": ["accept-proxy", "proto h2"]"#,
    );
    let text = text(&web);
    for (number, address) in [(5, "0.0.0.0:80"), (6, "10.0.0.1:81"), (7, "[::]:82")] {
        assert!(text.contains(&format!("    # clients connect to {address} with accept-proxy proto h2\n")), "{text}");
        assert!(text.contains(&format!("    bind fd@{number} accept-proxy proto h2\n")), "{text}");
    }
    let base = format!("{}{text}", base::BoundBase::new(layout(), Descriptors::new()).text());
    assert_eq!(parse_sections(&base)[&web.name].header, *section_header(&web, SectionStyle::default()));
}

#[test]
fn unix_sockets_need_a_grant() {
    let keys = r#""binds": ["unix@/run/web/x.sock"]"#;
    assert!(mistakes(keys)[0].contains("unix_sockets"));
    let granted = |paths: &[&str]| {
        let unix_sockets = Some(paths.iter().map(|path| (*path).to_owned()).collect());
        let grants = Grants::new(vec![Grant { unix_sockets, ..Grant::default() }]);
        parse("web", keys, &OptionPolicy { grants, ..OptionPolicy::default() })
    };
    assert!(granted(&["/run/web/"]).is_ok() && granted(&["/run/api/"]).is_err() && granted(&[]).is_err());
    let climbing = r#""binds": ["/run/web/../x.sock"]"#;
    let grants = Grants::new(vec![Grant { unix_sockets: Some(vec!["/run/web/".into()]), ..Grant::default() }]);
    assert!(parse("web", climbing, &OptionPolicy { grants, ..OptionPolicy::default() }).is_err());
}

#[test]
fn sockets_of_proxymgr_and_of_others_are_not_taken() {
    let grants = Grants::new(vec![Grant { unix_sockets: Some(vec!["/run/".into()]), ..Grant::default() }]);
    let mut policy = OptionPolicy { grants, ..OptionPolicy::default() };
    policy.own.add_socket("the socket for orders of proxymgr", Path::new("/run/proxymgr//proxymgr.sock"));
    let is_good = |path: &str| parse("web", &format!(r#""port": 80, "binds": ["unix@{path}"]"#), &policy).is_ok();
    assert!(is_good("/run/web/x.sock") && is_good("/run/proxymgr/web.sock"));
    for path in
        ["/run/proxymgr/proxymgr.sock", "/run/web//x.sock", "/run/./web/x.sock", "/run/web/../x.sock", "/run/web/"]
    {
        assert!(!is_good(path), "{path}");
    }
}

/// Returns the path and the content of the only list of certificates.
fn list_of(services: &[&ServiceDefinition]) -> (String, Arc<str>) {
    let lists = Vec::from_iter(listener_certificates::files(services.iter().copied(), &StapledCertificates::new()));
    let [(path, text)] = lists.as_slice() else { panic!("{lists:?}") };
    (path.display().to_string(), text.clone())
}

#[test]
fn certificates_are_files_of_the_private_directory() {
    let web = define(
        "web",
        r#""port": 443, "tls": {"certificates": ["shop", "b"], "alpn": ["h2", "http/1.1"], "min_version": "TLSv1.2"}"#,
    );
    let list = list_of(&[&web]);
    assert_eq!(&*list.1, "/etc/haproxy/haproxy.cfg.certs/shop.pem\n/etc/haproxy/haproxy.cfg.certs/b.pem\n");
    let bind = format!("    bind fd@5 ssl crt-list {} alpn h2,http/1.1 ssl-min-ver TLSv1.2\n", list.0);
    assert!(text(&web).contains(&bind), "{}", text(&web));
    let with = |certificates: &str| {
        let keys = format!(r#""port": 443, "tls": {{"certificates": [{certificates}]}}"#);
        section_header(&define("web", &keys), SectionStyle::default())
    };
    assert_ne!(with(r#""shop""#), with(r#""b", "shop""#), "another first certificate needs a reload");
    assert_eq!(with(r#""shop""#), with(r#""shop", "b""#), "further ones do not");
}

#[test]
fn certificates_can_be_granted() {
    let grant = |names: &[&str]| {
        let certificates = names.iter().map(|name| CertificateName::new(name).unwrap()).collect();
        Grants::new(vec![Grant { certificates: Some(certificates), ..Grant::default() }])
    };
    let keys = r#""port": 443, "tls": {"certificates": ["shop"]}"#;
    let with = |grants| parse("web", keys, &OptionPolicy { grants, ..OptionPolicy::default() });
    assert!(with(grant(&["shop"])).is_ok() && with(grant(&["other"])).is_err() && with(Grants::default()).is_ok());
}

#[test]
fn services_with_domains_share_a_frontend_with_all_certificates() {
    let tls = |names: &str| format!(r#""port": 443, "tls": {{"certificates": [{names}], "min_version": "TLSv1.2"}}"#);
    let web = define("web", &format!(r#"{}, "domains": ["a.example"]"#, tls(r#""a""#)));
    let api = define("api", &format!(r#"{}, "domains": ["b.example"]"#, tls(r#""b", "a""#)));
    let texts = frontend(&[&api, &web]);
    let [text] = texts.as_slice() else { panic!("{texts:?}") };
    let list = list_of(&[&api, &web]);
    assert_eq!(&*list.1, "/etc/haproxy/haproxy.cfg.certs/b.pem\n/etc/haproxy/haproxy.cfg.certs/a.pem\n");
    assert!(text.contains(&format!("bind fd@5 ssl crt-list {} ssl-min-ver TLSv1.2\n", list.0)), "{text}");
    assert!(text.starts_with("frontend http:443\n"));
}

#[test]
fn redirect_has_a_listener_without_tls() {
    let keys = r#""port": 443, "redirect_to_https": true, "tls": {"certificates": ["a"]}"#;
    let web = define("web", keys);
    let text = text(&web);
    assert!(text.contains("    bind fd@5 ssl ") && text.contains("    bind fd@6\n"), "{text}");
    assert!(text.contains("    http-request redirect scheme https code 301 unless { ssl_fc }\n"), "{text}");
    let routed = define("web", &format!(r#"{keys}, "domains": ["a.example"]"#));
    let texts = frontend(&[&routed]);
    assert!(texts[0].starts_with("frontend http:80\n") && !texts[0].contains(" ssl "), "{}", texts[0]);
    assert!(texts[1].starts_with("frontend http:443\n") && texts[1].contains(" ssl "), "{}", texts[1]);
    let keys: Vec<RouteKey> = keys_of(&routed);
    let texts: Vec<&str> = keys.iter().map(RouteKey::as_str).collect();
    assert_eq!(texts, ["0.0.0.0:443/a.example/", "0.0.0.0:80/a.example/"]);
}

fn keys_of(definition: &ServiceDefinition) -> Vec<RouteKey> {
    keys(routed_at(definition).unwrap(), definition).collect()
}

#[test]
fn tcp_services_with_domains_are_chosen_by_sni() {
    let db = define("db", r#""port": 443, "domains": ["db.example", "*.c.example"], "listen_options": ["mode tcp"]"#);
    assert_eq!(shares(&db), Some(FrontendKind::Sni));
    assert!(text(&db).starts_with("backend db\n"));
    let texts = frontend(&[&db]);
    let text = &texts[0];
    for line in [
        "frontend tls:443\n",
        "    mode tcp\n",
        "    tcp-request inspect-delay 5s\n",
        "    tcp-request content set-var(txn.proxymgr_host) req.ssl_sni,lower if { req.ssl_hello_type 1 }\n",
        "    tcp-request content reject unless { var(txn.proxymgr_service) -m found }\n",
        "    use_backend %[var(txn.proxymgr_service)]\n",
    ] {
        assert!(text.contains(line), "{text} should have {line}");
    }
    assert!(!text.contains("http-request") && !text.contains("proxymgr_path"), "{text}");
}

#[test]
fn keys_that_do_not_go_together_are_mistakes() {
    for (keys, part) in [
        (r#""tls": {"certificates": ["a"]}"#, "no \"port\""),
        (r#""port": 443, "tls": {"certificates": ["/etc/x.pem"]}"#, "not the name of a certificate"),
        (r#""port": 443, "redirect_to_https": true"#, "needs \"tls\""),
        (r#""port": 80, "redirect_to_https": true, "tls": {"certificates": ["a"]}"#, "redirected from"),
        (r#""port": 443, "domains": ["a"], "listen_options": ["mode tcp"], "tls": {"certificates": ["a"]}"#, "SNI"),
        (r#""port": 443, "domains": ["a"], "listen_options": ["mode tcp"], "path_prefix": "/a""#, "no paths"),
        (r#""port": 443, "domains": ["a"], "binds": ["*:80"]"#, "\"binds\""),
        (r#""port": 443, "default": true, "bind_options": ["tfo"]"#, "\"bind_options\""),
        (r#""binds": ["10.0.0.1"]"#, "10.0.0.1"),
        (r#""bind_options": ["crt /etc/x"]"#, "not allowed"),
    ] {
        let mistakes = mistakes(keys);
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{keys}: {mistakes:?}");
    }
}
