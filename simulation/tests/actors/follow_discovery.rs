//! The actors as a whole follow discovery.

use proxymgr_actors::journal::Event;
use proxymgr_actors::limits::RUNTIME_ANSWER_TIMEOUT;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::{HostRecord, OnStop, RuntimeCommand, ServerId, ServerName, ServiceName};
use proxymgr_actors::snapshot::ProxyPhase;
use proxymgr_simulation::scripted::{self, config_state, haproxy_state, in_virtual_time, journal, wait, watcher_state};
use tokio::time::sleep;

use crate::stage::{remove_all, report, serve};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

#[test]
fn first_start_waits_for_every_service() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.starts(), 0, "it waits for the other service");
        world.hosts("api", &[3]).await;
        assert_eq!(world.starts(), 1);
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1, 2], vec![3]));
        assert_eq!(haproxy_state(&actors).await.phase, ProxyPhase::Running);
    });
}

#[test]
fn service_without_hosts_has_the_time_of_its_empty_list() {
    in_virtual_time(async |world| {
        let actors = world.start();
        let idle = r#"{"type": "static", "port": 8081, "min_hosts": 0}"#;
        world.define(&[("web", WEB), ("idle", idle)]).await;
        world.hosts("web", &[]).await;
        world.hosts("idle", &[]).await;
        let since = watcher_state(&actors, "web").await.empty_since_unix_ms;
        assert!(since.is_some());
        wait(5).await;
        world.hosts("web", &[]).await;
        assert_eq!(watcher_state(&actors, "web").await.empty_since_unix_ms, since, "the age is that of the first list");
        assert_eq!(watcher_state(&actors, "idle").await.empty_since_unix_ms, None);
        world.define(&[("web", WEB), ("idle", API)]).await;
        assert!(watcher_state(&actors, "idle").await.empty_since_unix_ms.is_some(), "min_hosts is 1 now");
        world.hosts("web", &[1]).await;
        assert_eq!(watcher_state(&actors, "web").await.empty_since_unix_ms, None);
    });
}

#[test]
fn hosts_change_without_reload_and_file_follows() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        for hosts in [&[2][..], &[1, 2], &[1, 2, 3], &[3]] {
            world.hosts("web", hosts).await;
            assert_eq!(world.ready("web"), hosts);
            wait(1).await;
            let file = world.file();
            assert_eq!(file.matches("server 10.0.0.").count(), hosts.len(), "{file}");
        }
        assert_eq!(world.starts(), 1);
        let state = haproxy_state(&actors).await;
        assert_eq!((state.counts.runtime_disable, state.counts.runtime_enable), (3, 2));
        assert_eq!(state.services.values().next().unwrap().last.class.as_deref(), Some("runtime-disable"));
    });
}

#[test]
fn removed_host_is_deleted_later() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hosts("web", &[1]).await;
        wait(30).await;
        assert!(!world.commands().iter().any(|command| command.starts_with("del server")));
        wait(90).await;
        let deleted = world.commands().iter().filter(|command| command.starts_with("del")).count();
        assert_eq!(deleted, 1);
        world.hosts("web", &[1, 2]).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 1));
    });
}

#[test]
fn reloads_for_new_hosts_are_coalesced_on_2_2() {
    in_virtual_time(async |world| {
        world.install(2, 2);
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(5).await;
        for n in 2..10_u8 {
            world.hosts("web", &(1..=n).collect::<Vec<_>>()).await;
        }
        wait(3).await;
        assert_eq!(world.ready("web"), (1..10).collect::<Vec<_>>());
        assert_eq!(world.starts(), 3, "the first start, the first change at once, the others in one reload");
        let starts = world.start_times();
        assert!(starts[2] - starts[1] >= std::time::Duration::from_secs(1));
    });
}

#[test]
fn unchanged_list_does_nothing() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.commands(), Vec::<String>::new());
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn empty_list_and_lost_source_remove_nothing() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hosts("web", &[]).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(watcher_state(&actors, "web").await.held.is_some());
        world.hosts_seen("web", Err("away".to_owned())).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert_eq!(watcher_state(&actors, "web").await.source.error.as_deref(), Some("away"));
        world.hosts("web", &[2]).await;
        assert_eq!(world.ready("web"), [2]);
        let state = watcher_state(&actors, "web").await;
        assert_eq!((state.held, state.source.error), (None, None));
    });
}

#[test]
fn unreadable_entry_keeps_its_last_good_host() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        let good = |n: u8| SeenHost::new(n.to_string(), Ok(scripted::host(n)));
        let bad = SeenHost::new("2", Err("port 0 is not a port".to_owned()));
        world.hosts_seen("web", Ok(vec![good(1), good(2)])).await;
        world.hosts_seen("web", Ok(vec![bad, good(3)])).await;
        assert_eq!(world.ready("web"), [2, 3], "the last good value of 2 stays, 1 is gone");
        assert!(watcher_state(&actors, "web").await.problems["2"].contains("port 0"));
    });
}

#[test]
fn unknown_keys_are_problems_and_the_service_works() {
    in_virtual_time(async |world| {
        let actors = world.start();
        let with_foreign_key = r#"{"type": "static", "port": 8080, "ssl_crt": "a", "x-team": "a"}"#;
        world.define(&[("web", with_foreign_key)]).await;
        let record = HostRecord { unknown_keys: vec!["wieght".into()], ..scripted::host(1).into() };
        world.hosts_seen("web", Ok(vec![SeenHost::of_record("1", Ok(record))])).await;
        assert_eq!(world.ready("web"), [1]);
        let problems = config_state(&actors).await.problems;
        let [problem] = problems["web"].as_slice() else { panic!("{problems:?}") };
        assert!(problem.contains("ssl_crt") && problem.contains("\"tls\""), "{problem}");
        assert!(watcher_state(&actors, "web").await.problems["hosts"].contains("wieght"));
        report(&world, &[("web", WEB, &[1])]).await;
        assert_eq!(config_state(&actors).await.problems.len(), 0);
        assert_eq!(watcher_state(&actors, "web").await.problems.len(), 0);
    });
}

#[test]
fn refused_definition_keeps_last_good_section() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.refuse_files_with(Some("balance leastconn"));
        let bad = r#"{"type": "static", "port": 8081, "listen_options": ["balance leastconn"]}"#;
        let better = r#"{"type": "static", "port": 8080, "listen_options": ["balance roundrobin"]}"#;
        world.define(&[("web", better), ("api", bad)]).await;
        wait(3).await;
        let file = world.file();
        assert!(file.contains("roundrobin") && !file.contains("leastconn"), "{file}");
        assert_eq!(world.ready("api"), [2]);
        let state = haproxy_state(&actors).await;
        let problem = |name: &str| state.services.iter().find(|(n, _)| n.as_str() == name).unwrap().1.problem.clone();
        assert_eq!(
            (problem("api").as_deref(), problem("web")),
            (Some("listen_options[0] \"balance leastconn\": unknown keyword"), None)
        );
        assert_eq!(world.open_ports().len(), 2);
        let starts = world.starts();
        wait(60).await;
        assert_eq!(world.starts(), starts, "a refused definition is not tried again unchanged");
        world.hosts("api", &[2, 4]).await;
        assert_eq!(world.ready("api"), [2, 4], "its hosts still follow");
        world.define(&[("web", better), ("api", API)]).await;
        wait(3).await;
        assert!(haproxy_state(&actors).await.services.values().all(|service| service.problem.is_none()));
    });
}

#[test]
fn taken_port_is_reported_and_retried() {
    in_virtual_time(async |world| {
        world.take_port(8081);
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        assert_eq!(world.ready("web"), [1]);
        let state = haproxy_state(&actors).await;
        let mut problems = state.services.values().filter_map(|service| service.problem.as_deref());
        assert!(problems.any(|problem| problem.starts_with("0.0.0.0:8081 is in use")));
        world.free_ports();
        wait(5).await;
        assert_eq!(world.ready("api"), [2]);
        assert_eq!(world.open_ports().len(), 2);
    });
}

#[test]
fn contested_port_stays_with_its_first_service() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.define(&[("also", WEB), ("web", WEB)]).await;
        world.hosts("also", &[2]).await;
        wait(3).await;
        assert_eq!((world.ready("web"), world.ready("also")), (vec![1], vec![]));
        assert_eq!(world.starts(), 1, "a reload would change nothing");
        let state = haproxy_state(&actors).await;
        let problem = state.services.values().find_map(|service| service.problem.clone()).unwrap();
        assert!(problem.contains("taken by the service web"), "{problem}");
        world.define(&[("also", WEB)]).await;
        wait(5).await;
        assert_eq!(world.ready("also"), [2]);
    });
}

#[test]
fn removed_service_closes_its_socket() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        assert_eq!(world.open_ports().len(), 2);
        world.define(&[("web", WEB)]).await;
        wait(3).await;
        assert_eq!(world.open_ports().len(), 1, "one of two");
        remove_all(&world, &actors).await;
        wait(3).await;
        assert_eq!(world.ready("web"), [] as [u8; 0]);
    });
}

#[test]
fn guard_blocks_loss_of_all_definitions() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1]), ("api", API, &[2])]).await;
        world.define(&[]).await;
        world.definitions_seen(Err("away".to_owned())).await;
        wait(5).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
    });
}

#[test]
fn invalid_definition_keeps_last_good_one() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.define(&[("web", r#"{"type": "static", "port": 65536}"#), ("other", "not JSON")]).await;
        wait(3).await;
        assert_eq!(world.ready("web"), [1]);
        let refused = journal(&actors, "web").await.into_iter().find_map(|entry| match entry.event {
            Event::InputRefused { problem } => Some(problem),
            _ => None,
        });
        assert!(refused.unwrap().contains("65536"));
    });
}

#[test]
fn crash_restarts_at_once_then_with_back_off() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(60).await;
        for pause_s in [0, 1, 2, 4, 8, 16, 30, 30] {
            let starts = world.starts();
            world.kill_haproxy();
            scripted::settle().await;
            assert_eq!(world.starts() > starts, pause_s == 0, "a pause of {pause_s} s");
            wait(pause_s).await;
            assert_eq!(world.starts(), starts + 1, "a pause of {pause_s} s");
        }
        assert_eq!(world.ready("web"), [1]);
        wait(60).await;
        let starts = world.starts();
        world.kill_haproxy();
        scripted::settle().await;
        assert_eq!(world.starts(), starts + 1, "after a long run the restart is at once");
    });
}

#[test]
fn hanging_socket_is_retried_then_reloaded() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.hang_socket(false);
        world.hosts("web", &[1, 2]).await;
        sleep(RUNTIME_ANSWER_TIMEOUT).await;
        assert!(haproxy_state(&actors).await.runtime_error.is_some());
        wait(60).await;
        assert_eq!(world.starts(), 2, "three failures in a row cause a reload");
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn refused_command_causes_one_reload() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        world.refuse_commands(Some("add server"));
        world.hosts("web", &[1, 2]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 2));
        world.refuse_commands(Some("set server web/10.0.0.1:80 state maint"));
        world.hosts("web", &[2]).await;
        wait(60).await;
        assert_eq!(world.ready("web"), [2], "a reload removes the server that could not be disabled");
        assert!(world.starts() <= 3);
    });
}

#[test]
fn drift_is_counted_and_repaired() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        let server = ServerName::new("10.0.0.1:80").unwrap();
        world.tamper(&RuntimeCommand::SetMaintenance(ServerId { service: ServiceName::new("web").unwrap(), server }));
        world.write_file(&format!("{}# edited\n", world.file()));
        wait(65).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(!world.file().contains("edited"));
        assert_eq!(haproxy_state(&actors).await.counts.drift, 2);
    });
}

#[test]
fn full_disk_does_not_stop_runtime_changes() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        world.set_disk_full(true);
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.ready("web"), [1, 2]);
        let state = haproxy_state(&actors).await;
        assert!(state.file_error.is_some() && state.since.file_error_unix_ms.is_some());
        wait(20).await;
        let since = haproxy_state(&actors).await.since.file_error_unix_ms;
        assert_eq!(since, state.since.file_error_unix_ms, "each failed retry is the same problem");
        world.set_disk_full(false);
        wait(10).await;
        assert!(world.file().contains("10.0.0.2:80"));
        let state = haproxy_state(&actors).await;
        assert!(state.file_error.is_none() && state.since.file_error_unix_ms.is_none());
    });
}

#[test]
fn crash_on_full_disk_restarts_on_existing_file() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        wait(5).await;
        world.set_disk_full(true);
        world.hosts("web", &[2, 3]).await;
        let starts = world.starts();
        world.kill_haproxy();
        wait(3).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![2, 3]));
        assert!(haproxy_state(&actors).await.file_error.is_some());
        assert!(world.file().contains("10.0.0.1:80"), "the file is not written yet");
        world.set_disk_full(false);
        wait(20).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![2, 3]));
        assert!(world.file().contains("10.0.0.3:80"));
        let state = haproxy_state(&actors).await;
        assert_eq!((state.file_error, state.reload_error), (None, None));
    });
}

#[test]
fn crash_on_full_disk_ignores_foreign_file() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(5).await;
        let starts = world.starts();
        world.set_disk_full(true);
        world.write_file("# edited\n");
        world.kill_haproxy();
        wait(30).await;
        assert_eq!(world.starts(), starts);
        world.set_disk_full(false);
        wait(30).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![1]));
    });
}

#[test]
fn file_that_never_served_is_not_reused() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1])]).await;
        wait(5).await;
        let starts = world.starts();
        world.silence_starts(true);
        world.kill_haproxy();
        wait(1).await;
        world.set_disk_full(true);
        wait(120).await;
        assert_eq!(world.starts(), starts + 1, "the file was never served");
        world.set_disk_full(false);
        world.silence_starts(false);
        wait(60).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 2, vec![1]));
    });
}

#[test]
fn saved_hosts_are_served_while_discovery_is_away() {
    in_virtual_time(async |world| {
        serve(&world, &[("web", WEB, &[1, 2])]).await;
        wait(5).await;
        let saved = world.saved().services;
        let text = serde_json::to_string(&saved).unwrap();
        let saved = serde_json::from_str(&text).unwrap();
        let after = world.another();
        let actors = after.start_with(saved);
        after.definitions_seen(Err("away".to_owned())).await;
        after.hosts_seen("web", Err("away".to_owned())).await;
        assert_eq!(after.ready("web"), [1, 2]);
        assert!(watcher_state(&actors, "web").await.from_saved_state);
        report(&after, &[("web", WEB, &[2, 3])]).await;
        assert_eq!(after.ready("web"), [2, 3]);
        assert!(!watcher_state(&actors, "web").await.from_saved_state);
    });
}

#[test]
fn change_is_journalled_from_event_to_result() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1, 2])]).await;
        world.hosts("web", &[1]).await;
        let story = journal(&actors, "web").await;
        let last = story.last().unwrap().change;
        let of_last: Vec<_> = story.iter().filter(|entry| entry.change == last).map(|entry| &entry.event).collect();
        assert!(
            matches!(
                of_last.as_slice(),
                [
                    Event::HostsChanged { removed: 1, .. },
                    Event::Decided { .. },
                    Event::Commanded { accepted: true, .. },
                    Event::Applied { .. }
                ]
            ),
            "{of_last:?}"
        );
    });
}

#[test]
fn stop_ends_haproxy_softly() {
    in_virtual_time(async |world| {
        let actors = serve(&world, &[("web", WEB, &[1])]).await;
        actors.stop(OnStop::Stop).await;
        assert_eq!(world.signals().len(), 1);
        wait(60).await;
        assert_eq!(world.starts(), 1, "nothing is started again");
    });
}
