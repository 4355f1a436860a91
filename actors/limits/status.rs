//! What bounds the status listener, and what is kept for it.

use std::time::Duration;

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

/// The longest reason that an operator may give with an order over HTTP, in characters.
pub const STATUS_REASON_CHARS_MAX: usize = 200;

/// How long the answers of all actors are used again, as a multiple of the time it took to collect them: questions
/// cost the actors a tenth of their time at the most.
pub const STATES_PACE: u32 = 10;

/// The longest time for which the answers of all actors are used again.
pub const STATES_PACE_MAX: Duration = Duration::from_secs(1);

/// The most services that have series of their own in the metrics: ten series each, and a scrape of all stays within a
/// few megabytes and what one Prometheus takes lightly. The first by name have them; all are in the sums.
pub const METRICS_SERVICES_MAX: usize = 2_000;

/// What the history remembers by the minute, in minutes: a night.
pub const HISTORY_MINUTES_MAX: usize = 720;

/// The reloads that the history remembers one by one.
pub const HISTORY_RELOADS_MAX: usize = 200;

/// The HAProxy processes that the history remembers.
pub const HISTORY_PROCESSES_MAX: usize = 60;

/// How much of a reload's reasons the history keeps, in characters.
pub const HISTORY_REASON_CHARS_MAX: usize = 160;

/// After this many servers a plan that is only looked at lets other messages pass: 1,000 take 0.4 ms.
pub const PREVIEW_SERVERS_AT_ONCE_MAX: usize = 1_000;
