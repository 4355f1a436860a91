//! Tests of the policy for a service's lines and server options, and of its refusals.

use proxymgr_actors::decide::grants::{Grant, Grants, HostGrant};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::service_definition::parse;
use proxymgr_actors::model::RawDefinition;

fn policy() -> OptionPolicy {
    OptionPolicy::default()
}

fn allowing(extra: &[&str]) -> OptionPolicy {
    OptionPolicy { extra: extra.iter().map(|&word| word.to_owned()).collect(), ..OptionPolicy::default() }
}

fn words(line: &str) -> Vec<String> {
    let words = policy().listen_line("web", line).unwrap_or_else(|reason| panic!("{line:?} is refused: {reason}"));
    words.iter().map(|word| word.as_str().to_owned()).collect()
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, String>, input: &str, reason_part: &str) {
    match result {
        Ok(words) => panic!("{input:?} is allowed as {words:?}"),
        Err(reason) => {
            assert!(reason.contains(reason_part), "{input:?} is refused with {reason:?}, which lacks {reason_part:?}");
            assert!(!reason.chars().any(char::is_control), "the reason breaks the log's line: {reason:?}");
        }
    }
}

#[test]
fn a_line_is_split_as_haproxy_splits_it() {
    for (line, expected) in [
        (r#"http-request set-header X-A "a b""#, vec!["http-request", "set-header", "X-A", "a b"]),
        (r"http-request set-header X-A a\ b\#c\\d", vec!["http-request", "set-header", "X-A", r"a b#c\d"]),
        (r"acl static path_reg ^/a\.b\d+", vec!["acl", "static", "path_reg", r"^/a\.b\d+"]),
        ("acl x path '${HOME}' \"$HOME\" $HOME", vec!["acl", "x", "path", "${HOME}", "$HOME", "$HOME"]),
        ("\t mode  \thttp ", vec!["mode", "http"]),
        (r#"acl x path a'b'"c"\x41"#, vec!["acl", "x", "path", "abcA"]),
        (r#"acl x path_reg "a\$" b\$"#, vec!["acl", "x", "path_reg", "a$", r"b\$"]),
        (r"acl x path_reg \x20\x7e\x30", vec!["acl", "x", "path_reg", " ~0"]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}

#[test]
fn common_lines_are_allowed() {
    for line in [
        "mode http",
        "mode tcp",
        "balance leastconn",
        "balance hash req.hdr(x-user)",
        "option httplog",
        "no option httpclose",
        r"option httpchk GET /health HTTP/1.1\r\nHost:\ www",
        "timeout server 30s",
        "acl is_api path_beg -i /api",
        "http-request deny deny_status 403 unless { src 10.0.0.0/8 }",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "http-request set-var(txn.path) path",
        "http-request track-sc0 src",
        "http-response set-header X-Server %s",
        "http-after-response add-header X-Y z",
        "http-check send meth GET uri /health hdr Host www",
        "http-check expect status 200",
        "http-check connect port 8080 addr 10.0.0.1 ssl",
        r"tcp-check send PING\r\n",
        "tcp-check expect string +PONG",
        "tcp-request inspect-delay 5s",
        "tcp-request content accept if { req_ssl_hello_type 1 }",
        "tcp-request connection track-sc1 src",
        "cookie SRV insert indirect nocache",
        "cookie SRV insert dynamic",
        "dynamic-cookie-key secret",
        "stick-table type ip size 100k expire 30m store conn_rate(3s)",
        "stick on src",
        "default-server check inter 2s fall 3",
        "log global",
        "no log",
        "redirect scheme https code 301 unless { ssl_fc }",
        "stats enable",
        "stats uri /haproxy",
        "errorloc302 503 https://www.example.org/down",
        "http-error status 503 content-type text/plain string 'down for a while'",
        "redirect location https://lua.org/map",
    ] {
        assert!(!words(line).is_empty());
    }
}

#[test]
fn lines_that_leave_the_section_or_read_files_are_refused() {
    for (line, reason) in [
        ("", "empty"),
        ("  \t ", "empty"),
        ("mode http\nglobal", "line break"),
        ("mode http\rx", "line break"),
        ("mode http \u{7}", "character"),
        ("mode http \u{FDD0}", "character"),
        ("mode http # comment", "bare #"),
        ("mode 'http", "single quote"),
        ("mode \"http", "double quote"),
        ("mode http\\", "backslash"),
        (r"acl x path \x00", "\\x00"),
        (r"acl x path \xzz", "hexadecimal"),
        ("acl x path ''", "empty word"),
        ("global", "another section"),
        ("'global'", "another section"),
        ("\"listen\" evil", "another section"),
        ("no backend x", "another section"),
        (".if true", "conditional"),
        ("bind :80", "\"port\" and \"bind\""),
        ("server a 10.0.0.1:80", "\"static\""),
        ("server-template a 3 x.example:80", "\"static\""),
        ("use_backend other", "hosts"),
        ("default_backend other", "hosts"),
        ("use-server a if TRUE", "hosts"),
        ("errorfile 503 /etc/passwd", "reads a file"),
        ("errorfiles x", "reads a file"),
        ("load-server-state-from-file global", "reads a file"),
        ("external-check command /bin/sh", "runs code"),
        ("option external-check", "runs code"),
        ("option transparent", "outside"),
        ("filter lua.x", "runs code"),
        ("use-fcgi-app x", "runs code"),
        ("log 127.0.0.1:514 local0", "log global"),
        ("log global extra", "log global"),
        ("log", "log global"),
        ("email-alert to root", "mail"),
        ("disabled", "removing its definition"),
        ("mode health", "http-request return"),
        ("mode", "not complete"),
        ("stats admin if TRUE", "state of servers"),
        ("stats socket /tmp/x", "Runtime API"),
        ("acl x path -f /etc/passwd", "-f"),
        ("acl x path '-f' /etc/passwd", "-f"),
        ("acl x path -M -f /etc/passwd", "-M"),
        ("http-request deny if { path -m beg -f /etc/passwd }", "-f"),
        ("http-request set-header X %[src,map(/etc/passwd)]", "map(...)"),
        ("http-request set-header X %[src,lower,map_str_int('/etc/passwd')]", "map_str_int(...)"),
        ("http-request set-header X %[env(SECRET)]", "environment"),
        ("log-format %[env(SECRET)]", "environment"),
        ("acl x env(SECRET) -m found", "environment"),
        ("acl x http_auth_bearer,jwt_verify(RS256,/key.pem) 1", "jwt_verify"),
        ("http-request set-header X %[lua.run]", "Lua"),
        ("http-request lua.run", "not something"),
        ("http-request use-service lua.run", "runs code"),
        ("http-request set-map(/a) x y", "reads a file"),
        ("http-request add-acl(/a) x", "reads a file"),
        ("http-request set-var(proc.x) int(1)", "proc."),
        ("http-request return status 200 content-type text/plain file /etc/passwd", "\"file\""),
        ("http-request return status 200 content-type text/plain lf-file /etc/passwd", "\"lf-file\""),
        ("http-request deny errorfile /etc/passwd", "\"errorfile\""),
        ("http-error status 503 errorfile /etc/passwd", "\"errorfile\""),
        ("http-request track-sc0 src table other", "another section"),
        ("stick on src table other", "another section"),
        ("http-request track-sc src", "not something"),
        ("tcp-request content lua.run", "not something"),
        ("tcp-request nowhere accept", "none of inspect-delay"),
        ("tcp-request", "not complete"),
        ("tcp-request content", "not complete"),
        ("tcp-check connect port 80 addr ${SECRET}", "not an IP address"),
        ("tcp-check connect addr unix@/run/x", "not an IP address"),
        ("http-check connect via-socks4", "via-socks4"),
        ("default-server crt /a.pem", "reads a file"),
        ("default-server chek", "did you mean \"check\"?"),
        ("MODE http", "did you mean \"mode\"?"),
        ("balanse roundrobin", "did you mean \"balance\"?"),
        ("<<", "not an option"),
        (";", "not an option"),
    ] {
        refused(policy().listen_line("web", line), line, reason);
    }
}

#[test]
fn removed_line_is_refused_with_its_successor() {
    for (line, successor) in [
        ("reqadd X-A:\\ b", "http-request add-header"),
        ("reqirep a b", "http-request replace-header"),
        ("reqdel ^X", "http-request del-header"),
        ("rspadd X:\\ y", "http-response add-header"),
        ("rspidel ^X", "http-response del-header"),
        ("block if TRUE", "http-request deny"),
        ("contimeout 5s", "timeout connect"),
        ("clitimeout 5s", "timeout client"),
        ("srvtimeout 5s", "timeout server"),
        ("redispatch", "option redispatch"),
        ("appsession S len 52", "stick-table"),
        ("option forceclose", "option httpclose"),
        ("no option forceclose", "option httpclose"),
        ("mode health", "http-request return status 200"),
    ] {
        let allowing_all = allowing(&["reqadd", "reqirep", "option", "mode", "block", "redispatch"]);
        for policy in [policy(), allowing_all] {
            let reason = policy.listen_line("web", line).expect_err(line);
            assert!(reason.contains(successor) && !reason.contains("extra_options"), "{line}: {reason}");
        }
    }
}

#[test]
fn misspelt_argument_is_refused_with_the_nearest() {
    refused(policy().listen_line("web", "option httplogs"), "option httplogs", "did you mean \"httplog\"?");
}

#[test]
fn a_line_that_is_too_long_is_refused() {
    let words = |count: usize| format!("acl x path{}", " /a".repeat(count));
    assert!(policy().listen_line("web", &words(61)).is_ok(), "HAProxy takes 64 words");
    refused(policy().listen_line("web", &words(62)), "65 words", "65 words");
    refused(policy().listen_line("web", &format!("acl x path {}", "a".repeat(9_000))), "9000 bytes", "bytes long");
}

#[test]
fn operator_can_allow_all_but_structural_options() {
    for (extra, line) in [
        ("errorfile", "errorfile 503 /etc/haproxy/503.http"),
        ("option external-check", "option external-check"),
        ("bind", "bind :443 ssl crt /etc/site.pem"),
        ("acl", "acl x path -f /etc/list"),
        ("http-request return", "http-request return status 200 content-type text/html file /a"),
    ] {
        assert!(policy().listen_line("web", line).is_err(), "{line} needs an allowance");
        assert!(allowing(&[extra]).listen_line("web", line).is_ok(), "{extra} allows {line}");
    }
    let all = allowing(&["global", "listen", "server", ".if", "", "no", "mode"]);
    for line in ["global", "listen x", "server a 10.0.0.1:80", ".if x", "no global", "errorfile 503 /x"] {
        refused(all.listen_line("web", line), line, "");
    }
    refused(all.listen_line("web", "mode http\nglobal"), "a line break", "line break");
    refused(
        allowing(&["option external-check"]).listen_line("web", "option transparent"),
        "option transparent",
        "option",
    );
}

fn server(policy: &OptionPolicy, options: &[&str]) -> Result<usize, String> {
    policy.server_options(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).map(|words| words.len())
}

#[test]
fn common_server_options_are_allowed() {
    for (options, count) in [
        (vec![], 0),
        (vec!["check inter 2000"], 3),
        (vec!["check", "inter", "2s", "fall 3 rise 2"], 7),
        (vec!["weight 0 backup maxconn 100 slowstart 10s"], 7),
        (vec!["ssl verify none sni str(www.example.org) alpn h2,http/1.1"], 7),
        (vec!["cookie check"], 2),
        (vec!["check port 8081 addr 10.0.0.9 on-marked-down shutdown-sessions"], 7),
        (vec!["init-addr last,libc,10.0.0.1"], 2),
        (vec!["send-proxy-v2 proxy-v2-options ssl,cert-cn pool-max-conn -1 pool-purge-delay 5s"], 7),
        (vec!["agent-check agent-port 9000 agent-send 'a b'"], 5),
    ] {
        assert_eq!(server(&policy(), &options), Ok(count), "{options:?}");
    }
}

#[test]
fn forbidden_or_invalid_server_options_are_refused() {
    for (option, reason) in [
        ("crt /etc/a.pem", "reads a file"),
        ("check ca-file /etc/ca.pem", "reads a file"),
        ("crl-file x", "reads a file"),
        ("source 10.0.0.1", "connections come from"),
        ("usesrc clientip", "connections come from"),
        ("interface eth0", "connections come from"),
        ("namespace x", "connections come from"),
        ("socks4 10.0.0.1:1080", "connections come from"),
        ("disabled", "\"state\""),
        ("enabled", "\"state\""),
        ("id 7", "unique"),
        ("track other/s", "removed"),
        ("chek", "did you mean \"check\"?"),
        ("frobnicate", "not a server option"),
        ("inter", "lacks its value"),
        ("inter 0", "above 0"),
        ("inter abc", "duration"),
        ("inter 99999d", "duration"),
        ("inter -5", "duration"),
        ("weight 257", "0 to 256"),
        ("weight -1", "0 to 256"),
        ("weight +1", "0 to 256"),
        ("port 0", "1 to 65535"),
        ("port 65536", "1 to 65535"),
        ("port 80x", "1 to 65535"),
        ("addr ${HOME}", "IP address"),
        ("addr unix@/x", "IP address"),
        ("addr db.example", "IP address"),
        ("verify maybe", "none of none, required"),
        ("sni env(HOME)", "environment"),
        ("sni src,map(/etc/x)", "map(...)"),
        ("init-addr /etc", "list of last"),
        ("cookie a;b", "';'"),
        ("cookie a<<", "'<<'"),
        (r"agent-send a\n", "\\n"),
        ("check # off", "bare #"),
        ("check\nglobal", "line break"),
        ("cookie 'a", "single quote"),
    ] {
        refused(server(&policy(), &[option]), option, reason);
    }
    refused(server(&policy(), &["check "; 41]), "41 words", "41 words");
    refused(server(&policy(), &[&"a".repeat(2_000)]), "2000 bytes", "bytes long");
}

#[test]
fn value_of_an_option_is_not_an_option() {
    let ca_file = allowing(&["ca-file"]);
    assert_eq!(server(&ca_file, &["ssl verify required ca-file /etc/ca.pem check"]), Ok(6));
    refused(server(&ca_file, &["ca-file /etc/ca.pem crt /etc/key.pem"]), "crt", "crt");
    refused(server(&ca_file, &["check ca-file"]), "ca-file", "lacks its value");
    let sni = allowing(&["sni"]);
    assert_eq!(server(&sni, &["sni env(HOME)"]), Ok(2));
    let unheard_of = allowing(&["new-option"]);
    assert_eq!(server(&unheard_of, &["new-option a b check"]), Ok(4));
    refused(server(&unheard_of, &["new-option a crt /etc/key.pem"]), "crt", "crt");
    assert_eq!(server(&policy(), &["cookie crt"]), Ok(2), "crt is the cookie's value");
}

#[test]
fn allowed_option_may_be_negated() {
    let transparent = allowing(&["option transparent"]);
    assert!(transparent.listen_line("web", "option transparent").is_ok());
    assert!(transparent.listen_line("web", "no option transparent").is_ok());
    refused(transparent.listen_line("web", "no"), "no", "");
}

#[test]
fn hexadecimal_escape_has_two_digits() {
    for line in [r"acl x path a\x4", r"acl x path a\x+1", r"acl x path a\x4g", r"acl x path a\x00", r"acl x path a\x7f"]
    {
        refused(policy().listen_line("web", line), line, "");
    }
}

#[test]
fn earlier_definition_is_judged_like_a_new_one() {
    let definition = |lines: &str, options: &str| {
        let text = format!(r#"{{"type": "file", "listen_options": ["{lines}"], "server_options": "{options}"}}"#);
        let allowing_all = allowing(&["option external-check", "ca-file"]);
        parse("web", &RawDefinition::new(text, "a test"), &allowing_all).unwrap().definition
    };
    for (lines, options, is_allowed) in [
        ("mode http", "check", true),
        ("option external-check", "check", false),
        ("mode http", "ca-file /etc/ca.pem", false),
    ] {
        assert_eq!(policy().judge_definition(&definition(lines, options)).is_ok(), is_allowed, "{lines} {options}");
    }
}

#[test]
fn check_does_not_connect_to_proxymgr_itself() {
    let mut policy = policy();
    policy.own.add("the status listener", 8470, ["10.0.0.5".parse().unwrap()]);
    policy.own.add("a Runtime API", 9999, None);
    let server = |options: &str| policy.server_options(&[options.to_owned()]);
    for options in [
        "check port 8470",
        "check port 9999",
        "agent-check agent-port 9999",
        "check addr 10.0.0.5",
        "check addr ::ffff:10.0.0.5",
        "agent-check agent-port 80 agent-addr 10.0.0.5",
    ] {
        refused(server(options), options, "may not connect to");
    }
    for line in [
        "tcp-check connect port 9999",
        "http-check connect port 8470 ssl",
        "tcp-check connect addr 10.0.0.5",
        "default-server check port 9999",
    ] {
        refused(policy.listen_line("web", line), line, "may not connect to");
    }
    assert!(server("check port 8471 addr 10.0.0.6").is_ok());
    assert!(policy.listen_line("web", "tcp-check connect port 80 addr 10.0.0.6").is_ok());
}

#[test]
fn checks_connect_to_networks_of_hosts_only() {
    let networks = |text: &str| vec![text.parse().unwrap()];
    let hosts = HostGrant { networks: Some(networks("10.2.0.0/16")), ..HostGrant::default() };
    let grants = Grants::new(vec![Grant { prefix: "team-".to_owned(), hosts, ..Grant::default() }]);
    let mut policy = OptionPolicy { grants, ..policy() };
    policy.own.limit_checks(networks("10.1.0.0/16"));
    for (service, own, other) in [("web", "10.1.0.1", "10.2.0.1"), ("team-web", "10.2.0.1", "10.1.0.1")] {
        let policy = policy.of_service(service);
        for option in ["check addr", "agent-check agent-port 80 agent-addr", "init-addr"] {
            assert!(policy.server_options(&[format!("{option} {own}")]).is_ok(), "{option}");
            refused(policy.server_options(&[format!("{option} {other}")]), option, "host_networks");
        }
        assert!(policy.listen_line(service, &format!("tcp-check connect addr {own}")).is_ok());
        refused(policy.listen_line(service, &format!("http-check connect addr {other}")), other, "host_networks");
    }
}

#[test]
fn server_options_are_bounded_as_lines_are() {
    let expensive = |count: usize| format!("sni req.hdr(a){}", ",regsub(a*[=x],b)".repeat(count));
    assert!(policy().server_options(&[expensive(2)]).is_ok());
    refused(policy().server_options(&[expensive(10)]), "10 expensive expressions", "of HAProxy's time");
    refused(
        policy().listen_line("web", &format!("default-server {}", expensive(10))),
        "10 in a line",
        "of HAProxy's time",
    );
}
