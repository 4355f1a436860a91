//! An output besides HAProxy is kept in sync.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;

use proxymgr_actors::operator::Order;
use proxymgr_actors::port::{Applied, PortFuture, PublishedService, ServiceOutput};
use proxymgr_actors::snapshot::{ActorState, OutputState};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{ScriptedWorld, in_virtual_time, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

/// An output that records each change: all services with the number of their hosts.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Recorded>>);

#[derive(Default)]
struct Recorded {
    published: Vec<BTreeMap<String, Option<usize>>>,
    fails: bool,
}

impl Recorder {
    fn of(world: &ScriptedWorld) -> Self {
        let recorder = Self::default();
        world.add_output(Rc::new(recorder.clone()));
        recorder
    }

    fn published(&self) -> Vec<BTreeMap<String, Option<usize>>> {
        self.0.borrow().published.clone()
    }

    fn fail(&self, fails: bool) {
        self.0.borrow_mut().fails = fails;
    }
}

impl ServiceOutput for Recorder {
    fn name(&self) -> &str {
        "a list in memory"
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let hosts = |service: &PublishedService| service.hosts.as_ref().map(|hosts| hosts.len());
        let shown = services.iter().map(|service| (service.definition.name.to_string(), hosts(service))).collect();
        let mut recorded = self.0.borrow_mut();
        if recorded.fails {
            return Box::pin(ready(Err("it is configured to fail".to_owned())));
        }
        let is_same = recorded.published.last() == Some(&shown);
        recorded.published.push(shown);
        Box::pin(ready(Ok(if is_same { Applied::Unchanged } else { Applied::Changed })))
    }
}

fn shown<const N: usize>(services: [(&str, Option<usize>); N]) -> BTreeMap<String, Option<usize>> {
    services.into_iter().map(|(name, hosts)| (name.to_owned(), hosts)).collect()
}

async fn output_state(actors: &Actors) -> OutputState {
    let states = actors.states().await.expect("every actor answers");
    let mut outputs = states.into_iter().filter_map(|state| match state {
        ActorState::Output(state) => Some(state),
        _ => None,
    });
    outputs.next().expect("there is an output")
}

#[test]
fn output_begins_with_all_services_and_follows() {
    in_virtual_time(async |world| {
        let output = Recorder::of(&world);
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(output.published(), [], "it waits for the other service");
        world.hosts("api", &[3]).await;
        assert_eq!(output.published(), [shown([("api", Some(1)), ("web", Some(2))])]);
        world.hosts("web", &[1]).await;
        world.hosts("api", &[3, 4, 5]).await;
        wait(2).await;
        let changes = output.published();
        assert_eq!(
            changes[1..],
            [shown([("api", Some(3)), ("web", Some(1))])],
            "simultaneous changes are published together"
        );
        let state = output_state(&actors).await;
        assert_eq!((state.changes, state.services, state.error), (2, 2, None));
    });
}

#[test]
fn output_gets_unknown_hosts_as_unknown() {
    in_virtual_time(async |world| {
        let output = Recorder::of(&world);
        world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts_seen("api", Err("away".to_owned())).await;
        assert_eq!(output.published(), [shown([("api", None), ("web", Some(1))])]);
    });
}

#[test]
fn failed_output_is_retried_with_newest() {
    in_virtual_time(async |world| {
        let output = Recorder::of(&world);
        let actors = world.start();
        output.fail(true);
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(10).await;
        assert_eq!(output_state(&actors).await.error.as_deref(), Some("it is configured to fail"));
        world.hosts("web", &[1, 2]).await;
        output.fail(false);
        wait(60).await;
        assert_eq!(output.published(), [shown([("web", Some(2))])]);
        assert_eq!(output_state(&actors).await.error, None);
    });
}

#[test]
fn refresh_publishes_all_services_again() {
    in_virtual_time(async |world| {
        let output = Recorder::of(&world);
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[1]).await;
        world.define(&[("web", WEB)]).await;
        wait(2).await;
        assert_eq!(output.published().last(), Some(&shown([("web", Some(1))])));
        let before = output.published().len();
        actors.order(Order::Refresh { service: None }).await.expect("everything is read again");
        wait(1).await;
        assert_eq!(output.published().len(), before + 1);
        assert_eq!(output_state(&actors).await.changes, 2, "the refresh changes nothing");
    });
}
