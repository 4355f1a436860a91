//! Every bound and every time-out, each named with its unit: here those of the actors and of HAProxy.

mod discovery;
mod status;

use std::time::Duration;

pub use self::discovery::*;
pub use self::status::*;

/// The longest name of a section or server, in characters: a full host name and a port.
pub const NAME_LENGTH_MAX: usize = 260;

/// The most words HAProxy takes in one line; more are cut without a word on 2.6 and 3.0.
pub const LINE_WORDS_MAX: usize = 64;

/// The most domains of one service.
pub const DOMAINS_MAX: usize = 1_000;

/// The most labels that may follow the `*.` of a domain: HAProxy looks for each number of them.
pub const WILDCARD_LABELS_MAX: usize = 8;

/// The longest beginning of a path that tells services of one domain apart, in bytes.
pub const PATH_PREFIX_BYTES_MAX: usize = 256;

/// After so many refusals in a row to change the map at run time, a reload brings it.
pub const MAP_REFUSALS_BEFORE_RELOAD: u32 = 2;

/// The pause before a host name that did not resolve is looked up again. It doubles each time.
pub const NAME_LOOKUP_RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
pub const NAME_LOOKUP_RETRY_MAX: Duration = Duration::from_secs(60);

/// How long the machine's resolver may take; a name that takes longer does not resolve.
pub const NAME_LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest line sent to the Runtime API, in bytes. From `tune.bufsize` (16,384) on, 2.2 and 2.6 hang.
pub const RUNTIME_LINE_BYTES_MAX: usize = 8_192;

/// The most commands in one batch to the Runtime API, so that one batch never holds up the next change for long.
pub const RUNTIME_BATCH_COMMANDS_MAX: usize = 2_000;

/// The most servers that are planned in one turn of the actor: what comes meanwhile waits no longer than that takes.
pub const PLANNED_SERVERS_AT_ONCE_MAX: usize = 2_000;

/// The most services that are observed together because the health of their servers changed.
pub const OBSERVED_SERVICES_AT_ONCE_MAX: usize = 100;

/// The shortest interval at which the health of servers is polled, where no log line of HAProxy reports it.
pub const HEALTH_POLL_MIN: Duration = Duration::from_millis(1_500);

/// The servers whose health is polled each second at the most, where no log line of HAProxy reports it.
pub const HEALTH_POLL_SERVERS_PER_SECOND: usize = 1_000;

/// How long HAProxy may take to answer one batch before the connection is given up.
pub const RUNTIME_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the Runtime API may take to open.
pub const RUNTIME_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two liveness probes of HAProxy.
pub const LIVENESS_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long HAProxy may take to answer a liveness probe: with the pause before it, silence is noticed within 2 s.
pub const LIVENESS_PROBE_TIMEOUT: Duration = Duration::from_millis(1_300);

/// How long HAProxy may be silent before that is told, while its answer is still waited for.
pub const RUNTIME_SILENCE_TOLD: Duration = Duration::from_secs(2);

/// After this many failed attempts in a row the Runtime API counts as hung and HAProxy is reloaded.
pub const RUNTIME_FAILURES_BEFORE_RELOAD: u32 = 3;

/// The pause before a failed batch is tried again, doubled with each further failure up to [`RUNTIME_RETRY_MAX`].
pub const RUNTIME_RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest pause between two attempts at the Runtime API.
pub const RUNTIME_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long a removed server stays in maintenance before it is deleted: a host that flaps is only enabled again.
pub const PARKED_SERVER_KEEP: Duration = Duration::from_secs(60);

/// The slots of a service that is to have slots and does not say how many.
pub const SLOTS_DEFAULT: usize = 20;

/// The most slots of one service.
pub const SLOTS_MAX: usize = 10_000;

/// The processes that may finish what they have at the same time, where the settings say nothing else.
pub const OLD_PROCESSES_DEFAULT: usize = 20;

/// How long an old process that is beyond the limits may take to end softly.
pub const OLD_PROCESS_GRACE: Duration = Duration::from_secs(2);

/// How often it is looked what old processes still have.
pub const OLD_PROCESS_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is looked whether servers that leave have sessions left.
pub const DRAIN_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The services that are asked for their sessions at once: each costs HAProxy about as much as a small batch.
pub const DRAIN_LOOK_SERVICES_MAX: usize = 50;

/// The steps in which a newcomer's weight rises.
pub const RAMP_STEPS: u32 = 10;

/// How long an operator's choice outlives its host's absence from discovery: longer than a machine takes to be
/// restarted or installed anew, shorter than addresses take to be given to others.
pub const CHOICE_KEEP: Duration = Duration::from_secs(3_600);

/// How often parked servers are looked through for those to delete.
pub const PARKED_SERVER_SWEEP: Duration = Duration::from_secs(15);

/// How long the first start waits for the first list of every service, so that HAProxy starts once and complete.
pub const FIRST_LISTS_WAIT: Duration = Duration::from_secs(10);

/// How long a reload waits for the process before to tell how its servers are; it goes on without.
pub const STATE_FILE_PATIENCE: Duration = Duration::from_millis(500);

/// The most lines of HAProxy's server states that are looked through in one turn of the actors' thread.
pub const STATE_FILE_LINES_AT_ONCE_MAX: usize = 1_000;

/// How long `haproxy -c` may take.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a new HAProxy process may take until it answers on its socket.
pub const PROXY_READY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the first look whether a new process answers may take; each in vain doubles it: the one before may hang there.
pub const PROXY_READY_LOOK_MIN: Duration = Duration::from_millis(200);

/// The pause between two looks at whether a new HAProxy process answers.
pub const PROXY_READY_POLL: Duration = Duration::from_millis(10);

/// A process that ran at least this long did not crash at start: the next restart is immediate again.
pub const CRASH_FREE_RUN: Duration = Duration::from_secs(10);

/// The first pause between two restarts of a HAProxy that keeps dying.
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest pause between two restarts of a HAProxy that keeps dying.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The pause before a reload that failed for a reason outside the configuration is tried again.
pub const RELOAD_RETRY: Duration = Duration::from_secs(5);

/// The longest such pause: it doubles with each failure in a row.
pub const RELOAD_RETRY_MAX: Duration = Duration::from_secs(40);

/// The pause before a port that could not be bound is tried again.
pub const BIND_RETRY: Duration = Duration::from_secs(1);

/// Pending connections the kernel keeps for a listening socket (`listen(2)`; capped by net.core.somaxconn).
pub const LISTEN_BACKLOG: i32 = 4_096;

/// How much of one message of `haproxy -c` is kept, in characters.
pub const CONFIG_MESSAGE_CHARS_MAX: usize = 1_024;

/// How much of a line of haproxy.cfg is repeated in a message about it, in characters.
pub const CONFIG_LINE_CHARS_MAX: usize = 200;

/// The least time between two applications of an output besides HAProxy: changes that come together go together.
pub const OUTPUT_INTERVAL: Duration = Duration::from_secs(1);

/// The pause before an output that failed is tried again, doubled with each further failure up to [`OUTPUT_RETRY_MAX`].
pub const OUTPUT_RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest pause between two attempts at an output.
pub const OUTPUT_RETRY_MAX: Duration = Duration::from_secs(60);

/// The least time between two writes of the saved state.
pub const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// The least time between two writes of haproxy.cfg that follow runtime changes, as a multiple of the last write's time.
pub const CONFIG_WRITE_PACE: u32 = 10;

/// The pause before a failed write of haproxy.cfg is tried again.
pub const CONFIG_WRITE_RETRY: Duration = Duration::from_secs(5);

/// What the journal remembers, in entries.
pub const JOURNAL_ENTRIES_MAX: usize = 10_000;

/// The bounds by which the time from a source's event to HAProxy's answer is counted, in microseconds: from what a
/// runtime change takes on a quiet machine to what nobody would wait for.
pub const APPLY_LATENCY_BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// How far back the guard looks where the settings do not say it.
pub const GUARD_WINDOW: Duration = Duration::from_secs(30);

/// The most names of a list that the guard blocked which a snapshot shows.
pub const BLOCKED_NAMES_MAX: usize = 50;

/// The longest reason that an operator may give for an order, in characters.
pub const ORDER_REASON_CHARS_MAX: usize = 200;

/// The most mistakes of refused settings that a snapshot shows.
pub const SETTINGS_MISTAKES_SHOWN_MAX: usize = 20;

/// How long an actor may take to answer a question about its state before it counts as stuck.
pub const STATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a killed process may take to be seen ended before the daemon exits all the same.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// The longest line of a service's `listen_options`, in bytes.
pub const LISTEN_LINE_BYTES_MAX: usize = 8_192;

/// The most lines of `listen_options` in one service.
pub const LISTEN_LINES_MAX: usize = 500;

/// The most words of a service's `server_options`: with a host's own and those that proxymgr adds (three for name and
/// address, eight for id, weight, backup, cookie and state) a server line stays within [`LINE_WORDS_MAX`].
pub const SERVER_OPTION_WORDS_MAX: usize = 40;

/// The most words of one host's own `options`.
pub const HOST_OPTION_WORDS_MAX: usize = 12;

/// The longest `server_options` of a service and `options` of a host, in bytes each: both together, escaped, fit a
/// line of the Runtime API.
pub const SERVER_OPTION_BYTES_MAX: usize = 1_024;

/// The most characters of a refused value that a message repeats.
pub const QUOTED_VALUE_CHARS_MAX: usize = 80;

/// The longest line the Runtime API may answer with, in bytes. A longer one is not HAProxy speaking.
pub const RUNTIME_ANSWER_LINE_BYTES_MAX: usize = 65_536;

/// How much of HAProxy's answer to one command is kept, in bytes.
pub const RUNTIME_ANSWER_TEXT_BYTES_MAX: usize = 1_024;

/// How long `haproxy -v` may take.
pub const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How many lines of HAProxy's own output go to the log each second; the rest are only counted.
pub const PROXY_OUTPUT_LINES_PER_SECOND_MAX: u32 = 50;

/// How much of one line of HAProxy's own output goes to the log, in bytes.
pub const PROXY_OUTPUT_LINE_BYTES_MAX: usize = 4_096;

/// How much HAProxy can write before somebody has to read it, in bytes: about 1,500 lines.
pub const PROXY_OUTPUT_PIPE_BYTES: usize = 262_144;

/// How much of the result of a health check is kept, in characters: a server's answer may be in it.
pub const CHECK_RESULT_CHARS_MAX: usize = 256;

/// Of how many servers the reader of HAProxy's output remembers the last health check; beyond it forgets them all.
pub const CHECK_RESULTS_KEPT_MAX: usize = 4_096;

/// How many changes of servers' health one process may report each second; the rest show at the next observation.
pub const HEALTH_REPORTS_PER_SECOND_MAX: u32 = 1_000;

/// How long the answer to "who holds this port" is kept: it takes a walk through /proc, and a bind is retried often.
pub const PORT_HOLDER_KEEP: Duration = Duration::from_secs(30);

/// How long one walk through /proc may take that looks for the holder of a port.
pub const PORT_HOLDER_SEARCH: Duration = Duration::from_millis(50);

/// How many saved states that could not be read are put aside before the last one is replaced.
pub const DAMAGED_STATES_MAX: u32 = 10;

/// The most changes of one service that are followed one by one while none of them can be put in force.
pub const PENDING_CHANGES_MAX: usize = 100;

/// The most servers cleared away in one batch: it must not hold up a change for long.
pub const CLEARANCES_AT_ONCE_MAX: usize = 200;

/// How long runtime changes may go before a reload that is due: a steady stream of them must not starve it.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(1);

/// How often the same commands are accepted by HAProxy without being seen to work before a reload is made instead.
pub const RUNTIME_TRIES_MAX: u32 = 3;

/// The largest haproxy.cfg that is read back for comparison, in bytes. A larger one is not ours.
pub const CONFIG_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long the file system may take to give haproxy.cfg back.
pub const CONFIG_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The most notes that wait to be written to a recording; what comes when so many wait is lost and counted.
pub const RECORD_QUEUE_NOTES_MAX: usize = 10_000;

/// The most entries of sources in the notes that wait to be written to a recording: about 100 MB.
pub const RECORD_QUEUE_ENTRIES_MAX: usize = 500_000;

/// How long a recording may get, in bytes: a forgotten one must not fill the disk that haproxy.cfg is on.
pub const RECORD_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// How often the journal is looked at for what is new to a recording: it forgets all but the last entries.
pub const RECORD_JOURNAL_INTERVAL: Duration = Duration::from_millis(500);

/// How long the end of a recording may take to be written.
pub const RECORD_FINISH_TIMEOUT: Duration = Duration::from_secs(2);
