//! Faults and external changes in the world of a test.

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
    /// Sets the version of HAProxy that starts next.
    pub fn install(&self, major: u16, minor: u16) {
        self.world.install(ProxyVersion { major, minor });
    }

    /// Sets how long this work takes.
    pub fn takes(&self, work: Work, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(SHORT_MS);
        self.world.set_duration(work, millis, millis);
    }

    /// Makes every write fail, or succeed again.
    pub fn set_disk_full(&self, full: bool) {
        self.world.with(|things| things.disk_full = full);
    }

    /// Makes another program listen on this port as soon as it is free.
    pub fn take_port(&self, port: u16) {
        self.world.with(|things| things.taken_ports.insert(port));
    }

    /// Makes other programs free all ports.
    pub fn free_ports(&self) {
        self.world.with(|things| things.taken_ports.clear());
    }

    /// Makes HAProxy refuse every file with a line that contains this, with the message `unknown keyword`; `None` ends
    /// that.
    pub fn refuse_files_with(&self, text: Option<&str>) {
        self.world.with(|things| things.refused_lines = text.map(ToOwned::to_owned).into_iter().collect());
    }

    /// Makes HAProxy refuse every command with this prefix; `None` ends that.
    pub fn refuse_commands(&self, prefix: Option<&str>) {
        self.world.with(|things| things.refused_prefix = prefix.map(ToOwned::to_owned));
    }

    /// Makes the serving HAProxy stop answering; with `obeys` it still executes commands.
    pub fn hang_socket(&self, obeys: bool) {
        self.world.break_socket(SocketFault::Hangs { obeys });
    }

    /// Makes every HAProxy answer again.
    pub fn heal_socket(&self) {
        self.world.with(|things| things.processes.values_mut().for_each(|process| process.fault = None));
    }

    /// Makes every later process never answer, or ends that.
    pub fn silence_starts(&self, silent: bool) {
        self.world.with(|things| things.starts_fail = silent.then_some(StartFailure::Silent));
    }

    /// Makes this host name resolve, to 10.0.0.99.
    pub fn resolve_name(&self, name: &str) {
        let address = IpAddr::from([10, 0, 0, 99]);
        self.world.with(|things| things.names.insert(name.to_owned(), address));
    }

    /// Crashes the serving HAProxy.
    pub fn kill_haproxy(&self) {
        self.world.kill_haproxy();
    }

    /// Executes a command on the serving HAProxy as another program would.
    pub fn tamper(&self, command: &RuntimeCommand) {
        self.world.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get_mut(&pid));
            let process = serving.expect("a HAProxy serves");
            let answer = process.model.run(command);
            assert!(answer.accepted, "{command}: {}", answer.text);
        });
    }

    /// Replaces the map of the serving HAProxy as another program would.
    pub fn tamper_with_map(&self, text: &str) {
        self.world.with(|things| {
            let serving = things.serving().and_then(|pid| things.processes.get_mut(&pid));
            let process = serving.expect("a HAProxy serves");
            process.map = Some(RouteMap::load(text, process.version));
        });
    }

    /// Writes haproxy.cfg as another program would; its map file stays.
    pub fn write_file(&self, text: &str) {
        self.world.with(|things| {
            things.live_file =
                ConfigText { pieces: vec![text.into()], map: things.live_file.map.take(), ..ConfigText::default() };
        });
    }

    /// Writes the map file of haproxy.cfg as another program would.
    pub fn write_map_file(&self, text: &str) {
        self.world.with(|things| things.live_file.map = Some(text.into()));
    }

    /// Replaces the serving process by an external HAProxy with this configuration.
    pub fn run_external_haproxy(&self, config: &str) {
        self.world.run_external(config);
    }

    /// Sets the number of sessions of every server with this name.
    pub fn set_sessions(&self, server: &str, count: u64) {
        self.world.with(|things| {
            let sessions = things.sessions.get_or_insert_default();
            sessions.insert(server.to_owned(), count);
        });
    }

    /// Sets the resource usage of every process.
    pub fn set_usage(&self, usage: ProcessUsage) {
        self.world.with(|things| things.usage = Some(usage));
    }

    /// Makes draining processes keep their connections.
    pub fn keep_old_processes(&self) {
        const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;
        self.world.set_duration(Work::Finish, YEAR_MS, YEAR_MS);
    }

    /// Adds an output to the managers that start from now on.
    pub fn add_output(&self, output: Rc<dyn ServiceOutput>) {
        self.world.with(|things| things.outputs.push(output));
    }
}
