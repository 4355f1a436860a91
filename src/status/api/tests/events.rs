//! Every kind of event is documented in `openapi.json` with all its fields.

use std::collections::BTreeSet;

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::model::{AdminState, Orderer, PlanClass, ReloadCause, ServerName, ServiceName};
use proxymgr_actors::operator::{Order, SetServer};
use serde_json::Value;

use super::schema::faults;
use crate::status::api::OPENAPI;

fn some() -> String {
    "some".to_owned()
}

/// An example of the kind after this one; the first without an argument. The compiler requires new kinds to be added.
fn next(event: Option<&Event>) -> Option<Event> {
    Some(match event {
        None => Event::ServiceDefined,
        Some(Event::ServiceDefined) => Event::ServiceRemoved,
        Some(Event::ServiceRemoved) => Event::InputRefused { problem: some() },
        Some(Event::InputRefused { .. }) => Event::SourceLost { error: some() },
        Some(Event::SourceLost { .. }) => Event::SourceBack,
        Some(Event::SourceBack) => Event::AnnotationsLost { error: some() },
        Some(Event::AnnotationsLost { .. }) => Event::AnnotationsBack,
        Some(Event::AnnotationsBack) => Event::HostsChanged { added: 1, removed: 2, changed: 3 },
        Some(Event::HostsChanged { .. }) => Event::ChangeHeld { reason: some() },
        Some(Event::ChangeMissed) => Event::ChangeHeld { reason: some() },
        Some(Event::ChangeHeld { .. }) => Event::HoldEnded,
        Some(Event::HoldEnded) => Event::HeldAccepted { reason: some() },
        Some(Event::HeldAccepted { .. }) => Event::HeldRejected { reason: some() },
        Some(Event::HeldRejected { .. }) => Event::Ordered { what: some(), order: Order::Refresh { service: None } },
        Some(Event::Ordered { .. }) => {
            Event::OrderRequested { who: some(), from: some(), what: some(), result: some(), accepted: false }
        }
        Some(Event::OrderRequested { .. }) => Event::LogLevelSet { what: some() },
        Some(Event::LogLevelSet { .. }) => Event::ChoiceEnded { why: some() },
        Some(Event::ChoiceEnded { .. }) => Event::Decided { class: PlanClass::Reload, reason: some() },
        Some(Event::Decided { .. }) => Event::Commanded { command: some(), answer: some(), accepted: true },
        Some(Event::Commanded { .. }) => Event::Applied { class: PlanClass::RuntimeEnable, took_us: 1 },
        Some(Event::Applied { .. }) => Event::Failed { error: some() },
        Some(Event::Failed { .. }) => {
            Event::Reloaded { reasons: vec![some()], causes: ReloadCause::ALL.into(), pid: 1, took_ms: 1 }
        }
        Some(Event::Reloaded { .. }) => Event::OutputChanged { output: some() },
        Some(Event::OutputChanged { .. }) => Event::ProxyExited { pid: 1, how: some() },
        Some(Event::ProxyExited { .. }) => Event::OldProxyEnded { pid: 1, how: some() },
        Some(Event::OldProxyEnded { .. }) => Event::OldProxyStopped { pid: 1, why: some(), connections: None },
        Some(Event::OldProxyStopped { .. }) => Event::HealthChanged { up: false, check: some() },
        Some(Event::HealthChanged { .. }) => Event::Restarted { from: some(), to: some() },
        Some(Event::Restarted { .. }) => Event::RestartFailed { why: some() },
        Some(Event::RestartFailed { .. }) => Event::DriftFound { what: some() },
        Some(Event::DriftFound { .. }) => return None,
    })
}

/// The same for orders.
fn next_order(order: Option<&Order>) -> Option<Order> {
    let web = ServiceName::new("web").unwrap();
    Some(match order {
        None => Order::Refresh { service: Some(web) },
        Some(Order::Refresh { .. }) => Order::Reload { reason: Some(some()) },
        Some(Order::Reload { .. }) => Order::Accept { service: None },
        Some(Order::Accept { .. }) => Order::Reject { service: Some(web) },
        Some(Order::Reject { .. }) => Order::SetServer(SetServer {
            service: web,
            server: ServerName::new("a").unwrap(),
            state: AdminState::Maint,
            for_ms: Some(1),
            reason: None,
            by: Some(Orderer { who: some(), from: some() }),
        }),
        Some(Order::SetServer(_)) => return None,
    })
}

/// Asserts that the schema describes exactly the fields that were written.
fn assert_described(schema: &str, kind: &str, written: &[Value]) {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schema = &document["components"]["schemas"][schema];
    let mut reported = BTreeSet::new();
    for value in written {
        assert_eq!(faults(&document, schema, value, "it"), [""; 0], "{value}");
        reported.extend(value.as_object().unwrap().keys().cloned());
    }
    assert_eq!(reported, schema["properties"].as_object().unwrap().keys().cloned().collect());
    let kinds: BTreeSet<_> = written.iter().map(|value| value[kind].clone().to_string()).collect();
    let documented = schema["properties"][kind]["enum"].as_array().unwrap();
    assert_eq!(kinds, documented.iter().map(ToString::to_string).collect());
}

#[test]
fn every_event_is_documented() {
    let events = std::iter::successors(next(None), |event| next(Some(event)));
    let entries = events.map(|event| serde_json::to_value(JournalEntry::new(event)).unwrap());
    assert_described("Event", "event", &Vec::from_iter(entries.map(|entry| entry["event"].clone())));
}

#[test]
fn every_order_is_documented() {
    let orders = std::iter::successors(next_order(None), |order| next_order(Some(order)));
    assert_described("Order", "order", &Vec::from_iter(orders.map(|order| serde_json::to_value(order).unwrap())));
}
