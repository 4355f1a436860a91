//! What bounds the sources of definitions and hosts.

use std::time::Duration;

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

/// How long the TCP connection to an HTTP server may take, the look-up of its name included; TLS has the same again.
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

/// The interval of the liveness probe of a server while a request to it waits for minutes.
pub const HTTP_PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// The time-out of that probe; after it the server counts as frozen.
pub const HTTP_PROBE_TIMEOUT: Duration = Duration::from_secs(4);

/// The first pause between two attempts at an HTTP service, doubled with each further failure.
pub const HTTP_RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts at an HTTP service.
pub const HTTP_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long a lost HTTP service may take to answer again before its sources say that it is away.
pub const HTTP_LOSS_GRACE: Duration = Duration::from_secs(1);

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

/// How often the children of a path are listed again in a row because one was deleted while it was read. After that the
/// watch on the list reports the rest.
pub const ZOOKEEPER_LISTS_MAX: usize = 5;

/// The pause before a read that failed while the session lives is tried again.
pub const ZOOKEEPER_READ_RETRY: Duration = Duration::from_secs(1);

/// The pause before a znode that refuses to be read is tried again: a changed ACL sends no event.
pub const ZOOKEEPER_REFUSED_RETRY: Duration = Duration::from_secs(30);

/// After this many reads in a row that failed while the session lives, the source says so.
pub const ZOOKEEPER_LOSSES_MAX: u32 = 3;

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

/// How many keys that are not known are reported of one definition, and of all hosts of one service. Those beyond are
/// counted.
pub const UNKNOWN_KEYS_SHOWN_MAX: usize = 8;

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

/// How long events of Marathon are collected before its apps are read: a deployment sends many.
pub const MARATHON_SETTLE: Duration = Duration::from_millis(100);

/// The least pause between two readings that follow events, as a multiple of the time that the last one took.
pub const MARATHON_PACE: u32 = 5;

/// How long a proxymgr that stops waits until Marathon has taken back where it posts its events to.
pub const MARATHON_FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after an event the apps are read once more: it may come before they show what it tells of.
pub const MARATHON_ECHO: Duration = Duration::from_secs(2);

/// How long whoever reads or writes an annotation waits for ZooKeeper.
pub const ANNOTATION_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
