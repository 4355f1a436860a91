//! Observes on HAProxy's socket when a change is applied: a thread with one open connection.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Short compared with the measured times, and long enough to leave HAProxy and the other core idle.
const POLL_PAUSE: Duration = Duration::from_micros(30);

const GIVE_UP: Duration = Duration::from_secs(60);

/// Addresses that take traffic.
pub type Ready = BTreeSet<String>;

struct Question {
    backend: String,
    wanted: Ready,
    answer: oneshot::Sender<Instant>,
}

/// Observer of one HAProxy.
pub struct Observer {
    questions: mpsc::Sender<Question>,
}

impl Observer {
    pub fn of(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let (questions, inbox) = mpsc::channel::<Question>();
        std::thread::spawn(move || {
            for question in inbox {
                let mut prompt = Prompt::open(&socket);
                let begun = Instant::now();
                while prompt.ready(&question.backend) != question.wanted {
                    assert!(begun.elapsed() < GIVE_UP, "never: {:?}", question.wanted);
                    std::thread::sleep(POLL_PAUSE);
                }
                let _ = question.answer.send(Instant::now());
            }
        });
        Self { questions }
    }

    /// Starts to poll; resolves to the time when exactly these addresses take traffic.
    pub fn when(&self, backend: &str, wanted: Ready) -> oneshot::Receiver<Instant> {
        let (answer, when) = oneshot::channel();
        let question = Question { backend: backend.to_owned(), wanted, answer };
        self.questions.send(question).expect("the observer runs");
        when
    }
}

/// Connection to the socket in prompt mode.
pub struct Prompt(BufReader<UnixStream>);

impl Prompt {
    pub fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("HAProxy's socket");
        let mut prompt = Self(BufReader::new(stream));
        prompt.ask("prompt");
        prompt
    }

    /// Opens a connection; `None` if HAProxy does not accept it.
    pub fn try_open(socket: &Path) -> Option<Self> {
        let mut prompt = Self(BufReader::new(UnixStream::connect(socket).ok()?));
        prompt.try_ask("prompt")?;
        Some(prompt)
    }

    /// Returns the addresses of a backend that take traffic; `None` if HAProxy closes the connection.
    pub fn try_ready(&mut self, backend: &str) -> Option<Ready> {
        Some(ready_in(&self.try_ask(&format!("show servers state {backend}"))?, backend))
    }

    /// Returns the process id of the HAProxy that answers; `None` if it closes the connection.
    pub fn try_pid(&mut self) -> Option<u32> {
        let info = self.try_ask("show info")?;
        info.lines().find_map(|line| line.strip_prefix("Pid: ")?.trim().parse().ok())
    }

    fn try_ask(&mut self, command: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n> ") {
            if self.0.read_until(b' ', &mut answer).ok()? == 0 {
                return None;
            }
        }
        String::from_utf8(answer).ok()
    }

    fn ask(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).expect("HAProxy reads");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n> ") {
            let read = self.0.read_until(b' ', &mut answer).expect("HAProxy answers");
            assert!(read > 0, "HAProxy closed the connection");
        }
        String::from_utf8(answer).expect("text")
    }

    /// Sends all commands at once, and waits until every line is answered.
    pub fn tell(&mut self, commands: &[String]) {
        let lines: String = commands.iter().map(|command| format!("{command}\n")).collect();
        self.0.get_mut().write_all(lines.as_bytes()).expect("HAProxy reads");
        for _ in commands {
            self.answer();
        }
    }

    fn ready(&mut self, backend: &str) -> Ready {
        ready_in(&self.ask(&format!("show servers state {backend}")), backend)
    }
}

/// Returns the addresses of a backend that take traffic, from the answer to `show servers state`.
pub fn ready_in(answer: &str, backend: &str) -> Ready {
    let servers = answer.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split(' ').collect();
        // be_name 1, srv_addr 4, srv_admin_state 6, srv_port 18.
        let admin_state: u16 = columns.get(6)?.parse().ok()?;
        (columns[1] == backend && admin_state & 0x3b == 0).then(|| format!("{}:{}", columns[4], columns[18]))
    });
    servers.collect()
}
