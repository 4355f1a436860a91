//! What a test can do to the world besides what discovery reports.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::model::{ProxyVersion, RuntimeCommand};
use proxymgr_actors::port::{ConfigText, ProcessUsage, ServiceOutput};

use super::{SHORT_MS, ScriptedWorld};
use crate::durations::Work;
use crate::plan::StartFailure;
use crate::processes::SocketFault;
use crate::route_map::RouteMap;

impl ScriptedWorld {
    /// The version of HAProxy that starts next.
    pub fn install(&self, major: u16, minor: u16) {
        self.world.install(ProxyVersion { major, minor });
    }

    /// From now on this takes so long.
    pub fn takes(&self, work: Work, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(SHORT_MS);
        self.world.set_duration(work, millis, millis);
    }

    /// Nothing can be written from now on, or again.
    pub fn set_disk_full(&self, full: bool) {
        self.world.with(|things| things.disk_full = full);
    }

    /// Another program listens on this port as soon as it is free.
    pub fn take_port(&self, port: u16) {
        self.world.with(|things| things.taken_ports.insert(port));
    }

    /// Other programs listen on no port any more.
    pub fn free_ports(&self) {
        self.world.with(|things| things.taken_ports.clear());
    }

    /// HAProxy refuses every file with a line that contains this, with the words `unknown keyword`; none for any.
    pub fn refuse_files_with(&self, text: Option<&str>) {
        self.world.with(|things| things.refused_lines = text.map(ToOwned::to_owned).into_iter().collect());
    }

    /// HAProxy refuses every command that begins so; none for any.
    pub fn refuse_commands(&self, prefix: Option<&str>) {
        self.world.with(|things| things.refused_prefix = prefix.map(ToOwned::to_owned));
    }

    /// The HAProxy that serves does not answer from now on, and may obey all the same.
    pub fn hang_socket(&self, obeys: bool) {
        self.world.break_socket(SocketFault::Hangs { obeys });
    }

    /// Every HAProxy answers again.
    pub fn heal_socket(&self) {
        self.world.with(|things| things.processes.values_mut().for_each(|process| process.fault = None));
    }

    /// Every process that starts from now on never answers, or does again.
    pub fn silence_starts(&self, silent: bool) {
        self.world.with(|things| things.starts_fail = silent.then_some(StartFailure::Silent));
    }

    /// This host name resolves from now on, to 10.0.0.99.
    pub fn resolve_name(&self, name: &str) {
        let address = IpAddr::from([10, 0, 0, 99]);
        self.world.with(|things| things.names.insert(name.to_owned(), address));
    }

    /// The HAProxy that serves crashes.
    pub fn kill_haproxy(&self) {
        self.world.kill_haproxy();
    }

    /// Somebody runs this command on the HAProxy that serves, behind the manager's back.
    pub fn tamper(&self, command: &RuntimeCommand) {
        self.world.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get_mut(&pid));
            let process = serving.expect("a HAProxy serves");
            let answer = process.model.run(command);
            assert!(answer.accepted, "{command}: {}", answer.text);
        });
    }

    /// Somebody replaces the map of the HAProxy that serves.
    pub fn tamper_with_map(&self, text: &str) {
        self.world.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get_mut(&pid));
            serving.expect("a HAProxy serves").map = Some(RouteMap::load(text));
        });
    }

    /// Somebody writes haproxy.cfg; the map beside it stays.
    pub fn write_file(&self, text: &str) {
        self.world.with(|things| {
            things.live_file = ConfigText { pieces: vec![text.into()], map: things.live_file.map.take() };
        });
    }

    /// Somebody writes the map beside haproxy.cfg.
    pub fn write_map_file(&self, text: &str) {
        self.world.with(|things| things.live_file.map = Some(text.into()));
    }

    /// Somebody runs a HAProxy with this configuration, in place of the one before.
    pub fn run_external_haproxy(&self, config: &str) {
        self.world.run_external(config);
    }

    /// This server has so many sessions from now on, wherever a server of that name is.
    pub fn set_sessions(&self, server: &str, count: u64) {
        self.world.with(|things| {
            let sessions = things.sessions.get_or_insert_default();
            sessions.insert(server.to_owned(), count);
        });
    }

    /// What every process uses from now on.
    pub fn set_usage(&self, usage: ProcessUsage) {
        self.world.with(|things| things.usage = Some(usage));
    }

    /// Processes that are told to finish keep what they have.
    pub fn keep_old_processes(&self) {
        const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;
        self.world.set_duration(Work::Finish, YEAR_MS, YEAR_MS);
    }

    /// The managers that start from now on have this output, too.
    pub fn add_output(&self, output: Rc<dyn ServiceOutput>) {
        self.world.with(|things| things.outputs.push(output));
    }
}
