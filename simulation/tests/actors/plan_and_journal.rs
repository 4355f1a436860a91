//! Read-only queries: the plan, and the journal in pages.

use proxymgr_actors::journal::{Event, JournalEntry};
use proxymgr_actors::limits::{PREVIEW_SERVERS_AT_ONCE_MAX, RUNTIME_ANSWER_TIMEOUT};
use proxymgr_actors::message::{PlanPiece, ReadJournal};
use proxymgr_actors::model::PlanClass;
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{haproxy_state, in_virtual_time, wait};
use tokio::time::sleep;

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

/// Returns the whole plan, and the number of its pieces.
async fn plan(actors: &Actors) -> (PlanPiece, usize) {
    let mut whole = actors.preview_plan(None).await.unwrap();
    let mut pieces = 1;
    while let Some(after) = whole.next.take() {
        let piece = actors.preview_plan(Some(after)).await.unwrap();
        whole.services.extend(piece.services);
        whole.not_known.extend(piece.not_known);
        whole.next = piece.next;
        pieces += 1;
    }
    (whole, pieces)
}

#[test]
fn hanging_haproxy_gets_no_plan() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        assert_eq!(plan(&actors).await.0.services, []);
        world.hang_socket(false);
        world.hosts("web", &[1]).await;
        sleep(RUNTIME_ANSWER_TIMEOUT).await;
        let (reported, _) = plan(&actors).await;
        assert!(reported.not_known.iter().any(|name| name.as_str() == "web"), "{reported:?}");
        assert!(reported.runtime_not_before_ms > 0, "{reported:?}");
        world.heal_socket();
        wait(30).await;
        assert_eq!(world.ready("web"), [1]);
        assert_eq!(plan(&actors).await.0.services, []);
    });
}

#[test]
fn pending_reload_is_planned_with_reason() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("api", &[1]).await;
        let (reported, _) = plan(&actors).await;
        let reasons: Vec<_> =
            reported.services.iter().map(|(name, plan)| (name.as_str(), plan.reload[0].text.as_str())).collect();
        assert_eq!(reasons, [("api", "the service is new")]);
        assert!(reported.reload_not_before_ms > 0, "{reported:?}");
        wait(10).await;
        assert_eq!(plan(&actors).await.0.services, []);
    });
}

#[test]
fn plan_preview_changes_no_counters() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        let before = haproxy_state(&actors).await.counts;
        for _ in 0..10 {
            plan(&actors).await;
        }
        assert_eq!(haproxy_state(&actors).await.counts, before);
    });
}

#[test]
fn large_plan_is_paged() {
    in_virtual_time(async |world| {
        let actors = world.start();
        let names: Vec<String> = (0..PREVIEW_SERVERS_AT_ONCE_MAX / 100).map(|n| format!("s{n:03}")).collect();
        let definitions: Vec<String> =
            (0..names.len()).map(|n| format!(r#"{{"type": "static", "port": {}}}"#, 9_000 + n)).collect();
        let services: Vec<(&str, &str)> =
            names.iter().zip(&definitions).map(|(name, definition)| (name.as_str(), definition.as_str())).collect();
        world.define(&services).await;
        let hosts: Vec<u8> = (1..=200).collect();
        for name in &names {
            world.hosts(name, &hosts).await;
        }
        wait(5).await;
        let (reported, pieces) = plan(&actors).await;
        assert_eq!(reported.services, []);
        assert!(pieces >= 2, "{pieces} pieces");
    });
}

#[test]
fn journal_is_paged_forward_and_backward() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        for hosts in [&[1, 2][..], &[1], &[1, 2], &[1]] {
            world.hosts("web", hosts).await;
        }
        wait(5).await;
        let read = async |query: ReadJournal| actors.journal(query).await;
        let all = read(ReadJournal::default()).await;
        let newest = read(ReadJournal { limit: Some(3), ..ReadJournal::default() }).await;
        assert_eq!(newest, all[all.len() - 3..]);
        let mut reported: Vec<JournalEntry> = Vec::new();
        loop {
            let after = Some(reported.last().map_or(0, |entry| entry.sequence));
            let piece = read(ReadJournal { after, limit: Some(3), ..ReadJournal::default() }).await;
            if piece.is_empty() {
                break;
            }
            reported.extend(piece);
        }
        assert_eq!(reported, all, "no entry is missing or repeated");
        let decided = read(ReadJournal { event: Some("decided".into()), ..ReadJournal::default() }).await;
        assert!(!decided.is_empty());
        let is_disable = |entry: &JournalEntry| {
            matches!(entry.event, Event::Decided { class: PlanClass::RuntimeEnable | PlanClass::RuntimeDisable, .. })
        };
        assert!(decided.iter().all(is_disable), "{decided:?}");
        let late =
            read(ReadJournal { since_unix_ms: Some(all.last().unwrap().at_unix_ms + 1), ..ReadJournal::default() });
        assert_eq!(late.await, []);
    });
}
