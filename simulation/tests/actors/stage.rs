//! Common start of these tests: discovery reports services with their hosts.

use proxymgr_actors::operator::Order;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{ScriptedWorld, settle, wait};

/// A service: name, definition as JSON, hosts.
pub type Service<'a> = (&'a str, &'a str, &'a [u8]);

/// Starts a manager without saved state, to which discovery reports these services.
pub async fn serve(world: &ScriptedWorld, services: &[Service<'_>]) -> Actors {
    let actors = world.start();
    report(world, services).await;
    actors
}

/// Reports the definitions of these services, then their hosts.
pub async fn report(world: &ScriptedWorld, services: &[Service<'_>]) {
    world.define(&Vec::from_iter(services.iter().map(|(name, definition, _)| (*name, *definition)))).await;
    for (name, _, hosts) in services {
        world.hosts(name, hosts).await;
    }
}

/// Removes every service: once the guard blocks that, an operator accepts it.
pub async fn remove_all(world: &ScriptedWorld, actors: &Actors) {
    world.define(&[]).await;
    wait(2).await;
    actors.order(Order::Accept { service: None }).await.unwrap();
    settle().await;
}
