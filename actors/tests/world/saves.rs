//! The saved state of the world in memory.

use proxymgr_actors::port::{PortFuture, SavedState, StateStore};
use tokio::time::sleep;

use super::World;

impl StateStore for World {
    fn save(&self, SavedState { services, definitions_guard }: SavedState) -> PortFuture<Result<(), String>> {
        let world = self.clone();
        let takes = self.with(|things| things.save_takes);
        Box::pin(async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            world.with(|things| {
                things.saved = services;
                things.definitions_guard = definitions_guard;
            });
            Ok(())
        })
    }
}
