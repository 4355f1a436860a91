//! Tests of backends that come and go at run time.

use super::routes::{map, routes};
use super::*;
use crate::decide::line_sets;
use crate::limits::{
    BACKEND_DELETION_WAIT, BACKEND_QUEUE_WAIT, PARKED_SERVER_SWEEP, RELOAD_PATIENCE, RUNTIME_RETRY_MIN,
};
use crate::model::Routes;

const VERSION: ProxyVersion = ProxyVersion { major: 3, minor: 4 };

fn process_of(release: &str) -> ProcessInfo {
    ProcessInfo { version: VERSION, version_text: release.to_owned(), ..process(1) }
}

fn domain(name: &str) -> String {
    format!(r#", "domains": ["{name}.example"]"#)
}

/// Creates a HAProxy of this release whose services `web` and `api` share a port, each with a domain of its name.
fn shared_in(release: &str) -> Rig {
    let now = Clock::starting_at(1_000_000).now();
    let reconciler = Reconciler::new(policy(), false, Some(VERSION), &[], now.instant);
    let mut rig = Rig { reconciler, now, effects: Vec::new(), changes: 0, lists: BTreeMap::new() };
    rig.define("web", &domain("web"));
    rig.define("api", &domain("api"));
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.hosts("api", &[9]);
    rig.deployed_release(release, &routes(&[("web", "web"), ("api", "api")]));
    rig.wait(RELOAD_INTERVAL);
    rig.effects.clear();
    rig
}

fn shared() -> Rig {
    shared_in("3.4.9-1")
}

impl Rig {
    fn deployed_release(&mut self, release: &str, routes: &Routes) {
        let order = self.order().expect("a deployment was requested");
        let style = order.context.style;
        let mut process = serving(order, 1, BTreeMap::new());
        process.process = process_of(release);
        let definitions = process.sections.values().map(|section| &*section.spec.definition);
        process.line_sets = line_sets::of_all(definitions, style);
        process.frontends = BTreeMap::from([("0.0.0.0:80".parse().unwrap(), "frontend http:80\n".into())]);
        process.routing.routes = routes.clone();
        let reported = reported_by_file(&process);
        self.serves(process, Some(reported));
    }

    /// Takes out the commands for backends, as texts, with the names of sets replaced.
    fn backend_commands(&mut self) -> Vec<String> {
        let commands = self.take(|effect| match effect {
            Effect::ChangeBackends(commands) => Some(commands.clone()),
            _ => None,
        });
        let text = |command: String| match command.split_once(" from ") {
            Some((start, _)) => format!("{start} from SET"),
            None => command,
        };
        commands.unwrap_or_default().iter().map(ToString::to_string).map(text).collect()
    }

    fn backends_answered(&mut self, answers: Vec<Answer>) {
        self.feed(Input::BackendsAnswered(Ok(answers)));
    }

    /// Takes out one command for a backend, and accepts it.
    fn backend_command(&mut self) -> String {
        let mut commands = self.backend_commands();
        assert_eq!(commands.len(), 1, "{commands:?}");
        self.backends_answered(vec![accepted()]);
        commands.remove(0)
    }

    /// Takes out the commands for the map, as texts, and accepts them.
    fn routes_accepted(&mut self) -> Vec<String> {
        let commands = self.take(|effect| match effect {
            Effect::ChangeRoutes { commands, .. } => Some(commands.clone()),
            _ => None,
        });
        let commands = commands.unwrap_or_default();
        if !commands.is_empty() {
            self.feed(Input::RoutesAnswered(Ok(commands.iter().map(|_| accepted()).collect())));
        }
        commands.iter().map(|command| command.text("MAP", command.key().as_str())).collect()
    }

    fn all_observed(&mut self, services: &[(&str, &[(u8, u16)])]) {
        let servers = observation(services);
        self.feed(Input::Observed(Ok(Observed { process: process_of("3.4.9-1"), servers, routes: None })));
    }

    /// Adds the service `new` up to the point where HAProxy is asked for its backend.
    fn new_backend_requested(&mut self) {
        self.define("new", &domain("new"));
        self.hosts("new", &[5]);
        assert_eq!(self.backend_commands(), ["add backend new from SET"]);
    }

    /// Adds the service `new` up to the point where its domain leads to it.
    fn new_service_served(&mut self) {
        self.define("new", &domain("new"));
        self.hosts("new", &[5]);
        assert_eq!(self.backend_command(), "add backend new from SET");
        assert!(self.command_texts_accepted()[0].starts_with("add server new/s5 10.0.0.5:80"));
        self.all_observed(&[("web", &[(1, READY)]), ("api", &[(9, READY)]), ("new", &[(5, READY)])]);
        assert_eq!(self.backend_command(), "publish backend new");
        assert_eq!(self.routes_accepted(), ["add map MAP 0.0.0.0:80/new.example/ new"]);
    }

    /// Removes the service `api` up to the point where its backend gets no requests.
    fn api_unpublished(&mut self) {
        self.feed(Input::ServiceRemoved(service("api")));
        assert_eq!(self.routes_accepted(), ["del map MAP 0.0.0.0:80/api.example/"]);
        assert_eq!(self.backend_command(), "unpublish backend api");
    }

    /// Brings the file up to date. Returns its text.
    fn file_text(&mut self) -> String {
        let write = |effect: &Effect| match effect {
            Effect::WriteConfigFile(text) => Some(text.joined()),
            _ => None,
        };
        let mut last = None;
        self.wait(RELOAD_INTERVAL);
        while let Some(text) = self.take(write) {
            last = Some(text);
            self.feed(Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO });
            self.wait(RELOAD_INTERVAL);
        }
        last.expect("the file was behind")
    }
}

#[test]
fn new_backend_comes_without_reload() {
    let mut rig = shared();
    rig.new_service_served();
    assert!(rig.order().is_none() && rig.snapshot().reload_due.is_empty());
    let text = rig.file_text();
    assert!(text.contains("backend new from proxymgr:lines:") && text.contains("server s5 10.0.0.5:80"), "{text}");
    assert_eq!(rig.snapshot().counts.backends, 2);
}

#[test]
fn backend_has_the_definition_that_it_was_added_for() {
    let mut rig = shared();
    rig.new_backend_requested();
    rig.define("new", &format!("{}{}", domain("new"), r#", "listen_options": ["timeout server 9s"]"#));
    rig.backends_answered(vec![accepted()]);
    rig.command_texts_accepted();
    rig.all_observed(&[("web", &[(1, READY)]), ("api", &[(9, READY)]), ("new", &[(5, READY)])]);
    assert_eq!(rig.snapshot().reload_due.len(), 1, "its backend has the lines from before");
}

#[test]
fn backend_added_at_run_time_stays_while_its_new_definition_is_refused() {
    let mut rig = shared();
    rig.new_service_served();
    rig.define("new", &format!("{}{}", domain("new"), r#", "listen_options": ["timeout server 9s"]"#));
    rig.file_text();
    let order = rig.order().expect("its lines need a reload");
    let new = &order.services[&service("new")];
    let good = new.last_good.as_ref().expect("it was served");
    assert!(good.spec.definition != new.desired.definition && !new.is_running, "HAProxy has not checked it in a file");
}

#[test]
fn service_whose_domains_were_removed_without_an_answer_leaves() {
    let mut rig = shared();
    rig.feed(Input::ServiceRemoved(service("api")));
    rig.take(|effect| matches!(effect, Effect::ChangeRoutes { .. }).then_some(())).expect("its domain is removed");
    rig.feed(Input::RoutesAnswered(Err(timed_out())));
    rig.wait(RUNTIME_RETRY_MIN);
    let servers = observation(&[("web", &[(1, READY)]), ("api", &[(9, READY)])]);
    rig.feed(Input::Observed(Ok(Observed { process: process_of("3.4.9-1"), servers, routes: map(&[("web", "web")]) })));
    assert_eq!(rig.backend_command(), "unpublish backend api");
}

#[test]
fn lost_answer_during_deployment_closes_no_socket() {
    let mut rig = shared();
    rig.new_backend_requested();
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.wait(RELOAD_PATIENCE);
    assert!(rig.order().is_some(), "the reload does not wait for the answer for ever");
    let releases = |effect: &Effect| matches!(effect, Effect::ReleaseSockets { .. }).then_some(());
    while rig.take(releases).is_some() {}
    rig.feed(Input::BackendsAnswered(Err(timed_out())));
    assert!(rig.take(releases).is_none(), "the new process may listen on others");
}

#[test]
fn domain_waits_for_publication() {
    let mut rig = shared();
    rig.define("new", &domain("new"));
    rig.hosts("new", &[5]);
    rig.backend_command();
    rig.command_texts_accepted();
    assert!(rig.backend_commands().is_empty() && rig.routes_accepted().is_empty(), "its server is not verified");
}

#[test]
fn removed_backend_leaves_in_order() {
    let mut rig = shared();
    rig.api_unpublished();
    rig.wait(BACKEND_QUEUE_WAIT / 2);
    assert!(rig.commands().is_none(), "requests may wait for its server");
    rig.wait(BACKEND_QUEUE_WAIT / 2);
    assert_eq!(rig.command_texts_accepted(), ["set server api/s9 state maint"]);
    rig.all_observed(&[("web", &[(1, READY)]), ("api", &[(9, MAINT)])]);
    rig.wait(BACKEND_DELETION_WAIT);
    assert_eq!(rig.command_texts_accepted(), ["del server api/s9"]);
    rig.all_observed(&[("web", &[(1, READY)]), ("api", &[])]);
    assert_eq!(rig.backend_command(), "del backend api");
    assert!(rig.order().is_none() && rig.snapshot().reload_due.is_empty());
    let text = rig.file_text();
    assert!(!text.contains("backend api"), "{text}");
}

#[test]
fn deletion_is_tried_again_while_connections_last() {
    let mut rig = shared();
    rig.api_unpublished();
    rig.wait(BACKEND_QUEUE_WAIT);
    rig.command_texts_accepted();
    rig.all_observed(&[("web", &[(1, READY)]), ("api", &[(9, MAINT)])]);
    rig.wait(BACKEND_DELETION_WAIT);
    let in_use = refused("Server still has connections attached to it, cannot remove it.");
    for answer in [in_use, vec![accepted()]] {
        assert_eq!(rig.command_texts(), ["del server api/s9"]);
        rig.feed(Input::CommandsAnswered(Ok((answer, rig.now.instant))));
        rig.wait(PARKED_SERVER_SWEEP);
    }
    rig.all_observed(&[("web", &[(1, READY)]), ("api", &[])]);
    assert_eq!(rig.backend_commands(), ["del backend api"]);
    rig.backends_answered(refused("Backend still has attached streams."));
    assert!(rig.backend_commands().is_empty() && rig.order().is_none());
    rig.wait(PARKED_SERVER_SWEEP);
    assert_eq!(rig.backend_command(), "del backend api");
}

#[test]
fn service_returns_before_its_backend_is_deleted() {
    let mut rig = shared();
    rig.api_unpublished();
    rig.define("api", &domain("api"));
    rig.lists.remove(&service("api"));
    rig.hosts("api", &[9]);
    assert_eq!(rig.backend_command(), "publish backend api");
    assert_eq!(rig.routes_accepted(), ["add map MAP 0.0.0.0:80/api.example/ api"]);
    rig.wait(BACKEND_QUEUE_WAIT * 2);
    assert!(rig.commands().is_none() && rig.order().is_none());
}

#[test]
fn refused_command_leads_to_reload_with_its_answer() {
    let mut rig = shared();
    rig.define("new", &domain("new"));
    rig.hosts("new", &[5]);
    rig.backend_commands();
    rig.backends_answered(refused("Permission denied"));
    let order = rig.order().expect("a reload is due");
    assert!(order.services.contains_key(&service("new")));
    let reasons = rig.events().into_iter().filter_map(|entry| match entry.event {
        Event::Commanded { answer, accepted: false, .. } => Some(answer),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["Permission denied"]);
    let mut rig = shared();
    rig.feed(Input::ServiceRemoved(service("api")));
    rig.routes_accepted();
    rig.backend_commands();
    rig.backends_answered(refused("Permission denied"));
    rig.file_text();
    assert!(!rig.order().expect("a reload is due").services.contains_key(&service("api")));
}

#[test]
fn lost_answer_is_settled_by_observation() {
    let others: [(&str, &[(u8, u16)]); 2] = [("web", &[(1, READY)]), ("api", &[(9, READY)])];
    for was_executed in [true, false] {
        let mut rig = shared();
        rig.define("new", &domain("new"));
        rig.hosts("new", &[5]);
        rig.backend_commands();
        rig.feed(Input::BackendsAnswered(Err(timed_out())));
        rig.wait(Duration::from_secs(5));
        assert!(rig.backend_commands().is_empty() && rig.commands().is_none(), "the state is unknown");
        let with_it: Vec<_> = others.into_iter().chain([("new", &[][..])]).collect();
        rig.all_observed(if was_executed { &with_it } else { &others });
        if !was_executed {
            assert_eq!(rig.backend_command(), "add backend new from SET");
        }
        assert!(rig.command_texts()[0].starts_with("add server new/s5"), "{was_executed}");
        assert_eq!(rig.snapshot().counts.drift, 0);
    }
}

#[test]
fn backend_of_service_removed_meanwhile_is_deleted() {
    for answer in [accepted(), refused("No such backend.").remove(0)] {
        let mut rig = shared();
        rig.define("new", &domain("new"));
        rig.hosts("new", &[5]);
        rig.backend_commands();
        rig.feed(Input::ServiceRemoved(service("new")));
        rig.backends_answered(vec![accepted()]);
        assert_eq!(rig.backend_commands(), ["del backend new"]);
        rig.backends_answered(vec![answer]);
        assert!(rig.backend_commands().is_empty() && rig.order().is_none());
        rig.lists.remove(&service("new"));
        rig.new_service_served();
    }
}

#[test]
fn deleted_backend_is_added_again_as_drift() {
    let mut rig = shared();
    rig.wait(OBSERVE_INTERVAL);
    rig.all_observed(&[("web", &[(1, READY)])]);
    assert_eq!(rig.backend_commands(), ["add backend api from SET"]);
    assert_eq!(rig.snapshot().counts.drift, 1);
}

#[test]
fn other_services_need_a_reload() {
    let more = |keys: &str| format!("{}{keys}", domain("new"));
    for keys in [
        more(r#", "listen_options": ["balance leastconn"]"#),
        more(r#", "listen_options": ["balance static-rr"]"#),
        more(r#", "listen_options": ["mode tcp"]"#),
        more(r#", "update": "reload""#),
        more(r#", "match": {"methods": ["GET"]}"#),
        String::new(),
    ] {
        let mut rig = shared();
        rig.define("new", &keys);
        rig.hosts("new", &[5]);
        assert!(rig.backend_commands().is_empty() && rig.order().is_some(), "{keys}");
    }
}

#[test]
fn earlier_releases_need_a_reload() {
    for release in ["3.4.6-1", "3.4-dev5", "3.4"] {
        let mut rig = shared_in(release);
        rig.define("new", &domain("new"));
        rig.hosts("new", &[5]);
        assert!(rig.backend_commands().is_empty() && rig.order().is_some(), "{release}");
    }
}

#[test]
fn last_service_of_frontend_needs_a_reload() {
    let mut rig = shared();
    rig.feed(Input::ServiceRemoved(service("api")));
    rig.routes_accepted();
    rig.backend_command();
    rig.feed(Input::ServiceRemoved(service("web")));
    rig.file_text();
    assert!(rig.backend_commands().is_empty() && rig.order().is_some());
}

#[test]
fn backends_stay_during_deployment() {
    let mut rig = shared();
    rig.define("web", &format!("{}{}", domain("web"), r#", "listen_options": ["timeout server 9s"]"#));
    let order = rig.order().expect("a reload is due");
    rig.feed(Input::ServiceRemoved(service("api")));
    rig.routes_accepted();
    rig.wait(BACKEND_QUEUE_WAIT);
    assert!(rig.backend_commands().is_empty() && rig.commands().is_none());
    rig.effects.push(Effect::Deploy(Box::new(order)));
    rig.deployed_release("3.4.9-1", &routes(&[("web", "web"), ("api", "api")]));
    assert_eq!(rig.routes_accepted(), ["del map MAP 0.0.0.0:80/api.example/"]);
    assert_eq!(rig.backend_command(), "unpublish backend api");
}
