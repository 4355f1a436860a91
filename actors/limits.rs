//! Every bound and every time-out of the core, each named with its unit.

use std::time::Duration;

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

/// The longest line sent to the Runtime API, in bytes. From `tune.bufsize` (16,384) on, 2.2 and 2.6 hang.
pub const RUNTIME_LINE_BYTES_MAX: usize = 8_192;

/// The most commands in one batch to the Runtime API, so that one batch never holds up the next change for long.
pub const RUNTIME_BATCH_COMMANDS_MAX: usize = 2_000;

/// How long HAProxy may take to answer one batch before the connection is given up.
pub const RUNTIME_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the Runtime API may take to open.
pub const RUNTIME_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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

/// The most rounds of leaving out services that HAProxy refuses before the reload is given up.
pub const REJECTION_ROUNDS_MAX: usize = 20;

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

/// The most services that have series of their own in the metrics: ten series each, and a scrape of all stays within a
/// few megabytes and what one Prometheus takes lightly. The first by name have them; all are in the sums.
pub const METRICS_SERVICES_MAX: usize = 2_000;

/// The most names of a held list that a snapshot shows.
pub const HELD_NAMES_MAX: usize = 50;

/// The longest reason that an operator may give for an order, in characters.
pub const ORDER_REASON_CHARS_MAX: usize = 200;

/// What the history remembers by the minute, in minutes: a night.
pub const HISTORY_MINUTES_MAX: usize = 720;

/// The reloads that the history remembers one by one.
pub const HISTORY_RELOADS_MAX: usize = 200;

/// The HAProxy processes that the history remembers.
pub const HISTORY_PROCESSES_MAX: usize = 60;

/// How much of a reload's reasons the history keeps, in characters.
pub const HISTORY_REASON_CHARS_MAX: usize = 160;

/// Event streams that the status page serves at once. More are refused, and read the page again from time to time.
pub const STATUS_STREAMS_MAX: usize = 512;

/// Messages that the readers of event streams may be behind; one further behind is let go and connects again. All read
/// from the same few messages, so that this bounds what they cost together.
pub const STATUS_STREAM_MESSAGES_MAX: usize = 16;

/// How often the journal is looked at for news while somebody reads.
pub const STATUS_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often the page is brought up to date at the most, however many read it.
pub const STATUS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two of these, as a multiple of what the last one took.
pub const STATUS_REFRESH_COST_SHARE: u32 = 20;

/// How often a reader hears of a daemon that has no news.
pub const STATUS_BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How often the page is brought up to date while nobody reads it, so that it can say since when something is not well.
pub const STATUS_IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// How often HAProxy is asked how busy it is while somebody reads: that costs it more than most changes do.
pub const STATUS_TRAFFIC_INTERVAL: Duration = Duration::from_secs(5);

/// The least time between two of these, as a multiple of what the last one took.
pub const STATUS_TRAFFIC_COST_SHARE: u32 = 50;

/// How long a page waits for HAProxy to say how busy it is.
pub const STATUS_TRAFFIC_PATIENCE: Duration = Duration::from_millis(500);

/// Services whose lines are sent in one update. Where more changed, readers read the page again.
pub const STATUS_UPDATE_ROWS_MAX: usize = 100;

/// Removed services that readers who come back are told of.
pub const STATUS_GONE_ROWS_MAX: usize = 1_000;

/// Chapters of one server's story that are shown.
pub const STATUS_STORY_ENTRIES_MAX: usize = 100;

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
/// address, eight for weight, backup, cookie and state) a server line stays within [`LINE_WORDS_MAX`].
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

/// How long the answer to "who holds this port" is kept: it takes a walk through /proc, and a bind is retried often.
pub const PORT_HOLDER_KEEP: Duration = Duration::from_secs(30);

/// How long one walk through /proc may take that looks for the holder of a port.
pub const PORT_HOLDER_SEARCH: Duration = Duration::from_millis(50);

/// How many saved states that could not be read are put aside before the last one is replaced.
pub const DAMAGED_STATES_MAX: u32 = 10;

/// The most reads of one ZooKeeper ensemble under way at once.
pub const ZOOKEEPER_READS_MAX: usize = 256;

/// How long a lost ZooKeeper session may take to be replaced before its sources say that they are away: a short
/// disconnect is normal life.
pub const ZOOKEEPER_LOSS_GRACE: Duration = Duration::from_secs(1);

/// The first pause between two attempts to reach a ZooKeeper ensemble, doubled with each further failure.
pub const ZOOKEEPER_RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to reach a ZooKeeper ensemble.
pub const ZOOKEEPER_RETRY_MAX: Duration = Duration::from_secs(10);

/// A ZooKeeper session that lived at least this long is replaced at once; a shorter one only after a pause.
pub const ZOOKEEPER_SETTLED: Duration = Duration::from_secs(10);

/// The pause before a read that failed while the session lives is tried again.
pub const ZOOKEEPER_READ_RETRY: Duration = Duration::from_secs(1);

/// The pause before a znode that refuses to be read is tried again: a changed ACL sends no event.
pub const ZOOKEEPER_REFUSED_RETRY: Duration = Duration::from_secs(30);

/// How long one name server may take to answer a question, by TCP too where the answer is cut; then the next is asked.
pub const DNS_SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The most questions to one set of name servers under way at once: each holds a socket.
pub const DNS_QUESTIONS_MAX: usize = 64;

/// The most aliases (CNAME) that are followed from one name. Longer chains are loops.
pub const DNS_ALIASES_MAX: usize = 8;

/// The most targets of one SRV name whose addresses are looked up.
pub const DNS_TARGETS_MAX: usize = 1_000;

/// The first pause after a look-up that failed, doubled with each further failure.
pub const DNS_RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest pause after a look-up that failed.
pub const DNS_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long AWS may take for one answer, finding credentials included.
pub const AWS_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The first pause after a failure of AWS, doubled with each further one.
pub const AWS_RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest pause after a failure of AWS, which may be that it was asked too often.
pub const AWS_RETRY_MAX: Duration = Duration::from_secs(60);

/// The most Auto Scaling groups of one service.
pub const AWS_GROUPS_MAX: usize = 200;

/// The most instances of one service.
pub const AWS_INSTANCES_MAX: usize = 10_000;

/// The most Auto Scaling groups that one request may name.
pub const AWS_GROUPS_AT_ONCE: usize = 50;

/// The most values that one filter of EC2 may have.
pub const AWS_INSTANCES_AT_ONCE: usize = 200;

/// How many of EC2's reservations come on one page: it answers sooner than with all that it would send.
pub const AWS_PAGE: i32 = 100;

/// How long whoever reads or writes an annotation waits for ZooKeeper.
pub const ANNOTATION_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long events of Marathon are collected before its apps are read: a deployment sends many.
pub const MARATHON_SETTLE: Duration = Duration::from_millis(100);

/// The least pause between two readings that follow events, as a multiple of the time that the last one took.
pub const MARATHON_PACE: u32 = 5;

/// How long a proxymgr that stops waits until Marathon has taken back where it posts its events to.
pub const MARATHON_FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after an event the apps are read once more: it may come before they show what it tells of.
pub const MARATHON_ECHO: Duration = Duration::from_secs(2);

/// The largest file that is read as a list of hosts or as a definition, in bytes.
pub const SOURCE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long a file system may take to answer before the file counts as unreadable.
pub const SOURCE_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How often files are looked at without an event, for file systems that send none.
pub const SOURCE_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a file must be gone before it counts as gone: editors remove a file for a moment while they replace it.
pub const SOURCE_ABSENCE_GRACE: Duration = Duration::from_millis(500);

/// How long a file must stay the same between two looks to count as complete where no event said so.
pub const SOURCE_SETTLE: Duration = Duration::from_secs(1);

/// After this many reads in a row that failed while the session lives, the source says so.
pub const ZOOKEEPER_LOSSES_MAX: u32 = 3;

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

/// How long a connection to an HTTP server may take to open, its name and TLS included in turn.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an HTTP server may take for its whole answer, unless the request says that it will wait.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer of an HTTP server, and the longest line of one that goes on, in bytes.
pub const HTTP_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The largest JSON parsed on the actors' thread, in bytes: some hundred microseconds' worth.
pub const HTTP_PARSE_INLINE_BYTES_MAX: usize = 64 * 1024;

/// The most connections at once to the servers of one HTTP service: each is a descriptor and some 20 KB.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;

/// How long an HTTP connection is kept without a request: less than servers and what stands before them do.
pub const HTTP_CONNECTION_IDLE_MAX: Duration = Duration::from_secs(15);

/// How long an HTTP connection is used for further requests: a name may lead elsewhere by then.
pub const HTTP_CONNECTION_LIFE_MAX: Duration = Duration::from_secs(3_600);

/// How often a server is asked for a sign of life while a request to it waits for minutes.
pub const HTTP_PULSE_INTERVAL: Duration = Duration::from_secs(3);

/// How long that sign may take before the server counts as frozen.
pub const HTTP_PULSE_TIMEOUT: Duration = Duration::from_secs(4);

/// The first pause between two attempts at an HTTP service, doubled with each further failure.
pub const HTTP_RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts at an HTTP service.
pub const HTTP_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long a lost HTTP service may take to answer again before its sources say that it is away.
pub const HTTP_LOSS_GRACE: Duration = Duration::from_secs(1);

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

/// The most requests that wait at the Consul agents at once. An agent closes connections beyond 200 of one address
/// (`limits.http_max_conns_per_client`), and others on the machine want some, too.
pub const CONSUL_CONNECTIONS_MAX: usize = 150;

/// How long a request may wait at a Consul agent for news; Consul's own default, and within what proxies allow.
pub const CONSUL_WAIT: Duration = Duration::from_secs(300);

/// The same where more is watched than may wait at once: how soon the next one has its turn.
pub const CONSUL_TURN: Duration = Duration::from_secs(2);

/// The most answers a second, in the long run, that one Consul query is asked for: what changes all the time must not
/// load the agents.
pub const CONSUL_ANSWERS_PER_SECOND_MAX: u32 = 5;

/// The most such answers in one go, so that a few changes are seen at once.
pub const CONSUL_ANSWERS_AT_ONCE_MAX: u32 = 10;

/// How long after a refused login etcd is not asked again: checking a password costs its members a tenth of a second.
pub const ETCD_LOGIN_PAUSE: Duration = Duration::from_secs(2);

/// Connections the status listener keeps open at once; more wait in the kernel. Those that say nothing are closed.
pub const STATUS_CONNECTIONS_MAX: usize = 1_024;

/// How long a client of the status listener may take to send the head of a request, or to greet by TLS.
pub const STATUS_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client of the status listener may take to send the body of a request.
pub const STATUS_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the status listener may stay open between two requests.
pub const STATUS_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client of the status listener may take nothing of what it is sent before the kernel ends the connection.
pub const STATUS_UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client of the status listener may take for all of one answer: 10 MB at 1 Mbit/s.
pub const STATUS_ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// The largest body of a request to the status listener, in bytes.
pub const STATUS_BODY_BYTES_MAX: usize = 64 * 1024;

/// How much of an answer is handed to a connection of the status listener at a time, in bytes.
pub const STATUS_ANSWER_PIECE_BYTES: usize = 64 * 1024;

/// What all answers under way may hold in memory, in bytes: six of the largest at 50,000 servers. Beyond it clients are
/// told to come back; answers of one piece are always given.
pub const STATUS_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the kernel may keep for one connection of the status listener, in bytes.
pub const STATUS_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Requests one client of the status listener may send each second, in the long run.
pub const STATUS_REQUESTS_PER_SECOND_MAX: u32 = 200;

/// Requests one client of the status listener may send at once.
pub const STATUS_REQUESTS_BURST_MAX: u32 = 1_000;

/// Clients whose rate is kept count of; beyond it the one not seen for longest is forgotten.
pub const STATUS_RATE_CLIENTS_MAX: usize = 4_096;

/// How long the answers of all actors are used again, as a multiple of the time it took to collect them: questions
/// cost the actors a tenth of their time at the most.
pub const STATES_PACE: u32 = 10;

/// The longest time for which the answers of all actors are used again.
pub const STATES_PACE_MAX: Duration = Duration::from_secs(1);

/// After this many servers a plan that is only looked at lets other messages pass: 1,000 take 0.4 ms.
pub const PREVIEW_SERVERS_AT_ONCE_MAX: usize = 1_000;

/// The longest reason that an operator may give with an order over HTTP, in characters.
pub const STATUS_REASON_CHARS_MAX: usize = 200;
