//! The health of servers survives a reload, if HAProxy reports it in time.

use std::time::Duration;

use proxymgr_simulation::scripted::{in_virtual_time, settle};
use tokio::time::Instant;

#[test]
fn unanswered_health_query_does_not_delay_reload() {
    in_virtual_time(async |world| {
        let _actors = world.start();
        world.define(&[("web", r#"{"type": "file", "path": "/x", "port": 80}"#)]).await;
        world.hosts("web", &[1]).await;
        settle().await;
        assert_eq!(world.starts(), 1);
        world.hang_socket(false);
        let asked = Instant::now();
        let changed = r#"{"type": "file", "path": "/x", "port": 80, "listen_options": ["balance leastconn"]}"#;
        world.define(&[("web", changed)]).await;
        while world.starts() == 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    });
}
