//! Tests of the map of domains in the process that serves.

use super::*;
use crate::decide::routing::map_text;
use crate::limits::{MAP_REFUSALS_BEFORE_RELOAD, RELOAD_PATIENCE};
use crate::model::{ObservedRoutes, RouteCommand, RouteKey, Routes};

/// Creates a HAProxy whose services `web` and `api` share a port, each with a domain of its name.
fn routed() -> Rig {
    let mut rig = Rig::new();
    rig.define("web", r#", "domains": ["web.example"]"#);
    rig.define("api", r#", "domains": ["api.example"]"#);
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.hosts("api", &[9]);
    rig.deployed_with(1, &routes(&[("web", "web"), ("api", "api")]));
    rig.effects.clear();
    rig
}

fn key(domain: &str) -> RouteKey {
    RouteKey::observed(&format!("0.0.0.0:80/{domain}.example/"))
}

pub(super) fn routes(of: &[(&str, &str)]) -> Routes {
    of.iter().map(|(domain, name)| (key(domain), service(name))).collect()
}

pub(super) fn map(of: &[(&str, &str)]) -> Option<ObservedRoutes> {
    Some(of.iter().map(|(domain, name)| (key(domain), (*name).to_owned())).collect())
}

impl Rig {
    pub(super) fn deployed_with(&mut self, pid: u32, routes: &Routes) {
        let order = self.order().expect("a deployment was requested");
        let mut process = serving(order, pid, BTreeMap::new());
        process.frontends = BTreeMap::from([("0.0.0.0:80".parse().unwrap(), "frontend shared\n".into())]);
        process.routing.routes = routes.clone();
        let reported = reported_by_file(&process);
        self.serves(process, Some(reported));
    }

    fn route_commands(&mut self) -> Vec<RouteCommand> {
        let commands = self.take(|effect| match effect {
            Effect::ChangeRoutes { commands, .. } => Some(commands.clone()),
            _ => None,
        });
        commands.unwrap_or_default()
    }

    fn file_written(&mut self) {
        self.feed(Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO });
    }

    fn is_observing_map(&mut self) -> bool {
        self.take(|effect| matches!(effect, Effect::Observe { services: None, map: Some(_) }).then_some(())).is_some()
    }

    fn map_observed(&mut self, routes: Option<ObservedRoutes>) {
        let servers = observation(&[("web", &[(1, READY)]), ("api", &[(9, READY)])]);
        self.feed(Input::Observed(Ok(Observed { process: process(1), servers, routes })));
    }
}

#[test]
fn new_domain_is_added_at_run_time() {
    let mut rig = routed();
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    assert_eq!(rig.route_commands(), [RouteCommand::Add(key("new"), service("web"))]);
    rig.feed(Input::RoutesAnswered(Ok(vec![accepted()])));
    assert!(rig.route_commands().is_empty() && rig.order().is_none());
    assert_eq!(rig.snapshot().counts.routes, 1);
    let recorded: Vec<_> = rig.events().into_iter().map(|entry| (entry.service, entry.event)).collect();
    let command = "add map /etc/haproxy/haproxy.cfg.domains 0.0.0.0:80/new.example/ web".to_owned();
    let answered = Event::Commanded { command, answer: String::new(), accepted: true };
    assert!(recorded.contains(&(Some(service("web")), answered)), "{recorded:?}");
    let written = rig.take(|effect| match effect {
        Effect::WriteConfigFile(text) => Some(text.map.clone()),
        _ => None,
    });
    assert_eq!(written, Some(Some(map_text(&routes(&[("api", "api"), ("new", "web"), ("web", "web")])))));
}

#[test]
fn domains_are_reported_with_their_path() {
    let mut rig = routed();
    assert_eq!(rig.web().defined.domains, ["web.example"]);
    rig.define("web", r#", "domains": ["web.example"], "path_prefix": "/a", "default": true"#);
    assert_eq!(rig.web().defined.domains, ["web.example/a", "any other domain/a"]);
    rig.define("web", r#", "domains": ["web.example"], "listen_options": ["mode tcp"]"#);
    assert_eq!(rig.web().defined.domains, ["web.example"]);
}

#[test]
fn domain_moves_to_the_other_service_and_back() {
    let mut rig = routed();
    for (domains, owner) in [("[]", "api"), (r#"["web.example"]"#, "api"), (r#"["web.example"]"#, "web")] {
        let also = if owner == "api" { r#", "web.example""# } else { "" };
        rig.define("api", &format!(r#", "domains": ["api.example"{also}]"#));
        rig.define("web", &format!(r#", "default": true, "domains": {domains}"#));
        while !rig.route_commands().is_empty() {
            rig.feed(Input::RoutesAnswered(Ok(vec![accepted(), accepted()])));
        }
        let running = rig.reconciler.state.running().expect("it serves");
        assert_eq!(running.routing.routes[&key("web")], service(owner));
        let map = running.map.observed.as_ref().expect("every answer was accepted");
        assert_eq!(map[&key("web")], owner);
    }
    assert!(rig.order().is_none());
}

#[test]
fn removed_domain_is_deleted_at_run_time() {
    let mut rig = routed();
    rig.define("web", r#", "default": true"#);
    let commands = rig.route_commands();
    assert!(commands.contains(&RouteCommand::Delete(key("web"))), "{commands:?}");
    rig.feed(Input::RoutesAnswered(Ok(vec![accepted(), accepted()])));
    assert!(rig.route_commands().is_empty());
}

#[test]
fn refused_map_change_becomes_a_reload() {
    let mut rig = routed();
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    for refusal in 1..=MAP_REFUSALS_BEFORE_RELOAD {
        assert!(rig.reconciler.snapshot(rig.now).reload_due.is_empty());
        assert_eq!(rig.route_commands().len(), 1);
        rig.feed(Input::RoutesAnswered(Ok(refused("no memory"))));
        assert_eq!(rig.snapshot().counts.refused, u64::from(refusal));
        if refusal < MAP_REFUSALS_BEFORE_RELOAD {
            assert!(rig.is_observing_map(), "its content is not certain");
            rig.map_observed(map(&[("web", "web"), ("api", "api")]));
        }
    }
    assert_eq!(rig.snapshot().counts.routes, 0);
    rig.file_written();
    rig.wait(RELOAD_INTERVAL + RELOAD_PATIENCE);
    assert!(rig.order().is_some_and(|order| order.only_for.is_none()));
    assert!(rig.route_commands().is_empty(), "the reload applies it");
}

#[test]
fn accepted_map_change_forgets_refusals() {
    let mut rig = routed();
    for name in ["a", "b"] {
        rig.define("web", &format!(r#", "domains": ["web.example", "{name}.example"]"#));
        while let commands = rig.route_commands()
            && !commands.is_empty()
        {
            let is_first =
                commands[0] == RouteCommand::Add(key(name), service("web")) && rig.snapshot().counts.refused == 0;
            let answers = if is_first { refused("no memory") } else { vec![accepted(); commands.len()] };
            rig.feed(Input::RoutesAnswered(Ok(answers)));
            if is_first {
                rig.map_observed(map(&[("web", "web"), ("api", "api")]));
            }
        }
    }
    let state = rig.snapshot();
    assert_eq!((state.counts.refused, state.counts.routes), (1, 3));
    assert!(state.reload_due.is_empty());
    assert_eq!(rig.reconciler.state.running().expect("it serves").map.refusals, 0);
}

#[test]
fn unanswered_map_change_is_observed_before_it_is_repeated() {
    let mut rig = routed();
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    rig.route_commands();
    rig.feed(Input::RoutesAnswered(Err(timed_out())));
    let state = rig.snapshot();
    assert_eq!((state.counts.unanswered, state.runtime_error.is_some()), (1, true));
    rig.wait(Duration::from_secs(1));
    assert!(rig.is_observing_map() && rig.route_commands().is_empty());
    rig.map_observed(map(&[("web", "web"), ("api", "api"), ("new", "web")]));
    assert!(rig.route_commands().is_empty(), "HAProxy has executed it");
    assert_eq!((rig.snapshot().counts.drift, rig.snapshot().runtime_error), (0, None));
}

#[test]
fn map_answer_of_previous_process_is_not_trusted() {
    let mut rig = routed();
    rig.define("api", r#", "domains": ["api.example"], "listen_options": ["timeout server 13s"]"#);
    rig.wait(RELOAD_INTERVAL);
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    assert_eq!(rig.route_commands().len(), 1);
    rig.deployed_with(2, &routes(&[("web", "web"), ("api", "api")]));
    rig.feed(Input::RoutesAnswered(Ok(vec![accepted()])));
    assert_eq!(rig.snapshot().counts.routes, 0);
    let servers = observation(&[("web", &[(1, READY)]), ("api", &[(9, READY)])]);
    let routes = map(&[("web", "web"), ("api", "api")]);
    rig.feed(Input::Observed(Ok(Observed { process: process(2), servers, routes })));
    assert_eq!(rig.route_commands(), [RouteCommand::Add(key("new"), service("web"))]);
}

#[test]
fn drift_of_the_map_is_repaired_and_counted() {
    let mut rig = routed();
    rig.wait(OBSERVE_INTERVAL);
    assert!(rig.is_observing_map());
    rig.map_observed(map(&[("web", "api"), ("foreign", "nobody"), ("api", "api")]));
    let repair = [RouteCommand::Set(key("web"), service("web")), RouteCommand::Delete(key("foreign"))];
    assert_eq!(rig.route_commands(), repair);
    assert_eq!(rig.snapshot().counts.drift, 2);
    let found = rig.events().into_iter().filter(|entry| matches!(entry.event, Event::DriftFound { .. }));
    assert_eq!(found.count(), 2);
}

#[test]
fn map_read_before_a_change_is_not_drift() {
    let mut rig = routed();
    rig.wait(OBSERVE_INTERVAL);
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    assert_eq!(rig.route_commands().len(), 1);
    rig.feed(Input::RoutesAnswered(Ok(vec![accepted()])));
    rig.map_observed(map(&[("web", "web"), ("api", "api")]));
    assert!(rig.route_commands().is_empty());
    assert_eq!(rig.snapshot().counts.drift, 0);
}

#[test]
fn claimed_domain_of_another_service_is_reported_once() {
    let mut rig = routed();
    for _ in 0..2 {
        rig.define("web", r#", "domains": ["web.example", "api.example"]"#);
    }
    assert!(rig.route_commands().is_empty());
    let complaints = rig.events().into_iter().filter(|entry| matches!(entry.event, Event::InputRefused { .. }));
    assert_eq!(complaints.map(|entry| entry.service).collect::<Vec<_>>(), [Some(service("web"))]);
    assert!(rig.web().problem.is_some());
    rig.define("web", r#", "domains": ["web.example"]"#);
    assert_eq!(rig.web().problem, None);
    rig.define("web", r#", "domains": ["web.example", "api.example"]"#);
    assert!(rig.events().iter().any(|entry| matches!(entry.event, Event::InputRefused { .. })), "it is a new problem");
}

#[test]
fn removed_service_keeps_its_domain_until_the_reload() {
    let mut rig = routed();
    rig.feed(Input::ServiceRemoved(service("web")));
    assert!(rig.route_commands().is_empty());
    rig.define("api", r#", "domains": ["api.example", "web.example"]"#);
    assert_eq!(rig.route_commands(), [RouteCommand::Set(key("web"), service("api"))], "unless another one claims it");
}

#[test]
fn domain_stays_until_its_new_service_is_loaded() {
    let mut rig = routed();
    rig.define("new", r#", "domains": ["web.example"]"#);
    rig.hosts("new", &[7]);
    rig.define("web", r#", "default": true"#);
    let commands = rig.route_commands();
    assert!(!commands.contains(&RouteCommand::Delete(key("web"))), "{commands:?}");
}

#[test]
fn blocked_definition_claims_no_domains() {
    let mut rig = routed();
    rig.define("web", r#", "domains": ["web.example", "new.example"], "listen_options": ["timeout server 13s"]"#);
    rig.route_commands();
    rig.feed(Input::RoutesAnswered(Ok(vec![accepted()])));
    rig.file_written();
    rig.wait(RELOAD_INTERVAL);
    let order = rig.order().expect("the definition needs a reload");
    let desired = &order.services[&service("web")].desired;
    let (definition, hosts) = (desired.definition.clone(), desired.hosts.clone());
    let blocker = Blocker::Rejected { message: "unknown keyword".to_owned(), definition, hosts };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain([(service("web"), blocker)].into()))));
    assert_eq!(rig.route_commands(), [RouteCommand::Delete(key("new"))]);
}

#[test]
fn preview_contains_map_changes() {
    let mut rig = routed();
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    let plan = rig.reconciler.plan(None, rig.now);
    let commands: Vec<_> = plan.routes.into_iter().map(|step| step.command).collect();
    assert_eq!(commands, [RouteCommand::Add(key("new"), service("web"))]);
    assert!(rig.reconciler.plan(Some(service("web")), rig.now).routes.is_empty(), "they are in the first piece");
}

#[test]
fn domain_change_waits_for_the_exchange_under_way() {
    let mut rig = routed();
    rig.hosts("web", &[1, 2]);
    rig.define("web", r#", "domains": ["web.example", "new.example"]"#);
    rig.hosts("web", &[1, 2, 3]);
    assert!(rig.route_commands().is_empty());
    while rig.effects.iter().any(|effect| matches!(effect, Effect::RunCommands(_))) {
        rig.command_texts_accepted();
    }
    assert_eq!(rig.route_commands(), [RouteCommand::Add(key("new"), service("web"))]);
}
