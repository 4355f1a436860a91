//! Resolves host names on the simulated machine: for HAProxy, when it reads its file, and for the manager.

use std::future::ready;
use std::sync::Arc;

use proxymgr_actors::port::{NameResolver, PortFuture};

use tokio::time::Instant;

use super::world::World;

impl NameResolver for World {
    fn resolves(&self, name: Arc<str>) -> PortFuture<bool> {
        let resolves = self.with(|things| {
            things.lookups.push((Instant::now(), name.to_string()));
            let resolves = things.names.contains_key(&*name);
            if resolves {
                things.oracle.cause(format!("the manager found that {name} resolves"));
            }
            resolves
        });
        Box::pin(ready(resolves))
    }
}
