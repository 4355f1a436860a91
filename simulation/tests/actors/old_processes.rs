//! Draining processes and their limits.

use std::time::Duration;

use proxymgr_actors::journal::Event;
use proxymgr_actors::message::ReadJournal;
use proxymgr_actors::model::{OldProcessLimits, ProxyPolicy};
use proxymgr_actors::operator::Order;
use proxymgr_actors::port::{ProcessSignal, ProcessUsage};
use proxymgr_actors::snapshot::{ActorState, DrainingProcess};
use proxymgr_actors::wiring::Actors;
use proxymgr_simulation::scripted::{ScriptedWorld, changed, in_virtual_time, policy, wait};

const WEB: &str = r#"{"type": "static", "port": 8080}"#;

fn limited(count_max: usize, age_max_s: Option<u64>) -> ProxyPolicy {
    let old_processes = OldProcessLimits { count_max, age_max: age_max_s.map(Duration::from_secs) };
    ProxyPolicy { old_processes, ..policy(&[]) }
}

/// Creates a world in which old processes keep their connections, and makes this number of reloads, 10 s apart.
async fn reloaded(world: &ScriptedWorld, policy: ProxyPolicy, times: usize) -> Actors {
    world.keep_old_processes();
    let actors = world.start_under(policy);
    world.define(&[("web", WEB)]).await;
    world.hosts("web", &[1]).await;
    for _ in 0..times {
        wait(10).await;
        actors.order(Order::Reload { reason: None }).await.unwrap();
    }
    wait(1).await;
    actors
}

async fn draining(actors: &Actors) -> Vec<DrainingProcess> {
    let states = actors.states().await.unwrap();
    let found = states.into_iter().find_map(|state| match state {
        ActorState::ProcessSupervisor(state) => Some(state.draining),
        _ => None,
    });
    found.unwrap()
}

fn pids(draining: &[DrainingProcess]) -> Vec<u32> {
    draining.iter().map(|process| process.pid).collect()
}

async fn stopped(actors: &Actors) -> Vec<(u32, String)> {
    let story = actors.journal(ReadJournal::default()).await;
    let stopped = story.into_iter().filter_map(|entry| match entry.event {
        Event::OldProxyStopped { pid, why, .. } => Some((pid, why)),
        _ => None,
    });
    stopped.collect()
}

#[test]
fn oldest_process_beyond_count_is_ended() {
    in_virtual_time(async |world| {
        let actors = reloaded(&world, limited(2, None), 3).await;
        assert_eq!(pids(&draining(&actors).await), [1001, 1002, 1003], "it has a moment to exit itself");
        assert_eq!(world.signals(), [(1001, ProcessSignal::SoftStop)]);
        wait(5).await;
        assert_eq!(pids(&draining(&actors).await), [1002, 1003]);
        assert_eq!(world.signals()[1..], [(1001, ProcessSignal::Kill)]);
        let stopped = stopped(&actors).await;
        assert_eq!(stopped.len(), 1);
        assert!(stopped[0].1.contains("haproxy.max_old_processes is 2"), "{stopped:?}");
    });
}

#[test]
fn old_process_ends_at_its_timeout() {
    in_virtual_time(async |world| {
        let actors = reloaded(&world, limited(20, Some(60)), 2).await;
        wait(45).await;
        assert_eq!(pids(&draining(&actors).await), [1001, 1002]);
        wait(8).await;
        assert_eq!(pids(&draining(&actors).await), [1002]);
        wait(10).await;
        assert!(draining(&actors).await.is_empty());
        let stopped = stopped(&actors).await;
        assert!(stopped.iter().all(|(_, why)| why.contains("haproxy.old_process_timeout (60 s)")), "{stopped:?}");
        wait(300).await;
        assert_eq!(world.starts(), 3, "the serving process is never stopped");
    });
}

#[test]
fn changed_limits_apply_at_once() {
    in_virtual_time(async |world| {
        let actors = reloaded(&world, limited(20, None), 3).await;
        wait(3_600).await;
        assert_eq!(pids(&draining(&actors).await), [1001, 1002, 1003], "without limits they take as long as they need");
        actors.change_policy(&changed(limited(1, None)));
        wait(5).await;
        assert_eq!(pids(&draining(&actors).await), [1003]);
    });
}

#[test]
fn usage_of_old_processes_is_reported() {
    in_virtual_time(async |world| {
        world.set_usage(ProcessUsage { connections: 7, memory_bytes: 50_000_000 });
        let actors = reloaded(&world, limited(20, None), 1).await;
        wait(6).await;
        let shown = draining(&actors).await[0].clone();
        assert_eq!((shown.connections, shown.memory_bytes), (Some(7), Some(50_000_000)));
    });
}
