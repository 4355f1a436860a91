//! `haproxy.run: none`: an external HAProxy, whose processes and file proxymgr does not manage.

use std::os::fd::RawFd;

use proxymgr_actors::port::{
    CheckFailure, ConfigFile, ConfigMessage, ConfigText, PortFuture, ProcessSignal, ProxyProcesses, RunningProcess,
};

/// The processes and the file of an external HAProxy. Calls that would change them fail with the reason.
pub struct NotOurs;

const WHY: &str = "haproxy.run is none: proxymgr does not start or reload HAProxy and does not write its file";

impl ProxyProcesses for NotOurs {
    fn start(&self, _: Vec<RawFd>, _: Vec<u32>) -> PortFuture<Result<RunningProcess, String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }

    fn find_orphan(&self) -> PortFuture<Option<RunningProcess>> {
        Box::pin(async { None })
    }

    fn signal(&self, _: u32, _: ProcessSignal) -> Result<(), String> {
        Err(WHY.to_owned())
    }
}

impl ConfigFile for NotOurs {
    fn check(&self, _: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        Box::pin(async { Err(CheckFailure::Failed(WHY.to_owned())) })
    }

    fn try_part(&self, _: ConfigText, _: Vec<RawFd>) -> PortFuture<Result<Vec<ConfigMessage>, CheckFailure>> {
        Box::pin(async { Err(CheckFailure::Failed(WHY.to_owned())) })
    }

    fn promote(&self) -> PortFuture<Result<(), String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }

    fn read_map(&self) -> PortFuture<Result<Option<String>, String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }

    fn read(&self) -> PortFuture<Result<String, String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }

    fn write(&self, _: ConfigText) -> PortFuture<Result<(), String>> {
        Box::pin(async { Err(WHY.to_owned()) })
    }
}
