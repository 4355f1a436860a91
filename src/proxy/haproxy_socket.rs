//! Runs commands and queries on HAProxy's stats socket (Runtime API), by which most changes are applied.
//!
//! One connection is kept open for changes, because a command on it takes a third of the time that it takes on a new
//! one; a second one is for queries, so that a long answer does not delay a change. Calls on a connection take turns.
//! One that HAProxy has closed is replaced if nothing was sent on it; otherwise the caller gets an error.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::limits::{
    PROXY_READY_TIMEOUT, RUNTIME_ANSWER_BYTES_MAX, RUNTIME_ANSWER_OF_OTHERS_BYTES_MAX, RUNTIME_ANSWER_TIMEOUT,
    RUNTIME_BATCH_COMMANDS_MAX, RUNTIME_CONNECT_TIMEOUT,
};
use proxymgr_actors::model::{
    BackendCommand, CertificateChange, Observation, ObservedRoutes, ProcessInfo, RouteCommand, RuntimeCommand,
    SectionTraffic, ServiceName, Traffic,
};
use proxymgr_actors::port::{Answer, PortFuture, RuntimeApi, RuntimeError, ServerSessions, TrafficReader};
use slog::{Logger, debug};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::certificate_update;
use super::liveness::until_silent;
use super::route_map::{self, MapReader};
use super::runtime_connection::{
    AnswerPart, ExchangeError, RuntimeConnection, RuntimeStream, connected, unreachable_in_words,
};
use super::runtime_text::{AnswerText, classify, classify_backend, refusal, write_command};
use super::socket_answers::{Info, Reading};
use super::statistics::{StatisticsRow, StatisticsTable};
use crate::settings::RuntimeAddress;

pub use super::runtime_text::command_text;

/// The Runtime API of the HAProxy that listens on one socket.
pub struct HaproxySocket {
    /// For changes.
    shared: Rc<Shared>,
    /// For queries: the same as `shared` if there can be only one connection.
    reads: Rc<Shared>,
}

impl HaproxySocket {
    /// Returns the Runtime API at `path`. It connects at the first call.
    pub fn new(path: impl Into<PathBuf>, log: Logger) -> Self {
        Self::at(RuntimeAddress::Unix(path.into()), Connections::Kept, log)
    }

    /// Returns the Runtime API of an external HAProxy. No connection is kept, because a reload there is not announced:
    /// a kept connection would delay the exit of the old process and would be mistaken for one to the new process.
    pub fn of_others(address: &RuntimeAddress, log: Logger) -> Self {
        Self::at(address.clone(), Connections::OneEach, log)
    }

    /// Returns the Runtime API of a process that is not running yet, on an open connection to its listener at `path`.
    /// Once that one is closed, every call fails. The first answer may take as long as the start.
    ///
    /// # Errors
    /// The system cannot watch the connection.
    pub(super) fn opened(stream: std::os::unix::net::UnixStream, path: PathBuf, log: Logger) -> io::Result<Self> {
        let stream = RuntimeStream::Unix(UnixStream::from_std(stream)?);
        let connection = RuntimeConnection::new(stream, RUNTIME_ANSWER_BYTES_MAX);
        let socket = Self::at(RuntimeAddress::Unix(path), Connections::Opened { answered: Cell::new(false) }, log);
        socket.shared.kept.replace(Some(connection));
        Ok(socket)
    }

    fn at(address: RuntimeAddress, connections: Connections, log: Logger) -> Self {
        let reads = match connections {
            Connections::Kept => Some(Rc::new(Shared::new(address.clone(), Connections::Kept, log.clone()))),
            Connections::OneEach => Some(Rc::new(Shared::new(address.clone(), Connections::OneEach, log.clone()))),
            Connections::Opened { .. } => None,
        };
        let shared = Rc::new(Shared::new(address, connections, log));
        Self { reads: reads.unwrap_or_else(|| Rc::clone(&shared)), shared }
    }

    /// Returns the answer to a command as text.
    fn whole_answer(&self, command: &'static str) -> PortFuture<Result<String, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            let _turn = shared.turn.lock().await;
            let read = |text: &mut String, part: AnswerPart<'_>| {
                if let AnswerPart::Line(line) = part {
                    text.extend([line, "\n"]);
                }
            };
            shared.ask(command, 1, read).await
        })
    }
}

impl RuntimeApi for HaproxySocket {
    fn run(&self, commands: Vec<RuntimeCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.turn.lock().await;
            let mut answers = Vec::with_capacity(commands.len());
            for batch in commands.chunks(RUNTIME_BATCH_COMMANDS_MAX) {
                shared.run_batch(batch, &mut answers).await?;
            }
            Ok(answers)
        })
    }

    fn observe(&self, services: Option<Vec<ServiceName>>) -> PortFuture<Result<Observation, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            let _turn = shared.turn.lock().await;
            match services {
                Some(services) => shared.observe_some(&services).await,
                None => shared.observe_all().await,
            }
        })
    }

    fn server_states(&self) -> PortFuture<Result<String, RuntimeError>> {
        self.whole_answer("show servers state\n")
    }

    fn counters(&self) -> PortFuture<Result<String, RuntimeError>> {
        self.whole_answer("dump stats-file\n")
    }

    fn change_certificate(&self, change: CertificateChange) -> PortFuture<Result<Answer, RuntimeError>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move { certificate_update::change(&shared.address, &change).await })
    }

    fn sessions(&self, services: Vec<ServiceName>) -> PortFuture<Result<ServerSessions, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            let mut sessions = ServerSessions::new();
            for service in services {
                let table = shared.statistics(&format!("show stat {service} 4 -1\n")).await?;
                let servers = table.rows().filter_map(|row| row.server());
                sessions.insert(service, servers.map(|(name, server)| (name, server.traffic.sessions)).collect());
            }
            Ok(sessions)
        })
    }

    fn change_backends(&self, commands: Vec<BackendCommand>) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let requests: Vec<String> = commands.iter().map(|command| format!("{command}\n")).collect();
            let texts = shared.texts_of(&requests).await?;
            Ok(commands.iter().zip(texts).map(|(command, text)| classify_backend(command, &text)).collect())
        })
    }

    fn change_routes(
        &self,
        map: PathBuf,
        commands: Vec<RouteCommand>,
    ) -> PortFuture<Result<Vec<Answer>, RuntimeError>> {
        let shared = Rc::clone(&self.shared);
        Box::pin(async move {
            let requests: Vec<String> = commands.iter().map(|command| route_map::request(&map, command)).collect();
            Ok(shared.texts_of(&requests).await?.into_iter().map(route_map::classify).collect())
        })
    }

    fn routes(&self, map: PathBuf) -> PortFuture<Result<Option<ObservedRoutes>, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            let _turn = shared.turn.lock().await;
            let read = |reader: &mut MapReader, part: AnswerPart<'_>| {
                if let AnswerPart::Line(line) = part {
                    reader.line(line);
                }
            };
            let reader = shared.ask(&route_map::show(&map), 1, read).await?;
            reader.finish().map_err(|error| shared.broken(error))
        })
    }

    fn process(&self) -> PortFuture<Result<ProcessInfo, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            let _turn = shared.turn.lock().await;
            shared.process().await
        })
    }

    fn disconnect(&self) {
        self.shared.disconnect();
        self.reads.disconnect();
    }

    fn silence(&self) -> PortFuture<RuntimeError> {
        let Shared { address, log, .. } = &*self.shared;
        let probe = Self::at(address.clone(), Connections::OneEach, log.clone());
        Box::pin(until_silent(probe, self.shared.path_text()))
    }
}

impl TrafficReader for HaproxySocket {
    fn sections(&self) -> PortFuture<Result<BTreeMap<ServiceName, Traffic>, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        Box::pin(async move {
            // Frontends and backends: a section has a line of each; a section that shares its port has only the latter.
            let table = shared.statistics("show stat -1 3 -1\n").await?;
            let (backends, frontends): (Vec<_>, Vec<_>) = table.rows().partition(StatisticsRow::is_backend);
            Ok(backends.iter().chain(&frontends).filter_map(StatisticsRow::section).collect())
        })
    }

    fn section(&self, service: &ServiceName) -> PortFuture<Result<SectionTraffic, RuntimeError>> {
        let shared = Rc::clone(&self.reads);
        // The backend and its servers.
        let request = format!("show stat {service} 6 -1\n");
        Box::pin(async move { Ok(shared.statistics(&request).await?.section()) })
    }
}

/// How connections are used.
enum Connections {
    /// One connection is kept for all calls and replaced once it is closed.
    Kept,
    /// Each call opens its own connection.
    OneEach,
    /// Only one connection, opened before the process was started.
    Opened {
        /// Whether the process has answered, and so runs.
        answered: Cell<bool>,
    },
}

struct Shared {
    address: RuntimeAddress,
    connections: Connections,
    log: Logger,
    /// The kept connection while no call uses it.
    kept: RefCell<Option<RuntimeConnection>>,
    /// The number of calls of `disconnect`, so that a call that was running at that time does not keep its connection.
    disconnects: Cell<u64>,
    turn: tokio::sync::Mutex<()>,
}

impl Shared {
    fn new(address: RuntimeAddress, connections: Connections, log: Logger) -> Self {
        let (kept, disconnects) = (RefCell::new(None), Cell::new(0));
        Self { address, connections, log, kept, disconnects, turn: tokio::sync::Mutex::new(()) }
    }

    async fn run_batch(&self, batch: &[RuntimeCommand], answers: &mut Vec<Answer>) -> Result<(), RuntimeError> {
        let first = answers.len();
        let mut request = String::with_capacity(64 * batch.len());
        // The indexes within this batch of the commands that are sent.
        let mut sent = Vec::with_capacity(batch.len());
        for (place, command) in batch.iter().enumerate() {
            let start = request.len();
            write_command(&mut request, command);
            match refusal(command, &request[start..]) {
                Some(text) => {
                    request.truncate(start);
                    answers.push(Answer { accepted: false, text });
                }
                None => {
                    request.push('\n');
                    sent.push(place);
                    answers.push(Answer { accepted: false, text: String::new() });
                }
            }
        }
        if sent.is_empty() {
            return Ok(());
        }
        let mut text = AnswerText::default();
        let mut answered = sent.iter();
        self.converse(&request, sent.len(), |part| match part {
            AnswerPart::Line(line) => text.line(line),
            AnswerPart::End => {
                if let Some(&place) = answered.next() {
                    answers[first + place] = classify(&batch[place], text.take());
                }
            }
        })
        .await
    }

    /// Sends commands, each with its line feed, and returns the text of each answer.
    async fn texts_of(&self, requests: &[String]) -> Result<Vec<String>, RuntimeError> {
        let _turn = self.turn.lock().await;
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(RUNTIME_BATCH_COMMANDS_MAX) {
            let mut text = AnswerText::default();
            let on = |part: AnswerPart<'_>| match part {
                AnswerPart::Line(line) => text.line(line),
                AnswerPart::End => answers.push(text.take()),
            };
            self.converse(&batch.concat(), batch.len(), on).await?;
        }
        Ok(answers)
    }

    async fn observe_some(&self, services: &[ServiceName]) -> Result<Observation, RuntimeError> {
        if services.is_empty() {
            return Ok(Observation::default());
        }
        let request: String = services.iter().map(|service| format!("show servers state {service}\n")).collect();
        let read = |reading: &mut Reading, part: AnswerPart<'_>| match part {
            AnswerPart::End => reading.answered += 1,
            AnswerPart::Line(line) => {
                // The header proves that the section exists even if it has no servers.
                if let (true, Some(service)) = (line.starts_with("# "), services.get(reading.answered)) {
                    reading.servers.section_exists(service.clone());
                }
                reading.server_line(line);
            }
        };
        self.ask(&request, services.len(), read).await?.finish().map_err(|error| self.broken(error))
    }

    /// Observes all sections, also by `show backend`, because `show servers state` omits sections without servers.
    async fn observe_all(&self) -> Result<Observation, RuntimeError> {
        let read = |reading: &mut Reading, part: AnswerPart<'_>| match part {
            AnswerPart::End => reading.answered += 1,
            AnswerPart::Line(name) if reading.answered == 0 => {
                // The header, blank lines and HAProxy's own sections are not names of services.
                if let Ok(service) = ServiceName::new(name) {
                    reading.servers.section_exists(service);
                }
            }
            AnswerPart::Line(line) => reading.server_line(line),
        };
        let reading = self.ask("show backend\nshow servers state\n", 2, read).await?;
        reading.finish().map_err(|error| self.broken(error))
    }

    /// Queries the process on a new connection, which is kept unless the process drains: it would delay the exit.
    async fn process(&self) -> Result<ProcessInfo, RuntimeError> {
        self.renew();
        let read = |info: &mut Info, part: AnswerPart<'_>| {
            if let AnswerPart::Line(line) = part {
                info.line(line);
            }
        };
        let info: Info = self.ask("show info\n", 1, read).await?;
        let process = info.finish().map_err(|error| self.broken(error))?;
        if process.stopping {
            self.kept.take();
        }
        Ok(process)
    }

    async fn statistics(&self, request: &str) -> Result<StatisticsTable, RuntimeError> {
        let _turn = self.turn.lock().await;
        let read = |table: &mut StatisticsTable, part: AnswerPart<'_>| {
            if let AnswerPart::Line(line) = part {
                table.line(line);
            }
        };
        let table = self.ask(request, 1, read).await;
        // This query is rare, and a kept connection would delay the exit of a process that is to stop.
        self.renew();
        table
    }

    /// Sends a query, which changes nothing and may therefore be repeated when the kept connection breaks.
    async fn ask<T, F>(&self, request: &str, answers: usize, read: F) -> Result<T, RuntimeError>
    where
        T: Default,
        F: Fn(&mut T, AnswerPart<'_>),
    {
        let on_kept = self.kept.borrow().is_some();
        let mut said = T::default();
        match self.converse(request, answers, |part| read(&mut said, part)).await {
            Err(RuntimeError::Broken { .. }) if on_kept => {
                said = T::default();
                self.converse(request, answers, |part| read(&mut said, part)).await?;
            }
            outcome => outcome?,
        }
        Ok(said)
    }

    /// Sends `request`, which consists of `answers` lines, on the kept connection or a new one.
    async fn converse<F>(&self, request: &str, answers: usize, mut on: F) -> Result<(), RuntimeError>
    where
        F: FnMut(AnswerPart<'_>),
    {
        let disconnects = self.disconnects.get();
        if let Some(connection) = self.kept.take().filter(RuntimeConnection::is_open) {
            match self.exchange(connection, disconnects, request, answers, &mut on).await {
                Err(Attempt::NothingSent) => {}
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        if let Connections::Opened { .. } = self.connections {
            return Err(self.broken("the connection that was opened before the start is closed"));
        }
        let bytes_max = match self.connections {
            Connections::OneEach => RUNTIME_ANSWER_OF_OTHERS_BYTES_MAX,
            Connections::Kept | Connections::Opened { .. } => RUNTIME_ANSWER_BYTES_MAX,
        };
        let connection = RuntimeConnection::new(self.connect().await?, bytes_max);
        match self.exchange(connection, disconnects, request, answers, &mut on).await {
            Err(Attempt::NothingSent) => Err(self.broken("HAProxy closed the connection at once")),
            Err(Attempt::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    async fn exchange<F>(
        &self,
        mut connection: RuntimeConnection,
        disconnects: u64,
        request: &str,
        answers: usize,
        on: F,
    ) -> Result<(), Attempt>
    where
        F: FnMut(AnswerPart<'_>),
    {
        let limit = self.answer_timeout();
        match timeout(limit, connection.exchange(request.as_bytes(), answers, on)).await {
            Ok(Ok(())) => {
                let keeps = match &self.connections {
                    Connections::Kept => true,
                    Connections::OneEach => false,
                    Connections::Opened { answered } => {
                        answered.set(true);
                        true
                    }
                };
                if keeps && self.disconnects.get() == disconnects {
                    self.kept.replace(Some(connection));
                }
                Ok(())
            }
            Ok(Err(ExchangeError { nothing_sent: true, .. })) => Err(Attempt::NothingSent),
            Ok(Err(ExchangeError { error, .. })) => Err(Attempt::Failed(self.broken(error))),
            Err(_) => Err(Attempt::Failed(RuntimeError::TimedOut {
                path: self.path_text(),
                timeout_ms: limit.as_millis().try_into().unwrap_or(u64::MAX),
            })),
        }
    }

    /// Drops the kept connection, so that the next call opens a new one if it can.
    fn renew(&self) {
        if !matches!(self.connections, Connections::Opened { .. }) {
            self.kept.take();
        }
    }

    fn answer_timeout(&self) -> Duration {
        match &self.connections {
            Connections::Opened { answered } if !answered.get() => PROXY_READY_TIMEOUT,
            _ => RUNTIME_ANSWER_TIMEOUT,
        }
    }

    async fn connect(&self) -> Result<RuntimeStream, RuntimeError> {
        let outcome = timeout(RUNTIME_CONNECT_TIMEOUT, connected(&self.address)).await;
        let error = match outcome {
            Ok(Ok(stream)) => {
                debug!(self.log, "connected to HAProxy's socket"; "path" => self.path_text());
                return Ok(stream);
            }
            Ok(Err(error)) => unreachable_in_words(&error),
            Err(_) => match self.address {
                RuntimeAddress::Unix(_) => {
                    "its queue of connections stays full: HAProxy hangs or all its connections are in use".into()
                }
                RuntimeAddress::Tcp(_) => format!("no answer within {} s", RUNTIME_CONNECT_TIMEOUT.as_secs()),
            },
        };
        Err(RuntimeError::Unreachable { path: self.path_text(), error })
    }

    fn disconnect(&self) {
        self.disconnects.set(self.disconnects.get() + 1);
        self.kept.take();
    }

    fn path_text(&self) -> String {
        self.address.in_messages()
    }

    fn broken(&self, error: impl ToString) -> RuntimeError {
        RuntimeError::Broken { path: self.path_text(), error: error.to_string() }
    }
}

/// Why an attempt at an exchange failed.
enum Attempt {
    /// HAProxy received nothing, so the request may be sent on another connection.
    NothingSent,
    Failed(RuntimeError),
}
