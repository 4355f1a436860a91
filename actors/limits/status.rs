//! Limits and timeouts of the status listener, and of the data kept for it.

use std::time::Duration;

/// The most kinds of sources that have metrics of their own; further ones, which do not exist, are counted together.
pub const METRICS_SOURCE_KINDS_MAX: usize = 32;

/// The most event streams that the status page serves at once. Further clients are refused, and reload the page
/// periodically.
pub const STATUS_STREAMS_MAX: usize = 512;

/// The most messages that a reader of an event stream may be behind; a slower one is disconnected and connects again.
/// All readers share these messages, which bounds their total memory.
pub const STATUS_STREAM_MESSAGES_MAX: usize = 16;

/// The interval at which the journal is checked for new entries while event streams are open.
pub const STATUS_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The minimum interval between two updates of the page, regardless of the number of readers.
pub const STATUS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum time between two of these, as a multiple of the duration of the last one.
pub const STATUS_REFRESH_COST_SHARE: u32 = 20;

/// The interval of keep-alive messages on event streams without news.
pub const STATUS_BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The interval of updates of the page without readers, so that it knows since when a problem exists.
pub const STATUS_IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The interval at which HAProxy's traffic is read while the page has readers: a read costs HAProxy more than most
/// changes.
pub const STATUS_TRAFFIC_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum time between two of these, as a multiple of the duration of the last one.
pub const STATUS_TRAFFIC_COST_SHARE: u32 = 50;

/// How long a page waits for HAProxy's traffic.
pub const STATUS_TRAFFIC_PATIENCE: Duration = Duration::from_millis(500);

/// The most services whose rows are sent in one update. Where more changed, readers reload the page.
pub const STATUS_UPDATE_ROWS_MAX: usize = 100;

/// The most removed services that are reported to reconnecting readers.
pub const STATUS_GONE_ROWS_MAX: usize = 1_000;

/// The most entries of one server's history that are shown.
pub const STATUS_STORY_ENTRIES_MAX: usize = 100;

/// The most journal entries about the servers at one address that are shown.
pub const STATUS_HOST_ENTRIES_MAX: usize = 50;

/// The most open connections of the status listener; further ones wait in the kernel. Idle ones are closed.
pub const STATUS_CONNECTIONS_MAX: usize = 1_024;

/// The timeout for a client of the status listener to send the headers of a request, or to complete the TLS handshake.
pub const STATUS_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout for a client of the status listener to send the body of a request.
pub const STATUS_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection to the status listener may stay open between two requests.
pub const STATUS_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client of the status listener may read nothing of an answer before the kernel closes the connection.
pub const STATUS_UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout for a client of the status listener to read one answer: 10 MB at 1 Mbit/s.
pub const STATUS_ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// The largest body of a request to the status listener, in bytes.
pub const STATUS_BODY_BYTES_MAX: usize = 64 * 1024;

/// The size of the pieces in which an answer is passed to a connection of the status listener, in bytes.
pub const STATUS_ANSWER_PIECE_BYTES: usize = 64 * 1024;

/// The maximum memory of all answers under way, in bytes: six of the largest at 50,000 servers. Beyond it clients are
/// asked to retry later; answers of one piece are always sent.
pub const STATUS_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The kernel's send buffer of one connection of the status listener, in bytes.
pub const STATUS_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The most requests per second of one client of the status listener, on average.
pub const STATUS_REQUESTS_PER_SECOND_MAX: u32 = 200;

/// The most requests of one client of the status listener in a burst.
pub const STATUS_REQUESTS_BURST_MAX: u32 = 1_000;

/// The most clients whose rate is tracked; beyond it the least recent one is forgotten.
pub const STATUS_RATE_CLIENTS_MAX: usize = 4_096;

/// The longest reason of an order over HTTP, in characters.
pub const STATUS_REASON_CHARS_MAX: usize = 200;

/// How long the snapshots of all actors are reused, as a multiple of the time it took to collect them: requests cost
/// the actors at most a tenth of their time.
pub const STATES_PACE: u32 = 10;

/// The longest time for which the snapshots of all actors are reused.
pub const STATES_PACE_MAX: Duration = Duration::from_secs(1);

/// The most services with their own series in the metrics: with ten series each, a scrape stays within a few megabytes.
/// The first services by name have them; all are in the sums.
pub const METRICS_SERVICES_MAX: usize = 2_000;

/// The most minutes of the history: a night.
pub const HISTORY_MINUTES_MAX: usize = 720;

/// The most reloads in the history.
pub const HISTORY_RELOADS_MAX: usize = 200;

/// The most HAProxy processes in the history.
pub const HISTORY_PROCESSES_MAX: usize = 60;

/// The most reasons of a reload that the log has; the rest are counted.
pub const RELOAD_REASONS_LOGGED_MAX: usize = 5;

/// How much of a reload's reasons the history keeps, and how much of each the log has, in characters.
pub const HISTORY_REASON_CHARS_MAX: usize = 160;

/// The most servers in one step of a plan preview, after which other messages are handled: 1,000 take 0.4 ms.
pub const PREVIEW_SERVERS_AT_ONCE_MAX: usize = 1_000;

/// The number of reports about refused orders and wrong tokens that are logged and recorded at once. Further ones are
/// counted.
pub const STATUS_REFUSALS_BURST_MAX: u32 = 20;

/// The time after which one more such report is logged.
pub const STATUS_REFUSALS_INTERVAL: Duration = Duration::from_secs(10);

/// The pause between two attempts to open the status listener.
pub const STATUS_LISTEN_RETRY: Duration = Duration::from_secs(5);

/// The number of connections to the status listener from one client address; a further one is closed.
pub const STATUS_CONNECTIONS_PER_CLIENT_MAX: usize = 512;

/// How long a log level that an operator sets lasts, if the order does not say it.
pub const LOG_LEVEL_TIME: Duration = Duration::from_secs(600);

/// The longest time for which an operator can set a log level: it is for looking, and must not fill disks.
pub const LOG_LEVEL_TIME_MAX: Duration = Duration::from_secs(86_400);

/// How long status shows that records of the log were dropped, after the last one.
pub const LOG_LOSS_SHOWN: Duration = Duration::from_secs(600);
