//! Tests of the deployment lane, and of its handover to the runtime lane.

use super::*;
use crate::decide::base::BoundBase;
use crate::decide::deployment::{DeployFailure, RestartedProcess};
use crate::limits::{FIRST_LISTS_WAIT, REFUSED_BASE_RETRY, RELOAD_RETRY, RESTART_BACKOFF_MIN};
use crate::model::Descriptors;
use crate::model::ReloadCause;
use crate::port::ProcessExit;

/// Creates a HAProxy that serves two hosts of `web` during a deployment for a new service.
fn deploying() -> Rig {
    let mut rig = Rig::serving(&[1, 2]);
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.hosts("api", &[9]);
    assert_eq!(rig.phase(), ProxyPhase::Launching);
    rig
}

fn failure(error: &str) -> DeployFailure {
    DeployFailure::from(error.to_owned())
}

#[test]
fn first_start_waits_for_every_list() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    assert!(rig.order().is_none());
    rig.feed(Input::HostsUnknown(service("api")));
    let order = rig.order().expect("nothing more is waited for");
    assert_eq!(order.services.len(), 2);
}

#[test]
fn first_start_does_not_wait_for_ever() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.wait(FIRST_LISTS_WAIT - Duration::from_millis(1));
    assert!(rig.order().is_none());
    rig.wait(Duration::from_millis(1));
    assert!(rig.order().is_some());
}

#[test]
fn removal_is_sent_during_a_deployment() {
    let mut rig = deploying();
    rig.hosts("web", &[1]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn new_process_gets_removals_before_it_answers() {
    let mut rig = deploying();
    rig.hosts("web", &[1]);
    assert!(rig.successor_commands().is_empty(), "it is not started yet");
    rig.started(2, true);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    rig.hosts("web", &[]);
    assert_eq!(rig.successor_commands(), ["set server web/s1 state maint"]);
    assert_eq!(rig.command_texts(), ["set server web/s1 state maint"], "the process that serves gets it as well");
}

#[test]
fn new_process_gets_no_commands_for_services_that_its_file_lacks() {
    let mut rig = deploying();
    rig.hosts("web", &[1]);
    rig.feed(Input::ProcessStarted { pid: 2, takes_commands: true, servers: BTreeMap::new() });
    assert!(rig.successor_commands().is_empty());
}

#[test]
fn new_process_with_the_last_good_section_of_a_service_loses_hosts_that_left_before() {
    let mut rig = deploying();
    let servers = BTreeMap::from([(service("web"), hosts(&[1, 2, 3]))]);
    rig.feed(Input::ProcessStarted { pid: 2, takes_commands: true, servers });
    assert_eq!(rig.successor_commands(), ["set server web/s3 state maint"]);
}

#[test]
fn returning_host_is_ready_in_the_new_process() {
    let mut rig = deploying();
    rig.started(2, true);
    rig.hosts("web", &[1]);
    rig.hosts("web", &[1, 2]);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    assert_eq!(rig.successor_commands(), ["set server web/s2 state ready"]);
}

#[test]
fn changes_while_the_new_process_answers_are_one_batch() {
    let mut rig = deploying();
    rig.started(2, true);
    rig.hosts("web", &[1]);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
    rig.hosts("web", &[1, 2]);
    rig.hosts("web", &[2]);
    assert!(rig.successor_commands().is_empty(), "it has not answered yet");
    rig.feed(Input::SuccessorAnswered { pid: 1 });
    assert!(rig.successor_commands().is_empty(), "that was another process");
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    assert_eq!(rig.successor_commands(), ["set server web/s1 state maint", "set server web/s2 state ready"]);
}

#[test]
fn change_after_handover_waits_for_commands_sent_before() {
    let mut rig = deploying();
    rig.started(2, true);
    rig.hosts("web", &[1]);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.deployed(2);
    rig.hosts("web", &[1, 2]);
    assert!(rig.command_texts().is_empty(), "it could overtake the maintenance, which is on another connection");
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    rig.observed(2, &[(1, READY), (2, MAINT)]);
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

/// Takes out the commands for a process that serves unmanaged, as texts.
fn unmanaged_commands(rig: &mut Rig) -> Vec<String> {
    let commands = rig.take(|effect| match effect {
        Effect::CommandUnmanaged(commands) => Some(commands.clone()),
        _ => None,
    });
    commands.unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Returns the report of an orphaned process whose server for host N of `web` is named `slotN`.
fn orphan_with_slots(servers: &[(u8, u16)]) -> Observation {
    let slots = reported(servers)
        .iter()
        .map(|(name, state)| (server(&name.as_str().replace('s', "slot")), state.clone()))
        .collect();
    Observation { services: BTreeMap::from([(service("web"), Arc::new(slots))]) }
}

#[test]
fn removed_host_is_disabled_in_the_orphan_under_the_name_it_has_there() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2, 3]);
    assert!(rig.order().is_some());
    rig.hosts("web", &[1, 3]);
    assert!(unmanaged_commands(&mut rig).is_empty(), "no orphan was found yet");
    rig.feed(Input::OrphanAdopted(orphan_with_slots(&[(1, READY), (2, READY), (3, MAINT)])));
    assert_eq!(unmanaged_commands(&mut rig), ["set server web/slot2 state maint"]);
    rig.hosts("web", &[1, 2]);
    assert_eq!(unmanaged_commands(&mut rig), ["set server web/slot2 state ready"]);
    assert!(rig.commands().is_none(), "changes are planned for managed processes only");
}

#[test]
fn drained_server_of_the_orphan_is_disabled_and_drained_again() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1, 2]);
    rig.feed(Input::OrphanAdopted(orphan_with_slots(&[(1, READY), (2, DRAIN)])));
    assert!(unmanaged_commands(&mut rig).is_empty(), "others drained it");
    rig.hosts("web", &[1]);
    assert_eq!(unmanaged_commands(&mut rig), ["set server web/slot2 state maint"]);
    rig.hosts("web", &[1, 2]);
    assert_eq!(unmanaged_commands(&mut rig), ["set server web/slot2 state drain"]);
}

#[test]
fn orphan_is_unchanged_while_no_list_was_read() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.feed(Input::OrphanAdopted(orphan_with_slots(&[(1, READY)])));
    assert!(unmanaged_commands(&mut rig).is_empty());
}

#[test]
fn changes_during_the_takeover_go_to_the_new_process_alone() {
    let mut rig = deploying();
    rig.started(2, true);
    rig.feed(Input::SuccessorTakesOver);
    rig.hosts("web", &[1]);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state maint"]);
    assert!(rig.commands().is_none(), "it could reach either process");
    rig.deployed(2);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"], "it was reported as ready");
}

#[test]
fn process_with_own_socket_gets_no_early_commands() {
    let mut rig = deploying();
    rig.started(2, false);
    rig.hosts("web", &[1]);
    assert!(rig.successor_commands().is_empty());
}

#[test]
fn handover_plans_changed_services_first() {
    let mut rig = deploying();
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    rig.deployed(2);
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"], "the file of the new process has it ready");
    assert_eq!(rig.snapshot().process.map(|process| process.pid), Some(2));
}

#[test]
fn server_disabled_in_new_process_is_enabled_again() {
    let mut rig = deploying();
    rig.started(2, true);
    rig.hosts("web", &[1]);
    rig.accept(&[(1, READY), (2, MAINT)]);
    let order = rig.order().unwrap();
    let reported = observation(&[("web", &[(1, READY), (2, MAINT)]), ("api", &[(9, READY)])]);
    rig.serves(serving(order, 2, BTreeMap::new()), Some(reported));
    assert!(rig.commands().is_none(), "it is in maintenance already");
    rig.hosts("web", &[1, 2]);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn answer_of_previous_process_is_not_trusted() {
    let mut rig = deploying();
    rig.hosts("web", &[1]);
    assert!(rig.commands().is_some());
    rig.deployed(2);
    rig.effects.clear();
    rig.feed(Input::CommandsAnswered(Ok((vec![accepted()], rig.now.instant))));
    assert!(rig.commands().is_none(), "what the new process has is observed first");
    assert_eq!(rig.snapshot().counts.runtime_disable, 0);
    let servers = observation(&[("web", &[(1, READY), (2, READY)]), ("api", &[(9, READY)])]);
    rig.feed(Input::Observed(Ok(Observed { process: process(2), servers, routes: None })));
    assert_eq!(rig.command_texts(), ["set server web/s2 state maint"]);
}

#[test]
fn reload_waits_for_its_interval() {
    let mut rig = deploying();
    rig.deployed(2);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    assert!(rig.order().is_none());
    rig.wait(RELOAD_INTERVAL - Duration::from_millis(1));
    assert!(rig.order().is_none());
    rig.wait(Duration::from_millis(1));
    assert!(rig.order().is_some());
}

#[test]
fn crashed_process_is_replaced_at_once() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ProcessExited { pid: 1, exit: ProcessExit::Signal(9) });
    let order = rig.order().expect("nothing serves");
    assert!(order.only_for.is_none() && order.last_file.is_some());
    assert!(!order.services[&service("web")].is_running);
    assert!(rig.snapshot().since.gone_unix_ms.is_some() && rig.snapshot().process.is_none());
    rig.effects.push(Effect::Deploy(Box::new(order)));
    rig.deployed(2);
    let state = rig.snapshot();
    assert_eq!((state.since.gone_unix_ms, state.counts.reload_causes[&ReloadCause::Exit]), (None, 1));
}

#[test]
fn process_that_crashed_during_handover_is_replaced() {
    let mut rig = deploying();
    rig.feed(Input::ProcessExited { pid: 2, exit: ProcessExit::Code(1) });
    rig.deployed(2);
    rig.wait(RELOAD_INTERVAL);
    assert!(rig.order().is_some());
    assert_eq!(rig.snapshot().process, None);
}

#[test]
fn failed_deployment_is_retried_with_its_reasons() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ReloadOrdered("an operator asked for it".to_owned()));
    rig.order();
    rig.feed(Input::Deployed(Err(failure("disk full"))));
    assert_eq!(rig.snapshot().reload_error.as_deref(), Some("disk full"));
    assert!(rig.order().is_none());
    rig.wait(RELOAD_RETRY);
    assert!(rig.order().is_some_and(|order| order.only_for.is_none()));
}

#[test]
fn failed_first_start_is_retried_soon() {
    let mut rig = Rig::new();
    rig.define("web", "");
    rig.feed(Input::DefinitionsLoaded);
    rig.hosts("web", &[1]);
    rig.order();
    rig.feed(Input::Deployed(Err(failure("no binary"))));
    assert_eq!(rig.phase(), ProxyPhase::Down);
    rig.wait(RESTART_BACKOFF_MIN);
    assert!(rig.order().is_some());
}

fn contains(order: &DeployOrder, text: &str) -> bool {
    BoundBase::new(order.context.base.clone(), Descriptors::new()).text().contains(text)
}

#[test]
fn refused_base_is_tried_again_later() {
    let mut rig = Rig::serving(&[1]);
    let mut changed = policy();
    changed.base_config.global.push("nonsense".to_owned());
    rig.feed(Input::PolicyChanged(Arc::new(changed)));
    let refused = || Input::Deployed(Err(DeployFailure { suspects_base: true, ..failure("no answer") }));
    let written = || Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO };
    for pause in [REFUSED_BASE_RETRY, 2 * REFUSED_BASE_RETRY] {
        assert!(contains(&rig.order().unwrap(), "nonsense"));
        rig.feed(refused());
        rig.feed(written());
        rig.wait(pause - Duration::from_secs(1));
        rig.observed(1, &[(1, READY)]);
        assert!(rig.order().is_none(), "the process that serves has the last good base");
        rig.wait(Duration::from_secs(1));
        rig.observed(1, &[(1, READY)]);
    }
    rig.deployed(2);
    assert_eq!(rig.snapshot().reload_error, None);
}

#[test]
fn refused_base_stays_a_problem_while_other_changes_are_deployed() {
    let mut rig = Rig::serving(&[1]);
    let mut changed = policy();
    changed.base_config.global.push("nonsense".to_owned());
    let again = changed.clone();
    rig.feed(Input::PolicyChanged(Arc::new(changed)));
    rig.order();
    rig.feed(Input::Deployed(Err(DeployFailure { suspects_base: true, ..failure("no answer") })));
    rig.feed(Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO });
    rig.define("web", r#", "listen_options": ["timeout server 13s"]"#);
    rig.wait(RELOAD_RETRY);
    assert!(rig.effects.iter().all(|effect| !matches!(effect, Effect::Deploy(order) if contains(order, "nonsense"))));
    rig.deployed(2);
    let error = rig.snapshot().reload_error.expect("the base is not in use");
    assert!(error.contains("no answer"), "{error}");
    rig.wait(RELOAD_INTERVAL);
    rig.feed(Input::Refresh);
    assert!(contains(&rig.order().unwrap(), "nonsense"), "an operator asked to try everything again");
    rig.feed(Input::Deployed(Err(DeployFailure { suspects_base: true, ..failure("no answer") })));
    rig.feed(Input::ConfigFileWritten { result: Ok(()), took: Duration::ZERO });
    rig.wait(RELOAD_RETRY);
    rig.observed(2, &[(1, READY)]);
    assert!(rig.order().is_none());
    rig.feed(Input::PolicyChanged(Arc::new(again)));
    assert!(contains(&rig.order().unwrap(), "nonsense"), "the same settings were read again");
}

#[test]
fn server_disabled_in_a_process_on_the_last_file_is_enabled_again() {
    let mut rig = Rig::serving(&[1, 2]);
    rig.feed(Input::ProcessExited { pid: 1, exit: ProcessExit::Signal(9) });
    rig.started(2, true);
    rig.order_state("s2", AdminState::Drain);
    assert_eq!(rig.successor_commands(), ["set server web/s2 state drain"]);
    rig.feed(Input::SuccessorAnswered { pid: 2 });
    let restarted = RestartedProcess { process: process(2), failure: failure("disk full") };
    rig.feed(Input::Deployed(Ok(Deployed::OnLastFile(Box::new(restarted)))));
    rig.observed(2, &[(1, READY), (2, DRAIN)]);
    rig.feed(Input::OverridesChanged { service: service("web"), overrides: BTreeMap::new(), ordered: None });
    assert_eq!(rig.command_texts(), ["set server web/s2 state ready"]);
}

#[test]
fn process_on_the_last_file_serves() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ProcessExited { pid: 1, exit: ProcessExit::Signal(9) });
    rig.order();
    let restarted = RestartedProcess { process: process(2), failure: failure("disk full") };
    rig.feed(Input::Deployed(Ok(Deployed::OnLastFile(Box::new(restarted)))));
    let state = rig.snapshot();
    assert_eq!((state.phase, state.process.map(|process| process.pid)), (ProxyPhase::Running, Some(2)));
    assert_eq!((state.counts.reload, state.counts.reload_failed), (2, 1));
}

#[test]
fn blocked_service_keeps_its_last_good_section() {
    let mut rig = Rig::serving(&[1]);
    rig.define("web", r#", "listen_options": ["timeout server 13s"]"#);
    let order = rig.order().expect("another definition needs a reload");
    let web = &order.services[&service("web")];
    let (definition, hosts) = (web.desired.definition.clone(), web.desired.hosts.clone());
    assert_ne!(web.last_good.as_ref().unwrap().spec.definition, definition);
    let blocker = Blocker::Rejected { message: "unknown keyword".to_owned(), definition, hosts };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain(BTreeMap::from([(service("web"), blocker)])))));
    assert_eq!(rig.snapshot().services[&service("web")].problem.as_deref(), Some("unknown keyword"));
    rig.wait(RELOAD_RETRY);
    assert!(rig.order().is_none(), "the same definition would be refused again");
    rig.hosts("web", &[1, 2]);
    assert!(rig.command_texts()[0].starts_with("add server web/s2"), "its hosts follow");
}

#[test]
fn taken_port_is_requested_once_it_is_free() {
    let mut rig = Rig::serving(&[1]);
    rig.define("api", r#", "bind": "127.0.0.2""#);
    rig.hosts("api", &[9]);
    rig.order();
    let address = "127.0.0.2:80".parse().unwrap();
    let blocker = Blocker::PortTaken { address, error: "in use".to_owned() };
    rig.feed(Input::Deployed(Ok(Deployed::NothingToGain(BTreeMap::from([(service("api"), blocker)])))));
    rig.wait(RELOAD_RETRY);
    assert!(rig.order().is_none());
    rig.feed(Input::SocketOpened(Some(service("api"))));
    assert!(rig.order().is_some());
}

#[test]
fn removed_service_needs_a_reload() {
    let mut rig = Rig::serving(&[1]);
    rig.feed(Input::ServiceRemoved(service("web")));
    assert!(rig.order().is_some_and(|order| order.services.is_empty()));
}
