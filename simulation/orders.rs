//! Orders of operators.

use std::time::Duration;

use proxymgr_actors::model::{AdminState, ServiceName};
use proxymgr_actors::operator::{Order, OrderRefused, SetServer};

use super::plan::Step;
use super::random::Random;
use super::tampering::server;
use super::world::World;

/// Adds, in some cases, an operator's decision a while after the definitions are gone.
pub(super) fn draw_decisions(seed: u64, steps: &mut Vec<Step>) {
    let mut random = Random::of_purpose(seed, "decisions");
    for step in std::mem::take(steps) {
        let decides = step == Step::DefinitionsGone && random.chance(60);
        steps.push(step);
        if decides {
            steps.push(Step::Wait { ms: random.between(20, 5_000) });
            steps.push(if random.chance(60) { Step::DefinitionsAccepted } else { Step::DefinitionsRejected });
        }
    }
}

impl World {
    /// Sends an operator's order. Returns the manager's answer.
    ///
    /// # Errors
    /// The manager refused it, or no manager runs.
    pub async fn order(&self, order: Order) -> Result<String, OrderRefused> {
        let Some(actors) = self.actors() else { return Err(OrderRefused::NotNow("no manager runs".to_owned())) };
        let asked = serde_json::to_string(&order).unwrap_or_else(|_| format!("{order:?}"));
        let answer = actors.order(order).await;
        let words = answer.as_ref().map_or_else(ToString::to_string, Clone::clone);
        self.note("an operator", "the manager", format!("{asked}: {words}"));
        answer
    }

    /// Sends the order of a step.
    pub(super) async fn give(&self, step: &Step) {
        match step {
            Step::ServerOrdered { service, host, state, for_ms } => {
                self.choose_state(service, *host, *state, *for_ms).await;
            }
            Step::HeldAccepted { service } => self.accept_held(service).await,
            // The applied state stays, as it would without an order.
            Step::HeldRejected { service } => {
                let Ok(name) = ServiceName::new(service) else { return };
                drop(self.order(Order::Reject { service: Some(name) }).await);
            }
            Step::DefinitionsAccepted => {
                self.with(|things| things.oracle.accept_definitions());
                let done = self.order(Order::Accept { service: None }).await;
                self.with(|things| things.oracle.definitions_accepted(done.is_ok()));
            }
            Step::DefinitionsRejected => drop(self.order(Order::Reject { service: None }).await),
            Step::ReloadOrdered => {
                self.with(|things| things.oracle.cause("an operator asked for it"));
                drop(self.order(Order::Reload { reason: None }).await);
            }
            Step::RefreshOrdered => drop(self.order(Order::Refresh { service: None }).await),
            _ => {}
        }
    }

    /// Returns whether the service is settled: no orders are sent about one that is being added or removed.
    fn is_settled(&self, service: &str) -> bool {
        self.with(|things| things.oracle.is_settled(service))
    }

    async fn choose_state(&self, service: &str, host: u8, state: AdminState, for_ms: Option<u64>) {
        let Some(id) = server(service, host).filter(|_| self.is_settled(service)) else { return };
        let life = self.with(|things| {
            things.oracle.choices.order(service, host);
            things.oracle.life(service)
        });
        let order = SetServer { service: id.service, server: id.server, state, for_ms, reason: None, by: None };
        let answer = self.order(Order::SetServer(order)).await;
        self.with(|things| {
            // The removal of a service ends its overrides.
            let is_the_same = things.oracle.life(service) == life && things.oracle.is_known(service);
            let is_done = answer.is_ok() && is_the_same;
            let chosen = is_done.then(|| (state, for_ms.map(Duration::from_millis)));
            things.oracle.chosen(service, host, chosen);
        });
    }

    async fn accept_held(&self, service: &str) {
        let Some(name) = ServiceName::new(service).ok().filter(|_| self.is_settled(service)) else { return };
        let life = self.with(|things| {
            things.oracle.accept(service);
            things.oracle.life(service)
        });
        let answer = self.order(Order::Accept { service: Some(name) }).await;
        self.with(|things| {
            let is_done = answer.is_ok() && things.oracle.life(service) == life;
            things.oracle.accepted(service, is_done);
            things.note_hosts(service, false, is_done);
        });
    }
}
