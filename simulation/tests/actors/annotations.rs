//! Reports about the source of annotations.

use std::collections::BTreeMap;

use proxymgr_actors::message::{DefinitionsSeen, ReadJournal};
use proxymgr_actors::model::{Annotation, RawDefinition};
use proxymgr_simulation::scripted::{ScriptedWorld, config_state, in_virtual_time, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;

async fn tell(world: &ScriptedWorld, heard: Option<Result<(), String>>) {
    let annotation = Annotation::new(r#"{"listen_options": ["balance leastconn"]}"#, "there");
    let web = RawDefinition { annotation: Some(annotation), ..RawDefinition::new(WEB, "here") };
    let result = Ok(BTreeMap::from([("web".into(), web)]));
    world.report_definitions(DefinitionsSeen { result, missed: false, annotations: heard }).await;
}

#[test]
fn lost_annotations_are_reported_and_change_no_service() {
    in_virtual_time(async |world| {
        let actors = world.start();
        tell(&world, None).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        assert_eq!(config_state(&actors).await.annotations, None, "no report has arrived");
        let away = || Err("no member answers".to_owned());
        for (heard, since) in [(Ok(()), 0), (away(), 1), (away(), 1), (Ok(()), 3)] {
            tell(&world, Some(heard.clone())).await;
            let state = config_state(&actors).await;
            let health = state.annotations.expect("a report has arrived");
            assert_eq!(health.error, heard.err());
            let since_s = (health.since_unix_ms - 1_000_000) / 1_000;
            assert_eq!((since_s - 5) / 10, since);
            assert_eq!((state.source.error, state.problems.len()), (None, 0));
            wait(10).await;
        }
        let story = actors.journal(ReadJournal::default()).await;
        let reported = story.iter().map(|entry| entry.event.name()).filter(|name| name.starts_with("annotations"));
        assert_eq!(Vec::from_iter(reported), ["annotations_lost", "annotations_back"]);
        assert_eq!((world.starts(), world.ready("web")), (1, vec![1]));
    });
}
