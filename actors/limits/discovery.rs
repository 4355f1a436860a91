//! Limits and timeouts of the sources of definitions and hosts.

use std::time::Duration;

/// The default of `quotas.services`.
pub const SERVICES_DEFAULT: usize = 10_000;

/// The default of `quotas.hosts_per_service`.
pub const HOSTS_PER_SERVICE_DEFAULT: usize = 25_000;

/// The default of `quotas.hosts`: HAProxy needs about 5 kB a server.
pub const HOSTS_DEFAULT: usize = 200_000;

/// The default of `quotas.slots`.
pub const ALL_SLOTS_DEFAULT: usize = 20_000;

/// The default of `quotas.stick_table_entries`: with [`STICK_TABLE_ENTRY_BYTES`] each, full tables take 2 GB, half the
/// memory of a machine of 4 GB. The rest is for the new process, whose tables fill while the old one drains, and for
/// everything else.
pub const ALL_TABLE_ENTRIES_DEFAULT: u64 = 10_000_000;

/// The memory that one entry of a stick table has in the quota, in bytes: one with an address as its key and five values
/// takes no more. A larger entry counts several times.
pub const STICK_TABLE_ENTRY_BYTES: u64 = 200;

/// The longest name of a kind of source, in bytes.
pub const SOURCE_KIND_BYTES_MAX: usize = 64;

/// The most definitions that are read. A longer list counts as an error of its source.
pub const DEFINITIONS_MAX: usize = 20_000;

/// The most definitions that are parsed, removed or applied in one turn: a change of hosts in another service waits no
/// longer than that.
pub const DEFINITIONS_AT_ONCE_MAX: usize = 50;

/// The longest definition of a service, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 64 * 1024;

/// The most services left out because of a quota that a problem names.
pub const LEFT_OUT_NAMES_MAX: usize = 5;

/// How soon after a change of a host its return counts as flapping.
pub const FLAP_WINDOW: Duration = Duration::from_secs(60);

/// The number of returns, each within the window after the one before, from which on a host is kept out: a host that is
/// restarted twice for a deployment, or that a slow check loses now and then, stays below.
pub const FLAP_RETURNS_MAX: u32 = 5;

/// How long a host that flaps must stay in the list the first time. Doubled each further time.
pub const FLAP_HOLD_MIN: Duration = Duration::from_secs(5);

/// The longest time that it must stay.
pub const FLAP_HOLD_MAX: Duration = Duration::from_secs(300);

/// How long a host must not change for its history to be forgotten.
pub const FLAP_FORGET: Duration = Duration::from_secs(900);

/// The largest file that is read as a list of hosts or as a definition, in bytes.
pub const SOURCE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The timeout of a file system, after which the file counts as unreadable.
pub const SOURCE_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval at which files are checked without an event, for file systems that send none.
pub const SOURCE_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a file of hosts must be missing before it counts as removed: editors remove a file for a moment while they
/// replace it.
pub const SOURCE_ABSENCE_GRACE: Duration = Duration::from_millis(500);

/// How long a file must be unchanged between two checks to count as complete, where no event reported it.
pub const SOURCE_SETTLE: Duration = Duration::from_secs(1);

/// The timeout of a TCP connection to an HTTP server, including the lookup of its name; TLS has the same timeout again.
pub const HTTP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout of an HTTP server's whole answer, except for long polls.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer of an HTTP server, and the longest line of a stream, in bytes.
pub const HTTP_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The largest JSON parsed on the actors' thread, in bytes: a few hundred microseconds.
pub const HTTP_PARSE_INLINE_BYTES_MAX: usize = 64 * 1024;

/// The most connections at once to the servers of one HTTP service: each is a descriptor and some 20 KB.
pub const HTTP_CONNECTIONS_MAX: usize = 4_096;

/// How long an idle HTTP connection is kept: less than the timeouts of servers and proxies.
pub const HTTP_CONNECTION_IDLE_MAX: Duration = Duration::from_secs(15);

/// How long an HTTP connection is reused: the name of the server may resolve to another address after that.
pub const HTTP_CONNECTION_LIFE_MAX: Duration = Duration::from_secs(3_600);

/// The interval of the liveness probe of a server while a request to it waits for minutes.
pub const HTTP_PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// The timeout of that probe, after which the server counts as unresponsive.
pub const HTTP_PROBE_TIMEOUT: Duration = Duration::from_secs(4);

/// The first pause between two attempts at an HTTP service, doubled with each further failure.
pub const HTTP_RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts at an HTTP service.
pub const HTTP_RETRY_MAX: Duration = Duration::from_secs(10);

/// How long the watch of a source may take to report a change that a confirmation has found.
pub const WATCH_DELAY_MAX: Duration = Duration::from_secs(2);

/// How long a lost HTTP service may take to answer again before its sources report the loss.
pub const HTTP_LOSS_GRACE: Duration = Duration::from_secs(1);

/// The most concurrent reads of one ZooKeeper ensemble.
pub const ZOOKEEPER_READS_MAX: usize = 256;

/// How long a lost ZooKeeper session may take to be replaced before its sources report the loss: short disconnects are
/// normal.
pub const ZOOKEEPER_LOSS_GRACE: Duration = Duration::from_secs(1);

/// The first pause between two attempts to reach a ZooKeeper ensemble, doubled with each further failure.
pub const ZOOKEEPER_RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to reach a ZooKeeper ensemble.
pub const ZOOKEEPER_RETRY_MAX: Duration = Duration::from_secs(10);

/// A ZooKeeper session that lived at least this long is replaced at once; a shorter one only after a pause.
pub const ZOOKEEPER_SETTLED: Duration = Duration::from_secs(10);

/// How often in a row the children of a path are listed again because one was deleted during the read. After that the
/// watch on the list reports the rest.
pub const ZOOKEEPER_LISTS_MAX: usize = 5;

/// The pause before a read that failed in a live session is retried.
pub const ZOOKEEPER_READ_RETRY: Duration = Duration::from_secs(1);

/// The pause before the read of a znode without permission is retried: a changed ACL sends no event.
pub const ZOOKEEPER_REFUSED_RETRY: Duration = Duration::from_secs(30);

/// The number of failed reads in a row in a live session after which the source reports the loss.
pub const ZOOKEEPER_LOSSES_MAX: u32 = 3;

/// The most concurrent blocking queries at the Consul agents. An agent closes connections beyond 200 of one address
/// (`limits.http_max_conns_per_client`), and other programs on the machine need some, too.
pub const CONSUL_CONNECTIONS_MAX: usize = 150;

/// The wait time of a blocking query at a Consul agent; Consul's own default, and within the limits of proxies.
pub const CONSUL_WAIT: Duration = Duration::from_secs(300);

/// The wait time of a blocking query where there are more queries than may wait at once.
pub const CONSUL_TURN: Duration = Duration::from_secs(2);

/// The most answers per second, on average, to one Consul query: frequent changes must not load the agents.
pub const CONSUL_ANSWERS_PER_SECOND_MAX: u32 = 5;

/// The most such answers in a burst, so that a few changes are seen at once.
pub const CONSUL_ANSWERS_AT_ONCE_MAX: u32 = 10;

/// The pause after a refused login at etcd: checking a password costs its members a tenth of a second.
pub const ETCD_LOGIN_PAUSE: Duration = Duration::from_secs(2);

/// The timeout of one name server, including TCP where the answer is truncated; then the next one is queried.
pub const DNS_SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The most concurrent queries to one set of name servers: each uses a socket.
pub const DNS_QUESTIONS_MAX: usize = 64;

/// The most aliases (CNAME) that are followed from one name. Longer chains are loops.
pub const DNS_ALIASES_MAX: usize = 8;

/// The most targets of one SRV name whose addresses are looked up.
pub const DNS_TARGETS_MAX: usize = 1_000;

/// How long a name server that does not answer by TCP is not queried by TCP again.
pub const DNS_TCP_RETRY: Duration = Duration::from_secs(600);

/// The most names of one set of name servers whose answers by UDP were compared with those by TCP. Beyond it, all names
/// are compared again.
pub const DNS_COMPARED_NAMES_MAX: usize = 10_000;

/// The number of recent answers to a DNS query in which rotating hosts are looked for.
pub const DNS_ROTATION_ANSWERS: usize = 20;

/// The number of hosts that must have left twice in these answers to count as rotating.
pub const DNS_ROTATION_LEAVERS: usize = 2;

/// The number of these answers that must have replaced at least half of the hosts, for all hosts to count as rotating.
pub const DNS_ROTATION_TURNOVERS: usize = 5;

/// The least number of rotating answers without a host, after which the host counts as gone.
pub const DNS_ROTATION_ABSENCES_MIN: usize = 10;

/// The largest number of rotating answers without a host, after which the host counts as gone.
pub const DNS_ROTATION_ABSENCES_MAX: usize = 200;

/// The longest time without a host in rotating answers, after which the host counts as gone.
pub const DNS_ROTATION_ABSENCE_MAX: Duration = Duration::from_secs(1_800);

/// The first pause after a failed lookup, doubled with each further failure.
pub const DNS_RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest pause after a failed lookup.
pub const DNS_RETRY_MAX: Duration = Duration::from_secs(10);

/// The timeout of one answer of AWS, including the search for credentials.
pub const AWS_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The first pause after a failure of AWS, doubled with each further one.
pub const AWS_RETRY_MIN: Duration = Duration::from_secs(1);

/// The longest pause after a failure of AWS, such as a rate limit.
pub const AWS_RETRY_MAX: Duration = Duration::from_secs(60);

/// The most unknown keys that are reported for one definition, and for all hosts of one service. Further ones are
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

/// The number of EC2's reservations per page: small pages are answered sooner.
pub const AWS_PAGE: i32 = 100;

/// How long events of Marathon are collected before its apps are read: a deployment sends many.
pub const MARATHON_SETTLE: Duration = Duration::from_millis(100);

/// The minimum pause between two reads after events, as a multiple of the duration of the last one.
pub const MARATHON_PACE: u32 = 5;

/// How long a stopping proxymgr waits until Marathon has removed its event callback.
pub const MARATHON_FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long after an event the apps are read once more: an event may arrive before the apps show its change.
pub const MARATHON_ECHO: Duration = Duration::from_secs(2);

/// How long a read or write of an annotation waits for ZooKeeper.
pub const ANNOTATION_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
