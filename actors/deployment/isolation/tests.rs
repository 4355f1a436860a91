use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decide::deployment::ServiceSection;
use crate::deployment::fixture::{candidate, changed, name, new, running};
use crate::model::Blocker;
use crate::port::ConfigText;

const BASE: &str = "global\n    stats timeout 2m\n\ndefaults\n    log-format http-only\n\n";
const BAD: &str = "http-request deny if { src,nosuchconverter 1 }";

/// The result of an isolation.
struct Outcome {
    result: Result<Warnings, DeployFailure>,
    candidate: Candidate,
    wholes: usize,
    parts: usize,
}

impl Outcome {
    fn served(&self) -> Vec<&str> {
        self.candidate.sections.keys().map(ServiceName::as_str).collect()
    }

    fn blocked(&self) -> Vec<&str> {
        self.candidate.blockers.keys().map(ServiceName::as_str).collect()
    }

    fn message(&self, service: &str) -> &str {
        self.candidate.blockers[&name(service)].text()
    }

    fn lines(&self, service: &str) -> Vec<String> {
        let definition = &self.candidate.sections[&name(service)].section.spec.definition;
        definition.listen_options.iter().map(crate::decide::quoting::joined).collect()
    }
}

fn isolate(services: impl IntoIterator<Item = ServiceSection>, haproxy: impl FnMut(&ConfigText) -> Verdict) -> Outcome {
    isolate_after(BASE, services, haproxy)
}

fn isolate_after(
    base: &str,
    services: impl IntoIterator<Item = ServiceSection>,
    mut haproxy: impl FnMut(&ConfigText) -> Verdict,
) -> Outcome {
    let mut isolation = Isolation::new(candidate(base, services));
    let (mut wholes, mut parts) = (0, 0);
    loop {
        assert!(wholes + parts < 10_000, "it ends");
        let part = match isolation.next_step() {
            Step::CheckWhole(part) => {
                wholes += 1;
                part
            }
            Step::TryPart(part) => {
                parts += 1;
                part
            }
            Step::Done(result) => return Outcome { result, candidate: isolation.into_candidate(), wholes, parts },
        };
        isolation.judged(haproxy(&part.text));
    }
}

/// Refuses the first line with one of these words, and names the line.
fn refusing(words: &[&str]) -> impl Fn(&ConfigText) -> Verdict {
    move |text| {
        let text = text.joined();
        let found = text.lines().position(|line| words.iter().any(|word| line.contains(word)));
        let message = |at: usize| ConfigMessage { line: Some(at + 1), text: "unknown converter".to_owned() };
        found.map_or(Ok(Vec::new()), |at| Err(vec![message(at)]))
    }
}

fn unnamed() -> Verdict {
    Err(vec![ConfigMessage { line: None, text: "Fatal errors found in configuration.".to_owned() }])
}

fn holds(text: &ConfigText, service: &str) -> bool {
    text.pieces.iter().any(|piece| piece.starts_with(&format!("backend {service}\n")))
}

#[test]
fn accepted_candidate_takes_one_check() {
    let outcome = isolate([new("a", &[]), new("b", &[])], |_| Ok(Vec::new()));
    assert_eq!((outcome.wholes, outcome.parts), (1, 0));
    assert_eq!(outcome.served(), ["a", "b"]);
}

#[test]
fn every_subset_of_bad_services_is_left_out() {
    let all = ["a", "b", "c", "d", "e"];
    for subset in 0..1_u32 << all.len() {
        let is_bad = |n: usize| subset >> n & 1 == 1;
        for is_named in [true, false] {
            let services =
                all.iter().enumerate().map(|(n, service)| new(service, if is_bad(n) { &[BAD] } else { &[] }));
            let refuse = refusing(&["nosuchconverter"]);
            let outcome = isolate(services, |text| match refuse(text) {
                Err(_) if !is_named => unnamed(),
                verdict => verdict,
            });
            let good: Vec<_> = all.iter().enumerate().filter(|(n, _)| !is_bad(*n)).map(|(_, name)| *name).collect();
            assert!(outcome.result.is_ok());
            assert_eq!(outcome.served(), good, "of {subset:b}");
        }
    }
}

#[test]
fn forty_bad_definitions_among_200_take_few_checks() {
    let running = (0..200).map(|n| running(&format!("old-{n}"), &[]));
    let bad = (0..40).map(|n| new(&format!("bad-{n}"), &[BAD]));
    let outcome = isolate(running.chain(bad).chain([new("good", &[])]), refusing(&["nosuchconverter"]));
    assert_eq!(outcome.blocked().len(), 40);
    assert!(outcome.served().contains(&"good"));
    assert_eq!((outcome.wholes, outcome.parts), (2, 1 + 2 * 40 + 1), "of the whole, and reduced ones");
}

#[test]
fn section_that_was_refused_before_is_not_tried_again() {
    let refused =
        |service: &str, lines: &[&str]| ServiceSection { refused: Some("no".to_owned()), ..new(service, lines) };
    let refers = "http-request deny if { nbsrv(other) eq 0 }";
    let services = [refused("bad", &[BAD]), refused("user", &[refers]), new("other", &[]), running("old", &[])];
    let outcome = isolate(services, refusing(&["nosuchconverter"]));
    assert_eq!((outcome.wholes, outcome.parts), (1, 0));
    assert_eq!((outcome.served(), outcome.blocked()), (vec!["old", "other", "user"], vec!["bad"]));
    assert_eq!(outcome.message("bad"), "no");
}

#[test]
fn reduced_files_hold_the_base_and_the_suspects_only() {
    let old = (0..50).map(|n| running(&format!("old-{n}"), &[]));
    let refuse = refusing(&["nosuchconverter"]);
    let mut largest = 0;
    let services = old.chain([new("bad", &[BAD]), new("user", &["http-request deny if { nbsrv(old-7) lt 1 }"])]);
    let outcome = isolate(services, |text| {
        if text.pieces.len() < 50 {
            largest = largest.max(text.pieces.len());
            let needs = holds(text, "user");
            assert_eq!(holds(text, "old-7"), needs, "what a suspect refers to is there");
        }
        refuse(text)
    });
    assert_eq!(outcome.blocked(), ["bad"]);
    assert_eq!(largest, 5, "base, its end, both suspects, and the one referred to");
}

#[test]
fn last_good_definition_stays_with_its_line_named() {
    let services = [changed("web", &["balance leastconn"], &["balance roundrobin", BAD]), running("db", &[])];
    let outcome = isolate(services, refusing(&["nosuchconverter"]));
    assert_eq!(outcome.served(), ["db", "web"]);
    assert_eq!(outcome.lines("web"), ["balance leastconn"]);
    let expected = format!("listen_options[1] \"{BAD}\": unknown converter");
    assert_eq!(outcome.message("web"), expected);
    let Blocker::Rejected { definition, .. } = &outcome.candidate.blockers[&name("web")] else { panic!("rejected") };
    assert_eq!(definition.listen_options.len(), 2, "the refused definition");
}

#[test]
fn named_service_that_runs_unchanged_is_never_left_out() {
    let services = || [running("victim", &["balance leastconn"]), new("forger", &[BAD]), new("good", &[])];
    let outcome = isolate(services(), |text| {
        let line = text.joined().lines().position(|line| line == "backend victim").map(|at| at + 1);
        let message = ConfigMessage { line, text: "in proxy 'victim'".to_owned() };
        if holds(text, "forger") { Err(vec![message]) } else { Ok(Vec::new()) }
    });
    assert_eq!(outcome.served(), ["good", "victim"]);
    assert_eq!(outcome.blocked(), ["forger"]);
}

#[test]
fn refused_base_is_named_and_no_service_is_blocked() {
    let outcome = isolate([new("a", &[]), new("b", &[])], refusing(&["stats timeout"]));
    let failure = outcome.result.unwrap_err();
    assert!(failure.suspects_base && failure.error.contains("\"stats timeout 2m\": unknown converter"), "{failure:?}");
    assert!(outcome.candidate.blockers.is_empty());
    assert_eq!((outcome.wholes, outcome.parts), (1, 1));
}

#[test]
fn unchanged_services_that_are_refused_are_named_and_stay() {
    let outcome = isolate([running("old", &[BAD]), new("good", &[])], refusing(&["nosuchconverter"]));
    let failure = outcome.result.unwrap_err();
    assert!(failure.error.contains(BAD), "{failure:?}");
    assert!(outcome.candidate.blockers.is_empty());
}

#[test]
fn service_that_does_not_suit_a_defaults_line_is_left_out() {
    let outcome = isolate([new("web", &[]), new("tcp", &["mode tcp"])], |text| {
        let at = text.joined().lines().position(|line| line.contains("log-format")).expect("in the base");
        let message = ConfigMessage { line: Some(at + 1), text: "'HM' is reserved for HTTP mode".to_owned() };
        if holds(text, "tcp") { Err(vec![message]) } else { Ok(Vec::new()) }
    });
    assert_eq!(outcome.served(), ["web"]);
    assert!(outcome.message("tcp").contains("\"log-format http-only\""), "{}", outcome.message("tcp"));
}

#[test]
fn one_of_two_conflicting_services_is_served() {
    let pairs = |text: &ConfigText| (0..5).any(|n| holds(text, &format!("a{n}")) && holds(text, &format!("b{n}")));
    let services = (0..5).flat_map(|n| [new(&format!("a{n}"), &[]), new(&format!("b{n}"), &[])]);
    let outcome = isolate(services.chain([running("old", &[]), new("good", &[])]), |text| {
        if pairs(text) { unnamed() } else { Ok(Vec::new()) }
    });
    assert!(outcome.result.is_ok());
    assert_eq!(outcome.blocked(), ["b0", "b1", "b2", "b3", "b4"]);
}

#[test]
fn service_that_conflicts_with_one_that_runs_is_left_out() {
    let outcome = isolate([running("old", &[]), new("rival", &[]), new("good", &[])], |text| {
        if holds(text, "old") && holds(text, "rival") { unnamed() } else { Ok(Vec::new()) }
    });
    assert_eq!((outcome.served(), outcome.blocked()), (vec!["good", "old"], vec!["rival"]));
}

#[test]
fn service_is_accepted_once_its_reference_is_rolled_back() {
    let refers = "http-request deny if { nbsrv(db) eq 0 }";
    let services = [changed("db", &["balance leastconn"], &[BAD]), new("a", &[refers])];
    let outcome = isolate(services, refusing(&["nosuchconverter"]));
    assert_eq!((outcome.served(), outcome.blocked()), (vec!["a", "db"], vec!["db"]));
}

#[test]
fn warnings_are_attributed_to_services_and_the_base() {
    let outcome = isolate([new("web", &["option forwardfor"]), new("db", &[])], |text| {
        let joined = text.joined();
        let at = |words: &str| joined.lines().position(|line| line.contains(words)).map(|at| at + 1);
        let message = |line, text: &str| ConfigMessage { line, text: text.to_owned() };
        Ok(vec![
            message(at("forwardfor"), "ignored"),
            message(at("stats timeout"), "short"),
            message(None, "proxy 'db' has no bind"),
            message(None, "something"),
        ])
    });
    let warnings = outcome.result.unwrap();
    assert_eq!(warnings.base, ["\"stats timeout 2m\": short", "something"]);
    let services: BTreeMap<_, _> = [
        (name("web"), vec!["listen_options[0] \"option forwardfor\": ignored".to_owned()]),
        (name("db"), vec!["proxy 'db' has no bind".to_owned()]),
    ]
    .into();
    assert_eq!(warnings.services, services);
}

#[test]
fn haproxy_that_refuses_only_the_whole_is_an_error() {
    let services = [running("old", &[]), new("a", &[]), new("b", &[])];
    let mut is_whole = true;
    let outcome = isolate(services, |_| if std::mem::take(&mut is_whole) { unnamed() } else { Ok(Vec::new()) });
    assert!(outcome.result.is_ok(), "a refusal that is not repeated");
    let mut isolation = Isolation::new(candidate(BASE, [running("old", &[]), new("a", &[])]));
    let result = loop {
        let verdict = match isolation.next_step() {
            Step::CheckWhole(_) => unnamed(),
            Step::TryPart(_) => Ok(Vec::new()),
            Step::Done(result) => break result,
        };
        isolation.judged(verdict);
    };
    assert!(result.is_err_and(|failure| !failure.suspects_base));
}

proptest! {
    #[test]
    fn isolation_ends_and_keeps_running_services(
        answers in prop::collection::vec((any::<bool>(), prop::option::of(1_usize..60)), 1..50),
        kinds in prop::collection::vec(0_u8..3, 1..25),
    ) {
        let services: Vec<ServiceSection> = kinds.iter().enumerate().map(|(n, kind)| {
            let service = format!("s{n}");
            match kind {
                0 => running(&service, &["balance leastconn"]),
                1 => changed(&service, &["balance leastconn"], &["balance roundrobin"]),
                _ => new(&service, &[]),
            }
        }).collect();
        let runs: Arc<BTreeSet<ServiceName>> =
            Arc::new(services.iter().filter(|s| s.is_running).map(|s| s.desired.definition.name.clone()).collect());
        let mut turn = 0;
        let outcome = isolate(services, |_| {
            let (accepts, line) = answers[turn % answers.len()];
            turn += 1;
            if accepts { Ok(Vec::new()) } else { Err(vec![ConfigMessage { line, text: "no".to_owned() }]) }
        });
        for name in &*runs {
            prop_assert!(outcome.candidate.sections.contains_key(name));
        }
        prop_assert!(outcome.wholes <= 2 + 2 * kinds.len());
        prop_assert!(outcome.parts <= 20 * (1 + kinds.len()));
    }
}

#[test]
fn bad_definition_of_service_in_base_blocks_only_itself() {
    let base = format!("{BASE}    default_backend web\n\n");
    let needs = |text: &ConfigText| if holds(text, "web") { Ok(Vec::new()) } else { unnamed() };
    let services = [changed("web", &[], &[BAD]), new("good", &[])];
    let refuse = refusing(&["nosuchconverter"]);
    let outcome = isolate_after(&base, services, |text| refuse(text).and_then(|_| needs(text)));
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!((outcome.served(), outcome.blocked()), (vec!["good", "web"], vec!["web"]));
    assert!(outcome.lines("web").is_empty(), "as it runs");
}

#[test]
fn section_that_takes_too_long_stops_no_other() {
    let with_hosts = |service: &str, lines: &[&str], count: u32| {
        let mut section = changed(service, &[], lines);
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from(0x0A00_0000 + number);
            let mut host = crate::model::Host::at(crate::model::Endpoint::parse(&format!("{address}:80")).unwrap());
            host.weight = Some(256);
            (crate::model::ServerName::new(&format!("s{number}")).unwrap(), Arc::new(host))
        };
        section.desired.hosts = Arc::new((0..count).map(host).collect());
        section
    };
    let is_new = |section: ServiceSection| ServiceSection { last_good: None, is_running: false, ..section };
    let services = [
        with_hosts("changed", &["balance random"], 1_000),
        is_new(with_hosts("new", &["balance random"], 1_000)),
        is_new(with_hosts("small", &["balance random"], 100)),
        running("old", &[]),
    ];
    let outcome = isolate(services, refusing(&["nosuchconverter"]));
    assert_eq!((outcome.served(), outcome.blocked()), (vec!["changed", "old", "small"], vec!["changed", "new"]));
    assert_eq!(outcome.lines("changed"), Vec::<String>::new());
    assert_eq!((outcome.wholes, outcome.parts), (1, 0));
}

#[test]
fn section_that_needs_too_many_descriptors_stops_no_other() {
    let with_hosts = |section: ServiceSection, count: u32| {
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from(0x0A00_0000 + number);
            let host = crate::model::Host::at(crate::model::Endpoint::parse(&format!("{address}:80")).unwrap());
            (crate::model::ServerName::new(&format!("s{number}")).unwrap(), Arc::new(host))
        };
        let hosts = Arc::new((0..count).map(host).collect());
        ServiceSection { desired: crate::decide::deployment::SectionSpec { hosts, ..section.desired }, ..section }
    };
    let checked = &["default-server check agent-check agent-port 7"];
    let services = [
        with_hosts(changed("changed", &[], checked), 400),
        with_hosts(new("large", &[]), 901),
        with_hosts(new("checked", checked), 334),
        with_hosts(new("small", checked), 200),
        running("old", &[]),
    ];
    let mut candidate = candidate(BASE, services);
    candidate.context.descriptors_max = Some(1_500);
    let candidate = Isolation::new(candidate).into_candidate();
    let served: Vec<_> = candidate.sections.keys().map(ServiceName::as_str).collect();
    let blocked: Vec<_> = candidate.blockers.keys().map(ServiceName::as_str).collect();
    // 600 are for "small", 400 for "changed" with its last good definition.
    assert_eq!((served, blocked), (vec!["changed", "old", "small"], vec!["changed", "checked", "large"]));
    let changed = &candidate.sections[&ServiceName::new("changed").unwrap()];
    assert_eq!(changed.section.spec.hosts.len(), 400, "the new hosts");
}
