//! ZooKeeper ensembles, from the jars of the Debian package.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zookeeper::{Client, SessionId};

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::process::{Process, tcp_ports_of};
use super::tls::TestCa;

/// The unit of a server's time-outs. Sessions from [`SESSION_TIMEOUT_MIN_MS`] on are granted, and
/// expire on a multiple of it; a follower leaves a leader that was silent for eight.
const TICK_MS: u32 = 250;
const SESSION_TIMEOUT_MIN_MS: u32 = 500;
const SESSION_TIMEOUT_MAX_MS: u32 = 60_000;

/// The session time-out of [`Ensemble::client`]: longer than a busy machine stands still.
const CLIENT_SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// Time-out for the start of a member and for an election, on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// The jar. Its manifest names most dependencies; Debian's lacks those of Netty.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:\
    /usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:\
    /usr/share/java/netty-transport-native-unix-common.jar";

/// One or three ZooKeeper servers; members are numbered from 1, as in `server.1`.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Member>,
    tls: Option<TestCa>,
}

#[derive(Debug)]
struct Member {
    id: usize,
    dir: TestDir,
    client_port: u16,
    secure_port: Option<u16>,
    process: Option<Process>,
}

/// A session and the member that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedSession {
    /// Id of the session.
    pub id: SessionId,
    /// The member, from 1.
    pub member: usize,
    /// Address of the client.
    pub peer: SocketAddr,
}

impl Ensemble {
    /// Starts `size` members (1 or 3) and waits until all of them serve.
    pub async fn start(dir: &TestDir, size: usize) -> Self {
        Self::start_with(dir, size, None).await
    }

    /// Like [`Ensemble::start`], with an additional TLS port per member. Clients need no certificate; if they
    /// send one, the [`TestCa`] of the ensemble must have signed it.
    pub async fn start_tls(dir: &TestDir, size: usize) -> Self {
        let ca = TestCa::new(dir);
        Self::start_with(dir, size, Some(ca)).await
    }

    async fn start_with(dir: &TestDir, size: usize, tls: Option<TestCa>) -> Self {
        assert!(Path::new("/usr/share/java/zookeeper.jar").exists(), "no ZooKeeper: run tests/setup/install.sh test");
        let ports: Vec<[u16; 2]> = (0..size).map(|_| [dir.port(), dir.port()]).collect();
        let mut quorum = String::new();
        if size > 1 {
            for (id, [peer, election]) in (1..).zip(&ports) {
                quorum += &format!("server.{id}=127.0.0.1:{peer}:{election}\n");
            }
        }
        let members = (1..=size).map(|id| Member::new(dir, id, &quorum, tls.as_ref())).collect();
        let mut ensemble = Self { members, tls };
        ensemble.members.iter_mut().for_each(Member::start);
        ensemble.wait_until_serving().await;
        ensemble
    }

    /// Waits until all running members (that are not frozen) serve clients.
    pub async fn wait_until_serving(&self) {
        for member in self.members.iter().filter(|member| member.process.is_some()) {
            let what = format!("member {} serves", member.id);
            let serves = async || {
                let answer = member.ask("srvr").await?;
                if answer.contains("Mode: ") { Ok(()) } else { Err(answer) }
            };
            eventually_or(READY_LIMIT, &what, serves, || member.log_tail()).await;
        }
    }

    /// Connect string of all members: `127.0.0.1:P1,127.0.0.1:P2,127.0.0.1:P3`.
    pub fn connect_string(&self) -> String {
        join_addresses(self.members.iter().map(|member| member.client_port))
    }

    /// Connect string of one member.
    pub fn connect_string_of(&self, member: usize) -> String {
        join_addresses([self.member(member).client_port])
    }

    /// Connect string of all TLS ports.
    pub fn secure_connect_string(&self) -> String {
        let port = |member: &Member| member.secure_port.expect("an ensemble made by start_tls");
        join_addresses(self.members.iter().map(port))
    }

    /// The authority that signed the certificates of an ensemble made by [`Ensemble::start_tls`].
    pub fn tls(&self) -> &TestCa {
        self.tls.as_ref().expect("an ensemble made by start_tls")
    }

    /// Number of members.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Kills a member; its data stays.
    pub fn stop(&mut self, member: usize) {
        self.member_mut(member).process = None;
    }

    /// Kills all members.
    pub fn stop_all(&mut self) {
        (1..=self.size()).for_each(|member| self.stop(member));
    }

    /// Starts a stopped member with its data, and waits until it serves.
    pub async fn start_member(&mut self, member: usize) {
        self.member_mut(member).start();
        self.wait_until_serving().await;
    }

    /// Starts all stopped members, and waits until they serve.
    pub async fn start_all(&mut self) {
        self.launch_all();
        self.wait_until_serving().await;
    }

    /// Starts all stopped members with their data. Returns at once.
    pub fn launch_all(&mut self) {
        self.members.iter_mut().filter(|member| member.process.is_none()).for_each(Member::start);
    }

    /// Freezes a member (SIGSTOP): its connections stay open, and nothing answers.
    pub fn freeze(&mut self, member: usize) {
        self.member_mut(member).signal(Signal::SIGSTOP);
    }

    /// Resumes a frozen member.
    pub fn thaw(&mut self, member: usize) {
        self.member_mut(member).signal(Signal::SIGCONT);
    }

    /// The leader that answers, if any (or the only member). A resumed leader still believes to be the leader; the
    /// newest transaction decides.
    pub async fn leader(&self) -> Option<usize> {
        let answers = join_all(self.members.iter().map(|member| member.ask("srvr"))).await;
        let leaders = self.members.iter().zip(answers).filter_map(|(member, answer)| {
            let answer = answer.ok().filter(|a| a.contains("Mode: leader") || a.contains("Mode: standalone"))?;
            let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
            Some((u64::from_str_radix(zxid.trim(), 16).ok()?, member.id))
        });
        leaders.max().map(|(_, id)| id)
    }

    /// Waits until a leader answers.
    pub async fn wait_for_leader(&self) -> usize {
        let leader = async || self.leader().await.ok_or("no member leads");
        eventually_or(READY_LIMIT, "the ensemble has a leader", leader, || self.logs()).await
    }

    /// All sessions of the members that answer.
    pub async fn sessions(&self) -> Vec<ServedSession> {
        let answers = join_all(self.members.iter().map(|member| member.ask("cons"))).await;
        let parse = |(member, answer): (&Member, Result<String, String>)| {
            let answer = answer.unwrap_or_default();
            answer.lines().filter_map(|line| parse_connection(member.id, line)).collect::<Vec<_>>()
        };
        self.members.iter().zip(answers).flat_map(parse).collect()
    }

    /// The member that serves a session, if any.
    pub async fn member_serving(&self, session: SessionId) -> Option<usize> {
        self.sessions().await.into_iter().find(|served| served.id == session).map(|served| served.member)
    }

    /// The session of another process, if it is connected.
    pub async fn session_of(&self, pid: Pid) -> Option<ServedSession> {
        let sessions = self.sessions().await;
        let ports = tcp_ports_of(pid);
        sessions.into_iter().find(|session| ports.contains(&session.peer.port()))
    }

    /// Expires a session: its ephemeral znodes are deleted, and its client learns it at the next
    /// connect.
    pub async fn expire(&self, session: SessionId) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut attempts = 0;
        loop {
            let member = match self.member_serving(session).await {
                Some(member) => member,
                None => self.wait_for_leader().await,
            };
            attempts += 1;
            let closing = close_session(self.member(member).address(), session);
            match tokio::time::timeout(Duration::from_secs(2), closing).await {
                Ok(Ok(SessionEnd::Closed)) => return,
                Ok(Ok(SessionEnd::Unknown)) if attempts > 1 => return,
                Ok(Ok(SessionEnd::Unknown)) => panic!("expire session {session}: member {member} does not know it"),
                // Its owner has reconnected before it was closed.
                seen => assert!(Instant::now() < deadline, "expire session {session} at member {member}: {seen:?}"),
            }
        }
    }

    /// A client of the whole ensemble, with a session time-out of 30 s.
    pub async fn client(&self) -> Client {
        self.client_with_timeout(CLIENT_SESSION_TIMEOUT).await
    }

    /// A client of the whole ensemble with this session time-out.
    pub async fn client_with_timeout(&self, session_timeout: Duration) -> Client {
        let mut attempts = 0;
        loop {
            let connector = Client::connector().with_session_timeout(session_timeout);
            match connector.connect(&self.connect_string()).await {
                Ok(client) => return client,
                // A resumed member, or a busy machine, may need longer than the connect time-out.
                Err(_) if attempts < 5 => attempts += 1,
                Err(error) => panic!("connect to ZooKeeper: {error}\n{}", self.logs()),
            }
        }
    }

    /// Process id of a member, if it runs.
    pub fn pid(&self, member: usize) -> Option<Pid> {
        self.member(member).process.as_ref().map(Process::pid)
    }

    fn member(&self, id: usize) -> &Member {
        &self.members[id - 1]
    }

    fn member_mut(&mut self, id: usize) -> &mut Member {
        &mut self.members[id - 1]
    }

    fn logs(&self) -> String {
        self.members.iter().map(Member::log_tail).collect()
    }
}

impl Member {
    fn new(dir: &TestDir, id: usize, quorum: &str, tls: Option<&TestCa>) -> Self {
        let (client_port, secure_port) = (dir.port(), tls.map(|_| dir.port()));
        let dir = dir.subdir(&format!("zookeeper-{id}"));
        dir.write("data/myid", id.to_string());
        let mut config = format!(
            "tickTime={TICK_MS}\ninitLimit=40\nsyncLimit=8\ndataDir={}\n\
             clientPort={client_port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             minSessionTimeout={SESSION_TIMEOUT_MIN_MS}\nmaxSessionTimeout={SESSION_TIMEOUT_MAX_MS}\n\
             4lw.commands.whitelist=*\nadmin.enableServer=false\nskipACL=no\n{quorum}",
            dir.join("data").display()
        );
        if let (Some(port), Some(tls)) = (secure_port, tls) {
            let (ca, server) = (tls.ca.display(), tls.server.display());
            config += &format!(
                "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
                 serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nssl.clientAuth=want\n\
                 ssl.keyStore.type=PEM\nssl.keyStore.location={server}\n\
                 ssl.trustStore.type=PEM\nssl.trustStore.location={ca}\n"
            );
        }
        dir.write("zoo.cfg", config);
        Self { id, dir, client_port, secure_port, process: None }
    }

    fn start(&mut self) {
        assert!(self.process.is_none(), "member {} runs already", self.id);
        let mut command = Command::new("java");
        // Options for a small JVM with a quick start.
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:-UsePerfData"]);
        // No fsync, and small transaction logs.
        command.args(["-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=64"]);
        command.args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]);
        command.args(["-cp", CLASS_PATH, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
        command.arg(self.dir.join("zoo.cfg"));
        self.process = Some(Process::start(&self.dir, "zookeeper", command));
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.client_port).into()
    }

    fn signal(&mut self, signal: Signal) {
        let id = self.id;
        self.process.as_mut().unwrap_or_else(|| panic!("member {id} does not run")).signal(signal);
    }

    /// Sends a four-letter word, with a time-out: a frozen member never answers.
    async fn ask(&self, word: &str) -> Result<String, String> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address()).await?;
            stream.write_all(word.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        match tokio::time::timeout(Duration::from_secs(1), exchange).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer to {word}")),
        }
    }

    fn log_tail(&self) -> String {
        let tail = self.process.as_ref().map(Process::log_tail).unwrap_or_default();
        format!("-- zookeeper member {}:\n{tail}\n", self.id)
    }
}

fn join_addresses(ports: impl IntoIterator<Item = u16>) -> String {
    let addresses: Vec<String> = ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

/// Reads a line of `cons`: ` /127.0.0.1:41314[1](queued=0,recved=1,sent=1,sid=0x10000...,lop=...`;
/// the connection of this command has no `sid`.
fn parse_connection(member: usize, line: &str) -> Option<ServedSession> {
    let (peer, rest) = line.trim().strip_prefix('/')?.split_once('[')?;
    let (_, rest) = rest.split_once("sid=0x")?;
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    let id = SessionId(u64::from_str_radix(digits, 16).ok()?.cast_signed());
    Some(ServedSession { id, member, peer: peer.parse().ok()? })
}

/// Result of an attempt to expire a session.
#[derive(Debug)]
enum SessionEnd {
    Closed,
    Unknown,
}

/// Takes over a session and closes it, with the protocol of ZooKeeper (`ConnectRequest` and `closeSession` of
/// zookeeper.jute). A client of the library would need the session's [`zookeeper::SessionInfo`], which only its owner
/// has.
async fn close_session(member: SocketAddr, session: SessionId) -> std::io::Result<SessionEnd> {
    const CLOSE_SESSION: i32 = -11;
    let mut connect = Vec::new();
    connect.extend(0_i32.to_be_bytes()); // protocol version
    connect.extend(0_i64.to_be_bytes()); // last transaction seen
    connect.extend(10_000_i32.to_be_bytes()); // time-out in ms
    connect.extend(session.0.to_be_bytes());
    connect.extend(16_i32.to_be_bytes()); // the password's length
    connect.extend(session_password(session));
    connect.push(0); // not read-only
    let close = [1_i32.to_be_bytes(), CLOSE_SESSION.to_be_bytes()].concat();

    let mut stream = TcpStream::connect(member).await?;
    // In one write: the owner loses its connection and reconnects as soon as it can.
    stream.write_all(&[base_config(&connect), base_config(&close)].concat()).await?;
    let accepted = read_frame(&mut stream).await?;
    let timeout_ms = accepted.get(4..8).map_or(0, |bytes| i32::from_be_bytes(bytes.try_into().expect("four bytes")));
    if timeout_ms <= 0 {
        return Ok(SessionEnd::Unknown);
    }
    read_frame(&mut stream).await?;
    Ok(SessionEnd::Closed)
}

/// A session's password is derived from its id: `SessionTrackerImpl` seeds Java's `Random` with it.
fn session_password(session: SessionId) -> [u8; 16] {
    const SUPER_SECRET: i64 = 0xB341_5C00; // ZooKeeperServer.superSecret
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session.0 ^ SUPER_SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}

fn base_config(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a short frame").to_be_bytes();
    [&length[..], body].concat()
}

async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
