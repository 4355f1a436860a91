//! Sources that do not report what they should, or too much.

use proxymgr_actors::journal::Event;
use proxymgr_actors::limits::{FLAP_HOLD_MIN, FLAP_RETURNS_MAX};
use proxymgr_simulation::scripted::{CONFIRM_INTERVAL, in_virtual_time, journal, watcher_state};
use tokio::time::{Duration, sleep};

use crate::stage::serve;

const WEB: &str = r#"{"type": "static", "port": 8080, "max_removal": 1}"#;

#[test]
fn confirmation_finds_what_the_watch_did_not_report() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hosts_change_silently("web", &[1, 3]).await;
        assert_eq!(world.ready("web"), [1, 2]);
        sleep(CONFIRM_INTERVAL).await;
        assert_eq!(world.ready("web"), [1, 3]);
        assert_eq!(watcher_state(&actors, "web").await.source.missed_changes, 1);
        sleep(3 * CONFIRM_INTERVAL).await;
        assert_eq!(watcher_state(&actors, "web").await.source.missed_changes, 1, "the next ones agree");
        let missed = journal(&actors, "web").await.into_iter().filter(|entry| entry.event == Event::ChangeMissed);
        assert_eq!(missed.count(), 1);
    });
}

#[test]
fn unchanged_list_is_confirmed() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        let before = watcher_state(&actors, "web").await;
        sleep(2 * CONFIRM_INTERVAL).await;
        let after = watcher_state(&actors, "web").await;
        assert!(after.confirmed_unix_ms > before.confirmed_unix_ms);
        assert_eq!((after.revision, after.source.missed_changes), (before.revision, 0));
    });
}

#[test]
fn source_that_does_not_answer_is_reported() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.silence_source("web", true);
        sleep(3 * CONFIRM_INTERVAL).await;
        assert!(watcher_state(&actors, "web").await.source.error.is_some());
        assert_eq!(world.ready("web"), [1]);
        world.silence_source("web", false);
        sleep(CONFIRM_INTERVAL).await;
        assert_eq!(watcher_state(&actors, "web").await.source.error, None);
    });
}

#[test]
fn flapping_host_is_kept_out_and_named() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        for _ in 0..=FLAP_RETURNS_MAX {
            world.hosts("web", &[1]).await;
            world.hosts("web", &[1, 2]).await;
        }
        assert_eq!(world.ready("web"), [1]);
        assert_eq!(watcher_state(&actors, "web").await.problems.keys().collect::<Vec<_>>(), ["10.0.0.2:80"]);
        world.forget_commands();
        for _ in 0..100 {
            world.hosts("web", &[1]).await;
            world.hosts("web", &[1, 2]).await;
        }
        assert_eq!(world.commands(), Vec::<String>::new());
        sleep(FLAP_HOLD_MIN + Duration::from_secs(1)).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(watcher_state(&actors, "web").await.problems.is_empty());
    });
}
