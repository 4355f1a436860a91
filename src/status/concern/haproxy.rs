//! Problems of HAProxy's files, settings and processes, of targets and of outputs.

use proxymgr_actors::snapshot::{HaproxyState, OutputState, ProcessSupervisorState, TargetState};

use super::{Concern, ConcernKind};
use crate::status::format::counted;

/// Problems of the first HAProxy, except its services and what ends readiness.
pub fn of_haproxy(state: &HaproxyState) -> Vec<Concern> {
    let since = &state.since;
    let config = state.file_error.iter().map(|error| {
        let advice = "HAProxy itself is up to date; check free space and permissions of the file's directory";
        let text = format!("haproxy.cfg cannot be written: {error}");
        Concern::new(ConcernKind::ConfigNotWritten, text, since.file_error_unix_ms, advice)
    });
    let saved_state = state.saved_state_error.iter().map(|error| {
        let advice = "after a restart proxymgr would use an older state; check free space and permissions of state_dir";
        let text = format!("the saved state cannot be written: {error}");
        Concern::new(ConcernKind::StateNotSaved, text, since.saved_state_error_unix_ms, advice)
    });
    let settings = state.settings_refused.iter().map(|rejected| {
        let count = counted(rejected.mistakes.len(), "mistake");
        let first = rejected.mistakes.first().map_or("", String::as_str);
        let text = format!("settings rejected ({count}), the previous ones stay in use: {first}");
        let advice = "`proxymgr check` lists all mistakes; fix them and send SIGHUP (a change of haproxy.base_config is noticed without it)";
        Concern::new(ConcernKind::SettingsRejected, text, Some(rejected.at_unix_ms), advice)
    });
    config.chain(saved_state).chain(settings).chain(reload_needed(state)).collect()
}

/// What only the operator of an external HAProxy can apply, by a reload.
fn reload_needed(state: &HaproxyState) -> Option<Concern> {
    let is_needed = state.run_by_others && !state.reload_due.is_empty();
    is_needed.then(|| {
        let text = format!("external HAProxy must be reloaded by its operator: {}", state.reload_due.join("; "));
        let advice = "change its own configuration if needed and reload it; proxymgr then reads its state again";
        Concern::new(ConcernKind::ReloadNeeded, text, None, advice)
    })
}

/// HAProxy exits repeatedly. While it does not run, that is part of why the daemon is not ready.
pub fn of_processes(state: &ProcessSupervisorState, haproxy: Option<&HaproxyState>) -> Option<Concern> {
    let is_running = haproxy.is_none_or(|haproxy| haproxy.process.is_some());
    (state.backoff_ms > 0 && is_running).then(|| {
        let crashes = counted(usize::try_from(state.crashes).unwrap_or(usize::MAX), "time");
        let text = format!("HAProxy exited unexpectedly {crashes}; the next restart waits {} ms", state.backoff_ms);
        Concern::new(ConcernKind::HaproxyCrashLoop, text, None, "its last output is in the log of proxymgr")
    })
}

/// Problems of a target.
pub fn of_target(state: &TargetState) -> Vec<Concern> {
    let TargetState { name, haproxy } = state;
    let down = haproxy.runtime_error.iter().map(|error| {
        let advice = "changes are applied when it answers again; other instances are not affected";
        let since = haproxy.since.runtime_error_unix_ms;
        Concern::new(ConcernKind::TargetDown, format!("target {name}: {error}"), since, advice)
    });
    let reload =
        reload_needed(haproxy).map(|concern| Concern { text: format!("target {name}: {}", concern.text), ..concern });
    down.chain(reload).collect()
}

/// The problem of an output.
pub fn of_output(state: &OutputState) -> Option<Concern> {
    let text = format!("output {}: {}", state.name, state.error.as_ref()?);
    let advice = "retried automatically; HAProxy is not affected";
    Some(Concern::new(ConcernKind::OutputFailed, text, state.since_unix_ms, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_loop_is_named_once() {
        let supervisor = ProcessSupervisorState { backoff_ms: 500, crashes: 3, ..Default::default() };
        let down = HaproxyState::default();
        assert_eq!(of_processes(&supervisor, Some(&down)), None, "readiness names it");
        let kind = of_processes(&supervisor, None).map(|concern| concern.kind);
        assert_eq!(kind, Some(ConcernKind::HaproxyCrashLoop));
    }

    #[test]
    fn external_haproxy_reports_needed_reload() {
        let mut haproxy = HaproxyState { reload_due: vec!["web: new".into()], ..HaproxyState::default() };
        assert!(of_haproxy(&haproxy).is_empty(), "proxymgr reloads its own");
        haproxy.run_by_others = true;
        let target = TargetState { name: "edge".into(), haproxy };
        let kinds: Vec<_> = of_target(&target).iter().map(|concern| concern.kind).collect();
        assert_eq!(kinds, [ConcernKind::ReloadNeeded]);
    }
}
