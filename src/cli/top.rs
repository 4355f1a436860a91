//! `proxymgr top`: the status of the running daemon on a screen that is updated.

mod opened;
mod screen;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use proxymgr_actors::journal::JournalEntry;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use super::daemon_args::DaemonArgs;
use super::text::now_unix_ms;
use super::{block_on, status};
use crate::failure::Failure;
use crate::status::client::StatusClient;
use crate::status::report::StatusReport;
use crate::terminal::Paint;
use state::{Next, Top};

/// Interval at which the thread of the keyboard checks whether to stop.
const KEYS_PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Interval of updates.
    #[arg(short = 'd', long, value_name = "DURATION", default_value = "1s", value_parser = interval_of)]
    interval: Duration,
}

fn interval_of(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) { Err("must be 100ms or more".to_owned()) } else { Ok(interval) }
}

/// Shows the screen until the user quits.
pub fn top(args: &TopArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let problem = "top needs a terminal; `proxymgr status` prints once, also to a file or pipe";
        return Err(Failure::CannotStart(problem.to_owned()));
    }
    block_on(async {
        let client = args.daemon.reader()?;
        let cannot = |error: io::Error| Failure::CannotStart(format!("the terminal cannot be used: {error}"));
        // Also restores the terminal after a panic.
        let mut terminal = ratatui::try_init().map_err(cannot)?;
        let result = show(&mut terminal, client, args.interval).await;
        ratatui::restore();
        result.map_err(cannot)
    })
}

async fn show(terminal: &mut DefaultTerminal, client: StatusClient, every: Duration) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut keys = Keys::listen();
    let mut asks = interval(every);
    asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut top = Top::new(Paint::for_stdout().is_on());
    let answer = ask(&client, None);
    tokio::pin!(answer);
    let mut asking = true;
    loop {
        terminal.draw(|frame| screen::draw(frame, &mut top, now_unix_ms()))?;
        tokio::select! {
            answered = &mut answer, if asking => {
                asking = false;
                let (report, journal) = answered.map_or_else(|error| (Err(error), None), |(report, journal)| (Ok(report), journal));
                top.answered(report, now_unix_ms());
                journal.into_iter().for_each(|(service, entries)| top.journal_of(&service, entries));
            }
            _ = asks.tick(), if !asking => {
                answer.set(ask(&client, top.opened_name()));
                asking = true;
            }
            key = keys.events.recv() => match key {
                Some(event) => {
                    let opened = top.opened_name();
                    if top.handle(&event) == Next::Quit {
                        return Ok(());
                    }
                    if top.opened_name() != opened {
                        asks.reset_immediately();
                    }
                }
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// A report, and the journal entries of the opened service, if any.
type Answer = (StatusReport, Option<(String, Vec<JournalEntry>)>);

async fn ask(client: &StatusClient, opened: Option<String>) -> Result<Answer, String> {
    let (_, report) = client.status().await.map_err(|error| error.to_string())?;
    let Some(service) = opened else { return Ok((report, None)) };
    let journal = status::journal_of(client, &service).await.map_err(|error| error.to_string())?;
    Ok((report, Some((service, journal))))
}

/// Terminal events, read on a thread that ends when this is dropped.
struct Keys {
    events: UnboundedReceiver<Event>,
    stop: Arc<AtomicBool>,
}

impl Keys {
    fn listen() -> Self {
        let (sender, events) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || read_keys(&sender, &stopped));
        Self { events, stop }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read_keys(sender: &UnboundedSender<Event>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let event = match event::poll(KEYS_PAUSE) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        // If the terminal is gone, this thread drops the sender, which ends the screen.
        let Ok(event) = event else { return };
        if sender.send(event).is_err() {
            return;
        }
    }
}
