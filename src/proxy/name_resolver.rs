//! `NameResolver`: the system's resolver, which HAProxy uses as well when it reads its file.

use std::sync::Arc;

use proxymgr_actors::limits::NAME_LOOKUP_TIMEOUT;
use proxymgr_actors::port::{NameResolver, PortFuture};
use tokio::net::lookup_host;
use tokio::time::timeout;

/// Resolves names like the C library: /etc/hosts, DNS and the other sources in nsswitch.conf.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl NameResolver for SystemResolver {
    fn resolves(&self, name: Arc<str>) -> PortFuture<bool> {
        Box::pin(async move {
            let found = timeout(NAME_LOOKUP_TIMEOUT, lookup_host((&*name, 0))).await;
            found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_name_resolves_and_invalid_one_does_not() {
        assert!(SystemResolver.resolves("localhost".into()).await);
        // RFC 6761: no name below it exists.
        assert!(!SystemResolver.resolves("no-such-host.invalid".into()).await);
    }
}
