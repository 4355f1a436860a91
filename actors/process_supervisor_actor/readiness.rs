//! Waiting for a new process to serve.

use std::rc::Rc;

use actix::Recipient;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ports::SupervisorPorts;
use crate::limits::{CATCH_UP_TIMEOUT, PROXY_READY_LOOK_MIN, PROXY_READY_POLL, PROXY_READY_TIMEOUT};
use crate::message::{LaunchError, ProxyAnswers};
use crate::model::ProcessInfo;
use crate::port::{ProcessExit, ProcessSignal, RuntimeApi};

/// A process that does not answer yet.
pub(super) struct NewProcess {
    pub(super) pid: u32,
    /// Its own Runtime API; `None` where it opens its socket itself.
    pub(super) runtime: Option<Rc<dyn RuntimeApi>>,
    pub(super) exit: watch::Receiver<Option<ProcessExit>>,
}

/// Resolves when the new process answers at the socket's path. A process of `ours` that never does is killed.
pub(super) async fn until_it_answers(
    ports: &SupervisorPorts,
    peer: &Recipient<ProxyAnswers>,
    process: NewProcess,
    ours: bool,
) -> Result<ProcessInfo, LaunchError> {
    let NewProcess { pid, runtime, mut exit } = process;
    let answers = async {
        match runtime {
            Some(runtime) => answer_on_own_connection(ports, pid, &*runtime, peer).await,
            None => Ok(answer_at_the_path(ports, pid).await),
        }
    };
    let ended = async {
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(ProcessExit::Unknown),
            Err(_) => ProcessExit::Unknown,
        }
    };
    tokio::select! {
        biased;
        exit = ended => Err(LaunchError::Ended(exit)),
        answer = timeout(PROXY_READY_TIMEOUT, answers) => answer.unwrap_or_else(|_| {
            if ours {
                // It may hold the listeners without serving them: no process is better than one that hangs. A failure
                // to kill it means that it is gone.
                let _ = ports.processes.signal(pid, ProcessSignal::Kill);
            }
            Err(LaunchError::Silent(PROXY_READY_TIMEOUT.as_secs()))
        }),
    }
}

/// Waits for the answer on the process's own connection, where the request is queued until it runs. Then its socket
/// replaces the previous one.
async fn answer_on_own_connection(
    ports: &SupervisorPorts,
    pid: u32,
    runtime: &dyn RuntimeApi,
    peer: &Recipient<ProxyAnswers>,
) -> Result<ProcessInfo, LaunchError> {
    let info = loop {
        match runtime.process().await {
            Ok(info) => break info,
            // Usually the process has ended, and its supervisor is about to be notified.
            Err(_) => sleep(PROXY_READY_POLL).await,
        }
    };
    // A client of the published socket never sees a removed host in traffic.
    let _ = timeout(CATCH_UP_TIMEOUT, peer.send(ProxyAnswers)).await;
    ports.processes.publish_runtime(pid).await.map_err(LaunchError::Start)?;
    // The persistent connection leads to the previous process.
    ports.runtime.disconnect();
    Ok(info)
}

/// Polls the socket until the new process is the one that answers there.
async fn answer_at_the_path(ports: &SupervisorPorts, pid: u32) -> ProcessInfo {
    ports.runtime.disconnect();
    let mut patience = PROXY_READY_LOOK_MIN;
    loop {
        match timeout(patience, ports.runtime.process()).await {
            Ok(Ok(info)) if info.pid == pid => return info,
            Ok(_) => {}
            Err(_) => patience *= 2,
        }
        sleep(PROXY_READY_POLL).await;
    }
}
