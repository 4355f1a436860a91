//! Host names that do not resolve when HAProxy reads its file.

use proxymgr_actors::limits::{NAME_LOOKUP_RETRY_MAX, NAME_LOOKUP_RETRY_MIN};
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{Address, Endpoint, Host};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{self, ScriptedWorld, haproxy_state, in_virtual_time, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;

/// Serves a host at an address and one at a name that does not resolve.
async fn serve_named_host(world: &ScriptedWorld) -> Actors {
    let actors = world.start();
    world.define(&[("web", WEB)]).await;
    let address = Address::parse("web1.example").expect("a host name");
    let named = Host::at(Endpoint::Tcp { address, port: 80.try_into().expect("a port") });
    world.hosts_seen("web", Ok(vec![SeenHost::new("1", Ok(scripted::host(1))), SeenHost::new("2", Ok(named))])).await;
    actors
}

async fn problem(actors: &Actors) -> Option<String> {
    haproxy_state(actors).await.services.into_values().next().expect("there is one service").problem
}

#[test]
fn unresolved_name_is_reported_until_reload() {
    in_virtual_time(async |world| {
        let actors = serve_named_host(&world).await;
        wait(3).await;
        let starts = world.starts();
        let text = problem(&actors).await.expect("a name does not resolve");
        assert!(text.starts_with("web1.example does not resolve"), "{text}");
        wait(120).await;
        assert_eq!(world.starts(), starts, "a reload before it resolves is useless");
        world.resolve_name("web1.example");
        wait(NAME_LOOKUP_RETRY_MAX.as_secs() + 5).await;
        assert_eq!((world.starts(), problem(&actors).await), (starts + 1, None));
        let lookups = world.lookups().len();
        wait(600).await;
        assert_eq!(world.lookups().len(), lookups, "it is not looked up any more");
        assert_eq!(world.starts(), starts + 1);
    });
}

#[test]
fn look_ups_of_a_name_back_off() {
    in_virtual_time(async |world| {
        serve_named_host(&world).await;
        wait(600).await;
        let times = world.lookups();
        // In whole seconds: timers are due within a millisecond.
        let pauses = Vec::from_iter(times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()));
        assert!(pauses.is_sorted() && pauses.first() == Some(&NAME_LOOKUP_RETRY_MIN.as_secs()), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&NAME_LOOKUP_RETRY_MAX.as_secs()), "{pauses:?}");
    });
}

#[test]
fn removed_host_is_not_looked_up() {
    in_virtual_time(async |world| {
        serve_named_host(&world).await;
        wait(10).await;
        world.hosts("web", &[1]).await;
        // Until the next observation.
        wait(60).await;
        let lookups = world.lookups().len();
        wait(600).await;
        assert_eq!(world.lookups().len(), lookups);
    });
}
