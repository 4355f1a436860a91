//! The actors together, against a world in memory and in virtual time.

#![allow(missing_docs)]

mod world;

use proxymgr_actors::journal::Event;
use proxymgr_actors::message::SeenHost;
use proxymgr_actors::model::HostRecord;
use proxymgr_actors::snapshot::ProxyPhase;
use world::{config_state, haproxy_state, in_virtual_time, journal, wait, watcher_state};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;
const API: &str = r#"{"type": "static", "port": 8081}"#;

#[test]
fn haproxy_starts_once_with_every_service_and_its_hosts() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.starts(), 0, "the other service is still waited for");
        world.hosts("api", &[3]).await;
        assert_eq!(world.starts(), 1);
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1, 2], vec![3]));
        assert_eq!(haproxy_state(&actors).await.phase, ProxyPhase::Running);
    });
}

#[test]
fn hosts_come_and_go_without_a_reload_and_the_file_follows() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        for hosts in [&[2][..], &[1, 2], &[1, 2, 3], &[3]] {
            world.hosts("web", hosts).await;
            assert_eq!(world.ready("web"), hosts);
            wait(1).await;
            let file = world.with(|things| things.live_file.clone());
            assert_eq!(file.matches("server 10.0.0.").count(), hosts.len(), "{file}");
        }
        assert_eq!(world.starts(), 1);
        let state = haproxy_state(&actors).await;
        assert_eq!((state.counts.runtime_disable, state.counts.runtime_enable), (3, 2));
        assert_eq!(state.services.values().next().unwrap().last_class.as_deref(), Some("runtime-disable"));
    });
}

#[test]
fn a_host_that_stays_away_is_deleted_in_the_end() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.hosts("web", &[1]).await;
        wait(30).await;
        assert!(!world.with(|things| things.commands.iter().any(|command| command.starts_with("del server"))));
        wait(90).await;
        let deleted = world.with(|things| things.commands.iter().filter(|command| command.starts_with("del")).count());
        assert_eq!(deleted, 1);
        world.hosts("web", &[1, 2]).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 1));
    });
}

#[test]
fn an_old_haproxy_is_reloaded_for_new_hosts_and_reloads_are_coalesced() {
    in_virtual_time(async |world| {
        world.with(|things| things.version = (2, 2));
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        for n in 2..10_u8 {
            world.hosts("web", &(1..=n).collect::<Vec<_>>()).await;
        }
        wait(3).await;
        assert_eq!(world.ready("web"), (1..10).collect::<Vec<_>>());
        assert_eq!(world.starts(), 3, "the first start, the first change at once, the others together");
        let starts = world.with(|things| things.starts.clone());
        assert!(starts[2] - starts[1] >= std::time::Duration::from_secs(1));
    });
}

#[test]
fn a_change_that_ends_where_it_began_does_nothing() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.with(|things| things.commands.clone()), Vec::<String>::new());
        assert_eq!(world.starts(), 1);
    });
}

#[test]
fn an_empty_list_and_a_lost_source_take_nothing_away() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
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
fn a_bad_entry_is_its_own_problem() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        let good = |n: u8| SeenHost::new(n.to_string(), Ok(world::host(n)));
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
        let with_foreign_key = r#"{"type": "static", "port": 8080, "bind_options": "ssl", "x-team": "a"}"#;
        world.define(&[("web", with_foreign_key)]).await;
        let record = HostRecord { unknown_keys: vec!["wieght".into()], ..world::host(1).into() };
        world.hosts_seen("web", Ok(vec![SeenHost::of_record("1", Ok(record))])).await;
        assert_eq!(world.ready("web"), [1]);
        let problems = config_state(&actors).await.problems;
        let [problem] = problems["web"].as_slice() else { panic!("{problems:?}") };
        assert!(problem.contains("bind_options") && problem.contains("without TLS"), "{problem}");
        assert!(watcher_state(&actors, "web").await.problems["hosts"].contains("wieght"));
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        assert_eq!(config_state(&actors).await.problems.len(), 0);
        assert_eq!(watcher_state(&actors, "web").await.problems.len(), 0);
    });
}

#[test]
fn a_service_that_haproxy_refuses_keeps_its_last_good_section_and_harms_no_other() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        world.with(|things| things.reject = Some("balance leastconn".to_owned()));
        let bad = r#"{"type": "static", "port": 8081, "listen_options": ["balance leastconn"]}"#;
        let better = r#"{"type": "static", "port": 8080, "listen_options": ["balance roundrobin"]}"#;
        world.define(&[("web", better), ("api", bad)]).await;
        wait(3).await;
        let file = world.with(|things| things.live_file.clone());
        assert!(file.contains("roundrobin") && !file.contains("leastconn"), "{file}");
        assert_eq!(world.ready("api"), [2]);
        let state = haproxy_state(&actors).await;
        let problem = |name: &str| state.services.iter().find(|(n, _)| n.as_str() == name).unwrap().1.problem.clone();
        assert_eq!(
            (problem("api").as_deref(), problem("web")),
            (Some("listen_options[0] \"balance leastconn\": unknown keyword"), None)
        );
        assert_eq!(world.with(|things| things.open_sockets.len()), 2);
        let starts = world.starts();
        wait(60).await;
        assert_eq!(world.starts(), starts, "what was refused is not tried again as it is");
        world.hosts("api", &[2, 4]).await;
        assert_eq!(world.ready("api"), [2, 4], "its hosts still follow");
        world.define(&[("web", better), ("api", API)]).await;
        wait(3).await;
        assert!(haproxy_state(&actors).await.services.values().all(|service| service.problem.is_none()));
    });
}

#[test]
fn a_taken_port_is_named_and_retried_while_the_others_are_served() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.with(|things| things.taken_ports.insert(8081));
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        assert_eq!(world.ready("web"), [1]);
        let state = haproxy_state(&actors).await;
        assert!(state.services.values().any(|service| service.problem.as_deref() == Some("0.0.0.0:8081 is in use")));
        world.with(|things| things.taken_ports.clear());
        wait(5).await;
        assert_eq!(world.ready("api"), [2]);
        assert_eq!(world.with(|things| things.open_sockets.len()), 2);
    });
}

#[test]
fn of_two_services_that_want_one_port_the_first_keeps_it() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
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
fn a_removed_service_gives_its_socket_back() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        assert_eq!(world.with(|things| things.open_sockets.len()), 2);
        world.define(&[("web", WEB)]).await;
        // Both within the window of the guard would be blocked.
        wait(31).await;
        assert_eq!(world.with(|things| things.open_sockets.len()), 1);
        world.define(&[]).await;
        wait(3).await;
        assert_eq!(world.ready("web"), [] as [u8; 0], "one service that goes alone was meant to go");
    });
}

#[test]
fn definitions_that_are_all_gone_at_once_are_held_back() {
    in_virtual_time(async |world| {
        let _actors = world.start();
        world.define(&[("web", WEB), ("api", API)]).await;
        world.hosts("web", &[1]).await;
        world.hosts("api", &[2]).await;
        world.define(&[]).await;
        world.definitions_seen(Err("away".to_owned())).await;
        wait(5).await;
        assert_eq!((world.ready("web"), world.ready("api")), (vec![1], vec![2]));
    });
}

#[test]
fn a_bad_definition_keeps_the_last_good_one() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
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
fn a_haproxy_that_dies_is_restarted_at_once_and_then_with_back_off() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(60).await;
        for pause_s in [0, 1, 2, 4, 8, 16, 30, 30] {
            let starts = world.starts();
            world.kill_haproxy();
            world::settle().await;
            assert_eq!(world.starts() > starts, pause_s == 0, "a pause of {pause_s} s");
            wait(pause_s).await;
            assert_eq!(world.starts(), starts + 1, "a pause of {pause_s} s");
        }
        assert_eq!(world.ready("web"), [1]);
        wait(60).await;
        let starts = world.starts();
        world.kill_haproxy();
        world::settle().await;
        assert_eq!(world.starts(), starts + 1, "after a good run it is at once again");
    });
}

#[test]
fn a_hung_socket_is_retried_and_in_the_end_reloaded() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.socket_hangs = true);
        world.hosts("web", &[1, 2]).await;
        assert!(haproxy_state(&actors).await.runtime_error.is_some());
        wait(10).await;
        assert_eq!(world.starts(), 2, "three failures in a row are a reload");
        assert_eq!(world.ready("web"), [1, 2]);
    });
}

#[test]
fn what_haproxy_refuses_at_run_time_is_reloaded_once() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.refuse = Some("add server".to_owned()));
        world.hosts("web", &[1, 2]).await;
        wait(10).await;
        assert_eq!((world.ready("web"), world.starts()), (vec![1, 2], 2));
        world.with(|things| things.refuse = Some("set server web/10.0.0.1:80 state maint".to_owned()));
        world.hosts("web", &[2]).await;
        wait(60).await;
        assert_eq!(world.ready("web"), [2], "what could not be disabled is left out by a reload");
        assert!(world.starts() <= 3);
    });
}

#[test]
fn drift_is_seen_and_repaired() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        world.with(|things| {
            let servers = things.proxy.values_mut().next().unwrap();
            servers.iter_mut().next().unwrap().1.admin_state = 1;
            things.live_file.push_str("# edited\n");
        });
        wait(65).await;
        assert_eq!(world.ready("web"), [1, 2]);
        assert!(!world.with(|things| things.live_file.contains("edited")));
        assert_eq!(haproxy_state(&actors).await.counts.drift, 2);
    });
}

#[test]
fn a_full_disk_leaves_the_running_haproxy_up_to_date() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        world.with(|things| things.disk_full = true);
        world.hosts("web", &[1, 2]).await;
        assert_eq!(world.ready("web"), [1, 2]);
        let state = haproxy_state(&actors).await;
        assert!(state.file_error.is_some() && state.since.file_error_unix_ms.is_some());
        wait(20).await;
        assert_eq!(haproxy_state(&actors).await.since, state.since, "each failed retry is the same trouble");
        world.with(|things| things.disk_full = false);
        wait(10).await;
        assert!(world.with(|things| things.live_file.contains("10.0.0.2:80")));
        let state = haproxy_state(&actors).await;
        assert!(state.file_error.is_none() && state.since.file_error_unix_ms.is_none());
    });
}

#[test]
fn a_haproxy_that_dies_while_the_disk_is_full_runs_again_on_the_file_that_it_had() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        world.with(|things| things.disk_full = true);
        world.hosts("web", &[2, 3]).await;
        let starts = world.starts();
        world.kill_haproxy();
        wait(3).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![2, 3]));
        assert!(haproxy_state(&actors).await.file_error.is_some());
        assert!(world.with(|things| things.live_file.contains("10.0.0.1:80")), "the file has yet to follow");
        world.with(|things| things.disk_full = false);
        wait(20).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![2, 3]));
        assert!(world.with(|things| things.live_file.contains("10.0.0.3:80")));
        let state = haproxy_state(&actors).await;
        assert_eq!((state.file_error, state.reload_error), (None, None));
    });
}

#[test]
fn nor_is_haproxy_started_on_a_file_that_somebody_else_wrote() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        let starts = world.starts();
        world.with(|things| {
            things.disk_full = true;
            things.live_file = "# edited\n".to_owned();
        });
        world.kill_haproxy();
        wait(30).await;
        assert_eq!(world.starts(), starts);
        world.with(|things| things.disk_full = false);
        wait(30).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 1, vec![1]));
    });
}

#[test]
fn a_file_that_no_process_came_up_with_is_not_used_again() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        wait(5).await;
        let starts = world.starts();
        world.with(|things| things.looks_in_vain = usize::MAX);
        world.kill_haproxy();
        wait(1).await;
        world.with(|things| things.disk_full = true);
        wait(120).await;
        assert_eq!(world.starts(), starts + 1, "what the file says was never served");
        world.with(|things| {
            things.disk_full = false;
            things.looks_in_vain = 0;
        });
        wait(60).await;
        assert_eq!((world.starts(), world.ready("web")), (starts + 2, vec![1]));
    });
}

#[test]
fn what_was_known_is_served_when_discovery_is_away_at_start() {
    in_virtual_time(async |world| {
        world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
        wait(5).await;
        let saved = world.with(|things| std::mem::take(&mut things.saved));
        let text = serde_json::to_string(&saved).unwrap();
        let saved = serde_json::from_str(&text).unwrap();
        let after = world::World::default();
        after.with(|things| things.version = (3, 0));
        let actors = after.start_with(saved);
        after.definitions_seen(Err("away".to_owned())).await;
        after.hosts_seen("web", Err("away".to_owned())).await;
        assert_eq!(after.ready("web"), [1, 2]);
        assert!(watcher_state(&actors, "web").await.from_saved_state);
        after.define(&[("web", WEB)]).await;
        after.hosts("web", &[2, 3]).await;
        assert_eq!(after.ready("web"), [2, 3]);
        assert!(!watcher_state(&actors, "web").await.from_saved_state);
    });
}

#[test]
fn every_change_can_be_followed_from_its_event_to_its_result() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1, 2]).await;
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
fn a_stop_is_soft_and_complete() {
    in_virtual_time(async |world| {
        let actors = world.start();
        world.define(&[("web", WEB)]).await;
        world.hosts("web", &[1]).await;
        actors.stop().await;
        assert_eq!(world.with(|things| things.signals.clone()).len(), 1);
        wait(60).await;
        assert_eq!(world.starts(), 1, "nothing is started again");
    });
}
