use super::*;
use crate::plan::Refused;

/// Returns the mistakes in a scenario, without their file.
fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Scenario::parse(text, "s.yml").expect_err("the scenario has mistakes").0;
    mistakes.iter().map(ToString::to_string).collect()
}

fn parsed(text: &str) -> Scenario {
    Scenario::parse(text, "s.yml").unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn scenario_keeps_times_and_lines() {
    let scenario = parsed(
        "about: x\nhaproxy: \"2.6\"\nseed: 7\nservices: {web: 2, api: 1}\nsteps:\n\
         - {at: 5s, join: {service: web, host: 3}}\n- heal\n- {after: 1m 30s, process_dies: }\n\
         - command_refused: {what: add}\n- expect: {service: web, enabled: [1, 2], within: 3s}\n",
    );
    assert_eq!((scenario.version, scenario.seed), (ProxyVersion { major: 2, minor: 6 }, 7));
    assert_eq!(scenario.services, BTreeMap::from([("web".to_owned(), 2), ("api".to_owned(), 1)]));
    let steps: Vec<_> = scenario.entries.iter().map(|entry| (entry.line, entry.when)).collect();
    assert_eq!(
        steps,
        [
            (6, When::At(Duration::from_secs(5))),
            (7, When::Next),
            (8, When::After(Duration::from_secs(90))),
            (9, When::Next),
            (10, When::Next)
        ]
    );
    assert_eq!(scenario.entries[1].what, What::Happens(Step::Heal));
    assert_eq!(scenario.entries[3].what, What::Happens(Step::CommandRefused { what: Refused::Add }));
    let What::Expects(expectation) = &scenario.entries[4].what else { panic!("{:?}", scenario.entries[4]) };
    assert_eq!(expectation.within, Some(Duration::from_secs(3)));
}

#[test]
fn mistakes_have_line_key_and_nearest_name() {
    let cases = [
        ("abuot: x\n", "s.yml:1: abuot: is not known; did you mean about?"),
        (
            "- x\n",
            "s.yml:1: must be a map with the keys about, haproxy, seed, mail_delay_max_ms, services, load, steps",
        ),
        ("about: [\n", "s.yml:1: is not valid YAML"),
        (
            "\nhaproxy: 1.8-dev\n",
            "s.yml:2: haproxy: must be a version of HAProxy from 2.2 on, in quotes, such as \"2.6\", not string \"1.8-dev\"",
        ),
        ("services: {web: many}\n", "s.yml:1: services.web: must be u8, not string \"many\""),
        ("services: {web: 1}\nsteps: 3\n", "s.yml:2: steps: must be a list"),
        ("steps:\n- heal\n- {at: 5s}\n", "s.yml:3: steps[2]: has a time, and no step and no `expect`"),
        (
            "steps:\n- {at: 5, heal: }\n",
            "s.yml:2: steps[1].at: must be a time with a unit, such as 500ms, 2s or 1h, not integer `5`",
        ),
        ("steps:\n- {at: 5s, heal: }\n- {at: 4s, heal: }\n", "s.yml:3: steps[2].at: the step before is at 5s"),
        (
            "steps:\n- {heal: , session_lost: }\n",
            "s.yml:2: steps[1].session_lost: an entry has one step, or one `expect`",
        ),
        ("steps:\n- heall\n", "s.yml:2: steps[1].heall: is not known; did you mean heal?"),
        (
            "steps:\n- {at: 1s,\n   jion: {service: web, host: 1}}\n",
            "s.yml:3: steps[1].jion: is not known; did you mean join?",
        ),
        ("steps:\n- {atf: 1s, heal: }\n", "s.yml:2: steps[1].atf: is not known; did you mean at?"),
        (
            "services: {web: 1}\nsteps:\n- join: {service: web,\n    hst: 1}\n",
            "s.yml:4: steps[1].join.hst: is not known; did you mean host?",
        ),
        ("services: {web: 1}\nsteps:\n- join: {service: web}\n", "s.yml:3: steps[1].join: host is missing"),
        (
            "services: {web: 1}\nsteps:\n- join: {service: web, host: 900}\n",
            "s.yml:3: steps[1].join.host: must be u8, not integer `900`",
        ),
        (
            "services: {web: 1}\nsteps:\n- join: {service: wbe, host: 1}\n",
            "s.yml:3: steps[1].service: there is no service \"wbe\"; did you mean web?",
        ),
        (
            "services: {web: 1}\nsteps:\n- expect: {service: wbe}\n",
            "s.yml:3: steps[1].service: there is no service \"wbe\"; did you mean web?",
        ),
        (
            "services: {web: 1}\nsteps:\n- expect: {sevice: web}\n",
            "s.yml:3: steps[1].expect.sevice: is not known; did you mean service?",
        ),
        (
            "steps:\n- command_refused: {what: ad}\n",
            "s.yml:2: steps[1].command_refused.what.ad: is not known; did you mean add?",
        ),
        ("steps:\n- session_expired\n", "s.yml:2: steps[1].session_expired: needs a value"),
        ("steps:\n- {heal: 3}\n", "s.yml:2: steps[1].heal: takes no value"),
        ("load: {update: 3}\n", "s.yml:1: load.update: is not known; did you mean updates?"),
        ("mail_delay_max_ms: 5000\n", "s.yml:1: mail_delay_max_ms: must be 1000 at the most"),
        ("load: {over: 1s}\n", "s.yml:1: load: the load must last a minute at least"),
        (
            "load: {deploys: 90}\n",
            "s.yml:1: load: deploys, flaps and outages are percents of the updates, and add up to 120",
        ),
    ];
    for (text, expected) in cases {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(expected), "{text}:\n{}\n{expected}", found[0]);
    }
    assert_eq!(mistakes("abuot: x\nsteps:\n- healed\n- {at: 5s}\n").len(), 3, "all of them are reported");
}

#[test]
fn step_on_later_defined_service_is_valid() {
    parsed("steps:\n- define_service: {service: new}\n- join: {service: new, host: 2}\n");
}

#[test]
fn messages_are_delayed_as_configured() {
    let story = "services: {web: 2}\nsteps:\n- {at: 20s, leave: {service: web, host: 1}}\n";
    let in_force_ms = |text: &str| {
        let report = parsed(text).run();
        assert_eq!(report.problem(), None);
        report.chronicle.applied.last().map(|change| change.took_ms)
    };
    let expect = "- {after: 5s, expect: {service: web, enabled: [2], at_rest: true}}\n";
    let punctual = in_force_ms(&format!("{story}{expect}"));
    let late = in_force_ms(&format!("mail_delay_max_ms: 900\n{story}{expect}"));
    assert!(late > punctual, "{late:?} ms, {punctual:?} ms when nothing is late");
}

#[test]
fn failed_expectation_names_its_line() {
    let scenario = parsed(
        "services: {web: 2}\nsteps:\n- {at: 5s, leave: {service: web, host: 1}}\n- expect: {service: web, enabled: [1]}\n",
    );
    let report = scenario.run();
    let problem = report.problem().unwrap_or_default();
    assert!(problem.starts_with("s.yml:4: not as expected after 6s: enabled: {1} is expected, {2} is so"), "{problem}");
    assert!(problem.contains("HostsSeen: [2 (weight 1)]"), "{problem}");
    assert_eq!(report.unmet.map(|unmet| unmet.at_ms), Some(6_000));
}

#[test]
fn every_expectation_can_fail() {
    for (expectation, difference) in [
        ("service: web, enabled: [1]", "enabled: {1} is expected, {1, 2} is so"),
        ("service: web, disabled: [1]", "disabled: {1} is expected, {} is so"),
        ("service: api, served: true", "served: true is expected, false is so"),
        ("service: web, held: true", "held: true is expected, false is so"),
        ("service: web, problem: port", "problem: \"port\" is expected, \"\" is so"),
        ("reloads: 3", "reloads: 3 is expected, 1 is so"),
        ("reloads_at_most: 0", "reloads: at most 0 are expected, 1 were made"),
        ("reload_reason: crash", "reload_reason: \"crash\" is expected"),
        ("commands_at_most: 0", "commands: at most 0 are expected, 1 were made"),
        ("processes: 4", "processes: 4 is expected, 1 is so"),
        ("at_rest: false", "at_rest: false is expected, true is so"),
    ] {
        let report = parsed(&format!(
            "services: {{web: 3, api: 1}}\nsteps:\n- {{at: 5s, leave: {{service: web, host: 3}}}}\n\
             - {{after: 5s, remove_service: {{service: api}}}}\n- {{after: 30s, expect: {{{expectation}}}}}\n"
        ))
        .run();
        let unmet = report.unmet.unwrap_or_else(|| panic!("{expectation} was found to be so"));
        assert!(unmet.what.starts_with(difference), "{expectation}: {}", unmet.what);
    }
}

#[test]
fn expectation_may_hold_within_its_time() {
    let text = |within| {
        format!(
            "services: {{web: 1}}\nsteps:\n- {{at: 5s, flap: {{service: web, host: 1, away_ms: 3000}}}}\n\
                 - {{at: 6s, leave: {{service: web, host: 1}}}}\n- expect: {{service: web, enabled: [], within: {within}}}\n"
        )
    };
    // The guard keeps the only host.
    assert!(parsed(&text("2s")).run().unmet.is_some());
    let joins =
        "services: {web: 1}\nsteps:\n- {at: 5s, session_expired: {away_ms: 4000}}\n- join: {service: web, host: 2}\n";
    assert!(parsed(&format!("{joins}- expect: {{service: web, enabled: [1, 2], within: 3s}}\n")).run().unmet.is_some());
    assert_eq!(
        parsed(&format!("{joins}- expect: {{service: web, enabled: [1, 2], within: 5s}}\n")).run().problem(),
        None
    );
}
