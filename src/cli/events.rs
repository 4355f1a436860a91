//! `proxymgr events`: prints journal entries, one per line, and can follow the journal.

use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxymgr_actors::journal::JournalEntry;
use tokio::time::sleep;

use super::daemon_args::DaemonArgs;
use super::output::{self, Paint};
use super::text::{printable, time};
use super::{block_on, interrupted};
use crate::failure::Failure;
use crate::status::api::Entries;
use crate::status::client::{AskError, StatusClient};
use crate::status::event_text::{Tone, describe, subject};

/// Interval between two requests while following.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// Interval between two requests while the daemon does not answer.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Width of the column of services and servers, in characters.
const SUBJECT_WIDTH: usize = 24;

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Follow the journal until interrupted, also across restarts of the daemon.
    #[arg(short, long)]
    follow: bool,
    /// Only entries of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only entries of this server, such as 10.0.0.1:8080
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Only entries with this event, such as drift_found or health_changed.
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Number of entries to begin with, the newest ones.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    lines: usize,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Prints the entries.
pub fn events(args: &EventsArgs) -> Result<(), Failure> {
    block_on(async {
        let journal = JournalReader { client: args.daemon.reader()?, args, paint: Paint::for_stdout() };
        let entries = journal.read(None, args.lines).await?;
        journal.print(&entries);
        if !args.follow {
            return Ok(());
        }
        tokio::select! {
            () = journal.follow(entries.last().cloned()) => Ok(()),
            () = interrupted() => Ok(()),
        }
    })
}

struct JournalReader<'a> {
    client: StatusClient,
    args: &'a EventsArgs,
    paint: Paint,
}

impl JournalReader<'_> {
    /// The newest entries after a sequence number.
    async fn read(&self, after: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, AskError> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut path = format!("/api/v1/journal?limit={limit}");
        let texts = [("service", &self.args.service), ("server", &self.args.server), ("event", &self.args.event)];
        for (key, value) in texts {
            path.extend(value.iter().map(|value| format!("&{key}={}", encoded(value))));
        }
        path.extend(after.map(|after| format!("&after={after}")));
        let Entries { entries, .. } = self.client.get(&path).await?;
        Ok(entries)
    }

    /// Prints new entries, for ever.
    async fn follow(&self, mut last: Option<JournalEntry>) {
        let mut away = false;
        loop {
            match self.newer(last.as_ref()).await {
                Ok(Newer { entries, restarted }) => {
                    if restarted {
                        output::remark("# proxymgr was restarted; a new journal begins");
                    } else if away {
                        output::remark("# proxymgr answers again");
                    }
                    away = false;
                    self.print(&entries);
                    last = entries.into_iter().next_back().or(last);
                    sleep(FOLLOW_PAUSE).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        output::remark(&format!("# {error}; waiting for it"));
                    }
                    sleep(AWAY_PAUSE).await;
                }
            }
        }
    }

    /// Entries after this one. The entry itself is requested, too: if it is missing, the journal is that of another run of
    /// the daemon, or no longer has it.
    async fn newer(&self, last: Option<&JournalEntry>) -> Result<Newer, AskError> {
        let limit = proxymgr_actors::limits::JOURNAL_ENTRIES_MAX;
        let Some(last) = last else { return Ok(Newer { entries: self.read(None, limit).await?, restarted: false }) };
        let entries = self.read(Some(last.sequence.saturating_sub(1)), limit).await?;
        if entries.first() == Some(last) {
            return Ok(Newer { entries: entries.into_iter().skip(1).collect(), restarted: false });
        }
        let all = self.read(None, limit).await?;
        let restarted = all.iter().any(|entry| entry.sequence <= last.sequence && entry.at_unix_ms > last.at_unix_ms);
        let entries = all.into_iter().filter(|entry| entry.at_unix_ms > last.at_unix_ms).collect();
        Ok(Newer { entries, restarted })
    }

    fn print(&self, entries: &[JournalEntry]) {
        let lines = entries.iter().map(|entry| {
            if self.args.json {
                serde_json::to_string(entry).map(|line| format!("{line}\n")).unwrap_or_default()
            } else {
                format!("{}\n", line(entry, self.paint))
            }
        });
        output::print(&lines.collect::<String>());
    }
}

struct Newer {
    entries: Vec<JournalEntry>,
    /// Whether the daemon has restarted since.
    restarted: bool,
}

/// An entry as one line: time, service and server, label, text, change.
pub(super) fn line(entry: &JournalEntry, paint: Paint) -> String {
    let event = describe(&entry.event);
    let label = format!("{:<12}", event.label);
    let label = match event.tone {
        Tone::Good => paint.good(&label),
        Tone::Plain => label,
        Tone::Bad => paint.bad(&label),
    };
    let change = entry.change.map(|change| paint.faint(&format!("  [{change}]"))).unwrap_or_default();
    let when = paint.faint(&time(entry.at_unix_ms));
    format!("{when} {:<SUBJECT_WIDTH$} {label} {}{change}", printable(&subject(entry)), printable(&event.text))
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::journal::Event;
    use proxymgr_actors::model::{ChangeId, PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn entry_is_one_line() {
        let event = Event::Decided { class: PlanClass::RuntimeDisable, reason: "the host is\ngone".into() };
        let mut entry = JournalEntry::new(event).service(&ServiceName::new("web").unwrap());
        entry.server = Some(ServerName::new("10.0.0.1:80").unwrap());
        entry.change = Some(ChangeId(5));
        entry.at_unix_ms = 1_700_000_000_123;
        assert_eq!(
            line(&entry, Paint::none()),
            "2023-11-14T22:13:20.123Z web/10.0.0.1:80          decision     runtime-disable: the host is\\ngone  [c5]"
        );
    }
}
