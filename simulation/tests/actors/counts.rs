//! Counters for the metrics.

use std::collections::BTreeMap;

use proxymgr_actors::journal::Event;
use proxymgr_actors::model::{PlanClass, ReloadCause};
use proxymgr_actors::snapshot::{ActorState, JournalCounts};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{haproxy_state, in_virtual_time, journal, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const LEASTCONN: &str = r#"{"type": "static", "port": 8080, "listen_options": ["balance leastconn"]}"#;

async fn counts(actors: &Actors) -> JournalCounts {
    let states = actors.states().await.unwrap();
    let journal = states.into_iter().find_map(|state| match state {
        ActorState::Journal(state) => Some(state),
        _ => None,
    });
    journal.unwrap().counts
}

#[test]
fn changes_are_counted_by_class_with_durations() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.hosts("web", &[1]).await;
        world.hosts("web", &[1, 3]).await;
        wait(1).await;
        let counts = counts(&actors).await;
        assert_eq!((counts.servers_added, counts.servers_removed, counts.servers_changed), (3, 1, 0));
        assert_eq!(counts.events["hosts_changed"], 3);
        let times = |class| counts.applied.get(&class).map_or(0, |histogram| histogram.count());
        assert_eq!(
            [PlanClass::Reload, PlanClass::RuntimeDisable, PlanClass::RuntimeEnable].map(times),
            [1, 1, 1],
            "{counts:?}"
        );
        let applied = journal(&actors, "web").await.into_iter().filter_map(|entry| match entry.event {
            Event::Applied { took_us, .. } => Some(took_us),
            _ => None,
        });
        let sums = counts.applied.values().map(|histogram| histogram.sum_us).sum::<u64>();
        assert_eq!(sums, applied.sum::<u64>());
    });
}

#[test]
fn reloads_are_counted_by_cause() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        world.define(&[("web", LEASTCONN)]).await;
        wait(5).await;
        world.define(&[("web", LEASTCONN), ("api", r#"{"type": "static", "port": 8081}"#)]).await;
        world.hosts("api", &[2]).await;
        wait(5).await;
        world.define(&[("web", LEASTCONN)]).await;
        wait(5).await;
        let state = haproxy_state(&actors).await;
        let wanted = [
            (ReloadCause::Start, 1),
            (ReloadCause::ServiceNew, 1),
            (ReloadCause::ServiceRemoved, 1),
            (ReloadCause::ServiceChanged, 1),
        ];
        assert_eq!(state.counts.reload_causes, BTreeMap::from(wanted));
        assert_eq!(state.counts.reload, 4);
    });
}
