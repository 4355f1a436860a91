//! Limits and timeouts, each named with its unit: here those of the actors and of HAProxy.

mod certificates;
mod checks;
mod discovery;
mod restart;
mod status;

use std::time::Duration;

pub use self::certificates::*;
pub use self::checks::*;
pub use self::discovery::*;
pub use self::restart::*;
pub use self::status::*;

/// The longest name of a section or server, in characters: a full host name and a port.
pub const NAME_LENGTH_MAX: usize = 260;

/// The most words HAProxy accepts in one line; 2.6 and 3.0 silently drop further ones.
pub const LINE_WORDS_MAX: usize = 64;

/// The most domains of one service.
pub const DOMAINS_MAX: usize = 1_000;

/// The most labels that may follow the `*.` of a domain: HAProxy does a lookup for each number of labels.
pub const WILDCARD_LABELS_MAX: usize = 8;

/// The longest path prefix of a service, in bytes.
pub const PATH_PREFIX_BYTES_MAX: usize = 256;

/// The most services whose requests have conditions beside domain and path: HAProxy tries their rules one after the
/// other, for every request of their port.
pub const CONDITIONAL_SERVICES_MAX: usize = 500;

/// The most tags of a host, and the most pairs of its meta data; further ones are left out.
pub const HOST_LABELS_MAX: usize = 64;

/// The longest tag of a host, and the longest key and value of its meta data.
pub const HOST_LABEL_BYTES_MAX: usize = 512;

/// The most headers that the requests of one service must have.
pub const MATCH_HEADERS_MAX: usize = 8;

/// The most methods of the requests of one service.
pub const MATCH_METHODS_MAX: usize = 16;

/// The most networks that the requests of one service may come from.
pub const MATCH_SOURCES_MAX: usize = 256;

/// The longest name of a header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 64;

/// The longest value of a header in a definition, in bytes.
pub const HEADER_VALUE_BYTES_MAX: usize = 256;

/// The longest HTTP method, in bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// The number of refused map changes in a row after which a reload applies them.
pub const MAP_REFUSALS_BEFORE_RELOAD: u32 = 2;

/// The first pause before a host name that did not resolve is looked up again. It doubles each time.
pub const NAME_LOOKUP_RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
pub const NAME_LOOKUP_RETRY_MAX: Duration = Duration::from_secs(60);

/// The timeout of the machine's resolver; a name that takes longer counts as unresolved.
pub const NAME_LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest line sent to the Runtime API, in bytes. From `tune.bufsize` (16,384) on, 2.2 and 2.6 hang.
pub const RUNTIME_LINE_BYTES_MAX: usize = 8_192;

/// The most commands in one batch to the Runtime API.
pub const RUNTIME_BATCH_COMMANDS_MAX: usize = 2_000;

/// The most commands in one batch before it is known how fast HAProxy executes them.
pub const RUNTIME_BATCH_COMMANDS_FIRST: usize = 200;

/// The fewest commands that a batch may have, however slow HAProxy is.
pub const RUNTIME_BATCH_COMMANDS_MIN: usize = 20;

/// How long one batch should take: the next change waits for it.
pub const RUNTIME_BATCH_TIME: Duration = Duration::from_millis(20);

/// The most servers of one service that are added at run time together. A reload adds more sooner: HAProxy compares each
/// added server with all others.
pub const RUNTIME_ADDS_MAX: usize = 2_000;

/// The pause between two assignments of all domains, for each service: while thousands of definitions come one by one, the
/// assignment must not take all the time.
pub const ROUTES_PACE: Duration = Duration::from_micros(10);

/// The number of services from which on the assignment of domains is paced.
pub const ROUTES_PACED_FROM: usize = 200;

/// The most servers that are planned in one turn of the actor, which bounds the delay of other messages.
pub const PLANNED_SERVERS_AT_ONCE_MAX: usize = 2_000;

/// The most sections of a replaced process whose memory is freed in one turn of the actor: it takes longer than most other
/// work.
pub const SECTIONS_FREED_AT_ONCE_MAX: usize = 20;

/// The most services that are observed together because the health of their servers changed.
pub const OBSERVED_SERVICES_AT_ONCE_MAX: usize = 100;

/// The shortest interval at which the health of servers is polled, where no log line of HAProxy reports it.
pub const HEALTH_POLL_MIN: Duration = Duration::from_millis(1_500);

/// The most servers whose health is polled per second, where no log line of HAProxy reports it.
pub const HEALTH_POLL_SERVERS_PER_SECOND: usize = 1_000;

/// The timeout of HAProxy's answer to one batch, after which the connection is closed.
pub const RUNTIME_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout for opening a connection to the Runtime API.
pub const RUNTIME_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause between two liveness probes of HAProxy.
pub const LIVENESS_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The timeout of a liveness probe: with the pause before it, an unresponsive HAProxy is detected within 2 s.
pub const LIVENESS_PROBE_TIMEOUT: Duration = Duration::from_millis(1_300);

/// How long an answer of HAProxy may take before this is reported as a problem, while it is still awaited.
pub const RUNTIME_SILENCE_TOLD: Duration = Duration::from_secs(2);

/// After this many failed attempts in a row the Runtime API counts as hung and HAProxy is reloaded.
pub const RUNTIME_FAILURES_BEFORE_RELOAD: u32 = 3;

/// The pause before a failed batch is retried, doubled with each further failure up to [`RUNTIME_RETRY_MAX`].
pub const RUNTIME_RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest pause between two attempts at the Runtime API.
pub const RUNTIME_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long a removed server stays in maintenance before it is deleted, so that a flapping host is only enabled again.
pub const PARKED_SERVER_KEEP: Duration = Duration::from_secs(60);

/// The default number of slots of a service.
pub const SLOTS_DEFAULT: usize = 20;

/// The most slots of one service.
pub const SLOTS_MAX: usize = 10_000;

/// The default maximum number of draining processes.
pub const OLD_PROCESSES_DEFAULT: usize = 20;

/// How long an old process that exceeds the limits may take for its soft stop.
pub const OLD_PROCESS_GRACE: Duration = Duration::from_secs(2);

/// The interval at which the resource usage of old processes is measured.
pub const OLD_PROCESS_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which the sessions of draining servers are read.
pub const DRAIN_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The most services whose sessions are read at once: each costs HAProxy about as much as a small batch.
pub const DRAIN_LOOK_SERVICES_MAX: usize = 50;

/// The number of steps of a ramp-up.
pub const RAMP_STEPS: u32 = 10;

/// How long an override outlives its host's absence from discovery: longer than the restart or reinstallation of a
/// machine, shorter than the time until its address is reused.
pub const CHOICE_KEEP: Duration = Duration::from_secs(3_600);

/// How long the servers of a removed backend stay ready after it got its last request, so that requests in its queue are
/// served: twice as long as they wait there by default (`timeout connect 5s`). Later ones get an error.
pub const BACKEND_QUEUE_WAIT: Duration = Duration::from_secs(10);

/// The pause between the maintenance of a removed backend's servers and their deletion, in which the last requests end.
/// Where some last longer, each sweep tries again.
pub const BACKEND_DELETION_WAIT: Duration = Duration::from_secs(1);

/// The interval at which parked servers are checked for deletion.
pub const PARKED_SERVER_SWEEP: Duration = Duration::from_secs(15);

/// How long the first start waits for the first list of every service, so that HAProxy starts once and complete.
pub const FIRST_LISTS_WAIT: Duration = Duration::from_secs(10);

/// How long a reload waits for the server states of the previous process before it continues without them.
pub const STATE_FILE_PATIENCE: Duration = Duration::from_millis(500);

/// How long a reload waits for the counters of the previous process before it continues without them. 50,000 servers take
/// 0.2 to 0.4 s.
pub const COUNTERS_PATIENCE: Duration = Duration::from_secs(2);

/// The most lines of HAProxy's server states that are processed in one turn of the actors' thread.
pub const STATE_FILE_LINES_AT_ONCE_MAX: usize = 1_000;

/// The timeout of `haproxy -c`.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout for the first answer of a new HAProxy process on its socket.
pub const PROXY_READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The timeout of the first attempt to reach a new process, doubled after each failure: the old process may hang on the
/// socket.
pub const PROXY_READY_LOOK_MIN: Duration = Duration::from_millis(200);

/// How long a new process that answers may take to answer the commands sent to it before, until its socket is published
/// regardless.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause between two attempts to reach a new HAProxy process.
pub const PROXY_READY_POLL: Duration = Duration::from_millis(10);

/// A process that ran at least this long did not crash at start: the next restart is immediate again.
pub const CRASH_FREE_RUN: Duration = Duration::from_secs(10);

/// The first pause between two restarts of a HAProxy that keeps crashing.
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest pause between two restarts of a HAProxy that keeps crashing.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The first pause before a failed reload is retried.
pub const RELOAD_RETRY: Duration = Duration::from_secs(5);

/// The longest such pause: it doubles with each failure in a row.
pub const RELOAD_RETRY_MAX: Duration = Duration::from_secs(40);

/// The first pause before a base configuration with which HAProxy did not start is tried again.
pub const REFUSED_BASE_RETRY: Duration = Duration::from_secs(60);

/// The longest such pause: it doubles with each failure in a row.
pub const REFUSED_BASE_RETRY_MAX: Duration = Duration::from_secs(30 * 60);

/// The pause before a failed bind is retried.
pub const BIND_RETRY: Duration = Duration::from_secs(1);

/// The pause after a change of services before waits for ports end that no service uses any more.
pub const PORT_WAITS_LOOK: Duration = Duration::from_millis(100);

/// Pending connections the kernel keeps for a listening socket (`listen(2)`; capped by net.core.somaxconn).
pub const LISTEN_BACKLOG: i32 = 4_096;

/// The most ports of one range in a `bind` line of the base configuration that are held. HAProxy opens the sockets of a
/// larger range itself.
pub const BIND_RANGE_MAX: usize = 256;

/// The most files of the base configuration.
pub const BASE_FILES_MAX: usize = 1_000;

/// The longest PEM text that is loaded at run time, in bytes: HAProxy reads a command and its payload into one buffer
/// (`tune.bufsize`, 16,384 by default), and 2.2 and 2.6 never answer a longer one. A longer one is loaded by a reload.
pub const CERTIFICATE_AT_RUNTIME_BYTES_MAX: usize = 15_000;

/// The most certificates of one service.
pub const CERTIFICATES_OF_SERVICE_MAX: usize = 64;

/// The age of a HAProxy process from which 2.6 passes its stick tables on: a younger one is not replaced while it has
/// some, unless it must be (measured on 2.6.12, where 2.2 and 3.0 to 3.4 need no time).
pub const TABLES_PASSED_ON_AFTER: Duration = Duration::from_secs(6);

/// The most further addresses (`binds`) of one service.
pub const BINDS_MAX: usize = 64;

/// How much of one message of `haproxy -c` is kept, in characters.
pub const CONFIG_MESSAGE_CHARS_MAX: usize = 1_024;

/// How much of a line of haproxy.cfg is repeated in a message about it, in characters.
pub const CONFIG_LINE_CHARS_MAX: usize = 200;

/// The minimum time between two updates of an output besides HAProxy, so that concurrent changes are applied together.
pub const OUTPUT_INTERVAL: Duration = Duration::from_secs(1);

/// The pause before a failed update of an output is retried, doubled with each further failure up to
/// [`OUTPUT_RETRY_MAX`].
pub const OUTPUT_RETRY_MIN: Duration = Duration::from_secs(1);

/// How many checks of rendered templates an output makes to find the services that are refused. Those that are not found
/// until then keep their last good data, or are left out.
pub const OUTPUT_TRIALS_MAX: usize = 100;

/// How long an output makes such checks.
pub const OUTPUT_TRIAL_TIME_MAX: Duration = Duration::from_secs(30);

/// The longest pause between two attempts at an output.
pub const OUTPUT_RETRY_MAX: Duration = Duration::from_secs(60);

/// The minimum time between two writes of the saved state.
pub const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// The minimum time between two writes of haproxy.cfg after runtime changes, as a multiple of the last write's
/// duration.
pub const CONFIG_WRITE_PACE: u32 = 10;

/// The pause before a failed write of haproxy.cfg is retried.
pub const CONFIG_WRITE_RETRY: Duration = Duration::from_secs(5);

/// The most entries of the journal.
pub const JOURNAL_ENTRIES_MAX: usize = 10_000;

/// How many of the newest entries survive a restart of the daemon.
pub const JOURNAL_SAVED_ENTRIES_MAX: usize = 2_000;

/// The interval at which a changed journal is saved: a crash of the daemon loses the entries since.
pub const JOURNAL_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// The bounds of the histograms of latencies from a source's event to HAProxy's answer, in microseconds: from a runtime
/// change on an idle machine to unacceptably long times.
pub const APPLY_LATENCY_BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// The default window of the guard.
pub const GUARD_WINDOW: Duration = Duration::from_secs(30);

/// The smallest baseline of hosts for which the guard has a default share. Smaller services often replace most of their
/// hosts in one step; `min_hosts` protects them.
pub const GUARD_DEFAULT_SHARE_FROM: usize = 4;

/// The default share of such a baseline that may be removed within the window.
pub const GUARD_DEFAULT_SHARE: f64 = 0.5;

/// How long a definition must be missing before its service is removed. A definition that is written again within it was
/// only updated: its port stays open, and the guards keep their state.
pub const DEFINITION_GRACE: Duration = Duration::from_secs(1);

/// The same for definitions that are derived from instances: they vanish with the last instance, for example while a
/// deployment replaces all instances.
pub const DERIVED_DEFINITION_GRACE: Duration = Duration::from_secs(300);

/// The most names of a blocked list in a snapshot.
pub const BLOCKED_NAMES_MAX: usize = 50;

/// The longest reason for an order, in characters.
pub const ORDER_REASON_CHARS_MAX: usize = 200;

/// The most mistakes of refused settings in a snapshot.
pub const SETTINGS_MISTAKES_SHOWN_MAX: usize = 20;

/// The timeout of an actor's answer with its state, after which it counts as stuck.
pub const STATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the daemon waits for the end of a killed process before it exits.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// The longest line of a service's `listen_options`, in bytes.
pub const LISTEN_LINE_BYTES_MAX: usize = 8_192;

/// The most lines of `listen_options` in one service.
pub const LISTEN_LINES_MAX: usize = 500;

/// The longest `listen_options` of one service in total, in bytes.
pub const LISTEN_TEXT_BYTES_MAX: usize = 65_536;

/// The longest regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 512;

/// The deepest nesting of brackets in a regular expression.
pub const REGEX_NESTING_MAX: u32 = 30;

/// How often a part of a regular expression may repeat at most, where it has a bound.
pub const REGEX_REPEAT_MAX: u32 = 256;

/// The most regular expressions of one service.
pub const REGEXES_MAX: usize = 64;

/// The most work of one request by the rules of one service, in units of 10 microseconds, estimated for the worst text.
/// HAProxy's watchdog aborts the process after two seconds.
pub const WORK_MAX: u64 = 20_000;

/// The most fetches and converters in all expressions of one service.
pub const EXPRESSIONS_MAX: usize = 1_000;

/// The most variables of a service's requests: each may hold as much as a buffer of HAProxy (16 KiB), which makes 512 KiB
/// for each request in progress.
pub const VARIABLES_MAX: usize = 32;

/// The most entries of a service's stick table.
pub const STICK_TABLE_ENTRIES_MAX: u64 = 1_048_576;

/// The longest key of a stick table, in bytes.
pub const STICK_TABLE_KEY_BYTES_MAX: u64 = 1_024;

/// The most values of an array in a stick table (`gpc`, `gpt`).
pub const STICK_TABLE_ARRAY_MAX: u64 = 16;

/// The most memory of a service's stick table, in bytes, roughly.
pub const STICK_TABLE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The longest capture of a header or cookie, in bytes: HAProxy reserves it for every request.
pub const CAPTURE_BYTES_MAX: u64 = 4_096;

/// The most bytes of all captures of one service.
pub const CAPTURES_BYTES_MAX: u64 = 16_384;

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

/// The longest line the Runtime API may answer with, in bytes. A longer one does not come from HAProxy.
pub const RUNTIME_ANSWER_LINE_BYTES_MAX: usize = 65_536;

/// The longest answer of our own HAProxy that is read, in bytes: the statistics of 200,000 servers.
pub const RUNTIME_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The longest answer of another HAProxy that is read, in bytes: the state of 200,000 servers.
pub const RUNTIME_ANSWER_OF_OTHERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much of HAProxy's answer to one command is kept, in bytes.
pub const RUNTIME_ANSWER_TEXT_BYTES_MAX: usize = 1_024;

/// The timeout of `haproxy -v`.
pub const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The most lines of HAProxy's own output that are logged per second; the rest are only counted.
pub const PROXY_OUTPUT_LINES_PER_SECOND_MAX: u32 = 50;

/// How much of one line of HAProxy's own output is logged, in bytes.
pub const PROXY_OUTPUT_LINE_BYTES_MAX: usize = 4_096;

/// The capacity of the pipe for HAProxy's output, in bytes: about 1,500 lines.
pub const PROXY_OUTPUT_PIPE_BYTES: usize = 262_144;

/// How much of the result of a health check is kept, in characters: a server's answer may be in it.
pub const CHECK_RESULT_CHARS_MAX: usize = 256;

/// The most servers whose last health check the reader of HAProxy's output keeps; when there are more, it forgets all.
pub const CHECK_RESULTS_KEPT_MAX: usize = 4_096;

/// The most health changes that one process may report per second; the rest are found by the next observation.
pub const HEALTH_REPORTS_PER_SECOND_MAX: u32 = 1_000;

/// How long the holder of a port is cached: the search reads all of /proc, and a bind is retried often.
pub const PORT_HOLDER_KEEP: Duration = Duration::from_secs(30);

/// The timeout of one search in /proc for the holder of a port.
pub const PORT_HOLDER_SEARCH: Duration = Duration::from_millis(50);

/// The most unreadable saved states that are kept before the last one is replaced.
pub const DAMAGED_STATES_MAX: u32 = 10;

/// The most pending changes of one service that are tracked one by one.
pub const PENDING_CHANGES_MAX: usize = 100;

/// The most servers deleted in one batch, so that it does not delay a change for long.
pub const CLEARANCES_AT_ONCE_MAX: usize = 200;

/// How long runtime changes may precede a reload that is due: a steady stream of them must not starve it.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(1);

/// How often HAProxy may accept the same commands without effect before a reload replaces them.
pub const RUNTIME_TRIES_MAX: u32 = 3;

/// The largest haproxy.cfg that is read back for comparison, in bytes. A larger one counts as not written by proxymgr.
pub const CONFIG_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The timeout for reading haproxy.cfg.
pub const CONFIG_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The most notes that wait to be written to a recording; further ones are dropped and counted.
pub const RECORD_QUEUE_NOTES_MAX: usize = 10_000;

/// The most entries of sources in the waiting notes of a recording: about 100 MB.
pub const RECORD_QUEUE_ENTRIES_MAX: usize = 500_000;

/// The maximum size of a recording, in bytes: a forgotten one must not fill the disk of haproxy.cfg.
pub const RECORD_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The interval at which new entries of the journal are added to a recording: the journal keeps only the last entries.
pub const RECORD_JOURNAL_INTERVAL: Duration = Duration::from_millis(500);

/// The timeout for writing the end of a recording.
pub const RECORD_FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// The most nodes of a section's tree for `balance random` and consistent hashes, about a second of HAProxy's time. A list of
/// hosts that exceeds it is not deployed.
pub const BALANCE_NODES_MAX: u64 = 1_048_576;

/// The most steps to fill a section's table for `static-rr` and other hashes, a few seconds of HAProxy's time. A list of
/// hosts that exceeds it is not deployed.
pub const BALANCE_STEPS_MAX: u64 = 100_000_000;
