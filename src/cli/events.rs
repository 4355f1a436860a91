//! `proxymgr events`: what happened and why, one line each, and if wanted what happens from now on.

use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxymgr_actors::journal::JournalEntry;
use tokio::time::sleep;

use super::output::{self, Paint};
use super::place::PlaceArgs;
use super::wording::{printable, time};
use super::{block_on, interrupted};
use crate::failure::Failure;
use crate::status::api::Entries;
use crate::status::client::{AskError, StatusClient};
use crate::status::telling::{Tone, tell, whom};

/// The pause between two looks at the journal while it is followed.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// The pause before a daemon that does not answer is asked again.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// How wide the column of those whom entries are about is; longer ones push the rest aside.
const WHOM_WIDTH: usize = 24;

/// What is to be shown.
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Go on with what happens from now on, also when the daemon is restarted, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Only of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only of this server, such as 10.0.0.1:8080
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// How many of the newest entries to begin with.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    lines: usize,
    /// Print each entry as a JSON object on a line of its own.
    #[arg(long)]
    json: bool,
}

/// Prints what was asked for.
pub fn events(args: &EventsArgs) -> Result<(), Failure> {
    block_on(async {
        let story = Story { client: args.place.reader()?, args, paint: Paint::for_stdout() };
        let entries = story.read(None, args.lines).await?;
        story.print(&entries);
        if !args.follow {
            return Ok(());
        }
        tokio::select! {
            () = story.follow(entries.last().cloned()) => Ok(()),
            () = interrupted() => Ok(()),
        }
    })
}

struct Story<'a> {
    client: StatusClient,
    args: &'a EventsArgs,
    paint: Paint,
}

impl Story<'_> {
    /// The newest entries after a sequence number.
    async fn read(&self, after: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, AskError> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut path = format!("/api/v1/journal?limit={limit}");
        let texts = [("service", &self.args.service), ("server", &self.args.server)];
        for (key, value) in texts {
            path.extend(value.iter().map(|value| format!("&{key}={}", encoded(value))));
        }
        path.extend(after.map(|after| format!("&after={after}")));
        let Entries { entries, .. } = self.client.get(&path).await?;
        Ok(entries)
    }

    /// Prints what is new, for ever.
    async fn follow(&self, mut last: Option<JournalEntry>) {
        let mut away = false;
        loop {
            match self.newer(last.as_ref()).await {
                Ok(Newer { entries, restarted }) => {
                    if restarted {
                        output::remark("# proxymgr was restarted: its journal begins anew");
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

    /// What came after this entry. The entry itself is asked for, too: where it is missing, the journal is another
    /// one, that of a daemon that was started since, or has forgotten it.
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
    /// Whether they are of a daemon that was started since.
    restarted: bool,
}

/// When, whom, what, and why; and the change that it belongs to.
fn line(entry: &JournalEntry, paint: Paint) -> String {
    let telling = tell(&entry.event);
    let label = format!("{:<12}", telling.label);
    let label = match telling.tone {
        Tone::Good => paint.good(&label),
        Tone::Plain => label,
        Tone::Bad => paint.bad(&label),
    };
    let change = entry.change.map(|change| paint.faint(&format!("  [{change}]"))).unwrap_or_default();
    let when = paint.faint(&time(entry.at_unix_ms));
    format!("{when} {:<WHOM_WIDTH$} {label} {}{change}", printable(&whom(entry)), printable(&telling.text))
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::journal::Event;
    use proxymgr_actors::model::{ChangeId, PlanClass, ServerName, ServiceName};

    use super::*;

    #[test]
    fn an_entry_is_one_line_with_time_server_decision_and_reason() {
        let event = Event::Decided { class: PlanClass::RuntimeDisable, reason: "the host is\ngone".into() };
        let mut entry = JournalEntry::new(event).service(&ServiceName::new("web").unwrap());
        entry.server = Some(ServerName::new("10.0.0.1:80").unwrap());
        entry.change = Some(ChangeId(5));
        entry.at_unix_ms = 1_700_000_000_123;
        assert_eq!(
            line(&entry, Paint::none()),
            "2023-11-14T22:13:20.123Z web/10.0.0.1:80          decision     runtime-disable: the host is gone  [c5]"
        );
    }
}
